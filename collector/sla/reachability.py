"""Whether the packets of paths are answered, told by what each reading has added: of all paths at once.

A path is *dark* when the last packets that were resolved, several in a row, were all lost, whatever else is in the
window that it is judged over. That needs no history: a reading in which one packet came back ends the run.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction, Outcome
from collector.sla.observation import DIRECTIONS, Integers

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

FEWEST_LOST: Final = 5
"""So many packets in a row are lost before a path counts as dark: single losses, and bursts of a few, are none."""

_ROUND_TRIP: Final = DIRECTIONS.index(Direction.ROUND_TRIP)
_SECOND_NS: Final = 1e9


class Reachability:
    """What is known of the paths of a fleet, a row each.

    Attributes:
        lost: packets in a row that were lost, up to the last reading (n,).
        heard: whether a packet was answered since the last one that was lost, and ever (n,).
        sent_per_s, answered_per_s: in the time of the last reading (n,).
    """

    def __init__(self, paths: int) -> None:
        self.lost: Integers = np.zeros(paths, np.int64)
        self.heard: Flags = np.zeros(paths, np.bool_)
        self.sent_per_s: Floats = np.zeros(paths)
        self.answered_per_s: Floats = np.zeros(paths)

    @property
    def dark(self) -> Flags:
        """Of which paths nothing comes back (n,)."""
        return self.lost >= FEWEST_LOST

    def take(
        self, rows: Integers, begun_ns: Integers, taken_ns: Integers, sent: Integers, outcomes: Integers
    ) -> None:
        """Take in what readings have added.

        Args:
            rows: of the paths (k,); where one stands twice, the older first.
            begun_ns, taken_ns: since when, and when it was read (k,).
            sent: packets that were sent meanwhile (k,).
            outcomes: those that were resolved (k, directions, outcomes).
        """
        round_trips = outcomes[:, _ROUND_TRIP]
        lost = round_trips[:, Outcome.LOST] + round_trips[:, Outcome.UNATTRIBUTED]
        answered = round_trips.sum(axis=1) - lost
        # of a path that stands twice each of its readings is taken by itself, in their order
        first = np.zeros(len(rows), np.int64)
        for row in np.unique(rows[_repeated(rows)]).tolist():
            places = np.flatnonzero(rows == row)
            first[places] = np.arange(len(places))
        for turn in range(int(first.max(initial=-1)) + 1):
            now = first == turn
            self._take(rows[now], (taken_ns - begun_ns)[now], sent[now], lost[now], answered[now])

    def _take(
        self, rows: Integers, took_ns: Integers, sent: Integers, lost: Integers, answered: Integers
    ) -> None:
        came = answered > 0
        self.lost[rows] = np.where(came, 0, self.lost[rows] + lost)
        self.heard[rows] = came | (self.heard[rows] & (lost == 0))
        took_s = np.maximum(took_ns, 1) / _SECOND_NS
        self.sent_per_s[rows] = sent / took_s
        self.answered_per_s[rows] = answered / took_s


def _repeated(rows: Integers) -> Flags:
    """Which rows stand more than once."""
    _, place, count = np.unique(rows, return_inverse=True, return_counts=True)
    repeated: Flags = count[place] > 1
    return repeated
