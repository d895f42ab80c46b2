"""The frame of STAMP's optional extensions: TLVs behind the base packet (RFC 8972, section 4).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |U|M|I|R R R R R|     Type      |     Length of the Value       |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                             Value                             ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The sender sends U=1, M=0, I=0; a reflector clears U where it has understood the TLV, so that a U that is still set
says what was not answered. What the values hold is in `agent.core.tlv_values`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from agent.core.stamp import Octets

UNRECOGNISED: Final = 0x80
"""U: the type was not understood, or not answered."""
MALFORMED: Final = 0x40
"""M: the length does not fit the type or the packet; nothing behind it was looked at."""
INTEGRITY: Final = 0x20
"""I: the HMAC was wrong or missing; no TLV of the packet was looked at."""

HEADER_OCTETS: Final = 4
MAX_TLVS: Final = 32
"""What is looked at in one packet; more is malformed. A full frame could hold 350 empty ones, at the cost of dozens
of honest packets."""

_HEADER: Final = Struct(">BBH")


class TlvType(IntEnum):
    """Types of the IANA registry "STAMP TLV Types" that are understood here; all others are unrecognised."""

    EXTRA_PADDING = 1
    TIMESTAMP_INFORMATION = 3
    CLASS_OF_SERVICE = 4
    DIRECT_MEASUREMENT = 5
    FOLLOW_UP_TELEMETRY = 7
    HMAC = 8
    RETURN_PATH = 10


class Frame(NamedTuple):
    """Where one TLV lies.

    Attributes:
        start: offset of its first octet, the flags.
        flags: U, M, I and the reserved bits.
        type: 0 to 255.
        end: offset behind its value.
    """

    start: int
    flags: int
    type: int
    end: int


class Frames(NamedTuple):
    """The TLVs of a packet.

    Attributes:
        tlvs: those that lie within the packet, in their order.
        intact: how many octets they cover; less than there are where a malformed TLV follows.
    """

    tlvs: tuple[Frame, ...]
    intact: int


def scan(octets: Octets) -> Frames:
    """Find the TLVs; never raises.

    Octets that are zero throughout are no TLVs: they are the padding of senders without extensions (RFC 8762, section
    4.3; RFC 6038), for a sender of TLVs sets U in each.

    Args:
        octets: what follows the base packet.
    """
    size = len(octets)
    if not any(octets[:HEADER_OCTETS]) and bytes(octets).count(0) == size:
        return Frames((), size)
    found: list[Frame] = []
    start = 0
    while start + HEADER_OCTETS <= size and len(found) < MAX_TLVS:
        flags, kind, length = _HEADER.unpack_from(octets, start)
        end = start + HEADER_OCTETS + length
        if end > size:
            break
        found.append(Frame(start, flags, kind, end))
        start = end
    return Frames(tuple(found), start)


class TlvFields(NamedTuple):
    """One TLV as it goes on the wire."""

    type: int
    value: bytes
    flags: int = UNRECOGNISED

    def serialise(self) -> bytes:
        """Header and value."""
        return _HEADER.pack(self.flags, self.type, len(self.value)) + self.value


def serialise(tlvs: Iterable[TlvFields]) -> bytes:
    """The octets of several TLVs, in their order."""
    return b"".join(tlv.serialise() for tlv in tlvs)
