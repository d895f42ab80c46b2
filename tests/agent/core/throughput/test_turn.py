"""A line's turns: each counts once, a violation only when it was confirmed, and an error is never a rate."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Packets, Rate
from agent.core.throughput.result import ErrorReason, Floor, Outcome, failed, judge
from agent.core.throughput.turn import Confirmation, LineRecord, Result, Untested, is_worth_another

FLOOR = Floor(10e9)
PASS, FAIL, SPOILED, UNCLEAR = (
    judge(Way.DOWN, Rate(rate, rate - wide, rate + wide, 4), Packets(1448, 52), FLOOR, cause)
    for rate, wide, cause in (
        (10e9, 0, Cause.PACING_CAP),
        (9e9, 0, Cause.PATH_RATE),
        (9e9, 0, Cause.HOST_STARVED),
        (9.6e9, 1e9, Cause.HOST_STARVED),
    )
)
BROKEN = failed(Way.DOWN, ErrorReason.BROKEN_OFF, "gone", FLOOR)
FREE = judge(Way.DOWN, Rate(1e9, 1e9, 1e9, 4), Packets(1448, 52))


@dataclass(frozen=True)
class Tried:
    """A test that has come to something."""

    outcomes: dict[Way, Outcome]
    began_ns: int | None = None
    ended_ns: int | None = None
    retry_after_s: float | None = None


def tried(outcome: Outcome, ended_ns: int | None = None) -> Tried:
    return Tried({Way.DOWN: outcome}, ended_ns=ended_ns)


def record(missed: int = 2, of: int = 3) -> LineRecord:
    return LineRecord({Way.DOWN: FLOOR}, Confirmation(missed, of))


def results(turns: list[list[Outcome]], missed: int = 2, of: int = 3) -> list[str]:
    made = record(missed, of)
    return [made.take([tried(one) for one in turn], 0)[Way.DOWN].value for turn in turns]


def test_a_violation_is_confirmed_by_the_turns_before() -> None:
    """Of the last three turns that proved anything two; what proves nothing neither confirms nor clears."""
    assert results([[FAIL, FAIL]]) == ["unconfirmed"]
    assert results([[FAIL, FAIL], [FAIL, FAIL]]) == ["unconfirmed", "fail"]
    assert results([[FAIL, FAIL], [PASS], [FAIL, FAIL]]) == ["unconfirmed", "pass", "fail"]
    assert results([[FAIL, FAIL], [PASS], [PASS], [FAIL, FAIL]])[-1] == "unconfirmed"
    between = [[FAIL, FAIL], [UNCLEAR, UNCLEAR], [BROKEN, BROKEN], [FAIL, FAIL]]
    assert results(between) == ["unconfirmed", "inconclusive", "error", "fail"]
    assert results([[FAIL, FAIL]], 1, 1) == ["fail"]
    assert results([[FAIL, FAIL], [SPOILED], [FAIL, FAIL]]) == ["unconfirmed", "spoiled", "fail"]


def test_a_second_test_decides() -> None:
    """A line that has passed once can carry it; one that has failed once and not again has not failed."""
    assert results([[FAIL, PASS]]) == ["pass"]
    assert results([[FAIL, UNCLEAR]]) == ["inconclusive"]
    assert results([[FAIL, BROKEN]]) == ["inconclusive"]
    assert is_worth_another({Way.DOWN: PASS, Way.UP: FAIL})
    assert not is_worth_another({Way.DOWN: PASS})


def test_what_a_host_spoils_says_nothing_of_the_line() -> None:
    """It is no test where that was so each time; a floor that was missed once, or left open, may have been missed."""
    assert results([[SPOILED, SPOILED]]) == ["spoiled"]
    assert results([[SPOILED, PASS]]) == ["pass"]
    assert results([[SPOILED, FAIL]]) == results([[FAIL, SPOILED]]) == ["inconclusive"]
    assert results([[SPOILED, UNCLEAR]]) == results([[UNCLEAR, SPOILED]]) == ["inconclusive"]
    assert results([[SPOILED, BROKEN]]) == ["error"]
    assert [one.spoiled for one in (PASS, FAIL, SPOILED, UNCLEAR, BROKEN, FREE)].index(True) == 2
    unknown = judge(Way.DOWN, Rate(9e9, 9e9, 9e9, 4), Packets(1448, 52), FLOOR)
    assert results([[unknown, unknown]]) == ["inconclusive"]


def test_an_error_is_no_rate() -> None:
    """What was measured before stays, with its time; the error is counted with its reason."""
    made = record()
    made.take([tried(PASS, ended_ns=7)], 9)
    made.take([tried(BROKEN)], 11)
    assert (made.latest[Way.DOWN].outcome, made.latest[Way.DOWN].ended_ns) == (PASS, 7)
    assert made.said[Way.DOWN] == BROKEN
    assert made.errors[Way.DOWN, ErrorReason.BROKEN_OFF] == 1
    assert sum(made.errors.values()) == made.counts[Way.DOWN, Result.ERROR] == 1
    made.take([tried(UNCLEAR)], 13)
    assert made.latest[Way.DOWN].ended_ns == 13


def test_a_line_without_a_floor_is_measured() -> None:
    """Nothing is promised, so nothing is kept or broken."""
    made = LineRecord({Way.DOWN: None}, Confirmation())
    assert made.take([tried(FREE)], 1) == {Way.DOWN: Result.MEASURED}
    assert made.latest[Way.DOWN].outcome.goodput is not None


def test_ways_and_slots_without_a_test() -> None:
    """What does not concern the line is left out; a slot without a test is counted by its reason."""
    made = record()
    assert made.take([Tried({Way.UP: FREE})], 1) == {}
    made.skip(Untested.LATE)
    assert made.untested == {Untested.LATE: 1, Untested.USERS_TRAFFIC: 0}


@pytest.mark.parametrize(("missed", "of"), [(0, 3), (4, 3)])
def test_confirmations_that_never_come(missed: int, of: int) -> None:
    """As many as there are, and at least one."""
    with pytest.raises(ValueError, match="cannot have missed"):
        Confirmation(missed, of)


@given(st.lists(st.lists(st.sampled_from([PASS, FAIL, SPOILED, UNCLEAR, BROKEN]), min_size=1, max_size=2)))
def test_every_turn_counts_once(turns: list[list[Outcome]]) -> None:
    """All results together are all turns; a fail is never the first miss where two are needed."""
    made = record()
    found = [made.take([tried(one) for one in turn], 0)[Way.DOWN] for turn in turns]
    assert sum(made.counts.values()) == len(turns)
    misses = [one for one in found if one in (Result.FAIL, Result.UNCONFIRMED)]
    assert not misses or misses[0] is Result.UNCONFIRMED
