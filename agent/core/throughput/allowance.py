"""What is left of a share: how much may flow now, by octets, rate and time. Both ends keep it, each for itself.

The sender asks before it sends, so that it keeps the lease; the receiver tells whether the sender has kept it, with a
little patience, for what was sent in time arrives later and in bunches.
"""

from __future__ import annotations

from typing import Final

from agent.core.throughput.lease import Share
from agent.core.timestamps import SECOND_NS

BURST_NS: Final = SECOND_NS // 20
"""So much of the rate may be sent at once: what is sent in pieces has to be."""
_PATIENCE_NS: Final = SECOND_NS // 2


class Allowance:
    """One way of one test, all streams together.

    Args:
        share: what is granted.
        begin_ns: when data begins to flow, monotonic.
        stop_ns: until when it may.
    """

    def __init__(self, share: Share, begin_ns: int, stop_ns: int) -> None:
        self._share = share
        self._begin_ns = begin_ns
        self._stop_ns = stop_ns

    def left(self, transferred: int, now_ns: int) -> int:
        """How many octets of payload may be sent now.

        Args:
            transferred: octets of payload so far.
            now_ns: monotonic.
        """
        if not self._begin_ns <= now_ns < self._stop_ns:
            return 0
        return max(0, min(self._share.octets, self._by(now_ns + BURST_NS)) - transferred)

    def is_exceeded(self, transferred: int, now_ns: int) -> bool:
        """Whether more has come than a sender can have sent who keeps to the share: the test is to be broken off.

        Args:
            transferred: octets of payload that have come.
            now_ns: monotonic.
        """
        if now_ns >= self._stop_ns + _PATIENCE_NS or transferred > self._share.octets:
            return True
        return transferred > self._by(min(now_ns, self._stop_ns) + BURST_NS + _PATIENCE_NS)

    def _by(self, now_ns: int) -> int:
        """What the rate amounts to; that of the IP layer, so of payload it is somewhat less."""
        return self._share.rate * max(0, now_ns - self._begin_ns) // (8 * SECOND_NS)
