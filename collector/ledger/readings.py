"""Readings of many paths as columns: how sources hand on what agents counted, without an object for each path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    Integers,
    counts_vector,
    direction_counts,
)
from collector.sla.counts import Reading
from collector.sla.promise import Promise
from collector.sla.verdict import PathKey

Flags = NDArray[np.bool_]
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Counted:
    """Whose counters they are, and since when: one object for as long as an agent goes on counting the same.

    Attributes:
        paths: (n,).
        limits: what the outcomes of each are counted against (n,).
        epochs: when the agent started, in seconds of its own clock (n,).
        since: when the counters of each were last zero, by that clock (n,); None: the agent tells its own start alone.
        intervals_ns: from probe to probe of each, in the mean (n,); None: the agent does not say.
    """

    paths: tuple[PathKey, ...]
    limits: tuple[Mapping[Direction, Promise], ...]
    epochs: tuple[float, ...]
    since: tuple[float | None, ...]
    intervals_ns: tuple[int | None, ...]

    @cached_property
    def start_ns(self) -> Integers:
        """The start of each path's counters, of its own or of the agent (n,)."""
        starts = [
            epoch if since is None else since for epoch, since in zip(self.epochs, self.since, strict=True)
        ]
        return np.array([round(start * _SECOND_NS) for start in starts], np.int64)

    @cached_property
    def own_start(self) -> Flags:
        """Whether that is the path's own (n,)."""
        return np.array([since is not None for since in self.since], np.bool_)

    @property
    def site(self) -> str:
        """Whose agent counted the first of them, and all where they are one agent's."""
        return self.paths[0].source

    def take(self, rows: Sequence[int]) -> Counted:
        """Some of the paths."""
        return Counted(
            tuple(self.paths[row] for row in rows),
            tuple(self.limits[row] for row in rows),
            tuple(self.epochs[row] for row in rows),
            tuple(self.since[row] for row in rows),
            tuple(self.intervals_ns[row] for row in rows),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Readings(Sequence[Reading]):
    """Readings, a row each.

    Attributes:
        of: whose (n,).
        taken_ns: when each was read (n,), Unix wall time.
        in_flight: probes (n,).
        resolved: whether the agent knows the target's address (n,).
        minima_ns: (n, directions); `NO_MINIMUM` where the agent tells none.
        counts: (n, WIDTH).
    """

    of: Counted
    taken_ns: Integers
    in_flight: Integers
    resolved: Flags
    minima_ns: Integers
    counts: Integers

    @classmethod
    def table(cls, readings: Sequence[Reading]) -> Readings:
        """The same readings as columns."""
        if isinstance(readings, cls):
            return readings
        minima = [[one.minima_ns.get(way, NO_MINIMUM) for way in DIRECTIONS] for one in readings]
        return cls(
            Counted(
                tuple(one.path for one in readings),
                tuple(one.limits for one in readings),
                tuple(one.epoch for one in readings),
                tuple(one.since for one in readings),
                tuple(one.interval_ns for one in readings),
            ),
            np.array([one.taken_ns for one in readings], np.int64),
            np.array([one.in_flight for one in readings], np.int64),
            np.array([one.resolved for one in readings], np.bool_),
            np.array(minima, np.int64).reshape(-1, len(DIRECTIONS)),
            np.array([counts_vector(one.sent, one.directions) for one in readings], np.int64),
        )

    def __len__(self) -> int:
        return len(self.of.paths)

    @overload
    def __getitem__(self, index: int) -> Reading: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Reading]: ...
    def __getitem__(self, index: int | slice) -> Reading | Sequence[Reading]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        vector = self.counts[index].tolist()
        minima = zip(DIRECTIONS, self.minima_ns[index].tolist(), strict=True)
        return Reading(
            self.of.paths[index],
            self.of.epochs[index],
            int(self.taken_ns[index]),
            vector[0],
            int(self.in_flight[index]),
            direction_counts(vector),
            self.of.limits[index],
            bool(self.resolved[index]),
            {direction: least for direction, least in minima if least != NO_MINIMUM},
            self.of.since[index],
            self.of.intervals_ns[index],
        )

    def take(self, rows: Any) -> Readings:
        """Some of the rows, by their places."""
        return Readings(
            self.of.take(rows),
            self.taken_ns[rows],
            self.in_flight[rows],
            self.resolved[rows],
            self.minima_ns[rows],
            self.counts[rows],
        )
