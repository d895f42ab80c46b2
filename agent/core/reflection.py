"""The STAMP Session-Reflector without its socket: a request and its times in, a reply out (RFC 8762, section 4.3)."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum

from agent.core.stamp import BASE_OCTETS, Octets, ReflectorPacket, SenderPacket


class ReflectorMode(StrEnum):
    """How replies are numbered: by the reflector's own count of the session, or with the sender's number."""

    STATEFUL = "stateful"
    STATELESS = "stateless"


class ReflectionResult(StrEnum):
    """What became of a datagram that reached the reflector: the `result` label."""

    REFLECTED = "reflected"
    MALFORMED = "malformed"
    SEND_FAILED = "send_failed"


class Reflection:
    """Numbers and builds replies.

    A session is what comes from one address with one SSID to one of ours; the least recently used one is forgotten
    where there are more than `max_sessions`, and then starts again from 0: its sender cannot prove a direction of
    loss across that.

    Args:
        mode: stateful or stateless.
        max_sessions: how many sessions are remembered.
    """

    def __init__(self, mode: ReflectorMode, max_sessions: int = 65_536) -> None:
        self.mode = mode
        self.max_sessions = max_sessions
        self._next: OrderedDict[tuple[bytes, bytes, int], int] = OrderedDict()

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return len(self._next)

    def reply(
        self,
        request: Octets,
        source: bytes,
        destination: bytes,
        ttl: int,
        t2_wire: int,
        error_estimate: int,
    ) -> bytearray:
        """The reply to a request, but for T3: as long as the request, octets beyond the base copied.

        Args:
            request: the datagram's payload.
            source, destination: where it came from and which of our addresses it reached, in any stable form.
            ttl: TTL or hop limit with which it arrived.
            t2_wire: receive time, in the format that the error estimate tells.
            error_estimate: the 16 bits for this reply.

        Raises:
            Truncated: fewer than 44 octets: answering more than was asked would amplify.
        """
        sequence, t1_wire, sender_estimate, ssid = SenderPacket.parse(request)
        own = self._count(source, destination, ssid) if self.mode is ReflectorMode.STATEFUL else sequence
        reply = bytearray(request)
        reply[:BASE_OCTETS] = ReflectorPacket(
            own, 0, error_estimate, ssid, t2_wire, sequence, t1_wire, sender_estimate, ttl
        ).serialise()
        return reply

    def _count(self, source: bytes, destination: bytes, ssid: int) -> int:
        key = (source, destination, ssid)
        own = self._next.pop(key, 0)
        self._next[key] = (own + 1) & 0xFFFF_FFFF
        if len(self._next) > self.max_sessions:
            self._next.popitem(last=False)
        return own
