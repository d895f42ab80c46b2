"""Control messages (RFC 3542, section 20 of `man 3 cmsg`): what the kernel says beside a datagram, and is told.

    struct cmsghdr        0 len(8)   8 level(4)   12 type(4)   16 data, then padding to a multiple of 8
    scm_timestamping      three timespecs of 16 octets: software, unused, hardware
    sock_extended_err     errno(4) origin(1) type(1) code(1) pad(1) info(4) data(4)

The kernel writes the same messages in the same order for every datagram of a socket, so whole batches are unpacked
with one layout; levels, types and lengths are checked, and what does not match is read message by message.
"""

from __future__ import annotations

import functools
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Plain integers: comparing the flag types of the socket module costs as much time per packet as the packet itself.
SOL_SOCKET: Final = int(socket.SOL_SOCKET)
MSG_TRUNC: Final = int(socket.MSG_TRUNC)
MSG_ERRQUEUE: Final = 0x2000
SO_TIMESTAMPING: Final = 37
ORIGIN_TIMESTAMPING: Final = 4
SECOND_NS: Final = 1_000_000_000

_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_IPPROTO_IPV6: Final = int(socket.IPPROTO_IPV6)
_SCM_TS_OPT_ID: Final = 81
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = 2, 8, 16, 128, 2048
STAMPING_FLAGS: Final = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY

CONTROL_OCTETS: Final = 192
"""Room for all control messages of one received datagram or transmit time, and the length of every layout."""

_HEADER: Final = struct.Struct("=Qii")
_TIMESPEC: Final = struct.Struct("=qq")
_EXTENDED_ERROR: Final = struct.Struct("=4xB7xI")
_ORIGIN_TYPE_CODE: Final = struct.Struct("=4xBBB9x")
_ICMP_ORIGINS: Final = (2, 3)
_INT: Final = struct.Struct("=i")
_TRANSMIT_ID: Final = struct.Struct("=QiiI4x")
_TRAFFIC_CLASS: Final = struct.Struct("=Qiii4x")
_LINK_LOCAL: Final = bytes((0xFE, 0x80))

TRANSMIT_ID_OCTETS: Final = _TRANSMIT_ID.size
TRANSMIT_ID_VALUE_AT: Final = _HEADER.size
TRAFFIC_CLASS_OCTETS: Final = _TRAFFIC_CLASS.size
TRAFFIC_CLASS_VALUE_AT: Final = _HEADER.size


def transmit_id_message(wire: int) -> bytes:
    """The control message that chooses the number under which a transmit time comes back."""
    return _TRANSMIT_ID.pack(_HEADER.size + 4, SOL_SOCKET, _SCM_TS_OPT_ID, wire)


