"""From what counters said to what was counted since: exact, whatever is read twice, late, or by two collectors.

The law: from its start on, a counter only grows. So readings of one start are ordered by what they count, and need no
clock for that; the most that was read of a start (its head) is all that is known to have been counted since then. A
reading adds what it has above the head of its start, and takes the head's place:

    sum of what was added = sum of the heads of all starts

That does not depend on the order of readings, on how often one is seen, or on whose clock took its time. It holds as
long as additions and heads are written in one transaction, by one writer at a time, which `collector.store` sees to.

An agent tells the start of each path's counters. Of one that tells the start of its process only, counters may fall
within one start (its path was taken out of the plan, and put in again); they are then taken to have begun anew where
they were read later than the head, by the clock that took both times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from collector.ledger.minutes import (
    DIRECTIONS,
    MINUTE_MS,
    MINUTE_NS,
    NO_MINIMUM,
    WIDTH,
    Integers,
    Minutes,
)

HORIZON_NS: Final = 7 * 24 * 3600 * 1_000_000_000
"""How long the heads of former starts are kept, and so how late a reading of one may come."""

_LONGEST_COVERED_MS: Final = 24 * 3600 * 1000
"""What is covered by one gap between readings is said of no more minutes than these; counts are kept however long."""

_MS_NS: Final = 1_000_000
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """One reading of an agent: the counters of some paths, each path once.

    Attributes:
        path, terms: as in `Minutes` (n,).
        start_ns: when the counters were last zero, by the agent's clock (n,); their identity, and no time to reckon
            with.
        own_start: whether that is the start of the path's own counters (n,), rather than of the process.
        taken_ns: when they were read (n,), Unix wall time of whoever read them.
        minima_us: as in `Minutes` (n, directions).
        counts: (n, WIDTH), since the start.
    """

    path: Integers
    terms: Integers
    start_ns: Integers
    own_start: Flags
    taken_ns: Integers
    minima_us: Integers
    counts: Integers

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Any) -> Taken:
        """Some of the rows: a mask."""
        return Taken(*(getattr(self, one.name)[rows] for one in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The most that was read of each start of each path of an agent.

    Attributes:
        path, start_ns: whose (n,).
        run: how often counters have fallen within that start (n,).
        taken_ns: when the latest reading was taken that did not fall short of it (n,).
        counts: (n, WIDTH).
    """

    path: Integers
    start_ns: Integers
    run: Integers
    taken_ns: Integers
    counts: Integers

    @classmethod
    def empty(cls) -> Self:
        """Nothing was ever read."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, np.empty((0, WIDTH), np.int64))

    def __len__(self) -> int:
        return len(self.path)

    def places(self) -> dict[tuple[int, int], int]:
        """The row of each path's start; of several runs the last."""
        keys = zip(self.path.tolist(), self.start_ns.tolist(), strict=True)
        runs: list[int] = self.run.tolist()
        found: dict[tuple[int, int], int] = {}
        for row, key in enumerate(keys):
            if key not in found or runs[found[key]] < runs[row]:
                found[key] = row
        return found

    def latest(self) -> dict[int, int]:
        """When each path was last read."""
        found: dict[int, int] = defaultdict(int)
        for path, taken_ns in zip(self.path.tolist(), self.taken_ns.tolist(), strict=True):
            found[path] = max(found[path], taken_ns)
        return found

    def kept(self) -> Heads:
        """Without those of former starts whose horizon has passed."""
        latest = self.latest()
        newest = np.array([latest[path] for path in self.path.tolist()], np.int64)
        return self._take((self.taken_ns == newest) | (self.taken_ns > newest - HORIZON_NS))

    def _take(self, rows: Any) -> Heads:
        return Heads(*(getattr(self, one.name)[rows] for one in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What one reading of an agent added.

    Attributes:
        rows: which rows of the reading (m,).
        begun_ns: since when (m,): what each counted belongs to (begun, taken]; not before `taken` where the reading was
            late, and its time is covered already.
        counts: (m, WIDTH).
        minutes: the same, and the time that is covered, by minute.
        anew: paths whose counters have fallen within one start, and were taken to have begun anew.
        refused: paths whose counters cannot be of one start with what was read before, and were not taken.
    """

    rows: Integers
    begun_ns: Integers
    counts: Integers
    minutes: Minutes
    anew: Sequence[int]
    refused: Sequence[int]


def telescope(heads: Heads, taken: Taken) -> tuple[Added, Heads]:
    """What a reading adds to what is known, and what is known then.

    Args:
        heads: of this agent.
        taken: of the same; each path at most once.
    """
    places = heads.places()
    latest = heads.latest()
    paths: list[int] = taken.path.tolist()
    place = np.array(
        [places.get(key, -1) for key in zip(paths, taken.start_ns.tolist(), strict=True)], np.int64
    )
    newest_ns = np.array([latest.get(path, 0) for path in paths], np.int64)
    known = place >= 0
    above = taken.counts.copy()
    above[known] -= heads.counts[place[known]]
    short = (above < 0).any(axis=1)
    anew, refused = _begun_anew(heads, taken, np.flatnonzero(short))
    above[anew] = taken.counts[anew]
    fresh = (~known & (taken.taken_ns > newest_ns - HORIZON_NS)) | anew
    ahead = known & ~short & (taken.own_start | _not_before(heads, place, taken.taken_ns))
    later = taken.taken_ns > newest_ns
    useful = fresh | (ahead & ((above != 0).any(axis=1) | later))
    run = np.where(anew, heads.run[place] + 1, 0) if len(heads) else np.zeros(len(taken), np.int64)

    changed = heads.taken_ns.copy(), heads.counts.copy()
    moved = np.flatnonzero(useful & ahead)
    changed[0][place[moved]] = np.maximum(heads.taken_ns[place[moved]], taken.taken_ns[moved])
    changed[1][place[moved]] = taken.counts[moved]
    new = np.flatnonzero(fresh)
    after = Heads(
        np.concatenate([heads.path, taken.path[new]]),
        np.concatenate([heads.start_ns, taken.start_ns[new]]),
        np.concatenate([heads.run, run[new]]),
        np.concatenate([changed[0], taken.taken_ns[new]]),
        np.concatenate([changed[1], taken.counts[new]]),
    )
    rows = np.flatnonzero(useful)
    # An agent's clock may run ahead: its start is then after the reading, and no time is known to be covered.
    began_ns = np.where(fresh, np.maximum(newest_ns, taken.start_ns), newest_ns)[rows]
    begun_ns = np.minimum(began_ns, taken.taken_ns[rows])
    minutes = _minutes(taken, rows, begun_ns, above[rows])
    return Added(
        rows, begun_ns, above[rows], minutes, taken.path[anew].tolist(), refused
    ), after.kept() if len(new) else after


def _not_before(heads: Heads, place: Integers, taken_ns: Integers) -> Flags:
    """Whether a reading cannot be of a run before the last one, which may have counted more."""
    if not len(heads):
        return np.ones(len(place), np.bool_)
    not_before: Flags = (heads.run[place] == 0) | (taken_ns > heads.taken_ns[place])
    return not_before


def _begun_anew(heads: Heads, taken: Taken, short: Integers) -> tuple[Flags, list[int]]:
    """Which of the readings that fall short of their head are of counters that have begun anew, and which cannot be.

    The others are of the past, or read again.
    """
    anew = np.zeros(len(taken), np.bool_)
    refused = []
    for row in short.tolist():
        same = (heads.path == taken.path[row]) & (heads.start_ns == taken.start_ns[row])
        later = bool(taken.taken_ns[row] > heads.taken_ns[same].max())
        if later and not taken.own_start[row]:
            anew[row] = True
        elif not (taken.counts[row] <= heads.counts[same]).all(axis=1).any():
            refused.append(int(taken.path[row]))
    return anew, refused


def _minutes(taken: Taken, rows: Integers, begun_ns: Integers, above: Integers) -> Minutes:
    """What was counted in the minute of the reading, and what is covered of that one and those before."""
    taken_ns = taken.taken_ns[rows]
    minute = (taken_ns - 1) // MINUTE_NS
    counted = (above != 0).any(axis=1)
    reach_s = np.where(counted, np.maximum(0, minute * MINUTE_NS - begun_ns) // (1000 * _MS_NS), 0)
    end_ms = taken_ns // _MS_NS
    begun_ms = np.maximum(begun_ns // _MS_NS, end_ms - _LONGEST_COVERED_MS)
    first: Integers = begun_ms // MINUTE_MS
    covered_ms = end_ms - np.maximum(begun_ms, minute * MINUTE_MS)
    own = Minutes(
        taken.path[rows], taken.terms[rows], minute, covered_ms, reach_s, taken.minima_us[rows], above
    )
    # The minutes before, in each of which nothing was counted as far as is known.
    spans = np.maximum(0, minute - first)
    which = np.repeat(np.arange(len(rows)), spans)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(spans) - spans, spans)
    earlier: Integers = first[which] + offset
    covered_before = (earlier + 1) * MINUTE_MS - np.maximum(begun_ms[which], earlier * MINUTE_MS)
    nothing = np.zeros(len(which), np.int64)
    before = Minutes(
        own.path[which],
        own.terms[which],
        earlier,
        covered_before,
        nothing,
        np.full((len(which), len(DIRECTIONS)), NO_MINIMUM),
        np.zeros((len(which), WIDTH), np.int64),
    )
    return Minutes.joined([before, own])
