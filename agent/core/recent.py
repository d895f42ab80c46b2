"""Extremes and quantiles of the recent past, in ns."""

from __future__ import annotations

from collections import deque
from math import ceil


class RecentMinimum:
    """The least delay of the current and the previous period: old enough to be steady, young enough to follow a
    route change.

    Args:
        period_ns: length of a period.
    """

    __slots__ = ("_current", "_period", "_period_ns", "_previous")

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._period = 0
        self._current: int | None = None
        self._previous: int | None = None

    def observe(self, delay_ns: int, now_ns: int) -> int:
        """Take in one delay at monotonic time `now_ns` and give the least one, which may be it."""
        if now_ns - self._period >= self._period_ns:
            fresh = now_ns - self._period < 2 * self._period_ns
            self._previous = self._current if fresh else None
            self._current = None
            self._period = now_ns - now_ns % self._period_ns
        if self._current is None or delay_ns < self._current:
            self._current = delay_ns
        if self._previous is not None and self._previous < self._current:
            return self._previous
        return self._current

    def value(self, now_ns: int) -> int | None:
        """The least delay, or None where none was seen in the two periods."""
        age = now_ns - self._period
        if age >= 2 * self._period_ns:
            return None
        seen = (self._current, self._previous if age < self._period_ns else None)
        return min((delay for delay in seen if delay is not None), default=None)


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

    def observe(self, lag_ns: int) -> None:
        """Take in one lag."""
        self._lags.append(lag_ns)
        self._fresh += 1
        if len(self._lags) >= self._least and (self._bound is None or self._fresh >= self._REFRESH):
            ranked = sorted(self._lags)
            self._bound = ranked[ceil(self._quantile * len(ranked)) - 1]
            self._fresh = 0

    @property
    def bound_ns(self) -> int | None:
        """The bound, at most 32 lags old."""
        return self._bound
