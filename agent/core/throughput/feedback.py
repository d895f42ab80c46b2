"""What a receiver tells its sender while data flows, on the data sockets themselves, and how a UDP sender says the end.

The rate that counts is the receiver's; a sender knows it from here while the test runs, stops early by it, and over UDP
stops where it hears nothing any more. Signed with the lease's token: nobody else keeps a sender sending.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |                        Magic  "IsoF"                          |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  4 |  Version = 1  |     Kind      |  Way: 0 down  |       0       |
    |               | 0 news, 1 end |       1 up    |               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  8 |        Time: monotonic clock of who tells, ns (8 octets)      |
 16 |        Octets of payload, all streams of the way (8)          |
 24 |        Datagrams (8); 0 over TCP                              |
 32 |        Datagrams missing (8)                                  |
 40 |        Datagrams lost by the receiver itself (8)              |
 48 |        How much later than the fastest the last ones came, ns |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 56 ~ Tag: HMAC-SHA-256(token, octets 0 to 55), its first 16 octets ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

A datagram of data begins with its sequence number, whose first four octets are zero: it is never taken for one of
these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, Self

from agent.core.authentication import Key
from agent.core.exceptions import NotAuthentic, Truncated, WireError
from agent.core.stamp import Octets
from agent.core.throughput.lease import Way

MAGIC: Final = b"IsoF"
VERSION: Final = 1
FEEDBACK_OCTETS: Final = 72

_LAYOUT: Final = Struct(">4sBBBxQQQQQQ")
_WAYS: Final = tuple(Way)


class FeedbackKind(IntEnum):
    """NEWS: how far it is. END: the sender has sent so much and sends no more, or the receiver has had enough."""

    NEWS = 0
    END = 1


@dataclass(frozen=True, slots=True)
class Feedback:
    """One message; all counts are sums since the beginning.

    Attributes:
        kind, way: as above.
        at_ns: monotonic, of who tells.
        octets: of payload, received or sent.
        datagrams: received or sent; 0 over TCP.
        missing: of those that should have come before the last that has; a sender's is 0.
        overflowed: of the missing, those that the receiver's own host lost.
        queueing_ns: how much later than the fastest datagram the last ones came.
    """

    kind: FeedbackKind
    way: Way
    at_ns: int
    octets: int
    datagrams: int = 0
    missing: int = 0
    overflowed: int = 0
    queueing_ns: int = 0

    @classmethod
    def parse(cls, data: Octets, token: Key) -> Self:
        """Read a message.

        Args:
            data: exactly 72 octets.
            token: of the lease.

        Raises:
            Truncated: fewer.
            NotAuthentic: not signed with the token.
            WireError: more, or not such a message.
        """
        if len(data) < FEEDBACK_OCTETS:
            raise Truncated("throughput feedback", FEEDBACK_OCTETS, len(data))
        if len(data) > FEEDBACK_OCTETS:
            raise WireError(f"throughput feedback has {FEEDBACK_OCTETS} octets, got {len(data)}")
        magic, version, kind, way, at_ns, *counts = _LAYOUT.unpack_from(data)
        if magic != MAGIC or version != VERSION:
            raise WireError("not throughput feedback of version 1")
        if kind > FeedbackKind.END or way >= len(_WAYS):
            raise WireError(f"throughput feedback of kind {kind} for way {way}")
        if not token.has_signed(data[: _LAYOUT.size], data[_LAYOUT.size :]):
            raise NotAuthentic("throughput feedback that is not signed with the token of its lease")
        return cls(FeedbackKind(kind), _WAYS[way], at_ns, *counts)

    def serialise(self, token: Key) -> bytes:
        """The 72 octets."""
        signed = _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.kind,
            _WAYS.index(self.way),
            self.at_ns,
            self.octets,
            self.datagrams,
            self.missing,
            self.overflowed,
            self.queueing_ns,
        )
        return signed + token.sign(signed)
