"""Verdicts on lines: what their turns prove, how many were planned, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction
from agent.core.throughput.cause import Cause
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from collector.documents import Names, judgement_document
from collector.sla.judge import Question
from collector.sla.line import LastTest, LineSaid
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.reasons import AgentFacts
from collector.sla.throughput import LineSlots, SlotTable, judge_throughput
from collector.sla.verdict import Judgement, PathKey, Verdict
from collector.sla.verdicts import Answer, Verdicts
from collector.sla.window import Window
from deploy.recompute import differences, recomputed
from tests.support.counting import SECOND_NS, counts, observation

HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
LINE = PathKey("home", "centre", "pilot", "telecom", LINE_KIND, 0)
FLOOR = Floor(1e9)
OBJECTIVE = Objective("pilots", Measure.THROUGHPUT, Window(DAY_NS), 0.0, 0.5)
UP = AgentFacts(up=True, clock_bound_ns=None)


def verdict_on(
    passed: int = 0,
    failed: int = 0,
    unproven: int = 0,
    *,
    planned: int = 4,
    allowed: float = 0.0,
    said: LineSaid | None = None,
    agent: AgentFacts = UP,
    other: Floor | None = None,
) -> Judgement:
    """Judge what comes down a line."""
    objective = replace(OBJECTIVE, threshold=allowed)
    question = Question.of(objective, [Target(LINE, Direction.REVERSE, objective, FLOOR, 0)], [0])
    turns = counts(within=passed, over=failed, uncertain=unproven)
    observed = observation(turns)
    tested = judge_throughput(question, observed, np.array([planned]), np.array([other is not None]))
    others = {} if other is None else {(LINE, Direction.REVERSE): other}
    answered = Answer(question, observed, tested, lambda _: agent._replace(line=said), others)
    (judgement,) = Verdicts([answered])
    (shown,) = answered.shown()
    assert (shown.verdict, shown.bound_lower, shown.bound_upper) == (
        judgement.verdict,
        judgement.bound_lower,
        judgement.bound_upper,
    )
    return judgement


@pytest.mark.parametrize(
    ("turns", "allowed", "verdict", "code"),
    [
        ((4, 0, 0), 0.0, Verdict.PASS, "floor_met"),
        ((3, 1, 0), 0.0, Verdict.FAIL, "floor_missed"),
        # one that is not confirmed is no violation, and no proof
        ((3, 0, 1), 0.0, Verdict.INDETERMINATE, "floor_unproven"),
        ((3, 0, 1), 0.25, Verdict.PASS, "floor_met"),
        ((2, 1, 1), 0.25, Verdict.INDETERMINATE, "floor_unproven"),
        ((2, 2, 0), 0.25, Verdict.FAIL, "floor_missed"),
        ((1, 0, 0), 0.0, Verdict.NO_DATA, "too_few_tests"),
        ((0, 0, 0), 0.0, Verdict.NO_DATA, "no_tests"),
    ],
)
def test_the_turns_of_a_window_are_all_there_are(
    turns: tuple[int, int, int], allowed: float, verdict: Verdict, code: str
) -> None:
    """Their shares are held against the share that may miss, without a margin; too few of the planned say nothing. All
    of it follows from what is printed."""
    judgement = verdict_on(*turns, allowed=allowed)
    assert (judgement.verdict, judgement.reason.code) == (verdict, code)
    assert judgement.coverage == sum(turns) / 4
    document = judgement_document(judgement, Names())
    follows = recomputed(document)
    assert follows["verdict"] == verdict.name
    assert follows["coverage"] == sum(turns) / 4
    assert not [*differences(document, follows)]
    if sum(turns):
        assert judgement.bound_lower == turns[1] / sum(turns)
        assert judgement.bound_upper == (turns[1] + turns[2]) / sum(turns)


def test_the_last_test_is_the_evidence() -> None:
    """The rate at the layer of the floor, and what bounded it where it fell short."""
    short = LastTest({Layer.IP: 0.62e9, Layer.GOODPUT: 0.59e9}, Cause.PATH_RATE, 1)
    judgement = verdict_on(2, 2, said=LineSaid({Direction.REVERSE: short}))
    assert judgement.last_test == short
    assert judgement.reason.en == (
        "2 of 4 tests have missed the floor, which is confirmed, none may miss it; the last one carried 620 Mbit/s "
        "(IP layer), bounded by the path's rate (path_rate)"
    )
    assert judgement.reason.zh.endswith("；最近一次 620 Mbit/s（IP 层），受限于路径速率（path_rate）")
    enough = LastTest({Layer.IP: 1.03e9}, Cause.PACING_CAP, 1)
    met = verdict_on(4, said=LineSaid({Direction.REVERSE: enough}))
    assert met.reason.en.endswith("the last one carried 1.03 Gbit/s (IP layer)")
    assert verdict_on(4, said=LineSaid()).last_test is None
    some = verdict_on(3, 0, 1, allowed=0.25).reason
    assert some.en == "3 of 4 tests have proven the floor, 25.000% may miss it"


def test_what_brought_no_result_is_named() -> None:
    """Errors of this way, and slots that users needed; a test that failed is no rate."""
    said = LineSaid(
        {}, {Direction.REVERSE: {"refused": 2}, Direction.FORWARD: {"empty": 1}}, {"users_traffic": 1}
    )
    judgement = verdict_on(1, said=said)
    assert judgement.verdict is Verdict.NO_DATA
    assert judgement.reason.en == (
        "1 of 4 planned tests have brought a result, at least 50% is needed; without one since the agent's start: "
        "refused 2, users_traffic 1"
    )
    assert "refused" not in verdict_on(1, said=LineSaid()).reason.en
    assert verdict_on(1).reason.code == "too_few_tests"
    spoiled = LineSaid({}, {Direction.REVERSE: {"spoiled": 1}})
    met = verdict_on(3, said=spoiled).reason
    assert met.en == (
        "3 of 3 tests have proven the floor, none may miss it; 1 of 4 planned tests have brought no result; "
        "without one since the agent's start: spoiled 1"
    )
    assert met.zh.endswith("；计划的 4 次测试中 1 次没有结果；代理启动以来没有结果的：spoiled 1")


def test_what_is_not_known_of_a_line_is_said_as_of_a_path() -> None:
    """An agent that is silent, or tests against another floor."""
    assert verdict_on(0, agent=AgentFacts(False, None, silence="gone")).reason.code == "agent_silent"
    other = verdict_on(4, other=Floor(2e9))
    assert (other.verdict, other.reason.code) == (Verdict.NO_DATA, "other_limit")
    assert "counts against ≥ 2 Gbit/s (IP layer), the promise is ≥ 1 Gbit/s" in other.reason.en


def test_more_turns_than_planned_cover_no_more_than_all() -> None:
    """A turn is counted a little after its slot, which the window may have left already."""
    assert verdict_on(5, planned=4).coverage == 1
    assert verdict_on(1, planned=0).verdict is Verdict.PASS


@given(
    st.integers(1, 28),
    st.lists(st.integers(0, 27 * 24), max_size=4, unique=True),
    st.integers(0, 2000),
    st.integers(0, 200),
)
def test_slots_are_those_that_come_one_by_one(
    days: int, hours: list[int], begin_hour: int, length: int
) -> None:
    """Held against all times at which a slot begins."""
    offsets = tuple(hour * HOUR_NS % (days * DAY_NS) for hour in hours)
    begin, end = begin_hour * HOUR_NS, (begin_hour + length) * HOUR_NS
    table = SlotTable({1: LineSlots(days * DAY_NS, offsets, HOUR_NS)})
    begins = [turn * days * DAY_NS + offset for turn in range(-2, 100) for offset in offsets]
    expected = sum(begin <= one < end - HOUR_NS for one in begins)
    found = table.count(np.array([begin, begin]), np.array([end, end]), {})
    assert found.tolist() == [0, expected]


def test_slots_of_maintenance_are_not_asked_for() -> None:
    """Neither tests nor slots of that time are in the window."""
    table = SlotTable(
        {0: LineSlots(DAY_NS, tuple(hour * HOUR_NS for hour in (0, 6, 12, 18)), 60 * SECOND_NS)}
    )
    begin, end = np.array([0]), np.array([DAY_NS])
    assert table.count(begin, end, {}).tolist() == [4]
    assert table.count(begin, end, {0: [(5 * 60, 13 * 60)]}).tolist() == [2]
    assert table.count(begin, end, {0: [(-60, 25 * 60)]}).tolist() == [0]


def test_a_fleet_without_lines_has_no_slots() -> None:
    """Of no row."""
    assert SlotTable({}).count(np.array([0]), np.array([DAY_NS]), {}).tolist() == [0]
