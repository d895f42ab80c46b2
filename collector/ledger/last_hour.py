"""What all paths counted in each of the latest minutes, in memory: windows up to an hour are put together from it at
once, where the ledger's journal would be read row by row.

It is a copy of what the database holds, kept up by whoever takes readings in, and says of each agent up to which
revision: what somebody else has written meanwhile is seen by that, and read again (`collector.store.reader`).

Most counts of a minute are zero. Those that are not stand in a list of places and one of values, six octets each or
seven: about 200 octets for a path and minute with some ten delay buckets in use, and 15 kB for a path altogether.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Outcome
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    WIDTH,
    Integers,
    Minutes,
    begun_within,
    by_direction,
)
from collector.ledger.promises import Promises, Terms
from collector.ledger.sums import PRODUCT_WIDTH, Sums, Totals, add_rows
from collector.sla.effective import PRODUCTS

LONGEST: Final = 62
"""Minutes: an hour, and what of it is not whole."""

_SETTLED: Final = 25
"""How many minutes after its end an hour is in blocks, and need not be here for the sake of longer windows."""

_HOUR: Final = 60
_MOST_CHUNKS: Final = 64
_TERMS: Final = 1 << 20
"""More than there are numbers of terms."""

_Flags = NDArray[np.bool_]


class LeftOut(NamedTuple):
    """Minutes of a path, [from, to), that a reader leaves out."""

    path: int
    from_minute: int
    to_minute: int


def whole_hours_end(stop: int) -> int:
    """With which minute the hours end that are in blocks by then."""
    return (stop - _SETTLED) // _HOUR * _HOUR


def needed_since(stop: int) -> int:
    """From which minute on minutes are kept for windows that end with `stop`."""
    return min(stop - LONGEST, whole_hours_end(stop))


@dataclass(slots=True)
class _Minute:
    """A minute; rows as of `LastHour`, and perhaps not as many."""

    covered_ms: Integers
    reach_s: Integers
    minima_us: Integers
    chunks: list[tuple[NDArray[np.uint32], NDArray[Any]]] = field(default_factory=list)

    @classmethod
    def empty(cls, rows: int) -> _Minute:
        return cls(
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int64),
            np.full((rows, len(DIRECTIONS)), NO_MINIMUM, np.int64),
        )

    def grow(self, rows: int) -> None:
        """Have as many rows."""
        more = rows - len(self.covered_ms)
        if more:
            other = _Minute.empty(more)
            self.covered_ms = np.concatenate([self.covered_ms, other.covered_ms])
            self.reach_s = np.concatenate([self.reach_s, other.reach_s])
            self.minima_us = np.concatenate([self.minima_us, other.minima_us])

    def add(self, row: Integers, minutes: Minutes) -> None:
        """Add what rows have counted, none of them twice."""
        self.covered_ms[row] += minutes.covered_ms
        self.reach_s[row] = np.maximum(self.reach_s[row], minutes.reach_s)
        self.minima_us[row] = np.minimum(self.minima_us[row], minutes.minima_us)
        which, place = np.nonzero(minutes.counts)
        self._append(row[which] * WIDTH + place, minutes.counts[which, place])
        if len(self.chunks) > _MOST_CHUNKS:
            self._pack(self.counts())

    def drop(self, row: Integers) -> None:
        """Let go of what rows have counted."""
        row = row[row < len(self.covered_ms)]
        self.covered_ms[row], self.reach_s[row], self.minima_us[row] = 0, 0, NO_MINIMUM
        counts = self.counts()
        counts[row] = 0
        self._pack(counts)

    def counts(self) -> NDArray[np.int32]:
        """(rows, WIDTH)."""
        counts = np.zeros(len(self.covered_ms) * WIDTH, np.int32)
        for places, values in self.chunks:
            counts[places] += values
        return counts.reshape(-1, WIDTH)

    def _pack(self, counts: NDArray[Any]) -> None:
        flat = counts.ravel()
        places = np.flatnonzero(flat)
        self.chunks.clear()
        self._append(places, flat[places])

    def _append(self, places: Integers, values: NDArray[Any]) -> None:
        if len(places):
            narrow = np.min_scalar_type(int(values.max()))
            self.chunks.append((places.astype(np.uint32), values.astype(narrow)))


class Seen(NamedTuple):
    """What paths counted in a window.

    Attributes:
        totals: as of `collector.ledger.sums.totals`.
        left_out: packets that were left out (n, directions, outcomes).
        products: of outcomes (n, directions, `PRODUCTS`), summed over blocks of each length asked for.
    """

    totals: Totals
    left_out: Integers
    products: Sequence[Integers]

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """Paths one after the other."""
        return cls(
            Totals.joined([one.totals for one in parts]),
            np.concatenate([one.left_out for one in parts]),
            [np.concatenate(some) for some in zip(*(one.products for one in parts), strict=True)],
        )


class LastHour:
    """The latest minutes of all paths.

    Attributes:
        since: with which minute they begin.
        revisions: up to which revision of its head each agent's are here.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self.revisions: dict[int, int] = {}
        self._agent, self._path, self._terms = (np.empty(0, np.int64) for _ in range(3))
        self._sorted = np.empty(0, np.int64)
        self._order = np.empty(0, np.intp)
        self._minutes: dict[int, _Minute] = {}
        self._summed: tuple[tuple[int, int, int], Sums] | None = None

    def take(self, added: Iterable[tuple[int, int, Minutes]]) -> None:
        """Add what changes of heads have added, where nothing is missing before.

        Args:
            added: agents, the revisions that have come, and merged minutes.
        """
        mine = [
            (agent, revision, minutes) for agent, revision, minutes in added if self._next(agent, revision)
        ]
        self.add(
            np.repeat([agent for agent, _, _ in mine], [len(minutes) for _, _, minutes in mine]),
            Minutes.joined(minutes for _, _, minutes in mine),
        )
        self.revisions |= {agent: revision for agent, revision, _ in mine}

    def add(self, agent: Integers, minutes: Minutes) -> None:
        """Add minutes of agents (n,); no path, terms and minute twice."""
        late = minutes.minute >= self.since
        agent, minutes = agent[late], minutes.take(late)
        if not len(minutes):
            return
        self._summed = None
        row = self._rows(agent, minutes.path, minutes.terms)
        for minute in np.unique(minutes.minute).tolist():
            mine = minutes.minute == minute
            if minute not in self._minutes:
                self._minutes[minute] = _Minute.empty(len(self._path))
            into = self._minutes[minute]
            into.grow(len(self._path))
            into.add(row[mine], minutes.take(mine))

    def drop(self, agents: Collection[int]) -> None:
        """Let go of what these agents have counted."""
        row = np.flatnonzero(np.isin(self._agent, list(agents)))
        for agent in agents:
            self.revisions.pop(agent, None)
        if len(row):
            self._summed = None
            for minute in self._minutes.values():
                minute.drop(row)

    def forget(self, before: int) -> None:
        """Let go of minutes before this one."""
        self.since = max(self.since, before)
        for minute in [one for one in self._minutes if one < self.since]:
            del self._minutes[minute]

    def sums(self, first: int, stop: int, span: int) -> Sums:
        """The sums of parts of [first, stop), as of `Sums.of`; the last ones asked for are kept."""
        asked = first, stop, span
        if self._summed is None or self._summed[0] != asked:
            starts = sorted({minute // span * span for minute in self._within(first, stop)})
            parts = [self._part(max(first, one), min(stop, one + span), one) for one in starts]
            self._summed = asked, Sums.joined(parts).merged()
        return self._summed[1]

    def window(
        self,
        first: int,
        stop: int,
        paths: Integers,
        terms: Terms,
        promised: Promises,
        lengths: Sequence[int],
        without: Sequence[LeftOut] = (),
        hidden: Sequence[LeftOut] = (),
    ) -> Seen:
        """What paths counted in [first, stop), which has no minute before `since`; but for what may have begun before.

        Args:
            first, stop: since the Unix epoch.
            paths, terms, promised: as of `collector.ledger.sums.totals`.
            lengths: minutes of blocks.
            without: minutes of paths that are left out.
            hidden: others, of which nothing is said either.
        """
        asked, row = _places(self._path, paths)
        fitting = (
            promised.fitting(terms, self._terms[asked], row) if len(asked) else np.ones((0, 3), np.bool_)
        )
        found, left_out = (
            Totals.empty(len(paths)),
            np.zeros((len(paths), len(DIRECTIONS), len(Outcome)), np.int64),
        )
        counts, covered_ms = np.zeros((len(asked), WIDTH), np.int64), np.zeros(len(asked), np.int64)
        products = [_Products(len(paths), length) for length in lengths]
        for minute in self._within(first, stop):
            one = self._minutes[minute]
            one.grow(len(self._path))
            now, now_ms, least = one.counts(), one.covered_ms, one.minima_us
            if len(asked) != len(self._path) or (asked != np.arange(len(asked))).any():
                now = now[asked]
            now_ms, least = now_ms[asked], least[asked]
            gone = self._spoken_of(without, minute, asked), self._spoken_of(hidden, minute, asked)
            if gone[0].any():
                add_rows(left_out, row[gone[0]], _outcomes(now[gone[0]]) * fitting[gone[0]][:, :, None])
            beyond = ~begun_within(np.full(len(asked), minute), one.reach_s[asked], first)
            if (either := gone[0] | gone[1] | beyond).any():
                now[either], now_ms[either], least[either] = 0, 0, NO_MINIMUM
            counts += now
            covered_ms += now_ms
            np.minimum.at(found.minima_us, row, least)
            np.maximum.at(found.reach_s, row, np.where(either, 0, one.reach_s[asked]))
            outcomes = _outcomes(now) if fitting.all() else _outcomes(now) * fitting[:, :, None]
            by_path = np.zeros_like(left_out)
            add_rows(by_path, row, outcomes)
            for block in products:
                block.add(minute, by_path)
        nothing = np.zeros(len(asked), np.int64)
        intervals_ns = promised.intervals_ns(self._terms[asked], row)
        found.add(row, fitting, by_direction(counts), covered_ms, nothing, counts[:, 0], intervals_ns)
        return Seen(found, left_out, [one.result() for one in products])

    def _next(self, agent: int, revision: int) -> bool:
        return self.revisions.get(agent, 0) == revision - 1

    def _within(self, first: int, stop: int) -> list[int]:
        return sorted(minute for minute in self._minutes if first <= minute < stop)

    def _part(self, first: int, stop: int, start: int) -> Sums:
        """The sums of minutes, as of a span that begins with `start`."""
        rows = len(self._path)
        counts, whole = np.zeros((rows, WIDTH), np.int64), _Minute.empty(rows)
        products = _Products(rows, 1)
        for minute in self._within(first, stop):
            one = self._minutes[minute]
            one.grow(rows)
            now = one.counts()
            counts += now
            whole.covered_ms += one.covered_ms
            np.maximum(whole.reach_s, one.reach_s, out=whole.reach_s)
            np.minimum(whole.minima_us, one.minima_us, out=whole.minima_us)
            products.add(minute, _outcomes(now))
        known = (
            (counts != 0).any(axis=1) | (whole.covered_ms > 0) | (whole.minima_us != NO_MINIMUM).any(axis=1)
        )
        return Sums(
            self._path,
            self._terms,
            np.full(rows, start),
            whole.covered_ms,
            whole.reach_s,
            whole.minima_us,
            counts,
            products.result().reshape(rows, PRODUCT_WIDTH),
        ).take(known)

    def _spoken_of(self, left_out: Sequence[LeftOut], minute: int, asked: Integers) -> _Flags:
        """Which of the rows asked for are left out in this minute."""
        paths = [one.path for one in left_out if one.from_minute <= minute < one.to_minute]
        if not paths:
            return np.zeros(len(asked), np.bool_)
        return np.isin(self._path[asked], paths)

    def _rows(self, agent: Integers, path: Integers, terms: Integers) -> Integers:
        """The rows of paths and terms, new ones where there are none yet."""
        keys = path * _TERMS + terms
        new, first = (
            np.unique(keys[~np.isin(keys, self._sorted)], return_index=True) if len(keys) else ((), ())
        )
        if len(new):
            where = np.flatnonzero(~np.isin(keys, self._sorted))[first]
            self._agent = np.concatenate([self._agent, agent[where]])
            self._path = np.concatenate([self._path, path[where]])
            self._terms = np.concatenate([self._terms, terms[where]])
            known = self._path * _TERMS + self._terms
            self._order = np.argsort(known)
            self._sorted = known[self._order]
        rows: Integers = self._order[np.searchsorted(self._sorted, keys)]
        return rows


class _Products:
    """Sums over blocks of the products of outcomes; minutes come in their order."""

    def __init__(self, rows: int, length: int) -> None:
        self._rows = rows
        self._length = length
        self._block: int | None = None
        self._outcomes = np.zeros((len(Outcome), rows * len(DIRECTIONS)), np.int64)
        self._sums = np.zeros((len(PRODUCTS), rows * len(DIRECTIONS)), np.int64)

    def add(self, minute: int, outcomes: Integers) -> None:
        """Add what was counted in a minute (rows, directions, outcomes)."""
        block = minute // self._length
        if block != self._block:
            self._close()
            self._block = block
        self._outcomes += outcomes.reshape(-1, len(Outcome)).T

    def result(self) -> Integers:
        """(rows, directions, `PRODUCTS`)."""
        self._close()
        by_product = self._sums.reshape(len(PRODUCTS), self._rows, len(DIRECTIONS))
        return np.ascontiguousarray(np.moveaxis(by_product, 0, -1))

    def _close(self) -> None:
        happened = [bool(one.any()) for one in self._outcomes]
        for place, (one, other) in enumerate(PRODUCTS):
            if happened[one] and happened[other]:
                self._sums[place] += self._outcomes[one] * self._outcomes[other]
        self._outcomes[:] = 0


def _outcomes(counts: NDArray[Any]) -> NDArray[Any]:
    """(n, WIDTH) counts to (n, directions, outcomes); a view."""
    return by_direction(counts)[:, :, : len(Outcome)]


def _places(known: Integers, paths: Integers) -> tuple[Integers, Integers]:
    """Which of the known ones are asked for, and the place of each of those among the paths."""
    if not len(paths):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(paths)
    row = order[np.minimum(np.searchsorted(paths, known, sorter=order), len(paths) - 1)]
    asked = np.flatnonzero(paths[row] == known)
    return asked, row[asked]
