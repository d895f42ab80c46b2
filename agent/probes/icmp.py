"""ICMP echo to many targets by one socket: round trips by the kernel's own times, of any host, without a reflector."""

from __future__ import annotations

import socket
from collections import Counter
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.icmp import ECHO_COLUMNS, ECHO_OCTETS, HEADER_OCTETS, write_checksums, write_timestamps
from agent.core.interval import UNKNOWN_NS, Flags, Integers
from agent.core.measurement import Probes
from agent.core.session import Replies
from agent.net.arrivals import Arrivals
from agent.net.clocks.card import CardClock
from agent.net.datagram import TimestampedSocket
from agent.net.echo_socket import open_echo_socket, protocol_of
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Outlet, Packets, count_discarded, stamped_arrivals
from agent.settings import PathSettings

_BATCH: Final = 1280
_LONGEST_ARRIVAL: Final = 128
_LEAST_IP_HEADER: Final = 20
_SEQUENCE: Final = 0xFFFF_FFFF


class IcmpProbes:
    """Opens the outlets of echo requests."""

    one_way: Final = False

    def group(self, settings: PathSettings) -> int:
        """The code point, which a socket has for all that it sends."""
        return settings.dscp

    def __call__(
        self,
        family: socket.AddressFamily,
        settings: PathSettings,
        destinations: Destinations,
        clock: LocalClock,
    ) -> IcmpOutlet:
        """An outlet; see `IcmpOutlet`. No synchronised clock is needed: a round trip is measured by one."""
        return IcmpOutlet(family, settings.dscp, destinations, clock.card)


class IcmpOutlet(Outlet):
    """A socket of echo requests, raw or datagram.

    A reply is one to a request of ours only if it gives back identifier, cookie, row and timestamp, the latter twice,
    and comes from the address that the row is sent to.

    Args:
        family, dscp: of the socket.
        destinations: where the rows are sent to.
        card: the clock of the network card that stamps; None: only the kernel does.

    Raises:
        EchoNotPermitted: the program may open neither kind of socket.
        OSError: none can be opened.
    """

    one_way: ClassVar = False

    def __init__(
        self,
        family: socket.AddressFamily,
        dscp: int,
        destinations: Destinations,
        card: CardClock | None = None,
    ) -> None:
        self._echo = open_echo_socket(family)
        self._protocol = protocol_of(family)
        # a raw IPv4 socket shows the IP header and leaves the checksum to its owner
        self._raw_ipv4 = self._echo.raw and family == socket.AF_INET
        stamped = TimestampedSocket(
            family,
            dscp=dscp,
            batch=_BATCH,
            payload_octets=_LONGEST_ARRIVAL,
            opened=self._echo.socket,
            hear_errors=True,
            card=card,
        )
        super().__init__(stamped, ECHO_COLUMNS, destinations)

    @property
    def raw(self) -> bool:
        """Whether the socket is a raw one."""
        return self._echo.raw

    def write(self, packets: Packets, probes: Probes) -> None:
        """Write requests; see `Outlet.write`."""
        count = len(probes.rows)
        columns = packets.columns[:count]
        columns["type"] = self._protocol.request
        columns["identifier"] = self._echo.identifier
        columns["echo_sequence"] = probes.sequences & 0xFFFF
        columns["cookie"] = self._echo.cookie
        columns["row"] = probes.rows
        columns["sequence"] = probes.sequences & _SEQUENCE
        if self._raw_ipv4:
            write_checksums(columns, packets.octets[:count])

    def stamp(self, packets: Packets, first: int, stop: int, wire: int) -> None:
        """Write T1; see `Outlet.stamp`."""
        write_timestamps(packets.columns[first:stop], wire)

    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """Read replies; see `Outlet.read`."""
        messages, octets = self._messages(arrivals)
        packets = messages.view(ECHO_COLUMNS)[:, 0]
        rows = packets["row"].astype(np.int64)
        echoes = (packets["type"] == self._protocol.reply) & (packets["code"] == 0)
        known = (
            (octets >= ECHO_OCTETS)
            & echoes
            & (packets["identifier"] == self._echo.identifier)
            & (packets["cookie"] == self._echo.cookie)
            & (packets["complement"] == ~packets["timestamp"])
            & self._destinations.match(rows, arrivals.sources)
        )
        received_ns, bounds_ns = arrivals.received_ns, arrivals.bounds_ns
        if not known.all():
            self._count_others(packets["type"], octets, echoes, known, discarded)
            packets, rows, received_ns = packets[known], rows[known], received_ns[known]
            bounds_ns = None if bounds_ns is None else bounds_ns[known]

        sequences = packets["sequence"].astype(np.int64)
        t4_ns, arrival_ns = stamped_arrivals(received_ns, bounds_ns)
        return Replies(
            rows,
            sequences,
            packets["timestamp"].astype(np.uint64),
            sequences,
            t4_ns,
            t4_ns,
            t4_ns,
            arrival_ns,
            np.full(len(rows), UNKNOWN_NS, np.int64),
        )

    def _messages(self, arrivals: Arrivals) -> tuple[NDArray[np.uint8], Integers]:
        """The first octets of each ICMP message, and how many it has."""
        octets = arrivals.octets.astype(np.int64)
        if not self._raw_ipv4:
            return arrivals.payloads[:, :ECHO_OCTETS], octets
        headers = (arrivals.payloads[:, 0] & 0x0F).astype(np.int64) * 4
        octets -= headers
        if (headers == _LEAST_IP_HEADER).all():
            return arrivals.payloads[:, _LEAST_IP_HEADER : _LEAST_IP_HEADER + ECHO_OCTETS], octets
        columns = headers[:, None] + np.arange(ECHO_OCTETS)
        return np.take_along_axis(arrivals.payloads, columns, axis=1), octets

    def _count_others(
        self,
        kinds: NDArray[np.uint8],
        octets: Integers,
        echoes: Flags,
        known: Flags,
        discarded: Counter[str],
    ) -> None:
        """Count what is no reply to a request of ours: errors by what they say."""
        others = ~known
        for kind, reason in self._protocol.errors.items():
            said = others & (kinds == kind) & (octets >= HEADER_OCTETS)
            count_discarded(discarded, reason, int(np.count_nonzero(said)))
            others &= ~said
        legible = echoes & (octets >= ECHO_OCTETS)
        count_discarded(discarded, "malformed", int(np.count_nonzero(others & ~legible)))
        count_discarded(discarded, "unknown", int(np.count_nonzero(others & legible)))
