"""One evaluation over what is in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.outcome import Direction
from collector.evaluation import evaluate
from collector.fleet.plan import Plan, compile_plan
from collector.sla.verdict import PathKey, Verdict
from collector.sources.samples import AgentReading
from collector.state import NEVER_READ, CollectorState, RecentBlocks, SourceStatus
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, block, counts, reading
from tests.support.fleets import fleet

HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 1000 * SECOND_NS
UP = SourceStatus(True, "", NOW_NS, "declared", 50_000)


@pytest.fixture
def plan() -> Plan:
    """The hub path alone, against the objective of five minutes."""
    whole = compile_plan(fleet())
    targets = [one for one in whole.targets if one.path == HUB and one.objective.id == "detection"]
    return replace(whole, targets=targets)


def test_everything_of_the_plan_is_judged_even_where_nothing_was_read() -> None:
    """NO_DATA is a verdict too."""
    plan = compile_plan(fleet())
    judgements = evaluate(plan, RecentBlocks(), CollectorState(), NOW_NS)
    assert len(judgements) == len(plan.targets) == 7
    assert {one.verdict for one in judgements} == {Verdict.NO_DATA}
    assert {one.reason.code for one in judgements} == {"agent_silent"}


def test_the_window_of_a_running_agent_ends_with_its_last_reading(plan: Plan) -> None:
    """What happened since is not known yet, and is no gap."""
    blocks = RecentBlocks([block(695, 995, counts(within=3000), path=HUB)])
    state = CollectorState(sources={"wuhan": replace(UP, seen_ns=995 * SECOND_NS)})
    for judgement in evaluate(plan, blocks, state, NOW_NS):
        assert (judgement.verdict, judgement.coverage) == (Verdict.PASS, 1)
        assert judgement.window_end_ns == 995 * SECOND_NS


def test_the_window_of_a_silent_agent_goes_on(plan: Plan) -> None:
    """The longer it is silent the less is covered, until nothing is claimed any more."""
    blocks = RecentBlocks([block(695, 995, counts(within=3000), path=HUB)])
    state = CollectorState(sources={"wuhan": replace(UP, up=False, reason="gone", seen_ns=995 * SECOND_NS)})
    (now, _) = evaluate(plan, blocks, state, NOW_NS)
    assert now.verdict is Verdict.PASS
    (later, _) = evaluate(plan, blocks, state, 1200 * SECOND_NS)
    assert (later.verdict, later.reason.code) == (Verdict.NO_DATA, "agent_silent")


def test_what_the_agent_says_of_itself_is_in_the_verdict(plan: Plan) -> None:
    """Its limit, its clock and whether it finds its target, as of its last reading."""
    blocks = RecentBlocks([block(700, 1000, counts(uncertain=3000), path=HUB)])
    state = CollectorState(sources={"wuhan": replace(UP, clock_bound_ns=None)})
    assert "not synchronised" in evaluate(plan, blocks, state, NOW_NS)[0].reason.en
    state.latest[HUB] = reading(1000, path=HUB, limit=CITY_LIMIT)
    assert evaluate(plan, blocks, state, NOW_NS)[0].reason.code == "other_limit"
    state.latest[HUB] = replace(reading(1000, path=HUB, limit=HUB_LIMIT), resolved=False)
    empty = RecentBlocks([block(700, 1000, counts(), path=HUB)])
    assert evaluate(plan, empty, state, NOW_NS)[0].reason.code == "target_unresolved"


def test_directions_are_judged_apart(plan: Plan) -> None:
    """By their own counts."""
    both = block(700, 1000, counts(within=3000), path=HUB)
    late = replace(both, directions={**both.directions, Direction.FORWARD: counts(within=2000, over=1000)})
    judged = {
        one.direction: one.verdict
        for one in evaluate(plan, RecentBlocks([late]), CollectorState(sources={"wuhan": UP}), NOW_NS)
    }
    assert judged == {Direction.FORWARD: Verdict.FAIL, Direction.REVERSE: Verdict.PASS}


def test_memory_forgets_what_no_window_needs() -> None:
    """Oldest first, path by path."""
    blocks = RecentBlocks(
        [block(start, start + 10, counts(within=1), path=path) for path in (HUB,) for start in (0, 10, 20)]
    )
    blocks.forget(20 * SECOND_NS)
    assert [one.start_ns // SECOND_NS for one in blocks.of(HUB)] == [10, 20]
    blocks.forget(NOW_NS)
    assert list(blocks.of(HUB)) == []
    assert list(blocks.of(replace(HUB, dscp=1))) == []


def test_a_status_remembers_when_and_how_an_agent_was_last_seen() -> None:
    """A failed reading changes whether it is up and why, not what is known of it."""
    seen = NEVER_READ.after(AgentReading("wuhan", True, "", 5, (), "declared", 50_000))
    assert seen == SourceStatus(True, "", 5, "declared", 50_000)
    gone = seen.after(AgentReading("wuhan", False, "does not answer", 9))
    assert gone == SourceStatus(False, "does not answer", 5, "declared", 50_000)
    assert NEVER_READ.after(AgentReading("wuhan", False, "x", 9)).seen_ns is None
