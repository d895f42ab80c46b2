"""What was counted in a window, of all paths at once: what verdicts are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.sla.variation import Beyond, Tails

Integers = NDArray[np.int64]
DIRECTIONS: Final = tuple(Direction)
NOT_MEASURED: Final = int(np.iinfo(np.int64).max)
_MS_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Observation:
    """Counts of a window, a row for each path; directions in the order of `DIRECTIONS`.

    Attributes:
        begin_ns, end_ns: of each path's window (n,), Unix wall time; where an agent answers, it ends with the last
            reading: what happened since is not known yet, and no gap.
        covered_ms: how much of it lies between two readings of a running agent, and is explained by the packets of the
            path at the intervals at which they were to be sent (n, directions).
        outcomes: packets (n, directions, outcomes), those counted against another limit than the promised one left out.
        delays: measured delays (n, directions, buckets), not cumulative.
        minima_us: least delay, rounded down (n, directions); `NOT_MEASURED` where nothing is known.
        left_out_ms: how much of it is maintenance, and stands in no other figure but these (n,).
        left_out: packets of that time (n, directions, outcomes).
        products: sums over blocks of time of the products of outcomes (n, directions, `PRODUCTS`), by the minutes of a
            block; none where the window is not made of minutes. Hours and days that are summed up are not divided, and
            may be longer than the longer blocks.
        tails: what of delays was beyond, of each delay variation that is asked for.
        unavailable_ms: how much of it was unavailable, and stands in no other figure (n,); None: nobody has asked.
    """

    begin_ns: Integers
    end_ns: Integers
    covered_ms: Integers
    outcomes: Integers
    delays: Integers
    minima_us: Integers
    left_out_ms: Integers
    left_out: Integers
    products: Mapping[int, Integers]
    unavailable_ms: Integers | None = None
    tails: Mapping[Beyond, Tails] = field(default_factory=dict)

    def coverage(self) -> NDArray[np.float64]:
        """The share of each path's window, less what is left out, that was observed, by direction, 0 to 1."""
        out_ms = self.left_out_ms if self.unavailable_ms is None else self.left_out_ms + self.unavailable_ms
        # to the nanosecond: who recomputes it has the length of the window as it is told
        length_ms = np.maximum(1.0, (self.end_ns - self.begin_ns) / _MS_NS - out_ms)
        share: NDArray[np.float64] = np.minimum(1.0, self.covered_ms / length_ms[:, None])
        return share
