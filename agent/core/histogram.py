"""Delay histograms: fixed edges that are exact at every limit of the plan, and counts that merge by addition."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

_US = 1_000
_MS = 1_000_000

EDGES_NS: Final[tuple[int, ...]] = (
    *(n * _US for n in (50, 100, 200, 300, 400, 500, 600, 700, 800, 900)),
    *(int(n * _MS) for n in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 25, 50, 100, 250, 1000)),
)
EDGES_SECONDS: Final[tuple[float, ...]] = tuple(edge / 1e9 for edge in EDGES_NS)
BUCKETS: Final = len(EDGES_NS) + 1
LE_LABELS: Final[tuple[str, ...]] = (*(str(edge) for edge in EDGES_SECONDS), "+Inf")


class Histogram:
    """Counts of delays per bucket: bucket i holds delays d with edge[i-1] < d <= edge[i]; the last one the rest.

    Attributes:
        counts: one int per edge and one for the overflow; not cumulative.
        sum_ns: the sum of all observed delays; can fall, for measured one-way delays may be negative.
    """

    __slots__ = ("counts", "sum_ns")

    def __init__(self, counts: Sequence[int] = (0,) * BUCKETS, sum_ns: int = 0) -> None:
        self.counts = list(counts)
        self.sum_ns = sum_ns

    def observe(self, delay_ns: int) -> None:
        """Count one delay; a negative one falls into the first bucket."""
        self.counts[bisect_left(EDGES_NS, delay_ns)] += 1
        self.sum_ns += delay_ns

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts to this one's."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_ns += other.sum_ns

    @property
    def total(self) -> int:
        """How many delays were counted."""
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """Counts of delays at most each edge, then of all: what Prometheus calls `le`."""
        return list(accumulate(self.counts))


def quantile_bounds_ns(counts: Sequence[int], quantile: float) -> tuple[int, int | None] | None:
    """The bucket in which a quantile lies: exact counts give exact bounds, never an interpolated value.

    Args:
        counts: per bucket, as in `Histogram.counts`.
        quantile: between 0 and 1.

    Returns:
        (edge below, edge above) in ns; above is None in the overflow bucket. None where nothing was counted.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = min(total, max(1, -int(-quantile * total // 1)))
    index = next(i for i, running in enumerate(accumulate(counts)) if running >= rank)
    return (EDGES_NS[index - 1] if index else 0), (EDGES_NS[index] if index < len(EDGES_NS) else None)
