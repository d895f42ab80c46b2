"""When a sender that keeps a rate by itself sends its next burst.

Two schedules bound it. One is the rate: who wakes up late makes up for that, for up to 0.1 s; what is later is given
up, and counted. The other is a quarter faster, and forgives 0.3 ms only: what is made up for goes out close to the
rate, and not as a burst that no queue has room for.

Both are kept in absolute times. A sleep ends late, on a virtual machine that has nothing else to do by 30 to 60 µs:
were the next burst counted from when the last one was really sent, then a sender that is once behind would stay so.
"""

from __future__ import annotations

from typing import Final

_LATE_NS: Final = 100_000_000
_BUNCHED_NS: Final = 300_000
_FASTER: Final = 1.25


class Pace:
    """That of one stream.

    Attributes:
        given_up: octets that were due and will not be made up for.
    """

    def __init__(self) -> None:
        self._due_ns = 0
        self._spaced_ns = 0
        self.given_up = 0.0

    def begin(self, now_ns: int) -> None:
        """The first burst is due, at a monotonic time."""
        self._due_ns = self._spaced_ns = now_ns

    @property
    def next_ns(self) -> int:
        """When to send again."""
        return max(self._due_ns, self._spaced_ns)

    def behind_ns(self, now_ns: int, octets_per_ns: float) -> int:
        """How late the stream is; what is too late is given up."""
        behind_ns = max(0, now_ns - self._due_ns)
        if behind_ns > _LATE_NS:
            self.given_up += (behind_ns - _LATE_NS) * octets_per_ns
            behind_ns = _LATE_NS
            self._due_ns = now_ns - _LATE_NS
        return behind_ns

    def sent(self, octets: int, now_ns: int, octets_per_ns: float) -> None:
        """So much was sent, beginning now."""
        lasting_ns = int(octets / octets_per_ns)
        self._due_ns += lasting_ns
        self._spaced_ns = max(self._spaced_ns, now_ns - _BUNCHED_NS) + int(lasting_ns / _FASTER)

    def end(self, now_ns: int, octets_per_ns: float) -> None:
        """Nothing more is sent: what is due is given up."""
        self.given_up += max(0, now_ns - self._due_ns) * octets_per_ns
        self._due_ns = max(self._due_ns, now_ns)
