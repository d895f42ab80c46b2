"""What all paths counted in one minute, in memory, in as few octets as it needs.

Outcomes are kept as columns, for nearly every path has some. Of the delay buckets most are empty: once a minute is
over, a bit for each says which are not, and those stand one after the other. A minute that counts still come to is
open: its buckets are all there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS
from agent.core.outcome import Outcome
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, WIDTH, Integers, Minutes, by_direction

Narrow = NDArray[Any]
"""Integers in as many octets as they need."""

TOLD: Final = 1 + len(DIRECTIONS) * len(Outcome)
"""Probes sent, and the outcomes of each direction."""

DELAYS: Final = len(DIRECTIONS) * BUCKETS
_PLACES: Final = by_direction(np.arange(WIDTH)[None, :])[0]
_TOLD: Final = np.array([SENT, *_PLACES[:, : len(Outcome)].reshape(-1)])
_DELAYS: Final = _PLACES[:, len(Outcome) :].reshape(-1)
_NO_MINIMUM: Final = int(np.iinfo(np.int32).max)
_NARROW: Final[Sequence[type[np.integer[Any]]]] = (np.uint16, np.uint32, np.int64)
_RANGES: Final = [(one, int(np.iinfo(one).min), int(np.iinfo(one).max)) for one in _NARROW]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
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
    def of(cls, rows: Integers, delays: Narrow) -> Packed:
        """These rows."""
        filled = delays != 0
        starts = np.concatenate([[0], np.cumsum(np.count_nonzero(filled, axis=1))])
        return cls(
            rows.astype(np.uint32),
            np.packbits(filled, axis=1),
            starts.astype(np.uint32),
            _narrowed(delays[filled]),
        )

    @classmethod
    def summed(cls, rows: Integers, counts: Integers, order: Integers, starts: Integers) -> Packed:
        """The sums of some counts.

        Args:
            rows: whose they are (m,).
            counts: as of `Minutes` (n, WIDTH).
            order: in which those of one row stand together (n,).
            starts: where each row begins in that order (m,).
        """
        filled = (by_direction(counts)[:, :, len(Outcome) :] != 0).reshape(len(counts), DELAYS).take(order, 0)
        found = np.flatnonzero(filled).astype(np.uint32)
        place = found // np.uint32(DELAYS)
        bucket = found - place * np.uint32(DELAYS)
        # of a table that stands column after column a view
        values = counts.T.reshape(-1).take(_DELAYS[bucket] * len(counts) + order[place])
        if len(rows) == len(order):
            ends = np.cumsum(filled.view(np.uint8).sum(axis=1, dtype=np.uint32))
            numbers = np.concatenate([[0], ends]).astype(np.uint32)
            return cls(rows.astype(np.uint32), np.packbits(filled, axis=1), numbers, _narrowed(values))
        row = np.repeat(np.arange(len(rows)), np.diff(starts, append=len(order)))
        delays = np.zeros((len(rows), DELAYS), np.int64)
        np.add.at(delays.reshape(-1), row[place] * DELAYS + bucket, values)
        return cls.of(rows, delays)

    @classmethod
    def joined(cls, parts: Iterable[Packed]) -> Packed | None:
        """All rows of some; None: not each has rows behind those of the one before."""
        some = sorted((one for one in parts if len(one.rows)), key=lambda one: int(one.rows[0]))
        if any(one.rows[-1] >= other.rows[0] for one, other in pairwise(some)):
            return None
        ends = np.cumsum([0, *(len(one.values) for one in some)]).astype(np.uint32)
        starts = [one.starts[:-1] + before for one, before in zip(some, ends[:-1], strict=True)]
        return cls(
            np.concatenate([one.rows for one in some]),
            np.concatenate([one.bits for one in some]),
            np.concatenate([*starts, ends[-1:]]),
            np.concatenate([one.values for one in some]),
        )

    @property
    def wide(self) -> bool:
        """Whether one may have more than two octets hold."""
        return self.values.dtype.itemsize > 2

    def places(self) -> Integers:
        """Where each value stands in a table of rows of `DELAYS`."""
        filled = np.unpackbits(self.bits, axis=1, count=DELAYS)
        found = np.flatnonzero(filled.view(np.bool_))
        gaps = self.rows.astype(np.int64) - np.arange(len(self.rows))
        if gaps.any():
            found += np.repeat(gaps * DELAYS, np.diff(self.starts))
        return found

    def add_to(self, table: Narrow, sign: int = 1) -> None:
        """Add them to a table (rows or more, DELAYS), or take them away where the sign is -1."""
        change = np.add if sign > 0 else np.subtract
        flat, places = table.reshape(-1), self.places()
        flat[places] = change(flat[places], self.values, dtype=flat.dtype, casting="unsafe")

    def part(self, begin: int, end: int) -> Packed:
        """Those from a place on to another."""
        first, last = int(self.starts[begin]), int(self.starts[end])
        starts = self.starts[begin : end + 1] - self.starts[begin]
        return Packed(self.rows[begin:end], self.bits[begin:end], starts, self.values[first:last])

    def some(self, rows: Integers) -> tuple[Integers, Packed]:
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
        return asked, Packed(self.rows[mine], self.bits[mine], starts, values)


@dataclass(frozen=True, slots=True, eq=False)
class Compact:
    """What rows have counted in a minute, or some.

    Attributes:
        rows: which (n,), ascending in each minute, none twice.
        minute, covered_ms, reach_s, minima_us: as of `Minutes`.
        told: (TOLD, n).
        delays: their delay buckets.
    """

    rows: Integers
    minute: Integers
    covered_ms: Integers
    reach_s: Integers
    minima_us: Integers
    told: Integers
    delays: Packed

    @classmethod
    def of(cls, minutes: Minutes, chosen: Integers, rows: Integers) -> Compact:
        """Some of these minutes, in any order, as what rows have counted (n,), however often they come."""
        key = minutes.minute[chosen] * (int(rows.max(initial=0)) + 1) + rows
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        rows, order = rows[order[starts]], chosen[order]
        first = order[starts]
        told = minutes.counts.T[_TOLD].take(order, axis=1)
        return cls(
            rows,
            minutes.minute[first],
            np.add.reduceat(minutes.covered_ms[order], starts),
            np.maximum.reduceat(minutes.reach_s[order], starts),
            np.minimum.reduceat(minutes.minima_us[order], starts),
            told if len(first) == len(order) else np.add.reduceat(told, starts, axis=1, dtype=np.int64),
            Packed.summed(rows, minutes.counts, order, starts),
        )

    def by_minute(self) -> Iterator[tuple[int, Compact]]:
        """Minute by minute, where each has its rows together."""
        begins = np.flatnonzero(np.diff(self.minute, prepend=-1)).tolist()
        for begin, end in zip(begins, [*begins[1:], len(self.minute)], strict=True):
            part = slice(begin, end)
            yield (
                int(self.minute[begin]),
                Compact(
                    self.rows[part],
                    self.minute[part],
                    self.covered_ms[part],
                    self.reach_s[part],
                    self.minima_us[part],
                    self.told[:, part],
                    self.delays.part(begin, end),
                ),
            )

    def where(self) -> Any:
        """The rows as an index: a slice where they lie together."""
        first, last = int(self.rows[0]), int(self.rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(self.rows) else self.rows


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
        self._packed: list[Packed] = []
        self._open: Narrow | None = None

    def __len__(self) -> int:
        return len(self.covered_ms)

    @property
    def wide(self) -> bool:
        """Whether a bucket may have more than two octets hold."""
        open_wide = self._open is not None and self._open.dtype.itemsize > 2
        return open_wide or any(one.wide for one in self._packed)

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

    def add(self, some: Compact) -> None:
        """Add what rows have counted."""
        where = some.where()
        self.covered_ms = _added(self.covered_ms, where, some.covered_ms)
        self.reach_s = _fitting(self.reach_s, some.reach_s)
        self.reach_s[where] = np.maximum(self.reach_s[where], some.reach_s)
        self._add_minima(where, some.minima_us)
        self.told = _added(self.told, (slice(None), where), some.told)
        if self._open is None:
            self._packed.append(some.delays)
        else:
            flat = self._open.reshape(-1)
            self._open = _added(flat, some.delays.places(), some.delays.values).reshape(self._open.shape)

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
        if self._open is None and (joined := Packed.joined(self._packed)) is not None:
            self._packed = [joined]
            return
        delays = np.zeros((len(self), DELAYS), np.int64 if self.wide else np.int32)
        self.add_delays(delays)
        self._open = None
        rows = np.flatnonzero(delays.any(axis=1))
        whole = delays if len(rows) == len(delays) else delays[rows]
        self._packed = [Packed.of(rows, whole)] if len(rows) else []

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
        for one in self._packed:
            one.add_to(to, sign)

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
            for place, begin in enumerate(np.ascontiguousarray(begins.T)):
                held = values * (bucket >= begin[cell])
                found[:, place] += np.bincount(cell, held, cells).astype(np.int64)
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
            if len(asked) < len(rows):
                found = asked[found // DELAYS] * DELAYS + found % DELAYS
            yield found, some.values

    def _add_minima(self, where: Any, minima_us: Integers) -> None:
        if self._minima_us.dtype == np.int32:
            known = minima_us[minima_us != NO_MINIMUM]
            if len(known) and not -_NO_MINIMUM <= known.min() <= known.max() < _NO_MINIMUM:
                self._minima_us = self.minima_us()
            else:
                minima_us = np.minimum(minima_us, _NO_MINIMUM)
        self._minima_us[where] = np.minimum(self._minima_us[where], minima_us)


def _narrowed(values: Narrow) -> Narrow:
    """The same values in as few octets as they all need, two at least."""
    return values.astype(_dtype_of(int(values.min(initial=0)), int(values.max(initial=0))))


def _dtype_of(least: int, most: int) -> type[np.integer[Any]]:
    return next(one for one, low, high in _RANGES if low <= least and most <= high)


def _fitting(array: Narrow, values: Narrow) -> Narrow:
    """The array, with as many octets an element as these values need."""
    needed = _dtype_of(int(values.min(initial=0)), int(values.max(initial=0)))
    return array if np.can_cast(needed, array.dtype) else array.astype(needed)


def _added(array: Narrow, where: Any, values: Narrow) -> Narrow:
    """The array with values added there, nowhere twice; another one where it must be wider."""
    total = np.add(array[where], values, dtype=np.int64)
    array = _fitting(array, total)
    array[where] = total
    return array
