"""What all paths counted in one minute, in memory, in as few octets as it needs.

Outcomes are kept as columns, for nearly every path has some. Of the delay buckets most are empty: once a minute is
over, a bit for each says which are not, and those stand one after the other. A minute that counts still come to is
open: its buckets are all there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS
from agent.core.outcome import Outcome
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, Integers, Minutes, by_direction

Narrow = NDArray[Any]
"""Integers in as many octets as they need."""

TOLD: Final = 1 + len(DIRECTIONS) * len(Outcome)
"""Probes sent, and the outcomes of each direction."""

DELAYS: Final = len(DIRECTIONS) * BUCKETS
_NO_MINIMUM: Final = int(np.iinfo(np.int32).max)
_NARROW: Final = (np.uint16, np.uint32, np.int64)


def told_of(counts: Integers) -> Integers:
    """Probes sent and outcomes of rows of counts (n, WIDTH), as columns (TOLD, n)."""
    outcomes = by_direction(counts)[:, :, : len(Outcome)].reshape(len(counts), TOLD - 1)
    return np.concatenate([counts[:, SENT : SENT + 1], outcomes], axis=1).T


def delays_of(counts: Integers) -> Integers:
    """The delay buckets of rows of counts (n, WIDTH), one direction after the other (n, DELAYS)."""
    return by_direction(counts)[:, :, len(Outcome) :].reshape(len(counts), DELAYS)


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """Delay buckets of some rows.

    Attributes:
        rows: which (m,), ascending.
        bits: which of their buckets are not empty (m, DELAYS in octets).
        starts: where the values of each row begin, and where the last ones end (m + 1,).
        values: of these buckets, row after row.
    """

    rows: NDArray[np.uint32]
    bits: NDArray[np.uint8]
    starts: NDArray[np.uint32]
    values: Narrow

    @classmethod
    def of(cls, rows: Integers, delays: Narrow) -> _Packed:
        """These rows, ascending."""
        filled = delays != 0
        starts = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
        return cls(
            rows.astype(np.uint32),
            np.packbits(filled, axis=1),
            starts.astype(np.uint32),
            _narrowed(delays[filled]),
        )

    def places(self) -> Integers:
        """Where each value stands in a table of rows of `DELAYS`."""
        filled = np.unpackbits(self.bits, axis=1, count=DELAYS)
        found = np.flatnonzero(filled.view(np.bool_))
        gaps = self.rows.astype(np.int64) - np.arange(len(self.rows))
        if gaps.any():
            found += np.repeat(gaps * DELAYS, np.diff(self.starts))
        return found

    def some(self, rows: Integers) -> tuple[Integers, _Packed]:
        """Those of these rows that are here: their places among those asked for, and their buckets."""
        place = np.minimum(np.searchsorted(self.rows, rows), max(0, len(self.rows) - 1))
        asked = np.flatnonzero(self.rows[place] == rows) if len(self.rows) else np.empty(0, np.int64)
        if len(asked) == len(rows) == len(self.rows):
            return asked, self
        mine = place[asked]
        begins, numbers = self.starts[mine].astype(np.int64), np.diff(self.starts)[mine].astype(np.int64)
        ends = np.cumsum(numbers)
        values = self.values[np.repeat(begins - (ends - numbers), numbers) + np.arange(int(numbers.sum()))]
        starts = np.concatenate([[0], ends]).astype(np.uint32)
        return asked, _Packed(self.rows[mine], self.bits[mine], starts, values)


class MinuteTable:
    """A minute; its rows are those of `LastHour`, and perhaps not as many.

    Attributes:
        covered_ms, reach_s: as of `Minutes` (rows,).
        told: (TOLD, rows).
    """

    def __init__(self, rows: int) -> None:
        self.covered_ms: Narrow = np.zeros(rows, np.uint16)
        self.reach_s: Narrow = np.zeros(rows, np.uint16)
        self.told: Narrow = np.zeros((TOLD, rows), np.uint16)
        self._minima_us: Narrow = np.full((rows, len(DIRECTIONS)), _NO_MINIMUM, np.int32)
        self._packed: list[_Packed] = []
        self._open: Narrow | None = None

    def __len__(self) -> int:
        return len(self.covered_ms)

    @property
    def wide(self) -> bool:
        """Whether a bucket may have more than two octets hold."""
        open_ = [] if self._open is None else [self._open]
        return any(one.dtype.itemsize > 2 for one in [*open_, *(one.values for one in self._packed)])

    @property
    def closed(self) -> bool:
        """Whether it is in as few octets as it needs."""
        return self._open is None and len(self._packed) <= 1

    def open(self) -> None:
        """Expect counts to come often."""
        if self._open is None:
            self._open = np.zeros((len(self), DELAYS), np.uint16)

    def grow(self, rows: int) -> None:
        """Have as many rows at least: a half more than before, for there may be more to come."""
        before = len(self)
        if before >= rows:
            return
        more = max(rows, before + before // 2) - before
        self.covered_ms = np.pad(self.covered_ms, (0, more))
        self.reach_s = np.pad(self.reach_s, (0, more))
        self.told = np.pad(self.told, ((0, 0), (0, more)))
        missing = _NO_MINIMUM if self._minima_us.dtype == np.int32 else NO_MINIMUM
        self._minima_us = np.pad(self._minima_us, ((0, more), (0, 0)), constant_values=missing)
        if self._open is not None:
            self._open = np.pad(self._open, ((0, more), (0, 0)))

    def add(self, row: Integers, minutes: Minutes) -> None:
        """Add what rows have counted, none of them twice."""
        self.covered_ms = _added(self.covered_ms, row, minutes.covered_ms)
        self.reach_s = _fitting(self.reach_s, minutes.reach_s)
        self.reach_s[row] = np.maximum(self.reach_s[row], minutes.reach_s)
        self._add_minima(row, minutes.minima_us)
        self.told = _added(self.told.T, row, told_of(minutes.counts).T).T
        delays = delays_of(minutes.counts)
        if self._open is None:
            order = np.argsort(row)
            self._packed.append(_Packed.of(row[order], delays[order]))
        else:
            self._open = _added(self._open, row, delays)

    def drop(self, row: Integers) -> None:
        """Let go of what rows have counted."""
        row = row[row < len(self)]
        self.covered_ms[row], self.reach_s[row], self.told[:, row] = 0, 0, 0
        self._minima_us[row] = _NO_MINIMUM if self._minima_us.dtype == np.int32 else NO_MINIMUM
        if self._open is not None:
            self._open[row] = 0
        gone = np.zeros(len(self), np.bool_)
        gone[row] = True
        kept = [(one, one.rows[~gone[one.rows]]) for one in self._packed]
        self._packed = [one.some(rows.astype(np.int64))[1] for one, rows in kept if len(rows)]

    def close(self) -> None:
        """Expect no more counts; they may come all the same."""
        if self.closed:
            return
        delays = np.zeros((len(self), DELAYS), np.int64 if self.wide else np.int32)
        self.add_delays(delays)
        self._open = None
        rows = np.flatnonzero(delays.any(axis=1))
        whole = delays if len(rows) == len(delays) else delays[rows]
        self._packed = [_Packed.of(rows, whole)] if len(rows) else []

    def minima_us(self) -> Integers:
        """As of `Minutes` (rows, directions)."""
        if self._minima_us.dtype == np.int32:
            return np.where(self._minima_us == _NO_MINIMUM, np.int64(NO_MINIMUM), self._minima_us)
        return self._minima_us

    def add_delays(self, to: Narrow, sign: int = 1) -> None:
        """Add the delay buckets to those of a table (rows or more, DELAYS), or take them away where the sign is -1.

        Args:
            to: of four octets, or of eight if this minute is `wide`.
            sign: 1 or -1.
        """
        change = np.add if sign > 0 else np.subtract
        if self._open is not None:
            some = to[: len(self._open)]
            open_ = self._open[: len(some)]
            change(some, open_, out=some, casting="unsafe")
        flat = to.reshape(-1)
        for one in self._packed:
            places = one.places()
            flat[places] = change(flat[places], one.values, dtype=flat.dtype, casting="unsafe")

    def delays(self, rows: Integers) -> Integers:
        """The delay buckets of some rows (n, DELAYS)."""
        found = np.zeros((len(rows), DELAYS), np.int64)
        flat = found.reshape(-1)
        for places, values in self._filled(rows):
            flat[places] += values
        return found

    def delays_from(self, rows: Integers, first: Integers) -> Integers:
        """How many delays of some rows stand in these buckets, (n, directions, k), and those after them: as many."""
        cells = len(rows) * len(DIRECTIONS)
        begins = first.reshape(cells, first.shape[-1])
        found = np.zeros(begins.shape, np.int64)
        for places, values in self._filled(rows):
            cell, bucket = np.divmod(places, BUCKETS)
            for place, begin in enumerate(begins.T):
                within = bucket >= begin[cell]
                found[:, place] += np.bincount(cell[within], values[within], cells).astype(np.int64)
        return found.reshape(first.shape)

    def _filled(self, rows: Integers) -> Iterator[tuple[Integers, Narrow]]:
        """Where buckets that are not empty stand in a table of these rows (n, DELAYS), and what they hold; none twice
        at once."""
        here = np.flatnonzero(rows < len(self))
        if self._open is not None:
            table = self._open[rows[here]].reshape(-1)
            found = np.flatnonzero(table)
            yield here[found // DELAYS] * DELAYS + found % DELAYS, table[found]
        for one in self._packed:
            asked, some = one.some(rows)
            found = np.flatnonzero(np.unpackbits(some.bits, axis=1, count=DELAYS).view(np.bool_))
            yield asked[found // DELAYS] * DELAYS + found % DELAYS, some.values

    def _add_minima(self, row: Integers, minima_us: Integers) -> None:
        if self._minima_us.dtype == np.int32:
            known = minima_us[minima_us != NO_MINIMUM]
            if len(known) and not -_NO_MINIMUM <= known.min() <= known.max() < _NO_MINIMUM:
                self._minima_us = self.minima_us()
            else:
                minima_us = np.minimum(minima_us, _NO_MINIMUM)
        self._minima_us[row] = np.minimum(self._minima_us[row], minima_us)


def _narrowed(values: Narrow) -> Narrow:
    """The same values in as few octets as they all need, two at least."""
    return values.astype(_dtype_of(int(values.min(initial=0)), int(values.max(initial=0))))


def _dtype_of(least: int, most: int) -> type[np.integer[Any]]:
    fitting: Sequence[type[np.integer[Any]]] = [
        one for one in _NARROW if np.iinfo(one).min <= least and most <= np.iinfo(one).max
    ]
    return fitting[0]


def _fitting(array: Narrow, values: Integers) -> Narrow:
    """The array, with as many octets an element as these values need."""
    needed = _dtype_of(int(values.min(initial=0)), int(values.max(initial=0)))
    return array if np.can_cast(needed, array.dtype) else array.astype(needed)


def _added(array: Narrow, row: Integers, values: Integers) -> Narrow:
    """The array with values added to these rows, none of them twice; another one where it must be wider."""
    total = array[row] + values
    array = _fitting(array, total)
    array[row] = total
    return array
