"""Faults over time: under one identifier for as long as they stand, whatever they turn out to be."""

from __future__ import annotations

import numpy as np

from agent.core.outcome import Direction
from collector.sla.fault_watch import FaultWatch, Standing
from collector.sla.faults import FaultKind, Finding, Located
from collector.sla.verdict import Fault, PathKey
from tests.support.counting import SECOND_NS

PATHS = [PathKey("wuhan", target, "city", "", "stamp", 0) for target in ("guanggu", "yichang", "qingyang")]
SITES = ["wuhan", "guanggu", "yichang", "qingyang"]
REFINED_NS = 30 * SECOND_NS
NOW_NS = 1_795_407_359 * SECOND_NS


def watch(*before: Fault) -> FaultWatch:
    """One that begins now."""
    return FaultWatch(SITES, PATHS, REFINED_NS, before, NOW_NS)


def located(*findings: tuple[Finding, list[int]]) -> Located:
    """These findings, each with the paths that it explains."""
    made = Located([], np.full(len(PATHS), -1))
    for finding, paths in findings:
        made.add(finding, np.array(paths, np.int64))
    return made


TARGET = Finding(FaultKind.TARGET_DOWN, 1, witnesses=2)
ONE_WAY = Finding(FaultKind.DIRECTION_DOWN, path=2, direction=Direction.REVERSE)


def test_nothing_stands_before_anybody_has_looked() -> None:
    """Of no path."""
    assert Standing().of(0) is None


def test_a_fault_has_one_identifier_for_as_long_as_it_stands() -> None:
    """And one time; another one when it comes again."""
    follower = watch()
    seen = located((TARGET, [0]), (ONE_WAY, [2]))
    first = follower.follow(seen, NOW_NS)
    later = follower.follow(located((TARGET, [0, 1])), NOW_NS + 9 * REFINED_NS)
    fault = first.of(0)
    assert fault is not None
    assert (fault.kind, fault.site, fault.paths, fault.witnesses) == (FaultKind.TARGET_DOWN, "guanggu", 1, 2)
    assert fault.since_ns == NOW_NS
    assert first.of(1) is None
    other = first.faults[1].id
    kind = FaultKind.DIRECTION_DOWN
    assert first.of(2) == Fault(other, kind, NOW_NS, None, PATHS[2], Direction.REVERSE, 1, 0)
    assert [(one.id, one.paths) for one in later.faults] == [(fault.id, 2)]
    assert follower.follow(located(), NOW_NS + 10 * REFINED_NS).faults == []
    again = follower.follow(seen, NOW_NS + 11 * REFINED_NS).of(0)
    assert again is not None
    assert again.id != fault.id


AGENT = Finding(FaultKind.AGENT_DOWN, 1)


def test_what_turns_out_to_be_larger_is_the_same_incident() -> None:
    """A target goes silent, and then its agent is missed; the path beside it is another incident."""
    follower = watch()
    (target, beside) = follower.follow(located((TARGET, [0, 1]), (ONE_WAY, [2])), NOW_NS).faults
    (same, agent) = follower.follow(located((ONE_WAY, [2]), (AGENT, [0, 1])), NOW_NS + 1).faults
    assert (agent.id, agent.since_ns, agent.kind) == (target.id, NOW_NS, FaultKind.AGENT_DOWN)
    assert same.id == beside.id
    (agent,) = follower.follow(located((AGENT, [0, 1, 2])), NOW_NS + 2).faults
    assert (agent.id, agent.paths) == (target.id, 3)


def test_a_fault_that_has_stood_for_long_becomes_no_other_one() -> None:
    """What takes its place later has a cause of its own; and so has what begins beside one that stands."""
    follower = watch()
    (target,) = follower.follow(located((TARGET, [0])), NOW_NS).faults
    (_, beside) = follower.follow(located((TARGET, [1]), (ONE_WAY, [0])), NOW_NS + 1).faults
    assert beside.id != target.id
    (agent,) = follower.follow(located((AGENT, [0, 1])), NOW_NS + REFINED_NS + 2).faults
    assert agent.id not in (target.id, beside.id)


def test_a_target_that_is_down_for_two_kinds_of_packets_is_one_fault() -> None:
    """With the paths of both."""
    follower = watch()
    both = located((TARGET, [0]), (Finding(FaultKind.TARGET_DOWN, 1, witnesses=1), [1]))
    standing = follower.follow(both, NOW_NS)
    (fault,) = standing.faults
    assert (fault.paths, fault.witnesses) == (2, 2)
    assert standing.of(0) is standing.of(1) is fault


def test_a_restart_does_not_make_an_incident_a_new_one() -> None:
    """What open breaches remember is known again as the same; but nothing old comes back much later."""
    known = Fault("f1", FaultKind.TARGET_DOWN, NOW_NS - REFINED_NS, "guanggu")
    seen = located((TARGET, [0]))
    (fault,) = watch(known).follow(seen, NOW_NS).faults
    assert (fault.id, fault.since_ns) == ("f1", known.since_ns)
    assert watch(known).follow(seen, NOW_NS + 3 * REFINED_NS).faults[0].id != "f1"
