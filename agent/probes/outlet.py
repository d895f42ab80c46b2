"""A socket that several sessions share: packets written beforehand, sent when due, and their transmit times.

What a packet looks like, and how a reply is read, is for each kind of probe to say (`Outlet.write`, `Outlet.read`).
"""

from __future__ import annotations

import abc
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Integers
from agent.core.measurement import Probes
from agent.core.recent import RecentLags
from agent.core.session import Replies, SenderSessions
from agent.core.timestamps import ntp_from_ns
from agent.net.datagram import Arrivals, Prepared, TimestampedSocket
from agent.probes.destinations import Destinations

_SPARE: Final = 4
_AWAITED_STAMPS: Final = 1 << 15
_OVERDUE_NS: Final = 20_000_000
_NOTHING: Final[Integers] = np.zeros(0, np.int64)
OVERDUE: Final = 0
"""Stands among error numbers for what was left out because it was late."""


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


class _Planned:
    """Packets written beforehand, in order of their time, and how far they have been sent."""

    def __init__(self, packets: Packets, probes: Probes, due_ns: Integers) -> None:
        self.packets = packets
        self.probes = probes
        self.due = due_ns
        self.due_ns: list[int] = due_ns.tolist()
        self.position = 0


class Packets:
    """Room for packets.

    Attributes:
        octets: (n, octets of a packet).
        columns: the same memory by the fields of the packets' layout.
    """

    def __init__(self, socket_: TimestampedSocket, size: int, layout: np.dtype[np.void]) -> None:
        self.prepared = Prepared(socket_, size, layout.itemsize)
        self.octets = self.prepared.payloads
        self.columns: NDArray[np.void] = self.octets.view(layout)[:, 0]


class _Span(NamedTuple):
    """Neighbouring packets of a plan and what became of them: as in `Sending`, or None where they were left out."""

    plan: _Planned
    first: int
    stop: int
    result: int | None
    sent_ns: int
    wall_ns: int
    wire: int


