"""A socket that several sessions share: packets written beforehand, sent when due, and their transmit times.

What a packet looks like, and how a reply is read, is for each kind of probe to say (`Outlet.write`, `Outlet.read`).
"""

from __future__ import annotations

import abc
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.extended_session import ExtendedSession
from agent.core.interval import UNKNOWN_NS, Integers
from agent.core.measurement import Probes
from agent.core.recent import RecentLags
from agent.core.session import Replies, SenderSessions
from agent.core.timestamps import ntp_from_ns
from agent.net.arrivals import Arrivals
from agent.net.datagram import TimestampedSocket
from agent.net.departures import TransmitStamps
from agent.net.prepared import Prepared
from agent.probes.destinations import Destinations
from agent.probes.planned import Plan, PlannedOutlet, Span

_SPARE: Final = 4
_LEAST_ROOM: Final = 64
_AWAITED_STAMPS: Final = 1 << 14
_QUEUED_OCTETS: Final = 2 * 1024
"""What a reply and a transmit time take of a socket's receive buffer, while they wait."""
_NOTHING: Final[Integers] = np.zeros(0, np.int64)


class Packets:
    """Room for packets.

    Attributes:
        octets: (n, octets of a packet).
        columns: the same memory by the fields of the packets' layout.
        sessions: that have drafted them, where a draft is finished as it leaves.
    """

    def __init__(self, socket_: TimestampedSocket, size: int, layout: np.dtype[np.void]) -> None:
        self.prepared = Prepared(socket_, size, layout.itemsize)
        self.octets = self.prepared.payloads
        self.columns: NDArray[np.void] = self.octets.view(layout)[:, 0]
        self.sessions: Sequence[ExtendedSession] = ()


class _Written(Plan):
    """Packets written beforehand."""

    def __init__(self, packets: Packets, probes: Probes, due: Integers) -> None:
        super().__init__(probes, due)
        self.packets = packets


class Outlet(PlannedOutlet[_Written]):
    """One socket and its plan, which one thread sends while another adds to it.

    Args:
        socket_: non-blocking, with kernel times.
        layout: fields of a packet.
        destinations: where the rows are sent to.

    Attributes:
        layout: the same.
        lags: between the user-space times of packets and the kernel's.
    """

    def __init__(
        self, socket_: TimestampedSocket, layout: np.dtype[np.void], destinations: Destinations
    ) -> None:
        super().__init__()
        self.socket = socket_
        self.lags = RecentLags()
        self.layout = layout
        self._destinations = destinations
        self._spare: list[Packets] = []
        self._arrivals: Arrivals | None = None
        # by the low bits of its number, the probe whose transmit time is awaited
        self._awaited_id: Integers = np.full(_AWAITED_STAMPS, -1, np.int64)
        self._awaited = Probes(np.zeros(_AWAITED_STAMPS, np.int64), np.zeros(_AWAITED_STAMPS, np.int64))
        # transmit times of packets that left after what was taken was last settled
        self._last_awaited = -1
        self._early = TransmitStamps(_NOTHING, _NOTHING, _NOTHING)

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
    def departure_ns(self) -> int:
        """See `PlannedOutlet.departure_ns`."""
        bound_ns = self.lags.bound_ns
        return UNKNOWN_NS if bound_ns is None else bound_ns

    @property
    def waiting_room(self) -> int:
        """Half of what the kernel's buffer holds."""
        return self.socket.receive_buffer_octets // 2 // _QUEUED_OCTETS

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The one."""
        return [self.socket]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def prepare(self, probes: Probes, due_ns: Integers) -> _Written:
        """Write packets for probes."""
        count = len(due_ns)
        fitting = [spare for spare in self._spare if len(spare.columns) >= count]
        if fitting:
            packets = fitting[0]
            self._spare.remove(packets)
        else:
            # more is sent now than before: what is spare will not do from here on either
            self._spare.clear()
            packets = Packets(self.socket, max(_LEAST_ROOM, 2 * count), self.layout)
        self.write(packets, probes)
        self._destinations.write(packets.prepared.destinations, probes.rows)
        packets.prepared.number(count)
        return _Written(packets, probes, due_ns)

    def depart(self, plan: _Written, first: int, stop: int, now_ns: int) -> None:
        """Send packets, all with the same timestamp."""
        wall_ns = time.time_ns()
        wire = ntp_from_ns(wall_ns)
        self.stamp(plan.packets, first, stop, wire)
        for begun, ended, result in plan.packets.prepared.send(first, stop):
            self.spans.append(Span(plan, begun, ended, result, now_ns, wall_ns, wire))

    def settled(self, taken: list[Span[_Written]], done: list[_Written], probes: Probes) -> None:
        """Await the transmit times of what was taken, and use the room of what is done again."""
        self._spare += [plan.packets for plan in done][: max(0, _SPARE - len(self._spare))]
        if taken:
            counts = np.array([span.stop - span.first for span in taken])
            numbers = np.array([span.result for span in taken])
            ids = np.repeat(numbers - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
            places = ids % _AWAITED_STAMPS
            self._awaited_id[places] = ids
            self._last_awaited = int(ids[-1])
            self._awaited.rows[places], self._awaited.sequences[places] = probes

    def receive(self) -> bool:
        """See `PlannedOutlet.receive`."""
        self._arrivals = self.socket.receive_arrays()
        return len(self._arrivals.octets) >= self.socket.batch

    def replies(self, discarded: Counter[str]) -> Replies:
        """See `PlannedOutlet.replies`."""
        assert self._arrivals is not None
        return self.read(self._arrivals, discarded)

    def take_stamps(self, sessions: SenderSessions) -> None:
        """See `PlannedOutlet.take_stamps`."""
        came = self.socket.batch
        while came >= self.socket.batch:
            fresh = self.socket.transmit_stamp_arrays()
            came = len(fresh.transmit_ids)
            ids, transmitted_ns, bounds_ns = (
                np.concatenate(both) for both in zip(self._early, fresh, strict=True)
            )
            early = ids > self._last_awaited
            self._early = TransmitStamps(ids[early], transmitted_ns[early], bounds_ns[early])
            places = ids % _AWAITED_STAMPS
            awaited = self._awaited_id[places] == ids
            places = places[awaited]
            if len(places):
                probes = Probes(self._awaited.rows[places], self._awaited.sequences[places])
                lags_ns = sessions.transmitted(probes, transmitted_ns[awaited], bounds_ns[awaited])
                self.lags.observe(*lags_ns.tolist())


def stamped_arrivals(received_ns: Integers, bounds_ns: Integers | None = None) -> tuple[Integers, Integers]:
    """When datagrams came, and how much earlier that may really have been, of the times that `Arrivals` has.

    Where there is none it is user space's now, and how far that is off is not known.
    """
    if bounds_ns is None:
        bounds_ns = np.zeros_like(received_ns)
    unstamped = received_ns == 0
    if not unstamped.any():
        return received_ns, bounds_ns
    return np.where(unstamped, time.time_ns(), received_ns), np.where(unstamped, UNKNOWN_NS, bounds_ns)


def count_discarded(discarded: Counter[str], reason: str, number: int) -> None:
    """Count what was no reply; a reason shows once it has happened."""
    if number:
        discarded[reason] += number
