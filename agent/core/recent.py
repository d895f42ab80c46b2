"""Extremes and quantiles of the recent past, in ns."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

import numpy as np

from agent.core.interval import Flags, Integers

NO_MINIMUM: Final = int(np.iinfo(np.int64).max)
"""Stands for the minimum of nothing."""


class RecentMinima:
    """The least delays of the current and the previous period, of several directions of many rows: old enough to be
    steady, young enough to follow a route change.

    The last direction is the round trip, of which one clock suffices; the others mean something only between clocks
    of steady offset, so where trust in the clocks is won or lost they start anew.

    Args:
        period_ns: length of a period.
        rows, directions: how many there are.
    """

    def __init__(self, period_ns: int, rows: int, directions: int) -> None:
        self._period_ns = period_ns
        self._period: Integers = np.zeros(rows, np.int64)
        self._trusted: Flags = np.zeros(rows, np.bool_)
        self._current: Integers = np.full((directions, rows), NO_MINIMUM, np.int64)
        self._previous: Integers = np.full((directions, rows), NO_MINIMUM, np.int64)

    def observe(
        self, rows: Integers, delays_ns: Integers, trusted: Flags, now_ns: int
    ) -> tuple[Integers, Flags]:
        """Take in delays at monotonic time `now_ns`.

        Args:
            rows: (n,), not falling.
            delays_ns: (directions, n).
            trusted: (n,), whether the clocks vouched for themselves.

        Returns:
            The least delay of each packet's row, (directions, n), which may be its own; and (n,) whether its one-way
            delays can be compared with those: not where the clocks have won or lost trust right after it.
        """
        first = np.empty(len(rows), np.bool_)
        first[0] = True
        np.not_equal(rows[1:], rows[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        group = np.cumsum(first) - 1
        own = rows[starts]
        trust = trusted[np.append(starts[1:], len(rows)) - 1]
        comparable = trusted == trust[group]
        candidates = delays_ns
        if not comparable.all():
            candidates = delays_ns.copy()
            candidates[:-1, ~comparable] = NO_MINIMUM
        least = np.minimum.reduceat(candidates, starts, axis=1)

        current, previous = self._current[:, own], self._previous[:, own]
        age = now_ns - self._period[own]
        over = age >= self._period_ns
        if over.any():
            previous = np.where(over, np.where(age < 2 * self._period_ns, current, NO_MINIMUM), previous)
            current = np.where(over, NO_MINIMUM, current)
            self._period[own[over]] = now_ns - now_ns % self._period_ns
        changed = trust != self._trusted[own]
        if changed.any():
            self._trusted[own] = trust
            current[:-1, changed] = NO_MINIMUM
            previous[:-1, changed] = NO_MINIMUM
        current = np.minimum(current, least)
        self._current[:, own], self._previous[:, own] = current, previous
        return np.minimum(current, previous)[:, group], comparable

    def values(self, rows: Integers, now_ns: int) -> Integers:
        """The least trusted delays, (directions, n); `NO_MINIMUM` where none was seen in the two periods."""
        age = now_ns - self._period[rows]
        current, previous = self._current[:, rows], self._previous[:, rows]
        least: Integers = np.where(age < self._period_ns, np.minimum(current, previous), current)
        least[:, age >= 2 * self._period_ns] = NO_MINIMUM
        least[:-1, ~self._trusted[rows]] = NO_MINIMUM
        return least

    def grow(self) -> None:
        """Make room for twice as many rows."""
        self._period = np.concatenate((self._period, np.zeros_like(self._period)))
        self._trusted = np.concatenate((self._trusted, np.zeros_like(self._trusted)))
        self._current = np.concatenate((self._current, np.full_like(self._current, NO_MINIMUM)), axis=1)
        self._previous = np.concatenate((self._previous, np.full_like(self._previous, NO_MINIMUM)), axis=1)


class RecentLags:
    """The last lags between a user-space stamp and the kernel's, and a bound drawn from them.

    The bound is what was measured, not what was hoped: None until `least` lags have been seen.

    Args:
        size: how many lags are kept.
        least: how many are needed for a bound.
        quantile: the share of lags that the bound covers; 1 for the largest.
    """

    __slots__ = ("_bound", "_fresh", "_lags", "_least", "_quantile")

    _REFRESH = 32

    def __init__(self, size: int = 256, least: int = 1, quantile: float = 1.0) -> None:
        self._lags: deque[int] = deque(maxlen=size)
        self._least = least
        self._quantile = quantile
        self._bound: int | None = None
        self._fresh = 0

    def observe(self, *lags_ns: int) -> None:
        """Take in lags, in the order in which they were measured."""
        self._lags.extend(lags_ns)
        self._fresh += len(lags_ns)
        if len(self._lags) >= self._least and (self._bound is None or self._fresh >= self._REFRESH):
            ranked = sorted(self._lags)
            self._bound = ranked[ceil(self._quantile * len(ranked)) - 1]
            self._fresh = 0

    @property
    def bound_ns(self) -> int | None:
        """The bound, at most 32 lags old."""
        return self._bound
