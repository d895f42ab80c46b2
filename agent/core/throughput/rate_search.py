"""How fast a path is, asked with UDP: RFC 9097's search for the highest rate that arrives undisturbed.

The sender begins somewhere, goes up with every feedback that tells of neither loss nor queue, in large steps below
1 Gbit/s as long as nothing has gone wrong, and comes down where something does.

Source: RFC 9097, section 8.1 and appendix A ("Type B" algorithm), with the table of rates that udpst uses.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

_MEGABIT: Final = 10**6
RATES: Final = (
    500_000,
    *range(_MEGABIT, 1_000 * _MEGABIT, _MEGABIT),
    *range(1_000 * _MEGABIT, 10_000 * _MEGABIT, 100 * _MEGABIT),
    *range(10_000 * _MEGABIT, 100_001 * _MEGABIT, 1_000 * _MEGABIT),
)
"""bit/s at the IP layer."""

FEEDBACK_NS: Final = 50_000_000
"""How often the receiver tells what has come."""

_FEW_LOST: Final = 10
_LOW_NS: Final = 30_000_000
_HIGH_NS: Final = 90_000_000
_HIGH_SPEED: Final = 1_000 * _MEGABIT
_SLOW_AFTER: Final = 3
_LARGE_STEP: Final = 10


class RateSearch:
    """One search.

    Args:
        first: bit/s to begin with: the highest rate of the table that is no more.
        most: bit/s never to exceed.

    Attributes:
        rate: bit/s to send at now.
    """

    def __init__(self, first: int, most: int) -> None:
        self._most = most
        self._last = max(0, bisect_right(RATES, most) - 1)
        self._at = min(self._last, max(0, bisect_right(RATES, first) - 1))
        self._high_speed = bisect_right(RATES, _HIGH_SPEED - 1)
        self._bad = 0

    @property
    def rate(self) -> int:
        """bit/s to send at now; the last step is to the most itself."""
        return self._most if self._at == self._last else RATES[self._at]

    def heard(self, lost: int, queueing_ns: int) -> int:
        """Take a feedback.

        Args:
            lost: datagrams since the feedback before.
            queueing_ns: how much later than the fastest datagram the last ones came.

        Returns:
            bit/s to send at from now on.
        """
        if lost <= _FEW_LOST and queueing_ns < _LOW_NS:
            if self._at < self._high_speed and self._bad < _SLOW_AFTER:
                self._at += _LARGE_STEP
                self._bad = 0
            else:
                self._at += 1
        elif lost > _FEW_LOST or queueing_ns > _HIGH_NS:
            self._bad += 1
            first_time = self._at < self._high_speed and self._bad == _SLOW_AFTER
            self._at -= 3 * _LARGE_STEP if first_time else 1
        self._at = min(self._last, max(0, self._at))
        return self.rate
