"""Short windows over the latest readings, and how much of them is covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction, Outcome
from collector.ledger.promises import Promises
from collector.ledger.recent import RecentSlices, Slices
from collector.ledger.sums import Totals
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, Block, block, counts, slices_of

TERMS = [dict.fromkeys(Direction, limit) for limit in (HUB_LIMIT, CITY_LIMIT)]
PATHS = np.array([7, 3])


def observed(
    blocks: list[Block],
    end_s: float,
    length_s: float,
    without: Mapping[int, Sequence[tuple[int, int]]] | None = None,
) -> Totals:
    """The window's totals of the path with number 3, the second of two."""
    recent = RecentSlices()
    for one in blocks:
        recent.add(slices_of([one], 3, TERMS))
    end_ns = np.full(2, int(end_s * SECOND_NS))
    begin_ns = end_ns - int(length_s * SECOND_NS)
    found, left_out = recent.totals(
        PATHS, begin_ns, end_ns, without or {}, dict(enumerate(TERMS)), Promises([TERMS[0]] * 2)
    )
    assert without or not left_out.outcomes.any()
    return found


def total(blocks: list[tuple[float, float, int]], end_s: float, length_s: float) -> tuple[int, float]:
    """Packets within, and seconds covered, of blocks given as (start, end, packets within)."""
    found = observed(
        [block(start, end, counts(within=within)) for start, end, within in blocks], end_s, length_s
    )
    assert not found.outcomes[0].any()
    return int(found.outcomes[1, 0, Outcome.WITHIN]), int(found.covered_ms[1, 0]) / 1000


def test_a_window_sums_the_slices_within_it() -> None:
    """And no others."""
    assert total([(0, 10, 1), (10, 20, 2), (20, 30, 4), (30, 40, 8)], end_s=30, length_s=20) == (6, 20)


def test_a_slice_belongs_to_the_window_that_holds_its_middle() -> None:
    """One that straddles an edge is counted on one side only, and covers only its part of the window."""
    straddling = [(4.0, 14.0, 1)]
    assert total(straddling, 20, 12) == (1, 6)
    assert total(straddling, 20, 10)[0] == 0
    assert total(straddling, 9, 9)[0] == 1


def test_time_that_nobody_saw_is_not_covered() -> None:
    """A gap lowers the coverage, however many packets the rest has."""
    assert total([(0, 10, 1000), (40, 50, 1000)], end_s=50, length_s=50) == (2000, 20)


def test_an_empty_window_covers_nothing() -> None:
    """Nothing is neither good nor bad."""
    assert total([], 100, 10) == (0, 0)
    nobody = np.empty(0, np.int64)
    found, _ = RecentSlices().totals(nobody, nobody, nobody, {}, {}, Promises([]))
    assert len(found.outcomes) == 0


def test_a_slice_far_longer_than_the_window_says_nothing_of_it() -> None:
    """After a day without a reading the last minute is not known."""
    assert total([(0, 86_400, 1_000_000)], 86_400, 60) == (0, 0)


def test_what_was_counted_against_another_limit_says_nothing_of_this_one() -> None:
    """After the limit has changed, the outcomes before the change are left out, and their time is not covered."""
    blocks = [
        block(0, 10, counts(over=7), limit=CITY_LIMIT),
        block(10, 20, counts(within=5), limit=HUB_LIMIT),
    ]
    found = observed(blocks, 20, 20)
    assert found.outcomes[1, 0].tolist() == [5, 0, 0, 0, 0]
    assert found.covered_ms[1].tolist() == [10_000] * 3


def test_what_is_left_out_is_left_out_whole() -> None:
    """Good and bad alike, every slice that maintenance touches; of another path nothing is."""
    blocks = [block(at, at + 10, counts(within=5, lost=1)) for at in (0, 10, 20, 30)]
    maintenance = [(12 * SECOND_NS, 22 * SECOND_NS)]
    found = observed(blocks, 40, 40, {1: maintenance})
    assert found.outcomes[1, 0].tolist() == [10, 0, 0, 2, 0]
    assert found.covered_ms[1, 0] == 20_000
    assert observed(blocks, 40, 40, {0: maintenance}).outcomes[1, 0].tolist() == [20, 0, 0, 4, 0]


def test_memory_forgets_what_no_window_needs() -> None:
    """What was read before a time is gone, the rest stays."""
    recent = RecentSlices()
    for start in (0, 10, 20):
        recent.add(slices_of([block(start, start + 10, counts(within=1))], 3))
    recent.add(Slices.empty())
    recent.forget(20 * SECOND_NS)
    end_ns = np.full(2, 30 * SECOND_NS)
    found, _ = recent.totals(PATHS, end_ns * 0, end_ns, {}, {0: TERMS[0]}, Promises([TERMS[0]] * 2))
    assert found.covered_ms[1].tolist() == [20_000] * 3


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.integers(0, 9)), min_size=1, max_size=30), st.integers(5, 40)
)
def test_a_row_of_windows_counts_every_slice_once(lengths: list[tuple[float, int]], window_s: int) -> None:
    """Windows that touch share no slice and leave none out."""
    blocks, at = [], 0.0
    for length, packets in lengths:
        blocks.append((at, at + length, packets))
        at += length
    sums = [total(blocks, end, window_s) for end in range(window_s, int(at) + 2 * window_s, window_s)]
    assert sum(packets for packets, _ in sums) == sum(packets for _, packets in lengths)
    assert all(0 <= covered <= window_s for _, covered in sums)
