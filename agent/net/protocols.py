"""What differs between IPv4 and IPv6 in the control messages that the kernel writes and takes."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.net.control import CONTROL_OCTETS, HEADER, INT

_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_IPPROTO_IPV6: Final = int(socket.IPPROTO_IPV6)
_TRAFFIC_CLASS: Final = struct.Struct("=Qiii4x")
_LINK_LOCAL: Final = bytes((0xFE, 0x80))

TRAFFIC_CLASS_VALUE_AT: Final = HEADER.size

ANY_STAMP: Final = "=8xiiqq32x"
STAMP_OCTETS: Final = 64
"""A control message with the kernel's times: its layout, and how long it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Protocol:
    """What differs between IPv4 and IPv6.

    Attributes:
        name_octets: length of a socket address.
        level, packet_info, ttl, traffic_class, error: protocol level and types of its control messages.
        info_octets: length of the packet info.
        arrival: layout of what comes with a datagram: level, type, seconds, nanoseconds of the receive time; level,
            type, data of packet info; level, type, value of TTL or hop limit; level, type, value of TOS or traffic
            class, which IPv4 gives as one octet.
        arrival_octets: how much control data that is.
        stamp: layout of a transmit time: level, type, seconds, nanoseconds; level, type, origin, number of its error.
        stamp_octets: how much control data that is.
        arrival_columns: `arrival` for arrays.
    """

    name_octets: int
    level: int
    packet_info: int
    ttl: int
    traffic_class: int
    error: int
    info_octets: int
    arrival: struct.Struct
    arrival_octets: int
    stamp: struct.Struct
    stamp_octets: int
    arrival_columns: np.dtype[np.void]

    @property
    def any_source(self) -> bytes:
        """The control message that leaves it to the routing which of our addresses a datagram leaves from."""
        return self._source(bytes(self.info_octets))

    def answer(self, info: bytes) -> bytes:
        """The control message that answers from the address in a received packet info.

        Its interface is left open, so that the routing chooses the way out, which need not be the way in; but a
        link-local address means nothing without its interface. Nothing where there is no packet info.
        """
        if not info:
            return b""
        if self is IPV4:
            return self._source(bytes(4) + info[4:8] + bytes(4))
        return self._source(info if info.startswith(_LINK_LOCAL) else info[:16] + bytes(4))

    def answers(self, infos: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same of many packet infos: (n, octets of the message), from (n, octets of an info)."""
        made = np.empty((len(infos), len(self.any_source)), np.uint8)
        made[:] = np.frombuffer(self.any_source, np.uint8)
        data = made[:, HEADER.size : HEADER.size + self.info_octets]
        if self is IPV4:
            data[:, 4:8] = infos[:, 4:8]
        else:
            data[:, :16] = infos[:, :16]
            (local,) = np.nonzero((infos[:, :2] == np.frombuffer(_LINK_LOCAL, np.uint8)).all(axis=1))
            data[local, 16:] = infos[local, 16:]
        return made

    def class_message(self, traffic_class: int) -> bytes:
        """The control message that chooses TOS or traffic class of a datagram: DSCP and ECN."""
        return _TRAFFIC_CLASS.pack(HEADER.size + INT.size, self.level, self.traffic_class, traffic_class)

    def _source(self, info: bytes) -> bytes:
        return HEADER.pack(HEADER.size + len(info), self.level, self.packet_info) + info + bytes(4)


def _arrival_columns(info_octets: int, ttl_at: int, traffic_class: str) -> np.dtype[np.void]:
    info_at, class_at = STAMP_OCTETS, ttl_at + 24
    return np.dtype(
        {
            "names": [
                "level",
                "kind",
                "seconds",
                "nanos",
                "info_level",
                "info_kind",
                "info",
                "ttl_level",
                "ttl_kind",
                "ttl",
                "class_level",
                "class_kind",
                "class",
            ],
            "formats": [
                "=i4",
                "=i4",
                "=i8",
                "=i8",
                "=i4",
                "=i4",
                ("u1", (info_octets,)),
                "=i4",
                "=i4",
                "=i4",
                "=i4",
                "=i4",
                traffic_class,
            ],
            "offsets": [
                8,
                12,
                16,
                24,
                info_at + 8,
                info_at + 12,
                info_at + 16,
                ttl_at + 8,
                ttl_at + 12,
                ttl_at + 16,
                class_at + 8,
                class_at + 12,
                class_at + 16,
            ],
            "itemsize": CONTROL_OCTETS,
        }
    )


IPV4: Final = Protocol(
    name_octets=16,
    level=_IPPROTO_IP,
    packet_info=8,
    ttl=2,
    traffic_class=int(socket.IP_TOS),
    error=11,
    info_octets=12,
    arrival=struct.Struct(ANY_STAMP + "8xii12s4x" + "8xiii4x" + "8xiiB7x" + "48x"),
    arrival_octets=144,
    stamp=struct.Struct(ANY_STAMP + "8xii4xB7xI" + "16x" + "80x"),
    stamp_octets=112,
    arrival_columns=_arrival_columns(info_octets=12, ttl_at=96, traffic_class="u1"),
)
IPV6: Final = Protocol(
    name_octets=28,
    level=_IPPROTO_IPV6,
    packet_info=int(socket.IPV6_PKTINFO),
    ttl=int(socket.IPV6_HOPLIMIT),
    traffic_class=int(socket.IPV6_TCLASS),
    error=25,
    info_octets=20,
    arrival=struct.Struct(ANY_STAMP + "8xii20s4x" + "8xiii4x" + "8xiii4x" + "40x"),
    arrival_octets=152,
    stamp=struct.Struct(ANY_STAMP + "8xii4xB7xI" + "28x4x" + "64x"),
    stamp_octets=128,
    arrival_columns=_arrival_columns(info_octets=20, ttl_at=104, traffic_class="=i4"),
)
