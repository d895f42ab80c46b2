"""What paths counted in minutes: one table of many rows, so that all paths are worked on at once.

The counts of a row are one vector:

    sent | forward: outcomes, delay histogram | reverse: … | round trip: …

A count belongs to the minute in which it was read, whole: nothing is divided by a rule of thumb. The time between two
readings is divided exactly, so that the time that was covered is known of every minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Outcome
from collector.sla.counts import NOTHING, DirectionCounts

Integers = NDArray[np.int64]

MINUTE_NS: Final = 60_000_000_000
MINUTE_MS: Final = 60_000
_MINUTE_S: Final = 60
DIRECTIONS: Final = tuple(Direction)
SENT: Final = 0
_PER_DIRECTION: Final = len(Outcome) + BUCKETS
WIDTH: Final = 1 + len(DIRECTIONS) * _PER_DIRECTION
"""How many counts a row has."""

_MOST_NARROW: Final = 256
"""Counts in four octets are some hundred thousand at most each: of so many the sum is below 2³¹."""

NO_MINIMUM: Final = int(np.iinfo(np.int64).max)
"""Stands for the minimum of nothing."""


def counts_vector(sent: int, directions: Mapping[Direction, DirectionCounts]) -> list[int]:
    """The counts of one path in the order of a row."""
    vector = [sent]
    for direction in DIRECTIONS:
        counted = directions.get(direction, NOTHING)
        vector += counted.outcomes
        vector += counted.delays
    return vector


def direction_counts(vector: list[int]) -> dict[Direction, DirectionCounts]:
    """The counts of each direction of a row."""
    found = {}
    for place, direction in enumerate(DIRECTIONS):
        first = 1 + place * _PER_DIRECTION
        middle, last = first + len(Outcome), first + _PER_DIRECTION
        found[direction] = DirectionCounts(tuple(vector[first:middle]), tuple(vector[middle:last]))
    return found


def by_direction(counts: Integers) -> Integers:
    """(n, WIDTH) counts as (n, directions, outcomes and then buckets); a view."""
    return counts[:, 1:].reshape(len(counts), len(DIRECTIONS), _PER_DIRECTION)


def minute_of(taken_ns: int) -> int:
    """The minute (since the Unix epoch) whose counts a reading tells: it belongs to what ends with it."""
    return (taken_ns - 1) // MINUTE_NS


def begun_within(minute: Integers, reach_s: Integers, first: int) -> NDArray[np.bool_]:
    """Which counts have begun in a window of minutes that begins with `first`, or within a minute of its begin.

    The others were counted while nobody read, and how much of them in the window nobody knows.

    Args:
        minute: with which they are told (n,); of sums, with which these begin.
        reach_s: how long before it they may have begun (n,).
        first: since the Unix epoch.
    """
    within: NDArray[np.bool_] = reach_s <= (np.maximum(minute - first, 0) + 1) * _MINUTE_S
    return within


@dataclass(frozen=True, slots=True, eq=False)
class Minutes:
    """Rows of counts; a path may have several of one minute until they are merged.

    Attributes:
        path: whose (n,); the number that the database gave it.
        terms: against which limits the outcomes were counted (n,); a number of the database too.
        minute: since the Unix epoch (n,).
        covered_ms: how much of the minute lies between two readings of a running agent (n,).
        reach_s: how many whole seconds before the minute the counts may have begun (n,): few where readings are
            regular, many where the agent counted on while nobody read it.
        minima_us: least delay of each direction that the agent spoke of (n, directions), of the last one to two
            minutes, rounded down; `NO_MINIMUM` where it spoke of none.
        counts: (n, WIDTH), in four octets each or eight, row after row or column after column in memory.
    """

    path: Integers
    terms: Integers
    minute: Integers
    covered_ms: Integers
    reach_s: Integers
    minima_us: Integers
    counts: Integers

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        none = np.empty(0, np.int64)
        wide = np.empty((0, WIDTH), np.int64)
        return cls(none, none, none, none, none, np.empty((0, len(DIRECTIONS)), np.int64), wide)

    @classmethod
    def joined(cls, parts: Iterable[Minutes]) -> Self:
        """All rows, in their order."""
        found = [part for part in parts if len(part)]
        if not found:
            return cls.empty()
        if len(found) == 1 and isinstance(found[0], cls):
            return found[0]
        return cls(*(np.concatenate([getattr(part, one.name) for part in found]) for one in fields(cls)))

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Any) -> Minutes:
        """Some of the rows: a mask, a slice or their places."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.bool_ and rows.all():
            return self
        return Minutes(*(taken(getattr(self, one.name), rows) for one in fields(self)))

    def within(self, from_minute: int, to_minute: int) -> Minutes:
        """Those of [from, to)."""
        return self.take((self.minute >= from_minute) & (self.minute < to_minute))

    def merged(self) -> Minutes:
        """One row for each path, terms and minute, in that order."""
        if not len(self):
            return self
        order, starts = groups(self.path, self.terms, self.minute)
        rows = self if (order[1:] > order[:-1]).all() else self.take(order)
        return rows.summed(starts)

    def summed(self, starts: Integers) -> Minutes:
        """One row for all from each of these on to the next, which are of one path, terms and minute."""
        if len(starts) == len(self):
            return self
        return Minutes(
            self.path[starts],
            self.terms[starts],
            self.minute[starts],
            reduced(np.add, self.covered_ms, starts),
            reduced(np.maximum, self.reach_s, starts),
            reduced(np.minimum, self.minima_us, starts),
            reduced(np.add, self.counts, starts),
        )


def taken(values: Integers, rows: Any) -> Integers:
    """Some rows, which stand in memory as they did: column after column, where that is so."""
    chosen: Integers
    if values.ndim == 1 or not values.flags.f_contiguous or not isinstance(rows, np.ndarray):
        chosen = values[rows]
    else:
        chosen = values.T.take(np.flatnonzero(rows) if rows.dtype == np.bool_ else rows, axis=1).T
    return chosen


def reduced(change: np.ufunc, values: Integers, starts: Integers) -> Integers:
    """The sums, or what `change` makes, of rows from each of these on to the next."""
    if (
        change is np.add
        and values.dtype.itemsize < 8
        and np.diff(starts, append=len(values)).max() > _MOST_NARROW
    ):
        values = values.astype(np.int64)
    # along the memory: of rows that stand one after the other it is many times slower
    columns = np.ascontiguousarray(values.T)
    found: Integers = change.reduceat(columns, starts, axis=-1, dtype=values.dtype).T
    return found


def groups(path: Integers, terms: Integers, minute: Integers) -> tuple[Integers, Integers]:
    """The order that puts rows of the same path, terms and minute together, and where each group starts in it."""
    order = np.lexsort((minute, terms, path))
    first = np.ones(len(order), np.bool_)
    first[1:] = False
    for key in (path, terms, minute):
        first[1:] |= key[order[1:]] != key[order[:-1]]
    return order, np.flatnonzero(first)