class Outlet(abc.ABC):
    """One socket and its plan, which one thread sends while another adds to it.

    Args:
        socket_: non-blocking, with kernel times.
        layout: fields of a packet.
        destinations: where the rows are sent to.

    Attributes:
        one_way: whether replies tell the times at which the target received and answered.
        lags: between the user-space times of packets and the kernel's.
    """

    one_way: ClassVar[bool]

    def __init__(
        self, socket_: TimestampedSocket, layout: np.dtype[np.void], destinations: Destinations
    ) -> None:
        self.socket = socket_
        self.lags = RecentLags()
        self._layout = layout
        self._destinations = destinations
        self._plans: deque[_Planned] = deque()
        self._spans: list[_Span] = []
        # held while packets are being sent: whoever has it knows of every packet that is gone what became of it
        self._sending = threading.Lock()
        self._spare: list[Packets] = []
        # by the low bits of its number, the probe whose transmit time is awaited
        self._awaited_id: Integers = np.full(_AWAITED_STAMPS, -1, np.int64)
        self._awaited = Probes(np.zeros(_AWAITED_STAMPS, np.int64), np.zeros(_AWAITED_STAMPS, np.int64))
        # transmit times of packets that left after `settle` was called last
        self._last_awaited = -1
        self._early: tuple[Integers, Integers] = (_NOTHING, _NOTHING)

    @abc.abstractmethod
    def write(self, packets: Packets, probes: Probes) -> None:
        """Write all of the first packets but their timestamps, one for each probe."""

    @abc.abstractmethod
    def stamp(self, packets: Packets, first: int, stop: int, wire: int) -> None:
        """Write the 64-bit transmit timestamp into packets that are about to leave."""

    @abc.abstractmethod
    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """The replies among what has arrived; what is none is counted by reason."""

    @property
    def pending(self) -> bool:
        """Whether packets wait to be sent, or to be settled."""
        return bool(self._plans or self._spans)

    def plan(self, probes: Probes, due_ns: Integers) -> None:
        """Write packets for probes in the order in which they are due, after those planned before."""
        count = len(due_ns)
        packets = next((spare for spare in self._spare if len(spare.columns) >= count), None)
        if packets is None:
            packets = Packets(self.socket, max(self.socket.batch, 2 * count), self._layout)
        else:
            self._spare.remove(packets)
        self.write(packets, probes)
        self._destinations.write(packets.prepared.destinations, probes.rows)
        packets.prepared.number(count)
        self._plans.append(_Planned(packets, probes, due_ns))

    def forget_unsent(self) -> None:
        """Send no more of what is planned."""
        with self._sending:
            self._plans.clear()

    # In the sending thread

    @property
    def next_due_ns(self) -> int | None:
        """When the next packet is due."""
        with self._sending:
            return self._plans[0].due_ns[self._plans[0].position] if self._plans else None

    def send_due(self, now_ns: int) -> None:
        """Send what is due at monotonic time `now_ns`, but for what is overdue."""
        with self._sending:
            while self._plans and self._plans[0].due_ns[self._plans[0].position] <= now_ns:
                plan = self._plans[0]
                self._send_of(plan, now_ns)
                if plan.position == len(plan.due_ns):
                    self._plans.popleft()

    def _send_of(self, plan: _Planned, now_ns: int) -> None:
        first = bisect_left(plan.due_ns, now_ns - _OVERDUE_NS, plan.position)
        if first > plan.position:
            self._spans.append(_Span(plan, plan.position, first, None, 0, 0, 0))
        stop = bisect_right(plan.due_ns, now_ns, first)
        wall_ns = time.time_ns()
        wire = ntp_from_ns(wall_ns)
        self.stamp(plan.packets, first, stop, wire)
        for begun, ended, result in plan.packets.prepared.send(first, stop):
            self._spans.append(_Span(plan, begun, ended, result, now_ns, wall_ns, wire))
        plan.position = stop

    # In the event loop

    def settle(self) -> tuple[Taken | None, list[tuple[int, int]]]:
        """What the kernel took since the last time; and what was not sent: row, and errno or `OVERDUE`."""
        with self._sending:
            spans, self._spans = self._spans, []
        taken = [span for span in spans if span.result is not None and span.result >= 0]
        not_sent = [
            (row, OVERDUE if span.result is None else -span.result)
            for span in spans
            if span.result is None or span.result < 0
            for row in span.plan.probes.rows[span.first : span.stop].tolist()
        ]
        for span in spans:
            if span.stop == len(span.plan.due_ns) and len(self._spare) < _SPARE:
                self._spare.append(span.plan.packets)
        if not taken:
            return None, not_sent

        counts = np.array([span.stop - span.first for span in taken])
        columns = np.array([(span.result, span.sent_ns, span.wall_ns) for span in taken], np.int64)
        first_ids, sent_ns, wall_ns = np.repeat(columns, counts, axis=0).T
        wire = np.repeat(np.array([span.wire for span in taken], np.uint64), counts)
        probes = Probes(
            np.concatenate([span.plan.probes.rows[span.first : span.stop] for span in taken]),
            np.concatenate([span.plan.probes.sequences[span.first : span.stop] for span in taken]),
        )
        due_ns = np.concatenate([span.plan.due[span.first : span.stop] for span in taken])
        nth = np.arange(len(due_ns)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._await_stamps(first_ids + nth, probes)
        return Taken(probes, due_ns, sent_ns, wall_ns, wire), not_sent

    def _await_stamps(self, ids: Integers, probes: Probes) -> None:
        places = ids % _AWAITED_STAMPS
        self._awaited_id[places] = ids
        self._last_awaited = int(ids[-1])
        self._awaited.rows[places], self._awaited.sequences[places] = probes

    def take_stamps(self, sessions: SenderSessions) -> int:
        """Hand the transmit times that have come to their sessions; gives how many came."""
        ids, transmitted_ns = self.socket.transmit_stamp_arrays()
        taken = len(ids)
        ids, transmitted_ns = (
            np.concatenate(both) for both in zip(self._early, (ids, transmitted_ns), strict=True)
        )
        if len(ids):
            early = ids > self._last_awaited
            self._early = ids[early], transmitted_ns[early]
            places = ids % _AWAITED_STAMPS
            awaited = self._awaited_id[places] == ids
            places = places[awaited]
            probes = Probes(self._awaited.rows[places], self._awaited.sequences[places])
            self.lags.observe(*sessions.transmitted(probes, transmitted_ns[awaited]).tolist())
        return taken
