"""Differences between readings: exact, over restarts too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction, Outcome
from collector.sla.counts import NOTHING, Block, DirectionCounts, Reading, counters_fell, difference
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, reading


def test_the_difference_of_two_readings_is_what_happened_between_them() -> None:
    """Counts, probes and time, each less what it was."""
    block = difference(reading(110, sent=100, within=90), reading(120, sent=200, within=185, lost=5))
    assert block is not None
    assert (block.start_ns, block.end_ns) == (110 * SECOND_NS, 120 * SECOND_NS)
    assert block.sent == 100
    assert block.directions[Direction.FORWARD].outcomes == (95, 0, 0, 5, 0)
    assert sum(block.directions[Direction.FORWARD].delays) == 95


def test_the_same_reading_twice_tells_nothing() -> None:
    """Counting it again would count twice."""
    once = reading(110, within=90)
    assert difference(once, once) is None


def test_a_reading_that_comes_too_late_is_ignored() -> None:
    """What it counted is in the newer one."""
    assert difference(reading(120, within=90), reading(110, within=80)) is None


def test_the_first_reading_counts_from_the_start_of_the_agent() -> None:
    """Nothing was read before, and everything that was counted since the start is in it."""
    block = difference(None, reading(110, epoch=100.5, within=90))
    assert block is not None
    assert block.start_ns == int(100.5 * SECOND_NS)
    assert block.directions[Direction.REVERSE].outcomes[Outcome.WITHIN] == 90


def test_after_a_restart_everything_counted_since_it_is_new() -> None:
    """The counters began at zero; the time the agent was away is not covered."""
    block = difference(reading(110, epoch=100, within=90), reading(120, epoch=115, within=95))
    assert block is not None
    assert block.start_ns == 115 * SECOND_NS
    assert block.directions[Direction.FORWARD].outcomes[Outcome.WITHIN] == 95


def test_a_block_never_reaches_back_before_the_previous_reading() -> None:
    """Where the agent's clock says it started before we last read its predecessor, our own clock decides."""
    block = difference(reading(110, epoch=100, within=90), reading(120, epoch=105, within=10))
    assert block is not None
    assert block.start_ns == 110 * SECOND_NS


def test_a_start_in_the_future_makes_no_negative_time() -> None:
    """An agent whose clock is ahead of ours has started at the latest when it was read."""
    block = difference(None, reading(110, epoch=500, within=1))
    assert block is not None
    assert block.start_ns == block.end_ns == 110 * SECOND_NS


def test_counters_that_fall_without_a_restart_have_begun_anew_and_it_is_said() -> None:
    """Negative counts are never made, and the one who reads is told."""
    before, after = reading(110, within=90, lost=3), reading(120, within=95, lost=2)
    block = difference(before, after)
    assert block is not None
    assert block.directions[Direction.FORWARD].outcomes == (95, 0, 0, 2, 0)
    assert counters_fell(before, after)
    assert counters_fell(reading(110, sent=50, within=1), reading(120, sent=49, within=1))
    assert not counters_fell(before, replace(after, epoch=115.0))
    assert not counters_fell(before, reading(120, within=90, lost=3))


def test_a_block_says_against_what_it_was_counted() -> None:
    """The limits of the reading that ends it: a limit changes with a restart only."""
    block = difference(
        reading(110, within=1, limit=HUB_LIMIT), reading(120, epoch=115, within=1, limit=CITY_LIMIT)
    )
    assert block is not None
    assert block.limits[Direction.FORWARD] == CITY_LIMIT


def test_a_direction_that_was_not_there_before_counts_from_zero() -> None:
    """A newer agent may count more than the one before it."""
    before = replace(reading(110, within=4), directions={})
    block = difference(before, reading(120, within=5))
    assert block is not None
    assert block.directions[Direction.FORWARD].packets == 5


COUNTS = st.builds(
    lambda outcomes, delays: DirectionCounts(tuple(outcomes), tuple(delays)),
    st.lists(st.integers(0, 1000), min_size=5, max_size=5),
    st.lists(st.integers(0, 1000), min_size=27, max_size=27),
)


@given(COUNTS, COUNTS)
def test_subtraction_undoes_addition(one: DirectionCounts, other: DirectionCounts) -> None:
    """To the last packet."""
    assert one + other - other == one
    assert one + NOTHING == one
    assert not (one + other).falls_below(other)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.sampled_from(list(Outcome)), st.integers(0, 50)),
        st.tuples(st.just("read"), st.just(Outcome.WITHIN), st.integers(0, 3)),
        st.tuples(st.just("restart"), st.just(Outcome.WITHIN), st.just(0)),
    ),
    max_size=60,
)


@given(EVENTS)
def test_blocks_sum_to_what_was_read_of_every_run_of_the_agent(
    events: list[tuple[str, Outcome, int]],
) -> None:
    """Whatever the order of counting, reading (repeatedly, with stale answers) and restarting: nothing twice, nothing
    lost that was ever read."""
    now, epoch = 1000.0, 1000.0
    counted: Counter[Outcome] = Counter()
    read_of_run: dict[float, Counter[Outcome]] = {}
    previous: Reading | None = None
    history: list[Reading] = []
    blocks: list[Block] = []
    for kind, outcome, number in events:
        now += 1
        if kind == "count":
            counted[outcome] += number
        elif kind == "restart":
            epoch, counted = now, Counter()
        else:
            current = reading(now, epoch=epoch, outcomes=tuple(counted[one] for one in Outcome))
            history.append(current)
            for answer in [*history[-1 - number :], *history[-1 - number :]]:
                block = difference(previous, answer)
                if block is not None:
                    blocks.append(block)
                    previous = answer
            read_of_run[epoch] = counted.copy()
    for direction in Direction:
        total = sum((block.directions[direction] for block in blocks), NOTHING)
        for outcome in Outcome:
            assert total.outcomes[outcome] == sum(run[outcome] for run in read_of_run.values())
    for earlier, later in pairwise(blocks):
        assert earlier.end_ns <= later.start_ns <= later.end_ns
    assert sum(block.sent for block in blocks) == sum(run.total() for run in read_of_run.values())
