"""A seeded fake network between a sender session and a reflector: no socket, no clock but its own."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.core.ledger import PathLedger
from agent.core.measurement import Measurement
from agent.core.reflection import Reflection, ReflectorMode, Request
from agent.core.stamp import ReflectorPacket, SenderPacket, set_timestamp
from agent.core.timestamps import ErrorEstimate, ns_from_ntp, ntp_from_ns
from tests.support.session import MS, Reply, Session, path_ledger

WALL_EPOCH_NS = 1_767_225_600 * 1_000_000_000
"""The fake wall clock's time at fake monotonic time 0."""


@dataclass
class Leg:
    """One direction of the fake network: each packet is lost, delayed, duplicated by chance or by `decide`."""

    delay_ns: int = MS
    jitter_ns: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    lost: int = 0

    def deliveries(self, rng: random.Random) -> list[int]:
        """After how long (ns) each copy of a packet arrives; none where it is lost."""
        if rng.random() < self.loss:
            self.lost += 1
            return []
        copies = 2 if rng.random() < self.duplication else 1
        return [
            self.delay_ns + (rng.randrange(self.jitter_ns) if self.jitter_ns else 0) for _ in range(copies)
        ]


@dataclass
class FakeNetwork:
    """A sender, two legs and a reflector on one fake time line.

    Attributes:
        offset_ns: what the reflector's clock is ahead of the sender's.
        uncertainty_ns: what both clocks admit in sum; None: not synchronised.
        drain_ns: replies are looked at together so often; 0: each as it comes.
    """

    seed: int
    forward: Leg = field(default_factory=Leg)
    reverse: Leg = field(default_factory=Leg)
    mode: ReflectorMode = ReflectorMode.STATEFUL
    interval_ns: int = 10 * MS
    timeout_ns: int = 100 * MS
    offset_ns: int = 0
    uncertainty_ns: int | None = 50_000
    ledger: PathLedger = field(default_factory=path_ledger)
    kernel_stamps: bool = True
    stamping_ns: int | None = 0
    drain_ns: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.now_ns = 0
        self.measurements: list[Measurement] = []
        self.fates: Counter[str] = Counter()
        self.session = Session(
            self.ledger,
            self.timeout_ns,
            4 * self.timeout_ns // self.interval_ns + 16,
            self.measurements.append,
        )
        self.reflector = Reflection(self.mode)
        self._arrived: list[Reply] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def run(self, probes: int, *, after_each: Callable[[], None] = lambda: None) -> None:
        """Send so many probes, then wait until nothing is under way; the law is checked after every event."""
        for number in range(probes):
            self.at(self.now_ns + number * self.interval_ns, self._send)
        while self._events:
            self.now_ns, _, event = heapq.heappop(self._events)
            event()
            assert self.ledger.broken_laws() == []
            after_each()
        assert self.ledger.in_flight == 0

    def at(self, when_ns: int, event: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self._order += 1
        heapq.heappush(self._events, (when_ns, self._order, event))

    def _send(self) -> None:
        wall = WALL_EPOCH_NS + self.now_ns
        sequence, wire = self.session.send(wall)
        if self.kernel_stamps:
            assert self.session.transmitted(sequence, wall) == 0
        packet = SenderPacket(sequence, wire, ErrorEstimate.of_bound(self.uncertainty_ns).wire, 7).serialise()
        for delay in self.forward.deliveries(self.rng):
            self.at(self.now_ns + delay, lambda: self._reflect(packet))
        self.at(self.now_ns + self.timeout_ns, lambda: self._expire(sequence))

    def _expire(self, sequence: int) -> None:
        self._drain()  # what has arrived counts as arrived, however late it is looked at
        self.session.expired(sequence)

    def _reflect(self, request: bytes) -> None:
        now = ntp_from_ns(WALL_EPOCH_NS + self.now_ns + self.offset_ns)
        estimate = ErrorEstimate.of_bound(self.uncertainty_ns).wire
        asked = Request(request, b"sender", b"reflector", bytes(4), 64, 0, now, estimate)
        reply = self.reflector.reply(asked).octets
        set_timestamp(reply, now)
        for delay in self.reverse.deliveries(self.rng):
            self.at(self.now_ns + delay, lambda: self._receive(bytes(reply)))

    def _receive(self, reply: bytes) -> None:
        packet = ReflectorPacket.parse(reply)
        t4 = WALL_EPOCH_NS + self.now_ns
        self._arrived.append(
            Reply(
                packet.sender_sequence,
                packet.sender_timestamp,
                packet.sequence,
                ns_from_ntp(packet.receive_timestamp, t4),
                ns_from_ntp(packet.timestamp, t4),
                t4,
                clocks_ns=self.uncertainty_ns,
            )
        )
        if self.drain_ns == 0:
            self._drain()
        elif len(self._arrived) == 1:
            self.at(self.now_ns + self.drain_ns, self._drain)

    def _drain(self) -> None:
        arrived, self._arrived = self._arrived, []
        for fate in self.session.replied(*arrived, stamping_ns=self.stamping_ns, now_ns=self.now_ns):
            self.fates[fate.name] += 1


def one_bad_leg(seed: int, direction: str, leg: Leg) -> FakeNetwork:
    """A network with this leg in one direction and a good one in the other."""
    return FakeNetwork(seed, leg, Leg()) if direction == "forward" else FakeNetwork(seed, Leg(), leg)
