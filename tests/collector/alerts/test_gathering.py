"""When what has happened is told: a thousand breaches of one fault are few messages, a single one is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.core.outcome import Outcome
from collector.alerts.gathering import FAULT_APART_NS, OTHERS_APART_NS, Gathering
from collector.sla.breach import Breach, BreachClosed, BreachEvent, BreachKey, BreachOpened, Watch
from collector.sla.faults import FaultKind
from collector.sla.verdict import Fault, PathKey
from tests.support.verdicts import CUT_OFF, HUB_PATH, NOW_NS, SECOND_NS, breach, closed

SETTLING_NS = 20 * SECOND_NS


def path(number: int) -> PathKey:
    """One of very many."""
    return replace(HUB_PATH, dscp=number)


def late(number: int = 1) -> Breach:
    """A breach of a path whose packets all came, too late."""
    found = breach(number, path=path(number))
    return replace(found, opening=replace(found.opening, counts={Outcome.WITHIN: 9, Outcome.OVER: 1}))


def lossy(number: int = 1, fault: Fault | None = None) -> Breach:
    """A breach of a path that loses packets."""
    return breach(number, path=path(number), fault=fault)


def watched(breaches: Sequence[Breach]) -> dict[BreachKey, Watch]:
    """They are open."""
    return {one.key: Watch(one) for one in breaches}


def ids(events: Sequence[BreachEvent]) -> list[str]:
    """Of what, and what has happened to it."""
    return [f"{type(one).__name__.removeprefix('Breach')} {one.breach.id}" for one in events]


def test_a_breach_without_losses_is_told_at_once() -> None:
    """No fault of the kinds that are known explains packets that are late."""
    gathering = Gathering(SETTLING_NS)
    gathering.take([BreachOpened(late())], NOW_NS)
    assert gathering.unsettled == set()
    assert ids(gathering.due(NOW_NS)) == ["Opened b000001"]
    assert gathering.waiting == []


def test_breaches_join_the_fault_that_is_found_after_them() -> None:
    """A site that is cut off breaks promises before it is known to be: all are of its fault then, and one message."""
    gathering, many = Gathering(SETTLING_NS), [lossy(number) for number in range(1, 1001)]
    gathering.take(map(BreachOpened, many), NOW_NS)
    assert gathering.join(watched(many), lambda _: None) == {}
    assert gathering.due(NOW_NS) == []
    assert len(gathering.unsettled) == 1000
    joined = gathering.join(watched(many), lambda _: CUT_OFF)
    assert gathering.due(NOW_NS + SETTLING_NS - 1) == []
    told = gathering.due(NOW_NS + SETTLING_NS)
    assert {one.breach.fault for one in told} == {CUT_OFF}
    assert {one.breach.key: Watch(one.breach) for one in told} == joined
    assert gathering.unsettled == set()


def test_what_turns_out_to_be_of_a_larger_fault_joins_that_one() -> None:
    """One path is dark before all of a site are."""
    small = Fault("f0", FaultKind.PATH_DOWN, NOW_NS, path=path(1))
    gathering, one = Gathering(SETTLING_NS), lossy(fault=small)
    gathering.take([BreachOpened(one)], NOW_NS)
    assert gathering.join(watched([one]), lambda _: small) == {}
    assert gathering.join(watched([one]), lambda _: CUT_OFF).keys() == {one.key}


@pytest.mark.parametrize("fault", [None, Fault("f2", FaultKind.CLOCK_BAD, NOW_NS, "wuhan")])
def test_losses_without_a_cause_are_told_when_none_was_found(fault: Fault | None) -> None:
    """Nobody waits for longer; and a bad clock loses nothing."""
    gathering, one = Gathering(SETTLING_NS), lossy()
    gathering.take([BreachOpened(one)], NOW_NS)
    assert gathering.join(watched([one]), lambda _: fault) == {}
    assert ids(gathering.due(NOW_NS + SETTLING_NS)) == ["Opened b000001"]


def test_a_breach_that_is_over_joins_nothing() -> None:
    """What explains its path now came later."""
    gathering, one = Gathering(SETTLING_NS), lossy()
    gathering.take([BreachOpened(one)], NOW_NS)
    assert gathering.join({one.key: Watch()}, lambda _: CUT_OFF) == {}
    assert gathering.join(watched([replace(one, id="later")]), lambda _: CUT_OFF) == {}


@pytest.mark.parametrize(("fault", "apart_ns"), [(CUT_OFF, FAULT_APART_NS), (None, OTHERS_APART_NS)])
def test_what_follows_of_one_incident_is_gathered(fault: Fault | None, apart_ns: int) -> None:
    """Longer windows break one after the other; those of another incident do not wait for it."""
    gathering = Gathering(0)
    gathering.take([BreachOpened(lossy(1, fault))], NOW_NS)
    assert len(gathering.due(NOW_NS)) == 1
    told = 0
    for second in range(10, apart_ns // SECOND_NS, 10):
        gathering.take([BreachOpened(lossy(second, fault))], NOW_NS + second * SECOND_NS)
        told += len(gathering.due(NOW_NS + second * SECOND_NS))
    assert told == 0
    other = replace(lossy(7777), key=BreachKey(replace(HUB_PATH, tier="city"), breach().key.direction, "x"))
    gathering.take([BreachOpened(other)], NOW_NS + apart_ns - 1)
    assert ids(gathering.due(NOW_NS + apart_ns - 1)) == ["Opened b007777"]
    assert len(gathering.due(NOW_NS + apart_ns)) == len(range(10, apart_ns // SECOND_NS, 10))


def test_the_end_is_not_told_before_the_beginning() -> None:
    """Nor is either left out where both happen while it waits."""
    gathering, one = Gathering(SETTLING_NS), lossy()
    gathering.take([BreachOpened(one)], NOW_NS)
    gathering.take([BreachClosed(closed(one))], NOW_NS + 1)
    assert gathering.due(NOW_NS + 1) == []
    assert ids(gathering.due(NOW_NS + SETTLING_NS)) == ["Opened b000001", "Closed b000001"]


def test_a_restart_forgets_nothing_that_waits() -> None:
    """And waits no longer for it than before."""
    before = Gathering(SETTLING_NS)
    before.take([BreachOpened(lossy(1)), BreachOpened(lossy(2)), BreachClosed(closed(lossy(2)))], NOW_NS)
    after = Gathering(SETTLING_NS, before.waiting)
    assert after.waiting == before.waiting
    assert after.unsettled == before.unsettled
    assert len(after.due(NOW_NS + SETTLING_NS)) == 3


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    """Neither for a cause, nor for the rest of an incident."""
    gathering = Gathering(SETTLING_NS)
    gathering.take([BreachOpened(late(1))], NOW_NS)
    assert len(gathering.due(NOW_NS)) == 1
    gathering.take([BreachOpened(late(2)), BreachOpened(lossy(3))], NOW_NS)
    assert gathering.due(NOW_NS) == []
    assert len(gathering.due(NOW_NS - SECOND_NS)) == 2
