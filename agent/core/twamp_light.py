"""TWAMP Light peers of STAMP: packets without SSID and TLVs, and of other lengths (RFC 8762 section 4.6; RFC 5357).

Session-Sender, 14 octets and padding (RFC 4656, section 4.1.2):

  0   Sequence Number (4) | T1 (8) | Error Estimate (2)
 14   padding of any length and content: where STAMP has its SSID, there may be anything

Session-Reflector, 41 octets and padding (RFC 5357, section 4.2.1):

  0   Sequence Number (4) | T3 (8) | Error Estimate (2) | MBZ (2)
 16   T2 (8) | Sender Sequence Number (4) | Sender T1 (8) | Sender Error Estimate (2) | MBZ (2)
 40   Sender TTL (1)

All fields stand where STAMP has them. What is missing: the SSID, and the reply's last three octets, which must be zero.
41 octets to 14 are an amplification of 2.9: only for peers that are configured as TWAMP Light.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from agent.core.exceptions import Truncated
from agent.core.stamp import Octets, ReflectorPacket, SenderPacket

REQUEST_OCTETS: Final = 14
REPLY_OCTETS: Final = 41

_REQUEST: Final = Struct(">IQH")
_REPLY: Final = Struct(">IQH2xQIQH2xB")
_NO_SSID: Final = 0


def parse_request(data: Octets) -> SenderPacket:
    """Read a request; its SSID is 0, whatever the padding holds.

    Raises:
        Truncated: fewer than 14 octets.
    """
    if len(data) < REQUEST_OCTETS:
        raise Truncated("a TWAMP Light request", REQUEST_OCTETS, len(data))
    sequence, timestamp, error_estimate = _REQUEST.unpack_from(data)
    return SenderPacket(sequence, timestamp, error_estimate, _NO_SSID)


def parse_reply(data: Octets) -> ReflectorPacket:
    """Read a reply, also one of STAMP's length; its SSID is 0, as in TWAMP those octets must be.

    Raises:
        Truncated: fewer than 41 octets.
    """
    if len(data) < REPLY_OCTETS:
        raise Truncated("a TWAMP Light reply", REPLY_OCTETS, len(data))
    sequence, timestamp, error_estimate, *rest = _REPLY.unpack_from(data)
    return ReflectorPacket(sequence, timestamp, error_estimate, _NO_SSID, *rest)


def serialise_request(packet: SenderPacket, octets: int = REPLY_OCTETS) -> bytes:
    """A request, padded with zeros; as long as its reply unless told otherwise, so that both directions compare.

    Args:
        packet: the SSID in it is not sent.
        octets: 14 or more.
    """
    return _REQUEST.pack(*packet[:3]).ljust(octets, b"\0")


def serialise_reply(packet: ReflectorPacket, request: Octets) -> bytearray:
    """The reply to a request: as long, or 41 octets where that is more; padding is copied (RFC 5357, section 4.2.1)."""
    sequence, timestamp, error_estimate, _, *rest = packet
    reply = bytearray(_REPLY.pack(sequence, timestamp, error_estimate, *rest))
    reply += request[REPLY_OCTETS:]
    return reply
