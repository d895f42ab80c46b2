"""The wall clock and the monotonic clock, read together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from agent.core.steps import ClockPair

_ATTEMPTS: Final = 3
_QUIET_NS: Final = 1_000


def read_pair(
    wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
) -> ClockPair:
    """Both clocks, the wall clock between two readings of the other.

    Undisturbed that takes some 100 ns. Where something came in between it is tried again, three times at most, and
    the narrowest of them is taken: an uncertain pair costs sharpness, never truth.
    """
    best: ClockPair | None = None
    for _ in range(_ATTEMPTS):
        before_ns = monotonic_ns()
        now_ns = wall_ns()
        width_ns = monotonic_ns() - before_ns
        half_ns = (width_ns + 1) // 2
        if best is None or half_ns < best.uncertainty_ns:
            best = ClockPair(now_ns, before_ns + half_ns, half_ns)
        if width_ns <= _QUIET_NS:
            break
    assert best is not None
    return best
