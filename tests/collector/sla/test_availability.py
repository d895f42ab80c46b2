"""Unavailable time: runs of high-loss intervals, and what is proven of a window by them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.sla.availability import (
    explain_availability,
    high_loss,
    judge_availability,
    suspects,
    unavailable,
)
from collector.sla.judge import Question
from collector.sla.measure import Measure
from collector.sla.objective import AvailabilityRule, Objective, Target
from collector.sla.observation import DIRECTIONS, NOT_MEASURED, Observation
from collector.sla.verdict import PathKey, Verdict
from collector.sla.window import Calendar, Window

MINUTE_NS = 60_000_000_000
Y1540 = AvailabilityRule(1, 0.2, 1)
PATH = PathKey("wuhan", "guanggu", "city", "telecom", "stamp", 0)


def rule(consecutive: int, interval_minutes: int = 1) -> AvailabilityRule:
    """As of MEF, with n intervals in a row."""
    return AvailabilityRule(interval_minutes, 0.5, consecutive)


@pytest.mark.parametrize(
    ("high", "consecutive", "spans"),
    [
        ([], 1, []),
        ([7], 1, [(7, 8)]),
        ([7, 9], 1, [(7, 8), (9, 10)]),
        ([7, 8, 9], 4, []),
        ([7, 8, 9, 10], 4, [(7, 11)]),
        # three good ones in a row do not make it available again, four do
        ([7, 8, 9, 10, 14], 4, [(7, 15)]),
        ([7, 8, 9, 10, 15], 4, [(7, 11)]),
        # a short run before the long one is still available time
        ([5, 7, 8, 9, 10], 4, [(7, 11)]),
        ([1, 2, 9, 10, 12, 30, 31], 2, [(1, 3), (9, 13), (30, 32)]),
    ],
)
def test_a_run_of_high_loss_is_unavailable_until_as_many_intervals_are_good(
    high: list[int], consecutive: int, spans: list[tuple[int, int]]
) -> None:
    """From the first of the run on (MEF 10.4, 8.8)."""
    assert unavailable(rule(consecutive), np.array(high, np.int64)) == spans


@given(st.sets(st.integers(0, 60)), st.integers(1, 6))
def test_unavailable_time_is_what_the_definition_says_interval_by_interval(
    high: set[int], consecutive: int
) -> None:
    """Held against a state machine that goes through all of them."""
    available, expected = True, set()
    for at in range(80):
        ahead = range(at, at + consecutive)
        if available and all(one in high for one in ahead):
            available = False
        elif not available and not any(one in high for one in ahead):
            available = True
        if not available:
            expected.add(at)
    spans = unavailable(rule(consecutive), np.array(sorted(high), np.int64))
    assert {one for begun, ended in spans for one in range(begun, ended)} == expected


def test_an_interval_has_high_loss_where_it_lost_more_than_a_share_of_enough_packets() -> None:
    """Exactly the share is not more; a minute that a restart has cut short is not judged."""
    minutes = np.array([10, 11, 12, 13, 14])
    lost, packets = np.array([20, 21, 100, 10, 0]), np.array([100, 100, 100, 10, 100])
    assert high_loss(Y1540, minutes, lost, packets, 90.0).tolist() == [11, 12]
    assert high_loss(rule(1, 2), minutes, lost, packets, 90.0).tolist() == [6]
    assert high_loss(Y1540, minutes[:0], lost[:0], packets[:0], 0.0).tolist() == []


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=60),
    st.sampled_from([1, 2, 5, 60]),
)
def test_no_part_of_time_that_holds_high_loss_is_passed_over(
    minutes: list[tuple[int, int]], interval: int
) -> None:
    """However its packets and losses lie within it."""
    chosen = AvailabilityRule(interval, 0.2, 1)
    lost = np.array([one for one, _ in minutes])
    packets = lost + np.array([other for _, other in minutes])
    covered_ms = 60_000 * len(minutes)
    usual = float(packets.sum()) / len(minutes)
    found = high_loss(chosen, np.arange(len(minutes)), lost, packets, usual)
    suspected = suspects(chosen, np.array([lost.sum()]), np.array([packets.sum()]), np.array([covered_ms]))
    assert suspected[0] or not len(found)


def question(percent: float = 99.0, min_coverage: float = 0.5) -> Question:
    """Availability of a day."""
    objective = Objective(
        "availability",
        Measure.AVAILABILITY,
        Window(Calendar.DAY),
        1 - percent / 100,
        min_coverage,
        availability=Y1540,
    )
    target = Target(PATH, Direction.ROUND_TRIP, objective, Limit(1, Operator.BELOW), 0)
    return Question.of(objective, [target], [0])


def observed(covered: int, left_out: int = 0, length: int = 1000) -> Observation:
    """So many minutes of a window of a thousand."""
    directions = len(DIRECTIONS)
    outcomes = np.zeros((1, directions, len(Outcome)), np.int64)
    return Observation(
        np.array([0]),
        np.array([length * MINUTE_NS]),
        np.full((1, directions), covered * 60_000),
        outcomes,
        np.zeros((1, directions, 27), np.int64),
        np.full((1, directions), NOT_MEASURED),
        np.array([left_out * 60_000]),
        outcomes,
        {},
    )


@pytest.mark.parametrize(
    ("covered", "spent", "verdict", "possibly", "code"),
    [
        (1000, 0, Verdict.PASS, 0, "available"),
        (1000, 10, Verdict.PASS, 10, "available"),
        (1000, 11, Verdict.FAIL, 11, "unavailable"),
        (995, 5, Verdict.PASS, 10, "available"),
        (994, 5, Verdict.INDETERMINATE, 11, "intervals_unobserved"),
        (600, 11, Verdict.FAIL, 411, "unavailable"),
        (499, 11, Verdict.NO_DATA, 512, ""),
    ],
)
def test_what_was_not_observed_may_have_been_unavailable(
    covered: int, spent: int, verdict: Verdict, possibly: int, code: str
) -> None:
    """It is never good: it forbids a PASS that hangs on it, and proves no FAIL."""
    counted = judge_availability(question(), observed(covered), np.array([spent]))
    assert (Verdict(int(counted.codes[0])), int(counted.possibly[0])) == (verdict, possibly)
    if code:
        reason = explain_availability(question(), counted, 0)
        assert reason.code == code
        assert f"{spent} of 1000 intervals of 1 min were unavailable" in reason.en
        assert f"1000 个 1 分钟 区间中 {spent} 个不可用" in reason.zh


def test_maintenance_is_no_part_of_the_time_that_is_judged() -> None:
    """Neither good nor bad; a window of nothing else has no verdict."""
    counted = judge_availability(question(), observed(500, left_out=500), np.array([5]))
    assert (int(counted.trials[0]), int(counted.codes[0])) == (500, Verdict.PASS)
    nothing = judge_availability(question(), observed(0, left_out=1000), np.array([0]))
    assert int(nothing.codes[0]) == Verdict.NO_DATA
