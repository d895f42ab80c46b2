"""When probes left, by the capture's word, and what that says of the sender: bunches, lateness, gaps."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.capture import Seen

_REQUEST: Final = struct.Struct(">I10xH")

Integers = NDArray[np.int64]


class Departures:
    """STAMP requests of sessions that are sent to at one interval.

    How late a packet is, is known from its session's other packets: they should leave in step, and the earliest of them
    is taken to have been in time. The sender's own schedule and its own account of its lateness play no part.

    Args:
        packets: requests going out.
        interval_ns: from one to the next of the same session; lateness is told up to half of it.

    Attributes:
        at_ns: (n,), when each left, Unix wall time, in order.
        lags_ns: (n,), how late that was.
        missing_ns: when those should have left that did not, though one before and one after them did.
    """

    def __init__(self, packets: Sequence[Seen], interval_ns: int) -> None:
        self._interval_ns = interval_ns
        columns: Integers = np.array(
            sorted((seen.at_ns, _REQUEST.unpack_from(seen.payload)[1]) for seen in packets), np.int64
        ).reshape(-1, 2)
        self.at_ns, self._ssids = columns[:, 0], columns[:, 1]
        self.lags_ns = self._lags_ns()
        self.missing_ns = self._missing_ns()

    @property
    def due_ns(self) -> Integers:
        """When each should have left."""
        due: Integers = self.at_ns - self.lags_ns
        return due

    def largest_bunch(self, within_ns: int) -> int:
        """The most packets within any span of a length."""
        ends = np.searchsorted(self.at_ns, self.at_ns + within_ns, side="right")
        return int((ends - np.arange(len(self.at_ns))).max(initial=0))

    def _lags_ns(self) -> Integers:
        sessions, first, which = np.unique(self._ssids, return_index=True, return_inverse=True)
        half_ns = self._interval_ns // 2
        step_ns = (self.at_ns - self.at_ns[first][which] + half_ns) % self._interval_ns - half_ns
        earliest = np.full(len(sessions), half_ns)
        np.minimum.at(earliest, which, step_ns)
        lags: Integers = step_ns - earliest[which]
        return lags

    def _missing_ns(self) -> Integers:
        order = np.lexsort((self.at_ns, self._ssids))
        due_ns, ssids = self.due_ns[order], self._ssids[order]
        steps = np.rint((due_ns[1:] - due_ns[:-1]) / self._interval_ns).astype(np.int64)
        gaps = np.flatnonzero((ssids[1:] == ssids[:-1]) & (steps > 1))
        missing = [
            int(due_ns[gap]) + step * self._interval_ns
            for gap in gaps.tolist()
            for step in range(1, int(steps[gap]))
        ]
        return np.array(sorted(missing), np.int64)
