"""What the histogram of delays proves of their variation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.histogram import BUCKETS, EDGES_NS, Histogram
from agent.core.outcome import Limit, Operator
from collector.sla.observation import NOT_MEASURED
from collector.sla.variation import (
    ALL,
    PAIRS,
    POSSIBLY,
    SURELY,
    Tails,
    counted_from,
    first_beyond,
    varied,
)

MS = 1_000_000
LIMITS = st.builds(Limit, st.integers(1, 20 * MS), st.sampled_from(Operator))
AT_AN_EDGE = st.sampled_from(EDGES_NS).flatmap(lambda edge: st.integers(edge - 2, edge + 2))


def counted(delays_ns: list[int], limit: Limit, minimum_us: int) -> list[int]:
    """Surely, possibly and all."""
    histogram = Histogram()
    for delay_ns in delays_ns:
        histogram.observe(delay_ns)
    first = first_beyond(limit, np.array(minimum_us))
    found: list[int] = counted_from(np.array(histogram.counts), first).tolist()
    return found


@given(st.lists(st.one_of(st.integers(-MS, 1200 * MS), AT_AN_EDGE), min_size=1, max_size=20), LIMITS)
def test_the_packets_that_are_beyond_lie_between_what_is_sure_and_what_is_possible(
    delays_ns: list[int], limit: Limit
) -> None:
    """Whatever the delays and the limit: by the least delay itself, which is known to the microsecond."""
    least_ns = min(delays_ns)
    beyond = sum(not limit.met_by(delay_ns - least_ns) for delay_ns in delays_ns)
    surely, possibly, number = counted(delays_ns, limit, least_ns // 1_000)
    assert surely <= beyond <= possibly <= number == len(delays_ns)


@pytest.mark.parametrize(
    ("limit", "surely", "possibly"),
    [
        (Limit(MS, Operator.AT_MOST), 2, 3),
        (Limit(MS, Operator.BELOW), 2, 4),
        (Limit(MS - 1_000, Operator.AT_MOST), 3, 4),
        (Limit(1200 * MS, Operator.AT_MOST), 0, 1),
    ],
)
def test_a_bucket_is_beyond_where_all_of_it_is(limit: Limit, surely: int, possibly: int) -> None:
    """Against a least delay of 4 ms: a limit of 1 ms is reached at the edge of 5 ms, where its operator decides; the
    least delay is rounded down, so what is above 5 ms is surely beyond a microsecond less alone."""
    delays_ns = [int(ms * MS) for ms in (4, 4.5, 6, 8, 2000)]
    assert counted(delays_ns, limit, 4_000)[:2] == [surely, possibly]


def test_of_an_unknown_least_delay_nothing_is_sure() -> None:
    """And all is possible."""
    assert counted([MS, 2 * MS], Limit(MS, Operator.AT_MOST), NOT_MEASURED) == [0, 2, 2]
    assert first_beyond(Limit(1, Operator.BELOW), np.array([NOT_MEASURED])).tolist() == [[BUCKETS, 0, 0]]


def test_blocks_tell_something_where_some_are_beyond_and_some_are_not() -> None:
    """For sure, or possibly."""
    counts = np.array([[0, 0, 9], [0, 3, 9], [0, 9, 9], [3, 9, 9], [9, 9, 9], [0, 0, 0]])
    assert varied(counts).tolist() == [False, True, False, True, False, False]


def test_tails_give_the_sums_of_either_share() -> None:
    """Of the paths and directions asked for, also where those of some paths stand after the others."""
    by_block = np.random.default_rng(1).integers(0, 100, (4, 2, 3, 3))
    whole = np.stack([(by_block[..., one] * by_block[..., other]).sum(0) for one, other in PAIRS], axis=-1)
    tails = Tails.joined([Tails(by_block.sum(0)[one], {1: whole[one]}) for one in (slice(1), slice(1, 2))])
    tails = tails.each(lambda values: values[::-1])
    rows, places = np.array([0, 1, 1]), np.array([2, 0, 1])
    for which in (SURELY, POSSIBLY):
        blocks = tails.blocks(which, rows, places)[1]
        for place, (row, direction) in enumerate(zip(1 - rows, places, strict=True)):
            x, n = by_block[:, row, direction, which], by_block[:, row, direction, ALL]
            assert blocks.events_squared[place] == (x * x).sum()
            assert blocks.events_by_trials[place] == (x * n).sum()
            assert blocks.trials_squared[place] == (n * n).sum()
