"""The control messages of whole batches of datagrams.

The kernel writes the same messages in the same order for every datagram of a socket, so whole batches are unpacked
with one layout; levels, types and lengths are checked, and what does not match is read message by message.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags
from agent.net.control import (
    CONTROL_OCTETS,
    INT,
    ORIGIN_TIMESTAMPING,
    SECOND_NS,
    SO_TIMESTAMPING,
    SOL_SOCKET,
    Integers,
    messages,
)
from agent.net.protocols import ANY_STAMP, STAMP_OCTETS, Protocol

_TIMESPEC: Final = struct.Struct("=qq")
_CARD_TIMESPEC_AT: Final = 2 * _TIMESPEC.size
_EXTENDED_ERROR: Final = struct.Struct("=4xB7xI")
_RECEIVE_STAMP: Final = struct.Struct(ANY_STAMP + "128x")

_STAMP_COLUMNS: Final = np.dtype(
    {
        "names": [
            "level",
            "kind",
            "seconds",
            "nanos",
            "card_seconds",
            "card_nanos",
            "error_level",
            "error_kind",
            "origin",
            "wire",
        ],
        "formats": ["=i4", "=i4", "=i8", "=i8", "=i8", "=i8", "=i4", "=i4", "u1", "=u4"],
        "offsets": [8, 12, 16, 24, 48, 56, 72, 76, 84, 92],
        "itemsize": CONTROL_OCTETS,
    }
)


def read_receive_stamps(control: bytearray, sizes: Sequence[Sequence[int]]) -> list[int | None]:
    """The receive times (ns) of a batch that came with nothing else asked for.

    Args:
        control: the batch's control data.
        sizes: for each datagram, as `IncomingBatch.receive` gives it.
    """
    return [
        seconds * SECOND_NS + nanos
        if size[1] >= STAMP_OCTETS and kind == SO_TIMESTAMPING and level == SOL_SOCKET and seconds
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
        (results["control_octets"] >= STAMP_OCTETS)
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


def card_stamps_of(control: bytearray, results: NDArray[Any]) -> Integers:
    """The times (ns, by its own clock) at which a card received each datagram of a batch; 0 where it took none.

    The arguments are as for `receive_stamps_of`.
    """
    rows = np.frombuffer(control, _STAMP_COLUMNS, len(results))
    usual = (
        (results["control_octets"] >= STAMP_OCTETS)
        & (rows["kind"] == SO_TIMESTAMPING)
        & (rows["level"] == SOL_SOCKET)
    )
    stamps = np.where(rows["card_seconds"] != 0, rows["card_seconds"] * SECOND_NS + rows["card_nanos"], 0)
    for at in np.flatnonzero(~usual).tolist():
        octets = int(results["control_octets"][at])
        stamps[at] = max(
            (
                _card_ns(data) or 0
                for level, kind, data in messages(control, at * CONTROL_OCTETS, octets)
                if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING)
            ),
            default=0,
        )
    return stamps


def all_transmit_stamps_of(
    protocol: Protocol, control: bytearray, results: NDArray[Any]
) -> tuple[Integers, Integers, Flags]:
    """As `transmit_stamps_of`, where a card may have taken the times.

    Returns:
        (n,) numbers, (n,) times (ns), and (n,) whether each is by the card's clock.
    """
    rows = np.frombuffer(control, _STAMP_COLUMNS, len(results))
    by_kernel, by_card = rows["seconds"] != 0, rows["card_seconds"] != 0
    expected = _is_transmit_stamp(protocol, results, rows) & (by_kernel | by_card)
    if expected.all():
        kernel_ns = rows["seconds"] * SECOND_NS + rows["nanos"]
        card_ns = rows["card_seconds"] * SECOND_NS + rows["card_nanos"]
        return rows["wire"].astype(np.int64), np.where(by_card, card_ns, kernel_ns), by_card
    walked = (
        _walk_any_stamp(protocol, control, position * CONTROL_OCTETS, octets)
        for position, octets in enumerate(results["control_octets"].tolist())
    )
    found = [
        (wire, kernel_ns if card_ns is None else card_ns, card_ns is not None)
        for wire, kernel_ns, card_ns in walked
        if wire is not None and (kernel_ns is not None or card_ns is not None)
    ]
    each = np.array(found, np.int64).reshape(-1, 3)
    return each[:, 0], each[:, 1], each[:, 2] != 0


def transmit_stamps_of(
    protocol: Protocol, control: bytearray, results: NDArray[Any]
) -> tuple[Integers, Integers]:
    """The kernel's numbers and transmit times (ns) among a batch from the error queue, as arrays.

    The other arguments are as for `receive_stamps_of`.
    """
    rows = np.frombuffer(control, _STAMP_COLUMNS, len(results))
    expected = _is_transmit_stamp(protocol, results, rows) & (rows["seconds"] != 0)
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


def _is_transmit_stamp(protocol: Protocol, results: NDArray[Any], rows: NDArray[Any]) -> Flags:
    """Which messages from the error queue are transmit times, in the kernel's usual order."""
    usual: Flags = (
        (results["control_octets"] == protocol.stamp_octets)
        & (rows["kind"] == SO_TIMESTAMPING)
        & (rows["level"] == SOL_SOCKET)
        & (rows["error_level"] == protocol.level)
        & (rows["error_kind"] == protocol.error)
        & (rows["origin"] == ORIGIN_TIMESTAMPING)
    )
    return usual


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
        elif (level, kind) == (protocol.level, protocol.ttl) and len(data) == INT.size:
            (ttl,) = INT.unpack(data)
        elif (level, kind) == (protocol.level, protocol.traffic_class) and len(data) in (1, INT.size):
            traffic_class = int.from_bytes(data, sys.byteorder) & 0xFF  # one octet of IPv4, an int of IPv6
    return received_ns, ttl, traffic_class, info


def _walk_stamp(protocol: Protocol, control: bytearray, at: int, octets: int) -> list[tuple[int, int]]:
    wire, kernel_ns, _ = _walk_any_stamp(protocol, control, at, octets)
    return [] if wire is None or kernel_ns is None else [(wire, kernel_ns)]


def _walk_any_stamp(
    protocol: Protocol, control: bytearray, at: int, octets: int
) -> tuple[int | None, int | None, int | None]:
    """The number of a transmit time, the kernel's time and the card's: each None where a message has none."""
    kernel_ns: int | None = None
    card_ns: int | None = None
    wire: int | None = None
    for level, kind, data in messages(control, at, octets):
        if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
            kernel_ns, card_ns = _software_ns(data), _card_ns(data)
        elif (level, kind) == (protocol.level, protocol.error) and len(data) >= _EXTENDED_ERROR.size:
            origin, number = _EXTENDED_ERROR.unpack_from(data)
            wire = number if origin == ORIGIN_TIMESTAMPING else None
    return wire, kernel_ns, card_ns


def _card_ns(data: bytes) -> int | None:
    if len(data) < _CARD_TIMESPEC_AT + _TIMESPEC.size:
        return None
    seconds, nanos = _TIMESPEC.unpack_from(data, _CARD_TIMESPEC_AT)
    return seconds * SECOND_NS + nanos if seconds else None


def _software_ns(data: bytes) -> int | None:
    seconds, nanos = _TIMESPEC.unpack_from(data)
    return seconds * SECOND_NS + nanos if seconds else None
