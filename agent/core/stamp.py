"""STAMP test packets, unauthenticated mode: RFC 8762 section 4, with the SSID of RFC 8972 section 3.

Timestamps stay in their 64-bit wire form here: which format they are in is told by the Error Estimate beside them
(`agent.core.timestamps`), and a sender recognises its own by comparing the 64 bits.

Session-Sender, 44 octets (figure 2):            Session-Reflector, 44 octets (figure 4):

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |                        Sequence Number                        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  4 |            Timestamp: T1 in a request, T3 in a reply          |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 12 |        Error Estimate         |             SSID              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 16 |   MBZ (28 octets) in a request; in a reply the T2 Timestamp   |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 24 |                 Session-Sender Sequence Number                |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 28 |                   Session-Sender Timestamp T1                 |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 36 | Session-Sender Error Estimate |              MBZ              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 40 |Ses-Sender TTL |                      MBZ                      |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

import numpy as np

from agent.core.exceptions import Truncated

Octets = bytes | bytearray | memoryview

BASE_OCTETS: Final = 44
DEFAULT_PORT: Final = 862
MAX_PAYLOAD: Final = 2048
"""Octets of the longest UDP payload that is sent, or answered whole."""

_SENDER: Final = Struct(">IQHH28x")
_REFLECTOR: Final = Struct(">IQHHQIQH2xB3x")
SENDER_COLUMNS: Final = np.dtype(
    {
        "names": ["sequence", "timestamp", "error_estimate", "ssid"],
        "formats": [">u4", ">u8", ">u2", ">u2"],
        "offsets": [0, 4, 12, 14],
        "itemsize": BASE_OCTETS,
    }
)
"""`SenderPacket` for arrays of packets."""
REFLECTOR_COLUMNS: Final = np.dtype(
    {
        "names": [
            "sequence",
            "timestamp",
            "error_estimate",
            "ssid",
            "receive_timestamp",
            "sender_sequence",
            "sender_timestamp",
            "sender_error_estimate",
            "sender_ttl",
        ],
        "formats": [">u4", ">u8", ">u2", ">u2", ">u8", ">u4", ">u8", ">u2", "u1"],
        "offsets": [0, 4, 12, 14, 16, 24, 28, 36, 40],
        "itemsize": BASE_OCTETS,
    }
)
"""`ReflectorPacket` for arrays of packets."""
_TIMESTAMP: Final = Struct(">Q")
_TIMESTAMP_OFFSET: Final = 4


def set_timestamp(packet: bytearray | memoryview, stamp: int) -> None:
    """Write T1 or T3 into a packet that is otherwise complete: as late before the send as can be."""
    _TIMESTAMP.pack_into(packet, _TIMESTAMP_OFFSET, stamp)


class SenderPacket(NamedTuple):
    """A Session-Sender test packet.

    Attributes:
        sequence: of the session, from 0.
        timestamp: T1, 64 bits in the format that `error_estimate` tells.
        error_estimate: the 16 bits of an `ErrorEstimate`.
        ssid: session identifier, 0 where unused.
    """

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int

    def serialise(self) -> bytes:
        """The 44 octets to send."""
        return _SENDER.pack(*self)

    @classmethod
    def parse(cls, data: Octets) -> Self:
        """Parse a request; octets beyond the base are not looked at.

        Raises:
            Truncated: fewer than 44 octets.

        Source: RFC 8762, section 4.2.1, figure 2.
        """
        if len(data) < BASE_OCTETS:
            raise Truncated("a STAMP sender packet", BASE_OCTETS, len(data))
        return tuple.__new__(cls, _SENDER.unpack_from(data))


class ReflectorPacket(NamedTuple):
    """A Session-Reflector test packet.

    Attributes:
        sequence: the reflector's own in stateful mode, a copy of the sender's in stateless mode.
        timestamp, error_estimate: T3 and its quality; the estimate also tells the format of T2.
        ssid: copied from the request.
        receive_timestamp: T2.
        sender_sequence, sender_timestamp, sender_error_estimate: copied from the request.
        sender_ttl: TTL or hop limit with which the request arrived.
    """

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int
    receive_timestamp: int
    sender_sequence: int
    sender_timestamp: int
    sender_error_estimate: int
    sender_ttl: int

    def serialise(self) -> bytes:
        """The 44 octets to send."""
        return _REFLECTOR.pack(*self)

    @classmethod
    def parse(cls, data: Octets) -> Self:
        """Parse a reply; octets beyond the base are not looked at, those that must be zero are ignored.

        Raises:
            Truncated: fewer than 44 octets.

        Source: RFC 8762, section 4.3.1, figure 4.
        """
        if len(data) < BASE_OCTETS:
            raise Truncated("a STAMP reflector packet", BASE_OCTETS, len(data))
        return tuple.__new__(cls, _REFLECTOR.unpack_from(data))
