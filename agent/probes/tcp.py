"""TCP connect: the round trip from SYN to SYN-ACK, by the kernel's own measurement, of services without a reflector.

A probe is one SYN, and its reply is a SYN-ACK. So

- a refused connection is no reply. Any firewall on the way can refuse in the host's name, and then sooner than the host
  could, so a refusal proves no delay; and a service that refuses is not there, which must not look well. The probe is
  lost, and its refusal counted by itself.
- once the kernel has sent the SYN again, after one second, an answer cannot be told from one to the first: the probe is
  lost, for nothing came in that second. No probe therefore waits longer than that.
- an unanswered probe is lost in a direction that nothing proves.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections import Counter
from typing import Final

import numpy as np

from agent.core.interval import UNKNOWN_NS, Integers
from agent.core.measurement import Probes
from agent.core.session import Replies, SenderSessions
from agent.net.datagram import TimestampedSocket
from agent.net.handshakes import RESOLUTION_NS, Handshakes
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.planned import Plan, PlannedOutlet, Span
from agent.runtime.probe_address import LONGEST_TCP_TIMEOUT_NS
from agent.settings import PathSettings

_MOST_SOCKETS: Final = 16_384

Sent = tuple[int, int, int]
"""A probe: its row, its sequence number, and when it was sent by user space (Unix wall time, ns)."""


class TcpProbes:
    """Opens outlets that share a bound on how many connections are open: half of what the process may open.

    Args:
        most: the bound; None: that.
    """

    one_way: Final = False

    def __init__(self, most: int | None = None) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = _MOST_SOCKETS if soft == resource.RLIM_INFINITY else min(_MOST_SOCKETS, soft // 2)
        self._most = most or max(1, allowed)
        self._places = threading.Semaphore(self._most)

    def group(self, settings: PathSettings) -> int:
        """The code point, which a socket has for all that it sends."""
        return settings.dscp

    def __call__(
        self,
        family: socket.AddressFamily,
        settings: PathSettings,
        destinations: Destinations,
        clock: LocalClock,
    ) -> TcpOutlet:
        """An outlet; see `TcpOutlet`. No clock is needed: a round trip is measured by one, whatever its error."""
        return TcpOutlet(Handshakes(family, settings.dscp, self._places), destinations, self._most // 2)


class TcpOutlet(PlannedOutlet[Plan]):
    """Connections of one address family and code point.

    Args:
        handshakes: makes them.
        destinations: where the rows are sent to.
        waiting_room: how many answered connections can wait until they are looked at.
    """

    one_way = False

    def __init__(self, handshakes: Handshakes[Sent], destinations: Destinations, waiting_room: int) -> None:
        super().__init__()
        self._handshakes = handshakes
        self._destinations = destinations
        self._waiting_room = max(1, waiting_room)
        self._answered: list[tuple[int, int, int, int]] = []
        self._failures: Counter[str] = Counter()

    @property
    def departure_ns(self) -> int:
        """Nothing: the kernel's round trip does not begin at a user-space time."""
        return 0

    @property
    def waiting_room(self) -> int:
        """See `PlannedOutlet.waiting_room`."""
        return self._waiting_room

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """None: the kernel's measurement comes from TCP itself."""
        return []

    def close(self) -> None:
        """Close all connections."""
        self._handshakes.close()

    def prepare(self, probes: Probes, due_ns: Integers) -> Plan:
        """There is nothing to be written beforehand."""
        return Plan(probes, due_ns)

    def depart(self, plan: Plan, first: int, stop: int, now_ns: int) -> None:
        """Begin connections one by one, each with its own time."""
        rows = plan.probes.rows[first:stop].tolist()
        sequences = plan.probes.sequences[first:stop].tolist()
        for index, row, sequence in zip(range(first, stop), rows, sequences, strict=True):
            sent_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            code = self._handshakes.begin((row, sequence, wall_ns), self._destinations.address(row))
            self.spans.append(Span(plan, index, index + 1, -code, sent_ns, wall_ns, wall_ns))

    def settled(self, taken: list[Span[Plan]], done: list[Plan], probes: Probes) -> None:
        """Nothing more is to come of what was sent than its reply."""

    def receive(self) -> bool:
        """See `PlannedOutlet.receive`."""
        self._answered.clear()
        for sent, round_trip_ns, failure in self._handshakes.finished():
            if round_trip_ns is None:
                self._failures[failure] += 1
            else:
                self._answered.append((*sent, round_trip_ns))
        self._handshakes.give_up(time.monotonic_ns() - LONGEST_TCP_TIMEOUT_NS)
        return False

    def take_stamps(self, sessions: SenderSessions) -> None:
        """There are none."""

    def replies(self, discarded: Counter[str]) -> Replies:
        """What was answered: a reply's arrival lies after T1 by the kernel's round trip at its most."""
        discarded.update(self._failures)
        self._failures.clear()
        rows, sequences, wall_ns, round_trip_ns = np.array(self._answered, np.int64).reshape(-1, 4).T
        t4_ns = wall_ns + round_trip_ns + RESOLUTION_NS
        return Replies(
            rows,
            sequences,
            wall_ns.astype(np.uint64),
            sequences,
            t4_ns,
            t4_ns,
            t4_ns,
            np.full(len(rows), 2 * RESOLUTION_NS, np.int64),
            np.full(len(rows), UNKNOWN_NS, np.int64),
        )
