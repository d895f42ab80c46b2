"""What readings have added lately, reading by reading: for windows of less than some minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from agent.core.outcome import Direction, Limit
from collector.ledger.minutes import MINUTE_NS, NO_MINIMUM, WIDTH, Integers, Minutes
from collector.ledger.sums import Sums, Totals, totals

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
    """The slices of all paths within the longest of the short windows."""

    def __init__(self) -> None:
        self._slices: deque[Slices] = deque()

    def add(self, slices: Slices) -> None:
        """Take in what a reading has added."""
        if len(slices):
            self._slices.append(slices)

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
        terms: Mapping[int, Mapping[Direction, Limit]],
        promised: Sequence[Mapping[Direction, Limit]],
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
            Both with products of no meaning, for there are no minutes.
        """
        everything = Slices.joined(self._slices)
        if not len(everything) or not len(paths):
            nothing = totals(Sums.empty(), paths, terms, promised)
            return nothing, nothing
        order = np.argsort(paths)
        row = order[np.minimum(np.searchsorted(paths, everything.path, sorter=order), len(paths) - 1)]
        asked = paths[row] == everything.path
        everything, row = everything.take(asked), row[asked]
        twice_middle = everything.begun_ns + everything.taken_ns
        within = (twice_middle > 2 * begin_ns[row]) & (twice_middle <= 2 * end_ns[row])
        out = np.zeros(len(everything), np.bool_)
        for place, intervals in without.items():
            for begun_ns, ended_ns in intervals:
                touched = (everything.begun_ns < ended_ns) & (everything.taken_ns > begun_ns)
                out |= (row == place) & touched
        kept, left_out = (
            totals(
                _sums(everything.take(chosen), begin_ns[row[chosen]], end_ns[row[chosen]]),
                paths,
                terms,
                promised,
            )
            for chosen in (within & ~out, within & out)
        )
        return kept, left_out


def _sums(slices: Slices, begin_ns: Integers, end_ns: Integers) -> Sums:
    """The sums of slices, each of a window (n,); with products of no meaning, for there are no minutes."""
    covered_ns = np.minimum(slices.taken_ns, end_ns) - np.maximum(slices.begun_ns, begin_ns)
    nothing = np.zeros(len(slices), np.int64)
    minima = np.full((len(slices), len(Direction)), NO_MINIMUM)
    return Sums.of(
        Minutes(slices.path, slices.terms, nothing, covered_ns // _MS_NS, nothing, minima, slices.counts)
    )
