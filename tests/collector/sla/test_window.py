"""Sums over windows, and how much of the window they cover."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction, Outcome
from collector.sla.window import WindowSum, window_sum
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, block, counts


def total(
    blocks: list[tuple[float, float, int]],
    end_s: float,
    length_s: float,
    direction: Direction = Direction.FORWARD,
) -> WindowSum:
    """The window's sum over blocks given as (start, end, packets within)."""
    made = [block(start, end, counts(within=within)) for start, end, within in blocks]
    return window_sum(made, direction, HUB_LIMIT, int(end_s * SECOND_NS), int(length_s * SECOND_NS))


def test_a_window_sums_the_blocks_within_it() -> None:
    """And no others."""
    one = total([(0, 10, 1), (10, 20, 2), (20, 30, 4), (30, 40, 8)], end_s=30, length_s=20)
    assert one.counts.outcomes[Outcome.WITHIN] == 6
    assert one.coverage == 1
    assert (one.start_ns, one.end_ns) == (10 * SECOND_NS, 30 * SECOND_NS)


def test_a_block_belongs_to_the_window_that_holds_its_middle() -> None:
    """One that straddles an edge is counted on one side only, and covers only its part of the window."""
    straddling = [(4.0, 14.0, 1)]
    assert total(straddling, 20, 12).counts.outcomes[Outcome.WITHIN] == 1
    assert total(straddling, 20, 10).counts.outcomes[Outcome.WITHIN] == 0
    assert total(straddling, 9, 9).counts.outcomes[Outcome.WITHIN] == 1
    assert total(straddling, 20, 12).coverage == pytest.approx(6 / 12)


def test_time_that_nobody_saw_is_not_covered() -> None:
    """A gap lowers the coverage, however many packets the rest has."""
    assert total([(0, 10, 1000), (40, 50, 1000)], end_s=50, length_s=50).coverage == pytest.approx(0.4)


def test_an_empty_window_covers_nothing() -> None:
    """Nothing is neither good nor bad."""
    one = total([], 100, 10)
    assert one.coverage == 0
    assert one.counts.packets == 0


def test_a_block_far_longer_than_the_window_says_nothing_of_it() -> None:
    """After a day without a reading the last five minutes are not known."""
    assert total([(0, 86_400, 1_000_000)], 86_400, 300).counts.packets == 0


def test_what_was_counted_against_another_limit_says_nothing_of_this_one() -> None:
    """After the limit has changed, the outcomes before the change are left out, and their time is not covered."""
    blocks = [
        block(0, 10, counts(over=7), limit=CITY_LIMIT),
        block(10, 20, counts(within=5), limit=HUB_LIMIT),
    ]
    one = window_sum(blocks, Direction.FORWARD, HUB_LIMIT, 20 * SECOND_NS, 20 * SECOND_NS)
    assert one.counts.outcomes == (5, 0, 0, 0, 0)
    assert one.coverage == pytest.approx(0.5)


def test_a_direction_without_counts_is_covered_and_empty() -> None:
    """The agent was seen; it had nothing to say of this direction."""
    silent = block(0, 10, counts(within=1))
    silent = type(silent)(silent.path, silent.start_ns, silent.end_ns, 1, {}, {})
    one = window_sum([silent], Direction.REVERSE, HUB_LIMIT, 10 * SECOND_NS, 10 * SECOND_NS)
    assert (one.counts.packets, one.coverage) == (0, 1)


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.integers(0, 9)), min_size=1, max_size=30), st.integers(5, 40)
)
def test_a_row_of_windows_counts_every_block_once(lengths: list[tuple[float, int]], window_s: int) -> None:
    """Windows that touch share no block and leave none out."""
    blocks, at = [], 0.0
    for length, packets in lengths:
        blocks.append((at, at + length, packets))
        at += length
    windows = range(window_s, int(at) + 2 * window_s, window_s)
    sums = [total(blocks, end, window_s) for end in windows]
    assert sum(one.counts.packets for one in sums) == sum(packets for _, packets in lengths)
    assert all(0 <= one.coverage <= 1 for one in sums)
