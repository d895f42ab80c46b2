"""Delay variation: packets that took longer than the quickest one and a bound (PDV of RFC 5481, section 4.2).

The histogram tells between which edges a packet's delay lies, and the least delay is known to the microsecond: so some
are surely beyond, some surely not, and of those in the bucket between nothing is known. What is beyond are all buckets
from one on, which follows from the least delay. So blocks of time tell how much the packets depend on each other by
their histograms alone, once the window is known: nothing but the counts is kept for that.

Against which least delay makes a difference. A window is judged by its own. A longer history tells how many packets of
it are worth one independent, and is looked at part by part, each against its own least delay, as a short window would
be: clocks that wander over a day, or another route, are no variation within five minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS, EDGES_NS
from agent.core.outcome import Limit, Operator
from collector.sla.effective import Blocks

Integers = NDArray[np.int64]

SURELY, POSSIBLY, ALL = range(3)
"""What is counted of delays: those that are beyond for sure, those that may be, and all."""

PAIRS: Final = ((SURELY, SURELY), (SURELY, ALL), (POSSIBLY, POSSIBLY), (POSSIBLY, ALL), (ALL, ALL))
"""What of a block is multiplied."""

_UNKNOWN: Final = int(np.iinfo(np.int64).max)
_US_NS: Final = 1_000
_LONGEST: Final = 1 << 62
_ABOVE: Final = np.array([-_LONGEST, *EDGES_NS], np.int64)
"""What the delays of each bucket are above."""
_AT_MOST: Final = np.array([*EDGES_NS, _LONGEST], np.int64)


class Beyond(NamedTuple):
    """What is counted as beyond.

    Attributes:
        limit: how much longer than the quickest a packet may take.
        apart: than the quickest of its part of the window, rather than of all of it.
    """

    limit: Limit
    apart: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """What was beyond in a window, of many paths.

    Attributes:
        counts: `SURELY`, `POSSIBLY` and `ALL` (n, directions, 3).
        products: sums of `PAIRS` over blocks (n, directions, `PAIRS`), by their length in minutes; hours and days that
            are summed up are not divided, and may be longer.
    """

    counts: Integers
    products: Mapping[int, Integers]

    @classmethod
    def joined(cls, parts: Sequence[Tails]) -> Tails:
        """Of some paths after the others."""
        return cls(
            np.concatenate([one.counts for one in parts]),
            {
                minutes: np.concatenate([one.products[minutes] for one in parts])
                for minutes in parts[0].products
            },
        )

    def each(self, change: Callable[[Integers], Integers]) -> Tails:
        """With all arrays changed alike."""
        return Tails(change(self.counts), {minutes: change(one) for minutes, one in self.products.items()})

    def blocks(self, which: int, rows: Integers, places: Integers) -> dict[int, Blocks]:
        """The sums for a share, `SURELY` or `POSSIBLY`, of some paths and directions (m,), by minutes of a block."""
        pairs = [PAIRS.index(one) for one in ((which, which), (which, ALL), (ALL, ALL))]
        return {
            minutes: Blocks(*(one[rows, places, pair] for pair in pairs))
            for minutes, one in self.products.items()
        }


def first_beyond(limit: Limit, minima_us: Integers) -> Integers:
    """With which bucket those begin that are beyond for sure, that may be, and all.

    Args:
        limit: how much longer than the least a delay may be.
        minima_us: the least delay, rounded down, of any shape; the largest integer where it is not known: then nothing
            is beyond for sure, and all may be.

    Returns:
        (…, 3); `BUCKETS` where there is none.
    """
    known = minima_us != _UNKNOWN
    bound_ns = np.where(known, minima_us, 0) * _US_NS + limit.limit_ns
    surely = np.searchsorted(_ABOVE, bound_ns + _US_NS)
    possibly = np.searchsorted(_AT_MOST, bound_ns, "left" if limit.operator is Operator.BELOW else "right")
    first = np.where(known, surely, BUCKETS), np.where(known, possibly, 0), np.zeros_like(minima_us)
    return np.stack(first, axis=-1)


def counted_from(delays: Integers, first: Integers) -> Integers:
    """How many delays (…, buckets) stand in these buckets (…, k) and those after them (…, k)."""
    above = np.zeros((*delays.shape[:-1], BUCKETS + 1), np.int64)
    np.cumsum(delays[..., ::-1], axis=-1, out=above[..., 1:])
    return np.take_along_axis(above, BUCKETS - first, axis=-1)


def varied(counts: Integers) -> NDArray[np.bool_]:
    """Where some are beyond and some are not, so that blocks tell anything (…) of counts (…, 3)."""
    some = (counts[..., :ALL] > 0) & (counts[..., :ALL] < counts[..., ALL:])
    return np.asarray(some.any(axis=-1))
