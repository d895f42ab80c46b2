"""When to look for packets again: as soon as one comes, or, while many come, after a while for all of them.

To be woken for a packet costs some microseconds, as much as answering it, and where both are on one host the waking is
its sender's to pay. While packets keep coming, whoever looks for them by the clock is woken for none: what is lost is
time until they are looked at, at most one period; when they arrived the kernel knows. A quiet socket is waited for.
"""

from __future__ import annotations

from typing import Final

PERIOD_NS: Final = 1_000_000
"""For so long packets wait at most, while many come."""

_SPAN_NS: Final = 4_000_000
_MANY: Final = 16
"""In one span, 4,000 a second: to be woken for each costs more than to look a thousand times."""
_FEW: Final = 8


class Coalescing:
    """Decides for one socket.

    Args:
        batch: how many packets are taken at a time; if as many came there are more.
    """

    __slots__ = ("_batch", "_begun_ns", "_came", "_many")

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._begun_ns = 0
        self._came = 0
        self._many = False

    def next_look_ns(self, came: int, now_ns: int) -> int | None:
        """When to look again; None: once there is a packet.

        Args:
            came: how many packets there were just now.
            now_ns: monotonic time.
        """
        self._came += came
        elapsed_ns = now_ns - self._begun_ns
        if elapsed_ns >= _SPAN_NS:
            # in a longer span, which a quiet socket brings about, as many are fewer
            self._many = self._came * _SPAN_NS >= (_FEW if self._many else _MANY) * elapsed_ns
            self._begun_ns, self._came = now_ns, 0
        if not self._many:
            return None
        return now_ns if came >= self._batch else now_ns + PERIOD_NS
