"""A socket that several STAMP sessions share: packets written beforehand, sent when due, and their transmit times."""

from __future__ import annotations

import socket
from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Integers
from agent.core.measurement import Probes
from agent.core.recent import RecentLags
from agent.core.session import SenderSessions
from agent.core.stamp import BASE_OCTETS, SENDER_COLUMNS
from agent.net.datagram import Prepared, TimestampedSocket

_BATCH: Final = 256
_AWAITED_STAMPS: Final = 1 << 15
_NOTHING: Final[Integers] = np.zeros(0, np.int64)


class Taken(NamedTuple):
    """Probes that the kernel took, (n,) each.

    Attributes:
        probes: which.
        due_ns, sent_ns: when they should have left and when they did, monotonic time.
        wall_ns, wire: when that was by user space, as Unix wall time and as the packet says it.
    """

    probes: Probes
    due_ns: Integers
    sent_ns: Integers
    wall_ns: Integers
    wire: NDArray[np.uint64]


class _Span(NamedTuple):
    """Neighbouring packets of the plan and what became of them: as in `Sending`, or None where they were left out."""

    first: int
    stop: int
    result: int | None
    sent_ns: int
    wall_ns: int
    wire: int


class Outlet:
    """One socket and its plan.

    Args:
        family, dscp: of the socket.
        destinations: (paths, octets), where each row is sent to; padded to the longest kind of address.

    Attributes:
        lags: between the user-space times of packets and the kernel's.
    """

    def __init__(self, family: socket.AddressFamily, dscp: int, destinations: NDArray[np.uint8]) -> None:
        self.socket = TimestampedSocket(family, dscp=dscp, batch=_BATCH)
        self.lags = RecentLags()
        self._destinations = destinations
        self._probes = Probes(_NOTHING, _NOTHING)
        self._due = _NOTHING
        self._due_ns: list[int] = []
        self._position = 0
        self._settled = 0
        self._spans: list[_Span] = []
        self._make_room(_BATCH)
        # by the low bits of its number, the probe whose transmit time is awaited
        self._awaited_id: Integers = np.full(_AWAITED_STAMPS, -1, np.int64)
        self._awaited = Probes(np.zeros(_AWAITED_STAMPS, np.int64), np.zeros(_AWAITED_STAMPS, np.int64))

    def _make_room(self, size: int) -> None:
        self._prepared = Prepared(self.socket, size, BASE_OCTETS)
        self._packets = self._prepared.payloads.view(SENDER_COLUMNS)[:, 0]
        self._timestamps = self._packets["timestamp"]

    @property
    def next_due_ns(self) -> int | None:
        """When the next packet of the plan is due."""
        return self._due_ns[self._position] if self._position < len(self._due_ns) else None

    @property
    def pending(self) -> bool:
        """Whether packets wait to be sent, or to be settled."""
        return self._settled < len(self._due_ns)

    def plan(self, probes: Probes, due_ns: Integers, error_estimate: int) -> None:
        """Write packets for probes in the order in which they are due; those of the last plan have been settled."""
        count = len(due_ns)
        if count > len(self._packets):
            self._make_room(2 * count)
        self._probes, self._due, self._due_ns = probes, due_ns, due_ns.tolist()
        self._position = self._settled = 0
        packets = self._packets[:count]
        packets["sequence"] = probes.sequences
        packets["error_estimate"] = error_estimate
        packets["ssid"] = probes.rows + 1
        names = self._prepared.destinations
        names[:count] = self._destinations[probes.rows, : names.shape[1]]
        self._prepared.number(count)

    def skip(self, due_before_ns: int) -> list[int]:
        """Leave out what was due before this time, and give the rows of it."""
        late = bisect_left(self._due_ns, due_before_ns, self._position)
        first, self._position = self._position, late
        if first < late:
            self._spans.append(_Span(first, late, None, 0, 0, 0))
        rows: list[int] = self._probes.rows[first:late].tolist()
        return rows

    def send(self, now_ns: int, wall_ns: int, wire: int) -> None:
        """Send what is due; `wall_ns` and `wire` are the wall time by user space and as packets say it."""
        first, stop = self._position, bisect_right(self._due_ns, now_ns, self._position)
        self._position = stop
        self._timestamps[first:stop] = wire
        for begun, ended, result in self._prepared.send(first, stop):
            self._spans.append(_Span(begun, ended, result, now_ns, wall_ns, wire))

    def forget_unsent(self) -> None:
        """Send no more of the plan."""
        del self._due_ns[self._position :]

    def settle(self) -> tuple[Taken | None, list[tuple[int, int]]]:
        """What the kernel took since the last time, and what it refused: row and errno."""
        spans, self._spans = self._spans, []
        self._settled = self._position
        taken = [span for span in spans if span.result is not None and span.result >= 0]
        refused = [
            (row, -span.result)
            for span in spans
            if span.result is not None and span.result < 0
            for row in self._probes.rows[span.first : span.stop].tolist()
        ]
        if not taken:
            return None, refused
        if len(taken) == len(spans):
            chosen = np.arange(taken[0].first, taken[-1].stop)
        else:
            chosen = np.concatenate([np.arange(span.first, span.stop) for span in taken])
        columns = np.array([span[2:5] for span in taken], np.int64)
        counts = np.array([span.stop - span.first for span in taken])
        first_ids, sent_ns, wall_ns = np.repeat(columns, counts, axis=0).T
        wire = np.repeat(np.array([span.wire for span in taken], np.uint64), counts)
        probes = Probes(self._probes.rows[chosen], self._probes.sequences[chosen])
        nth = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._await_stamps(first_ids + nth, probes)
        return Taken(probes, self._due[chosen], sent_ns, wall_ns, wire), refused

    def _await_stamps(self, ids: Integers, probes: Probes) -> None:
        places = ids % _AWAITED_STAMPS
        self._awaited_id[places] = ids
        self._awaited.rows[places], self._awaited.sequences[places] = probes

    def take_stamps(self, sessions: SenderSessions) -> int:
        """Hand the transmit times that have come to their sessions; gives how many came."""
        ids, transmitted_ns = self.socket.transmit_stamp_arrays()
        if len(ids):
            places = ids % _AWAITED_STAMPS
            awaited = self._awaited_id[places] == ids
            places = places[awaited]
            probes = Probes(self._awaited.rows[places], self._awaited.sequences[places])
            self.lags.observe(*sessions.transmitted(probes, transmitted_ns[awaited]).tolist())
        return len(ids)
