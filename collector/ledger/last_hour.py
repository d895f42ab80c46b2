"""What all paths counted in each of the latest minutes, in memory: windows up to an hour are put together from it at
once, where the ledger's journal would be read row by row.

It is a copy of what the database holds, kept up by whoever takes readings in, and says of each agent up to which
revision: what somebody else has written meanwhile is seen by that, and read again (`collector.store.reader`).

A window that is asked for again and again is not summed up anew: its sums move on with it
(`collector.ledger.running`). Where not all paths are alike, for minutes that are left out or may have begun before the
window, the sums of such paths are worked out anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from agent.core.histogram import BUCKETS
from agent.core.outcome import Outcome
from collector.ledger.by_minute import ByMinute, LeftOut
from collector.ledger.minute_table import Compact, MinuteTable
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    SENT,
    WIDTH,
    Integers,
    Minutes,
    begun_within,
    by_direction,
)
from collector.ledger.promises import Promises, Terms
from collector.ledger.running import RunningWindow
from collector.ledger.seen import ByPath, Flags, Seen, places_of, replaced, summed_twice
from collector.ledger.sums import PACES, PRODUCT_WIDTH, ROUND_TRIP, Sums, Totals
from collector.ledger.tails import tails_of_minutes
from collector.sla.variation import Beyond

LONGEST: Final = 62
"""Minutes: an hour, and what of it is not whole."""

_SETTLED: Final = 25
"""How many minutes after its end an hour is in blocks, and need not be here for the sake of longer windows."""

_HOUR: Final = 60
_OPEN: Final = 1
"""To how many minutes before the latest one counts still come often."""

_MOST_RUNNING: Final = 6
"""Windows whose sums move on: each takes as much memory as some ten minutes of all paths."""

_TERMS: Final = 1 << 20
"""More than there are numbers of terms."""


def whole_hours_end(stop: int) -> int:
    """With which minute the hours end that are in blocks by then."""
    return (stop - _SETTLED) // _HOUR * _HOUR


def needed_since(stop: int) -> int:
    """From which minute on minutes are kept for windows that end with `stop`."""
    return min(stop - LONGEST, whole_hours_end(stop))


class _Summed(NamedTuple):
    """Sums of minutes, in spans of so many."""

    minutes: range
    span: int
    sums: Sums


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
        self._minutes: dict[int, MinuteTable] = {}
        self._summed: _Summed | None = None
        self._running: dict[tuple[int, Sequence[int]], RunningWindow] = {}

    def take(self, added: Iterable[tuple[int, int, Minutes]]) -> None:
        """Add what changes of heads have added, where nothing is missing before.

        Args:
            added: agents, the revisions that have come, and merged minutes.
        """
        mine = [
            (agent, revision, minutes) for agent, revision, minutes in added if self._next(agent, revision)
        ]
        agents = np.repeat([agent for agent, _, _ in mine], [len(minutes) for _, _, minutes in mine])
        minutes = Minutes.joined(minutes for _, _, minutes in mine)
        newest = int(minutes.minute.max(initial=self.since))
        self._close(newest - _OPEN)
        if newest > max(self._minutes, default=0):
            self._minutes[newest] = MinuteTable(len(self._path))
            self._minutes[newest].open()
        self.add(agents, minutes)
        self.revisions |= {agent: revision for agent, revision, _ in mine}

    def add(self, agent: Integers, minutes: Minutes) -> None:
        """Add minutes of agents (n,)."""
        late = np.flatnonzero(minutes.minute >= self.since)
        if not len(late):
            return
        rows = self._rows(agent[late], minutes.path[late], minutes.terms[late])
        for minute, some in Compact.of(minutes, late, rows).by_minute():
            if self._summed is not None and minute in self._summed.minutes:
                self._summed = None
            if minute not in self._minutes:
                self._minutes[minute] = MinuteTable(len(self._path))
            self._minutes[minute].grow(len(self._path))
            for window in self._running.values():
                window.added(minute, some, self._minutes)
            self._minutes[minute].add(some)

    def _close(self, before: int) -> None:
        """Keep one of the minutes before this one in as few octets as it needs: nothing else is done meanwhile."""
        waiting = (table for minute, table in self._minutes.items() if minute < before and not table.closed)
        if table := next(waiting, None):
            table.close()

    def drop(self, agents: Collection[int]) -> None:
        """Let go of what these agents have counted."""
        row = np.flatnonzero(np.isin(self._agent, list(agents)))
        for agent in agents:
            self.revisions.pop(agent, None)
        if len(row):
            self._summed = None
            self._running.clear()
            for minute in self._minutes.values():
                minute.drop(row)

    def forget(self, before: int) -> None:
        """Let go of minutes before this one."""
        self.since = max(self.since, before)
        for minute in [one for one in self._minutes if one < self.since]:
            for window in self._running.values():
                window.leave(minute, self._minutes)
            del self._minutes[minute]

    def sums(self, first: int, stop: int, span: int) -> Sums:
        """The sums of parts of [first, stop), as of `Sums.of`; the last ones asked for are kept."""
        asked = range(first, stop), span
        if self._summed is None or self._summed[:2] != asked:
            starts = sorted({minute // span * span for minute in self._within(first, stop)})
            parts = [self._part(max(first, one), min(stop, one + span), one) for one in starts]
            self._summed = _Summed(*asked, Sums.joined(parts).merged())
        return self._summed.sums

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
        beyond: Mapping[Beyond, Flags] = MappingProxyType({}),
    ) -> Seen:
        """What paths counted in [first, stop), which has no minute before `since`; but for what may have begun before.

        Args:
            first, stop: since the Unix epoch.
            paths, terms, promised: as of `collector.ledger.sums.totals`.
            lengths: minutes of blocks.
            without: minutes of paths that are left out.
            hidden: others, of which nothing is said either.
            beyond: what is asked of delay variation, of which directions of the paths (n, directions).
        """
        asked, row = places_of(self._path, paths)
        fitting = (
            promised.fitting(terms, self._terms[asked], row) if len(asked) else np.ones((0, 3), np.bool_)
        )
        intervals_ns = promised.intervals_ns(self._terms[asked], row)
        counted, apart = self._begun(first, stop, asked)
        running = self._moved((stop - first, tuple(lengths)), counted)
        seen = self._of_running(running, asked, row, fitting, intervals_ns, len(paths))
        by_minute = ByMinute(
            {minute: self._minutes[minute] for minute in self._within(first, stop)},
            first,
            asked,
            self._path[asked],
            row,
            fitting,
            intervals_ns,
            len(paths),
            without,
            hidden,
        )
        special = summed_twice(row, fitting, len(paths))
        special[row[apart]] = True
        special |= np.isin(paths, [one.path for one in (*without, *hidden)])
        if special.any():
            places = np.flatnonzero(special)
            seen = replaced(seen, places, by_minute.some(places).seen(lengths))
        return seen._replace(tails=tails_of_minutes(by_minute, seen.totals, beyond, lengths))

    def _begun(self, first: int, stop: int, asked: Integers) -> tuple[set[int], Integers]:
        """The minutes of a window of which the counts have begun in it, and of which of the rows asked for that is not
        so, or is so of others too: places (m,)."""
        counted: set[int] = set()
        apart = np.zeros(len(asked), np.bool_)
        for minute in self._within(first, stop):
            table = self._minutes[minute]
            table.grow(len(self._path))
            reach_s = table.reach_s[asked].astype(np.int64)
            if begun_within(np.array([minute]), reach_s.max(initial=0, keepdims=True), first).all():
                counted.add(minute)
                continue
            begun = begun_within(np.full(len(asked), minute), reach_s, first)
            told = table.told[:, asked].any(axis=0) | (table.covered_ms[asked] > 0)
            # Where nobody read for a while it is so of most: such a minute is none of the window.
            most = np.count_nonzero(begun & told) > np.count_nonzero(~begun)
            if most:
                counted.add(minute)
            apart |= ~begun if most else begun
        return counted, np.flatnonzero(apart)

    def _moved(self, key: tuple[int, Sequence[int]], minutes: set[int]) -> RunningWindow:
        """The sums of these minutes, those of a window that has moved on if there is one."""
        window = self._running.pop(key, None) or RunningWindow(key[1])
        window.move(minutes, self._minutes, len(self._path))
        self._running[key] = window
        if len(self._running) > _MOST_RUNNING:
            del self._running[next(iter(self._running))]
        return window

    def _of_running(
        self,
        running: RunningWindow,
        asked: Integers,
        row: Integers,
        fitting: Flags,
        intervals_ns: Integers,
        paths: int,
    ) -> Seen:
        """Sums of rows as those of paths, of which no two rows fit in one direction."""
        of = ByPath(asked, row, fitting, paths)
        outcomes = of(running.outcomes(), 0)
        delays = of(running.delays.reshape(-1, len(DIRECTIONS), BUCKETS), 1, axis=0)
        covered_ms = of(np.broadcast_to(running.covered_ms, (len(DIRECTIONS), len(running.covered_ms))), 0)
        sent, reach_s = np.zeros((2, paths), np.int64)
        minima_us = np.full((paths, len(DIRECTIONS)), NO_MINIMUM)
        np.add.at(sent, row, running.told[SENT, asked])
        np.maximum.at(reach_s, row, running.reach_s(self._minutes)[asked])
        np.minimum.at(minima_us, row, running.minima_us(self._minutes)[asked])
        found = Totals(
            np.ascontiguousarray(covered_ms.T),
            reach_s,
            sent,
            np.ascontiguousarray(np.moveaxis(outcomes, 2, 0)),
            delays,
            minima_us,
            np.zeros((paths, 0), np.int64),
            np.zeros((paths, PACES)),
        )
        found.add_pace(row, running.outcomes()[ROUND_TRIP].sum(axis=0)[asked], intervals_ns)
        nothing = np.zeros((paths, len(DIRECTIONS), len(Outcome)), np.int64)
        return Seen(found, nothing, [np.moveaxis(one, (0, 1), (2, 1)) for one in running.products(of)])

    def _next(self, agent: int, revision: int) -> bool:
        return self.revisions.get(agent, 0) == revision - 1

    def _within(self, first: int, stop: int) -> list[int]:
        return sorted(minute for minute in self._minutes if first <= minute < stop)

    def _part(self, first: int, stop: int, start: int) -> Sums:
        """The sums of minutes, as of a span that begins with `start`."""
        rows = len(self._path)
        whole = RunningWindow([1])
        whole.move(self._within(first, stop), self._minutes, rows)
        counts = np.zeros((WIDTH, rows), np.int64).T
        counts[:, SENT] = whole.told[SENT]
        (products,) = whole.products(lambda values, _: values.copy())
        by_direction(counts)[:, :, : len(Outcome)] = np.moveaxis(whole.outcomes(), 2, 0)
        by_direction(counts)[:, :, len(Outcome) :] = whole.delays.reshape(rows, len(DIRECTIONS), BUCKETS)
        minima_us = whole.minima_us(self._minutes)
        known = (counts != 0).any(axis=1) | (whole.covered_ms > 0) | (minima_us != NO_MINIMUM).any(axis=1)
        return Sums(
            self._path,
            self._terms,
            np.full(rows, start),
            whole.covered_ms,
            whole.reach_s(self._minutes),
            minima_us,
            counts,
            np.moveaxis(products, 0, 1).reshape(PRODUCT_WIDTH, rows).T,
        ).take(known)

    def _rows(self, agent: Integers, path: Integers, terms: Integers) -> Integers:
        """The rows of paths and terms, new ones where there are none yet."""
        keys, first, place = np.unique(path * _TERMS + terms, return_index=True, return_inverse=True)
        new = first[~np.isin(keys, self._sorted)]
        if len(new):
            self._agent = np.concatenate([self._agent, agent[new]])
            self._path = np.concatenate([self._path, path[new]])
            self._terms = np.concatenate([self._terms, terms[new]])
            known = self._path * _TERMS + self._terms
            self._order = np.argsort(known)
            self._sorted = known[self._order]
        rows: Integers = self._order[np.searchsorted(self._sorted, keys)][place]
        return rows