@functools.cache
def kernel_takes_transmit_ids() -> bool:
    """Whether a sender may choose the numbers of its datagrams (Linux 6.13); asked of the kernel once, by trying."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("127.0.0.1", 0))
            trial.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, STAMPING_FLAGS)
            trial.sendmsg([b""], [(SOL_SOCKET, _SCM_TS_OPT_ID, _INT.pack(0))], 0, trial.getsockname())
        except OSError:
            return False
        return True


Integers = NDArray[np.int64]


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
        data = made[:, _HEADER.size : _HEADER.size + self.info_octets]
        if self is IPV4:
            data[:, 4:8] = infos[:, 4:8]
        else:
            data[:, :16] = infos[:, :16]
            (local,) = np.nonzero((infos[:, :2] == np.frombuffer(_LINK_LOCAL, np.uint8)).all(axis=1))
            data[local, 16:] = infos[local, 16:]
        return made

    def class_message(self, traffic_class: int) -> bytes:
        """The control message that chooses TOS or traffic class of a datagram: DSCP and ECN."""
        return _TRAFFIC_CLASS.pack(_HEADER.size + _INT.size, self.level, self.traffic_class, traffic_class)

    def _source(self, info: bytes) -> bytes:
        return _HEADER.pack(_HEADER.size + len(info), self.level, self.packet_info) + info + bytes(4)


_ANY_STAMP: Final = "=8xiiqq32x"
_STAMP_OCTETS: Final = 64
_RECEIVE_STAMP: Final = struct.Struct(_ANY_STAMP + "128x")

_STAMP_COLUMNS: Final = np.dtype(
    {
        "names": ["level", "kind", "seconds", "nanos", "error_level", "error_kind", "origin", "wire"],
        "formats": ["=i4", "=i4", "=i8", "=i8", "=i4", "=i4", "u1", "=u4"],
        "offsets": [8, 12, 16, 24, 72, 76, 84, 92],
        "itemsize": CONTROL_OCTETS,
    }
)


def _arrival_columns(info_octets: int, ttl_at: int, traffic_class: str) -> np.dtype[np.void]:
    info_at, class_at = _STAMP_OCTETS, ttl_at + 24
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
    arrival=struct.Struct(_ANY_STAMP + "8xii12s4x" + "8xiii4x" + "8xiiB7x" + "48x"),
    arrival_octets=144,
    stamp=struct.Struct(_ANY_STAMP + "8xii4xB7xI" + "16x" + "80x"),
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
    arrival=struct.Struct(_ANY_STAMP + "8xii20s4x" + "8xiii4x" + "8xiii4x" + "40x"),
    arrival_octets=152,
    stamp=struct.Struct(_ANY_STAMP + "8xii4xB7xI" + "28x4x" + "64x"),
    stamp_octets=128,
    arrival_columns=_arrival_columns(info_octets=20, ttl_at=104, traffic_class="=i4"),
)

_ERRORS: Final = tuple((protocol.level, protocol.error) for protocol in (IPV4, IPV6))


def messages(control: bytearray, at: int, octets: int) -> Iterator[tuple[int, int, bytes]]:
    """Level, type and data of each control message between `at` and `at + octets`; stops at a malformed one."""
    end = at + octets
    while at + _HEADER.size <= end:
        length, level, kind = _HEADER.unpack_from(control, at)
        if length < _HEADER.size or at + length > end:
            return
        yield level, kind, bytes(control[at + _HEADER.size : at + length])
        at += (length + 7) & ~7


def icmp_errors_among(said: Iterable[tuple[int, int, bytes]]) -> Iterator[tuple[int, int, bytes]]:
    """ICMP type and code, and the encoded address of whoever sent it, of the ICMP errors among control messages.

    The address is empty, or begins with zeros, where the kernel gives none.
    """
    for level, kind, data in said:
        if (level, kind) in _ERRORS and len(data) >= _ORIGIN_TYPE_CODE.size:
            origin, icmp_type, code = _ORIGIN_TYPE_CODE.unpack_from(data)
            if origin in _ICMP_ORIGINS:
                yield icmp_type, code, data[_ORIGIN_TYPE_CODE.size :]


def read_receive_stamps(control: bytearray, sizes: Sequence[Sequence[int]]) -> list[int | None]:
    """The receive times (ns) of a batch that came with nothing else asked for.

    Args:
        control: the batch's control data.
        sizes: for each datagram, as `IncomingBatch.receive` gives it.
    """
    return [
        seconds * SECOND_NS + nanos
        if size[1] >= _STAMP_OCTETS and kind == SO_TIMESTAMPING and level == SOL_SOCKET and seconds
        else None
        for size, (level, kind, seconds, nanos) in zip(
            sizes, _RECEIVE_STAMP.iter_unpack(control), strict=False
        )
    ]


def read_arrivals(
    protocol: Protocol, control: bytearray, sizes: Sequence[Sequence[int]]
) -> list[tuple[int | None, int | None, int | None, bytes]]:
    """Receive time (ns), TTL or hop limit, TOS or traffic class, and packet info of each datagram of a batch; None or
    empty where missing.
    """
    expected = (
        SOL_SOCKET,
        SO_TIMESTAMPING,
        protocol.level,
        protocol.packet_info,
        protocol.level,
        protocol.ttl,
        protocol.level,
        protocol.traffic_class,
    )
    found: list[tuple[int | None, int | None, int | None, bytes]] = []
    for size, row in zip(sizes, protocol.arrival.iter_unpack(control), strict=False):
        level, kind, seconds, nanos, info_level, info_kind, info, ttl_level, ttl_kind, ttl, *marking = row
        class_level, class_kind, traffic_class = marking
        if (
            size[1] == protocol.arrival_octets
            and (level, kind, info_level, info_kind, ttl_level, ttl_kind, class_level, class_kind) == expected
            and seconds
        ):
            found.append((seconds * SECOND_NS + nanos, ttl, traffic_class, info))
        else:
            found.append(_walk_arrival(protocol, control, len(found) * CONTROL_OCTETS, size[1]))
    return found


def read_transmit_stamps(
    protocol: Protocol, control: bytearray, sizes: Iterable[Sequence[int]]
) -> list[tuple[int, int]]:
    """The kernel's numbers and transmit times (ns) among a batch from the error queue; what else is there is passed by.

    The other arguments are as for `read_receive_stamps`.
    """
    expected = (SOL_SOCKET, SO_TIMESTAMPING, protocol.level, protocol.error, ORIGIN_TIMESTAMPING)
    found: list[tuple[int, int]] = []
    for position, (size, row) in enumerate(zip(sizes, protocol.stamp.iter_unpack(control), strict=False)):
        level, kind, seconds, nanos, error_level, error_kind, origin, wire = row
        if (
            size[1] == protocol.stamp_octets
            and (level, kind, error_level, error_kind, origin) == expected
            and seconds
        ):
            found.append((wire, seconds * SECOND_NS + nanos))
        else:
            found += _walk_stamp(protocol, control, position * CONTROL_OCTETS, size[1])
    return found


def receive_stamps_of(control: bytearray, results: NDArray[Any]) -> Integers:
    """The receive times (ns) of a batch that came with nothing else asked for, as an array; 0 where there is none.

    Args:
        control: the batch's control data.
        results: of each datagram, as `IncomingBatch.results` has it.
    """
    rows = np.frombuffer(control, _STAMP_COLUMNS, len(results))
    return np.where(
        (results["control_octets"] >= _STAMP_OCTETS)
        & (rows["kind"] == SO_TIMESTAMPING)
        & (rows["level"] == SOL_SOCKET),
        rows["seconds"] * SECOND_NS + rows["nanos"],
        0,
    )


def arrivals_of(
    protocol: Protocol, control: bytearray, results: NDArray[Any]
) -> tuple[Integers, Integers, Integers, NDArray[np.uint8]]:
    """What `read_arrivals` reads, as arrays.

    The other arguments are as for `receive_stamps_of`.

    Returns:
        (n,) receive times (ns), 0 where there is none; (n,) TTLs or hop limits and (n,) TOS or traffic classes, -1
        where there is none; and packet infos, (n, `info_octets`), zeros where there is none.
    """
    rows = np.frombuffer(control, protocol.arrival_columns, len(results))
    expected = (
        (results["control_octets"] == protocol.arrival_octets)
        & (rows["kind"] == SO_TIMESTAMPING)
        & (rows["level"] == SOL_SOCKET)
        & (rows["info_level"] == protocol.level)
        & (rows["info_kind"] == protocol.packet_info)
        & (rows["ttl_level"] == protocol.level)
        & (rows["ttl_kind"] == protocol.ttl)
        & (rows["class_level"] == protocol.level)
        & (rows["class_kind"] == protocol.traffic_class)
        & (rows["seconds"] != 0)
    )
    received_ns = rows["seconds"] * SECOND_NS + rows["nanos"]
    ttls, classes = rows["ttl"].astype(np.int64), rows["class"].astype(np.int64)
    infos: NDArray[np.uint8] = rows["info"]
    if not expected.all():
        infos = infos.copy()
        for at in np.flatnonzero(~expected).tolist():
            octets = int(results["control_octets"][at])
            stamp, ttl, traffic_class, info = _walk_arrival(protocol, control, at * CONTROL_OCTETS, octets)
            received_ns[at] = stamp or 0
            ttls[at] = -1 if ttl is None else ttl
            classes[at] = -1 if traffic_class is None else traffic_class
            infos[at] = np.frombuffer(info or bytes(protocol.info_octets), np.uint8)
    return received_ns, ttls, classes, infos


def transmit_stamps_of(
    protocol: Protocol, control: bytearray, results: NDArray[Any]
) -> tuple[Integers, Integers]:
    """The kernel's numbers and transmit times (ns) among a batch from the error queue, as arrays.

    The other arguments are as for `receive_stamps_of`.
    """
    rows = np.frombuffer(control, _STAMP_COLUMNS, len(results))
    expected = (
        (results["control_octets"] == protocol.stamp_octets)
        & (rows["kind"] == SO_TIMESTAMPING)
        & (rows["level"] == SOL_SOCKET)
        & (rows["error_level"] == protocol.level)
        & (rows["error_kind"] == protocol.error)
        & (rows["origin"] == ORIGIN_TIMESTAMPING)
        & (rows["seconds"] != 0)
    )
    wire, stamped_ns = rows["wire"].astype(np.int64), rows["seconds"] * SECOND_NS + rows["nanos"]
    if expected.all():
        return wire, stamped_ns
    found = [
        stamp
        for position, octets in enumerate(results["control_octets"].tolist())
        for stamp in _walk_stamp(protocol, control, position * CONTROL_OCTETS, octets)
    ]
    both = np.array(found, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _walk_arrival(
    protocol: Protocol, control: bytearray, at: int, octets: int
) -> tuple[int | None, int | None, int | None, bytes]:
    received_ns: int | None = None
    ttl: int | None = None
    traffic_class: int | None = None
    info = b""
    for level, kind, data in messages(control, at, octets):
        if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            received_ns = _software_ns(data)
        elif (level, kind) == (protocol.level, protocol.packet_info) and len(data) == protocol.info_octets:
            info = data
        elif (level, kind) == (protocol.level, protocol.ttl) and len(data) == _INT.size:
            (ttl,) = _INT.unpack(data)
        elif (level, kind) == (protocol.level, protocol.traffic_class) and len(data) in (1, _INT.size):
            traffic_class = int.from_bytes(data, sys.byteorder) & 0xFF  # one octet of IPv4, an int of IPv6
    return received_ns, ttl, traffic_class, info


def _walk_stamp(protocol: Protocol, control: bytearray, at: int, octets: int) -> list[tuple[int, int]]:
    stamped_ns: int | None = None
    wire: int | None = None
    for level, kind, data in messages(control, at, octets):
        if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            stamped_ns = _software_ns(data)
        elif (level, kind) == (protocol.level, protocol.error) and len(data) >= _EXTENDED_ERROR.size:
            origin, number = _EXTENDED_ERROR.unpack_from(data)
            wire = number if origin == ORIGIN_TIMESTAMPING else None
    return [] if stamped_ns is None or wire is None else [(wire, stamped_ns)]


def _software_ns(data: bytes) -> int | None:
    seconds, nanos = _TIMESPEC.unpack_from(data)
    return seconds * SECOND_NS + nanos if seconds else None
