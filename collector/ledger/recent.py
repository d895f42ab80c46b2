"""What readings have added lately, reading by reading: for windows of less than some minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from collector.ledger.minutes import MINUTE_NS, WIDTH, Integers, Minutes, by_direction
from collector.ledger.promises import Promises, Terms
from collector.ledger.sums import Totals

_MS_NS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """What paths counted between two readings, a row each.

    Attributes:
        path, terms: as in `Minutes` (n,).
        begun_ns, taken_ns: the counts belong to (begun, taken] (n,), Unix wall time.
        counts: (n, WIDTH).
    """

    path: Integers
    terms: Integers
    begun_ns: Integers
    taken_ns: Integers
    counts: Integers

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, np.empty((0, WIDTH), np.int64))

    @classmethod
    def joined(cls, parts: Iterable[Slices]) -> Self:
        """All rows, in their order."""
        found = [part for part in parts if len(part)]
        if not found:
            return cls.empty()
        if len(found) == 1 and isinstance(found[0], cls):
            return found[0]
        return cls(*(np.concatenate([getattr(part, one.name) for part in found]) for one in fields(cls)))

    @classmethod
    def of(cls, minutes: Minutes, latest_ns: Integers) -> Self:
        """Minutes that were read back, each as if it had been read at once, at `latest_ns` (n,) at the latest."""
        taken_ns = np.minimum((minutes.minute + 1) * MINUTE_NS, latest_ns)
        return cls(
            minutes.path, minutes.terms, taken_ns - minutes.covered_ms * _MS_NS, taken_ns, minutes.counts
        )

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Any) -> Slices:
        """Some of the rows: a mask or their places."""
        return Slices(*(getattr(self, one.name)[rows] for one in fields(self)))


class RecentSlices:
    """The slices of all paths within the longest of the short windows.

    Counts of seconds are small, and are kept in as few octets as they need.
    """

    def __init__(self) -> None:
        self._slices: deque[Slices] = deque()

    def add(self, slices: Slices) -> None:
        """Take in what readings have added, in the order of when they were taken."""
        if len(slices):
            narrow = np.min_scalar_type(int(slices.counts.max()))
            self._slices.append(replace(slices, counts=slices.counts.astype(narrow)))

    def forget(self, before_ns: int) -> None:
        """Let go of what was read before this time."""
        while self._slices and int(self._slices[0].taken_ns.max()) < before_ns:
            self._slices.popleft()

    def totals(
        self,
        paths: Integers,
        begin_ns: Integers,
        end_ns: Integers,
        without: Mapping[int, Sequence[tuple[int, int]]],
        terms: Terms,
        promised: Promises,
    ) -> tuple[Totals, Totals]:
        """What paths counted, each in a window of its own, and what of it is left out.

        A slice belongs to the window that holds the middle of its time: so every slice belongs to one of any row of
        windows, and one of more than twice its length to none.

        Args:
            paths: numbers of the paths (n,), none twice.
            begin_ns, end_ns: of their windows (n,).
            without: times (ns) that are left out, by place among the paths; a slice that touches one is left out whole.
            terms, promised: as of `totals`.

        Returns:
            Both without products, for there are no minutes.
        """
        kept, left_out = Totals.empty(len(paths)), Totals.empty(len(paths))
        if not len(paths):
            return kept, left_out
        order = np.argsort(paths)
        for slices in self._slices:
            place = np.searchsorted(paths, slices.path, sorter=order)
            row = order[np.minimum(place, len(paths) - 1)]
            twice_middle = slices.begun_ns + slices.taken_ns
            within = paths[row] == slices.path
            within &= (twice_middle > 2 * begin_ns[row]) & (twice_middle <= 2 * end_ns[row])
            if not within.any():
                continue
            out = _touching(slices, row, without)
            for to, chosen in ((kept, within & ~out), (left_out, within & out)):
                some = slices if chosen.all() else slices.take(chosen)
                if len(some):
                    mine = row if some is slices else row[chosen]
                    _add(
                        to,
                        some,
                        mine,
                        begin_ns[mine],
                        end_ns[mine],
                        promised.fitting(terms, some.terms, mine),
                        promised.intervals_ns(some.terms, mine),
                    )
        return kept, left_out


def _touching(
    slices: Slices, row: Integers, without: Mapping[int, Sequence[tuple[int, int]]]
) -> NDArray[np.bool_]:
    """Which slices touch one of the times that are left out of their path's window."""
    out = np.zeros(len(slices), np.bool_)
    if not without:
        return out
    for mine in np.flatnonzero(np.isin(row, list(without))).tolist():
        begun_ns, taken_ns = int(slices.begun_ns[mine]), int(slices.taken_ns[mine])
        out[mine] = any(begun_ns < ended and taken_ns > begun for begun, ended in without[int(row[mine])])
    return out


def _add(
    to: Totals,
    slices: Slices,
    row: Integers,
    begin_ns: Integers,
    end_ns: Integers,
    fitting: NDArray[np.bool_],
    intervals_ns: Integers,
) -> None:
    """Add slices to what their paths (n,) have counted, each of a window (n,)."""
    covered_ns = np.minimum(slices.taken_ns, end_ns) - np.maximum(slices.begun_ns, begin_ns)
    nothing = np.zeros(len(slices), np.int64)
    to.add(
        row,
        fitting,
        by_direction(slices.counts),
        covered_ns // _MS_NS,
        nothing,
        slices.counts[:, 0],
        intervals_ns,
    )
