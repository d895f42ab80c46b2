"""The TLVs of many requests at once, by the rules of `agent.core.tlv_reflection`.

Senders send the same TLVs in the same order again and again: what differs are the values. So the layout of one packet
is read, and the packets that have the same headers at the same places are answered with it, column by column. What
depends on more than its place (HMAC, Return Path, anything malformed) is answered one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags, Integers
from agent.core.reflected_sessions import NOT_KNOWN, ReflectedSession
from agent.core.stamp import Octets
from agent.core.timestamps import ntp_from_ns_of
from agent.core.tlv import HEADER_OCTETS, UNRECOGNISED, Frame, TlvType, scan
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    FollowUpTelemetry,
    ReversePath,
    TimestampInformation,
    TimestampMethod,
)

_MOST_LAYOUTS: Final = 8
_MOST_LENGTHS: Final = 8
_NEW_AT_ONCE: Final = 4
"""Packets of more lengths and layouts than these are answered one by one, which costs less than as many columns."""

_FOLLOW_UP: Final = np.dtype(
    {
        "names": ["sequence", "timestamp", "method"],
        "formats": [">u4", ">u8", "u1"],
        "offsets": [0, 4, 12],
        "itemsize": FollowUpTelemetry.OCTETS,
    }
)
_COUNTERS: Final = slice(4, 12)
_LOW_32: Final = 0xFFFF_FFFF


class ColumnsAbout(NamedTuple):
    """What the TLVs of many replies depend on besides the requests'; (n,) each, of all packets.

    Attributes:
        sequences: of the replies, modulo nothing.
        sessions: of the replies; None if stateless.
        dscps, ecns: with which the requests arrived.
        markable: (64,), whether a reply may carry a DSCP.
        takers: who took the request's receive time, as `agent.core.reflection.Taker`.
        timestamping: how T2 and T3 are taken, by that.
    """

    sequences: Integers
    sessions: Sequence[ReflectedSession] | None
    dscps: Integers
    ecns: Integers
    markable: Flags
    takers: Integers
    timestamping: tuple[TimestampInformation, ...]


class _Group(NamedTuple):
    """Packets of one layout, `rows` of all."""

    packets: NDArray[np.uint8]
    rows: Integers
    about: ColumnsAbout
    dscps: Integers


class TlvLayout:
    """The headers of a packet's TLVs.

    Args:
        octets: what follows the base packet.

    Attributes:
        octets: how many that are.
        columnar: whether packets of this layout can be answered together.
        follows_up: whether one of the TLVs is a Follow-Up Telemetry.
    """

    __slots__ = ("_expected", "_places", "_tlvs", "columnar", "follows_up", "octets")

    def __init__(self, octets: Octets) -> None:
        tlvs, covered = scan(octets)
        self.octets = len(octets)
        self.follows_up = any(tlv.type == TlvType.FOLLOW_UP_TELEMETRY for tlv in tlvs)
        kinds = [tlv.type for tlv in tlvs]
        self.columnar = (
            covered == len(octets)
            and all(map(_is_columnar, tlvs))
            and kinds.count(TlvType.CLASS_OF_SERVICE) <= 1
        )
        self._tlvs = tlvs
        self._places = np.array(
            [tlv.start + at for tlv in tlvs for at in range(1, HEADER_OCTETS)], dtype=np.int64
        )
        self._expected = np.frombuffer(bytes(octets), np.uint8)[self._places]

    def is_of(self, tlvs: NDArray[np.uint8]) -> Flags:
        """Which of these have this layout: (n,), of (n, `octets`)."""
        same: Flags = (tlvs[:, self._places] == self._expected).all(axis=1)
        return same

    def answer(
        self, packets: NDArray[np.uint8], base: int, rows: Integers, about: ColumnsAbout, dscps: Integers
    ) -> None:
        """Answer the TLVs of packets of this layout in place.

        Args:
            packets: all packets; `rows` of them are of this layout.
            base: octets of a base packet, which the TLVs follow.
            about: the rest that is known, of all packets.
            dscps: of all packets; those with which replies are asked to be marked, and may be, are written.
        """
        group = _Group(packets, rows, about, dscps)
        for tlv in self._tlvs:
            fill = _COLUMNS.get(tlv.type, _not_known)
            answered = fill(group, base + tlv.start + HEADER_OCTETS)
            packets[rows, base + tlv.start] = 0 if answered else UNRECOGNISED


class TlvLayouts:
    """The layouts that were met last."""

    def __init__(self) -> None:
        self._recent: list[TlvLayout] = []

    def sort(
        self, packets: NDArray[np.uint8], base: int, octets: NDArray[Any]
    ) -> Iterator[tuple[TlvLayout | None, Integers]]:
        """Find packets of the same layout.

        Args:
            packets: (n, octets of the longest), of which `octets` (n,) are meant.
            base: octets of a base packet, which the TLVs follow.

        Returns:
            Layouts with the rows that have them, None for rows to be answered one by one; most packets without TLVs are
            in neither.
        """
        (rows,) = np.nonzero(octets > base)
        for _ in range(_MOST_LENGTHS):
            if not len(rows):
                return
            alike = octets[rows] == octets[rows[0]]
            yield from self._sort_alike(packets, base, int(octets[rows[0]]), rows[alike])
            rows = rows[~alike]
        if len(rows):
            yield None, rows

    def _sort_alike(
        self, packets: NDArray[np.uint8], base: int, stop: int, rows: Integers
    ) -> Iterator[tuple[TlvLayout | None, Integers]]:
        tlvs = packets[rows, base:stop]
        left: Flags = np.any(tlvs[:, :HEADER_OCTETS], axis=1)
        if not left.all():
            # zeros throughout are padding, as `scan` has it; a TLV of type 0 with flags of 0 is rare
            odd = rows[~left][tlvs[~left].any(axis=1)]
            if len(odd):
                yield None, odd
        fresh = 0
        for layout in self._recent.copy():
            if layout.octets == stop - base and left.any():
                found = left & layout.is_of(tlvs)
                if found.any():
                    left &= ~found
                    yield self._use(layout), rows[found]
        while left.any() and fresh < _NEW_AT_ONCE:
            fresh += 1
            layout = TlvLayout(tlvs[int(left.argmax())].tobytes())
            found = left & layout.is_of(tlvs)
            left &= ~found
            yield self._use(layout), rows[found]
        if left.any():
            yield None, rows[left]

    def _use(self, layout: TlvLayout) -> TlvLayout | None:
        """Keep a layout as the latest that was met."""
        if layout in self._recent:
            self._recent.remove(layout)
        self._recent.insert(0, layout)
        del self._recent[_MOST_LAYOUTS:]
        return layout if layout.columnar else None


def _is_columnar(tlv: Frame) -> bool:
    octets = _LENGTHS.get(tlv.type)
    return tlv.type not in _ONE_BY_ONE and (octets is None or tlv.end - tlv.start == HEADER_OCTETS + octets)


def _not_known(group: _Group, at: int) -> bool:
    return False


def _copied(group: _Group, at: int) -> bool:
    return True


def _timestamping(group: _Group, at: int) -> bool:
    about = group.about
    each = np.frombuffer(b"".join(one.serialise() for one in about.timestamping), np.uint8)
    by_taker = each.reshape(len(about.timestamping), -1)
    group.packets[group.rows, at : at + TimestampInformation.OCTETS] = by_taker[about.takers[group.rows]]
    return True


def _class_of_service(group: _Group, at: int) -> bool:
    rows, about = group.rows, group.about
    wishes = group.packets[rows, at].astype(np.int64) >> 2
    dscps = about.dscps[rows]
    granted = about.markable[wishes]
    group.dscps[rows] = np.where(granted, wishes, dscps)
    refusals = np.where(granted, ReversePath.AS_REQUESTED, ReversePath.REFUSED)
    words = (wishes << 10 | dscps << 4 | about.ecns[rows] << 2 | refusals) << 16
    group.packets[rows, at : at + ClassOfService.OCTETS] = (
        words.astype(">u4").view(np.uint8).reshape(len(rows), -1)
    )
    return True


def _direct_measurement(group: _Group, at: int) -> bool:
    sessions, rows = group.about.sessions, group.rows
    if sessions is None:
        return False
    sequences = group.about.sequences[rows]
    counts = np.empty((len(rows), 2), ">u4")
    counts[:, 0] = (sequences + 1) & _LOW_32
    counts[:, 1] = [
        sessions[row].sent(own) & _LOW_32 for row, own in zip(rows.tolist(), sequences.tolist(), strict=True)
    ]
    group.packets[rows, at + _COUNTERS.start : at + _COUNTERS.stop] = counts.view(np.uint8)
    return True


def _follow_up(group: _Group, at: int) -> bool:
    sessions, rows = group.about.sessions, group.rows
    values = np.zeros(len(rows), _FOLLOW_UP)
    if sessions is not None:
        sequences = group.about.sequences[rows]
        left_ns = np.array(
            [
                sessions[row].left_before(own)
                for row, own in zip(rows.tolist(), sequences.tolist(), strict=True)
            ]
        )
        known = left_ns != NOT_KNOWN
        values["sequence"] = np.where(known, (sequences - 1) & _LOW_32, 0)
        values["timestamp"] = np.where(known, ntp_from_ns_of(left_ns), 0)
        methods = [sessions[row].left_by for row in rows.tolist()]
        values["method"] = np.where(known, methods, TimestampMethod.UNKNOWN)
    group.packets[rows, at : at + FollowUpTelemetry.OCTETS] = values.view(np.uint8).reshape(len(rows), -1)
    return True


_COLUMNS: Final[dict[int, Callable[[_Group, int], bool]]] = {
    TlvType.EXTRA_PADDING: _copied,
    TlvType.TIMESTAMP_INFORMATION: _timestamping,
    TlvType.CLASS_OF_SERVICE: _class_of_service,
    TlvType.DIRECT_MEASUREMENT: _direct_measurement,
    TlvType.FOLLOW_UP_TELEMETRY: _follow_up,
}
_LENGTHS: Final[dict[int, int]] = {
    TlvType.TIMESTAMP_INFORMATION: TimestampInformation.OCTETS,
    TlvType.CLASS_OF_SERVICE: ClassOfService.OCTETS,
    TlvType.DIRECT_MEASUREMENT: DirectMeasurement.OCTETS,
    TlvType.FOLLOW_UP_TELEMETRY: FollowUpTelemetry.OCTETS,
}
_ONE_BY_ONE: Final = frozenset((TlvType.HMAC, TlvType.RETURN_PATH))
