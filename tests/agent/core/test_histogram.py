"""Delay histograms."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from agent.core.histogram import EDGES_NS, EDGES_SECONDS, LE_LABELS, Histogram, quantile_bounds_ns

samples = st.lists(st.integers(min_value=-(10**7), max_value=3 * 10**9), max_size=200)


def histogram(values: list[int]) -> Histogram:
    """A histogram of these delays."""
    made = Histogram()
    for value in values:
        made.observe(value)
    return made


def test_edges_are_exact_at_the_limits() -> None:
    """1, 3 and 10 ms are edges, so that the share below a limit is counted and not interpolated."""
    assert {1_000_000, 3_000_000, 10_000_000} <= set(EDGES_NS)
    assert len(EDGES_NS) == 26
    assert list(EDGES_NS) == sorted(EDGES_NS)
    assert EDGES_SECONDS[10] == 0.001
    assert LE_LABELS[-1] == "+Inf"


@given(samples)
def test_buckets_hold_at_most(values: list[int]) -> None:
    """A delay equal to an edge counts below it: Prometheus's `le`."""
    made = histogram(values)
    for edge, count in zip(EDGES_NS, made.cumulative(), strict=False):
        assert count == sum(value <= edge for value in values)
    assert made.total == made.cumulative()[-1] == len(values)
    assert made.sum_ns == sum(values)


@given(samples, samples)
def test_merging_is_counting_together(left: list[int], right: list[int]) -> None:
    """The merge of two histograms is the histogram of all their delays."""
    merged = histogram(left)
    merged.merge(histogram(right))
    together = histogram(left + right)
    assert (merged.counts, merged.sum_ns) == (together.counts, together.sum_ns)


@given(st.lists(st.integers(min_value=1, max_value=3 * 10**9), min_size=1, max_size=200), st.floats(0.001, 1))
def test_quantile_bounds(values: list[int], quantile: float) -> None:
    """The bounds contain the nearest-rank quantile of the delays themselves."""
    rank = min(len(values), max(1, -int(-quantile * len(values) // 1)))
    true = sorted(values)[rank - 1]
    bounds = quantile_bounds_ns(histogram(values).counts, quantile)
    assert bounds is not None
    lower, upper = bounds
    assert lower < true
    assert upper is None or true <= upper
    assert (upper is None) == (bisect_left(EDGES_NS, true) == len(EDGES_NS))


def test_quantile_of_nothing() -> None:
    """No delays have no quantile."""
    assert quantile_bounds_ns([0] * 27, 0.5) is None
