"""ICMP echo (RFC 792, RFC 4443 section 4) whose payload tells the probe: arrays of requests out, of replies in.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |     Type      |     Code      |           Checksum            |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  4 |           Identifier          |  Sequence Number, low 16 bits |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  8 |                            Cookie                             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 12 |                              Row                              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 16 |                    Sequence Number, 32 bits                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 20 |                              zero                             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 24 |                           Timestamp                           |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 32 |                  One's complement of Timestamp                |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The checksum is the complement of a one's complement sum, in which the timestamp and its complement add up to nothing
(RFC 1624, section 2: -0). So it is computed before the timestamp is known, for all packets of a plan at once.
icmplib, which opens the sockets (`agent.net.echo_socket`), builds a packet only as it sends it, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ECHO_COLUMNS: Final = np.dtype(
    {
        "names": [
            "type",
            "code",
            "checksum",
            "identifier",
            "echo_sequence",
            "cookie",
            "row",
            "sequence",
            "timestamp",
            "complement",
        ],
        "formats": ["u1", "u1", ">u2", ">u2", ">u2", ">u4", ">u4", ">u4", ">u8", ">u8"],
        "offsets": [0, 1, 2, 4, 6, 8, 12, 16, 24, 32],
        "itemsize": 40,
    }
)
"""A request or reply, in arrays of packets."""

ECHO_OCTETS: Final = ECHO_COLUMNS.itemsize
HEADER_OCTETS: Final = 8
IDENTIFIER_AT: Final = 4
COOKIE_AT: Final = 8
_CHANGES_BEFORE_LEAVING: Final = 24


@dataclass(frozen=True, slots=True)
class EchoProtocol:
    """What differs between ICMP and ICMPv6.

    Attributes:
        version: of IP.
        request, reply: types of echo messages.
        errors: types of the errors that quote a packet, by what they say.
        next_header: the protocol's own number.
        quoted_next_header: where an error has the protocol of the packet it quotes, from its own beginning.
        quoted_message: where the quoted ICMP message begins, the quoted IP header being without options.
    """

    version: int
    request: int
    reply: int
    errors: dict[int, str]
    next_header: int
    quoted_next_header: int
    quoted_message: int


ICMPV4: Final = EchoProtocol(
    version=4,
    request=8,
    reply=0,
    errors={3: "unreachable", 11: "time_exceeded", 12: "parameter_problem"},
    next_header=1,
    quoted_next_header=HEADER_OCTETS + 9,
    quoted_message=HEADER_OCTETS + 20,
)
ICMPV6: Final = EchoProtocol(
    version=6,
    request=128,
    reply=129,
    errors={1: "unreachable", 2: "too_big", 3: "time_exceeded", 4: "parameter_problem"},
    next_header=58,
    quoted_next_header=HEADER_OCTETS + 6,
    quoted_message=HEADER_OCTETS + 40,
)


def write_checksums(columns: NDArray[np.void], octets: NDArray[np.uint8]) -> None:
    """Write the ICMPv4 checksums of packets that are complete but for their timestamps.

    Args:
        columns, octets: the same packets, (n,) by `ECHO_COLUMNS` and (n, ECHO_OCTETS).

    Source: RFC 1071.
    """
    columns["checksum"] = 0
    words = octets[:, :_CHANGES_BEFORE_LEAVING].view(">u2")
    sums = words.sum(axis=1, dtype=np.uint32)
    sums = (sums & 0xFFFF) + (sums >> 16)
    sums = (sums & 0xFFFF) + (sums >> 16)
    columns["checksum"] = ~sums & 0xFFFF


def write_timestamps(columns: NDArray[np.void], wire: int) -> None:
    """Write the same 64-bit timestamp into packets, in a way that leaves their checksums valid."""
    columns["timestamp"] = wire
    columns["complement"] = ~wire & 0xFFFF_FFFF_FFFF_FFFF
