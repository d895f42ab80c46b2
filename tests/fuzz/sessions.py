"""Sender sessions between a kernel and peers that do what they like: the conservation law holds after every event."""

from __future__ import annotations

import atexit
import functools
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import UNKNOWN_NS
from agent.core.ledger import Ledgers, PathLabels, Promise
from agent.core.measurement import Measurement, Measurements, Probes
from agent.core.outcome import Limit, Operator, Outcome
from agent.core.reflection import Reflection, ReflectorMode, Request
from agent.core.session import SenderSessions
from agent.core.session_report import SessionReport
from agent.core.stamp import DEFAULT_PORT, set_timestamp
from agent.core.steps import ClockPair, ClockSteps
from agent.core.timestamps import ntp_from_ns
from agent.net.addresses import encode_address
from agent.net.arrivals import Arrivals
from agent.net.clock import DeclaredClock
from agent.net.echo_socket import protocol_of
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.icmp import IcmpOutlet
from agent.probes.outlet import Outlet, Packets
from agent.probes.plain_stamp import PlainStampOutlet
from agent.settings import PathSettings
from tests.fuzz.choices import Choices

MS: Final = 1_000_000
_START_NS: Final = 1_795_000_000_000_000_000
_TIMEOUT_NS: Final = 200 * MS
_FLOORS_NS: Final = (0, 40 * MS)
_LONGEST_TIMEOUT_NS: Final = 256 * MS
_LONGEST_NS: Final = 100_000 * MS
_MOST_AT_ONCE: Final = 4
_PAYLOAD_OCTETS: Final = 128
_IPV4_HEADER: Final = bytes((0x45,)).ljust(20, b"\0")
_PEERS: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

Sent = tuple[int, int, bytes]
"""Row, sequence and octets of a probe."""


class _Rig(NamedTuple):
    """A socket of probes, through which nothing is sent.

    Attributes:
        outlet: writes requests and reads replies.
        packets: room for its requests.
        address: where all of them are sent to.
    """

    outlet: Outlet
    packets: Packets
    address: bytes


@functools.cache
def _rig(kind: type[PlainStampOutlet | IcmpOutlet], family: socket.AddressFamily) -> _Rig:
    """The one of a kind; opening sockets is what takes longest."""
    destinations = Destinations()
    outlet: Outlet
    if kind is PlainStampOutlet:
        outlet = PlainStampOutlet(family, 0, destinations, LocalClock(DeclaredClock(1000)))
    else:
        outlet = IcmpOutlet(family, 0, destinations)
    atexit.register(outlet.close)
    port = DEFAULT_PORT if kind is PlainStampOutlet else 0
    address = encode_address(_PEERS[family], port)
    settings = PathSettings.model_validate(
        {"target": "t", "address": "127.0.0.1", "follow_up": False, "limits": {"round_trip": "< 1s"}}
    )
    for row in range(len(_FLOORS_NS)):
        destinations.set(row, address)
        outlet.serve(row, settings, SessionReport())
    return _Rig(outlet, Packets(outlet.socket, _MOST_AT_ONCE, outlet.layout), address)


def stamp(data: bytes) -> None:
    """STAMP probes and their replies."""
    choices = Choices(data)
    reflection = Reflection(ReflectorMode.STATEFUL if choices.flag() else ReflectorMode.STATELESS)

    def reply(request: bytes, now_ns: int) -> bytes:
        t2, t3 = (
            choices.number(8) if choices.flag() else ntp_from_ns(now_ns + choices.number() * MS)
            for _ in range(2)
        )
        asked = Request(request, b"here", b"there", bytes(4), 64, 0, t2, choices.number(2))
        answer = reflection.reply(asked).octets
        set_timestamp(answer, t3)
        return bytes(answer)

    _Network(choices, _rig(PlainStampOutlet, socket.AF_INET), reply).run()


def icmp(data: bytes) -> None:
    """ICMP echo over IPv4; raw sockets show the IP header."""
    _echo(data, socket.AF_INET)


def icmpv6(data: bytes) -> None:
    """ICMP echo over IPv6."""
    _echo(data, socket.AF_INET6)


def _echo(data: bytes, family: socket.AddressFamily) -> None:
    rig = _rig(IcmpOutlet, family)
    assert isinstance(rig.outlet, IcmpOutlet)
    kind = bytes((protocol_of(family).reply,))
    header = _IPV4_HEADER if rig.outlet.raw and family == socket.AF_INET else b""
    _Network(Choices(data), rig, lambda request, now_ns: header + kind + request[1:]).run()


class _Network:
    """Two paths on one socket, and everything that may happen to their probes.

    Args:
        choices: what happens.
        rig: writes requests and reads replies.
        reply: an honest answer to a request, at a wall time in ns; it is spoilt here.
    """

    def __init__(self, choices: Choices, rig: _Rig, reply: Callable[[bytes, int], bytes]) -> None:
        self._choices = choices
        self._outlet, self._packets, self._address = rig
        self._reply = reply
        self._wall_ns, self._monotonic_ns = _START_NS, 1_000 * MS
        self._steps = ClockSteps(10_000 * MS)
        self._observe()
        self._table = Ledgers(2)
        self._sessions = SenderSessions(self._table, self._steps, self._record, one_way=self._outlet.one_way)
        self._sent: list[Sent] = []
        self._recorded: Counter[tuple[int, int]] = Counter()
        self._discarded: Counter[str] = Counter()
        limit = Limit(50 * MS, Operator.BELOW)
        self._paths = [
            self._table.open(
                PathLabels("here", f"target-{row}", "hub", "", "fuzz", 0),
                Promise(limit, floor_ns),
                Promise(limit, floor_ns),
                limit,
            )
            for row, floor_ns in enumerate(_FLOORS_NS)
        ]
        for path in self._paths:
            self._sessions.open(path, _TIMEOUT_NS, window=1)

    def run(self) -> None:
        """Let it all happen, then wait until every probe is answered or given up."""
        events = (
            self._send,
            self._send,
            self._answer,
            self._answer,
            self._stamp,
            self._expire,
            self._set_clock,
        )
        while self._choices.left:
            self._wait(self._choices.number() * MS)
            events[self._choices.below(len(events))]()
            self._check()
        for row, sequence, _ in self._sent:
            self._sessions.expired(_probes([(row, sequence)]))
        self._check()
        assert [path.in_flight for path in self._paths] == [0, 0]
        assert self._recorded == Counter((row, sequence) for row, sequence, _ in self._sent)

    def _check(self) -> None:
        for path in self._paths:
            assert path.broken_laws() == []
            assert path.in_flight >= 0
            outcomes = [counted.outcomes for _, counted in path.directions()]
            assert min(map(min, outcomes)) >= 0
            answered = sum(outcomes[-1][: Outcome.LOST])
            for _, counted in path.directions():
                for histogram in (counted.delay, counted.variation):
                    assert abs(histogram.sum_ns) <= histogram.total * _LONGEST_NS
                assert 0 <= counted.differences[1] <= counted.differences[0] * _LONGEST_NS
            assert path.round_trip.delay.total == answered - path.stepped

    def _wait(self, ns: int) -> None:
        self._wall_ns += ns
        self._monotonic_ns += ns

    def _observe(self) -> None:
        self._steps.observe(ClockPair(self._wall_ns, self._monotonic_ns))

    # What happens

    def _send(self) -> None:
        choices = self._choices
        rows = np.array([choices.below(2) for _ in range(1 + choices.below(_MOST_AT_ONCE))], np.int64)
        probes = self._sessions.begin(rows)
        self._outlet.write(self._packets, probes)
        wire = ntp_from_ns(self._wall_ns)
        self._outlet.stamp(self._packets, 0, len(rows), wire)
        refused = choices.number() & choices.number()
        taken = np.array([not refused >> at & 1 for at in range(len(rows))])
        accepted = Probes(probes.rows[taken], probes.sequences[taken])
        count = len(accepted.rows)
        self._sessions.sent(
            accepted, np.full(count, self._wall_ns, np.int64), np.full(count, wire, np.uint64)
        )
        for at in np.flatnonzero(taken).tolist():
            request = self._packets.octets[at].tobytes()
            self._sent.append((int(probes.rows[at]), int(probes.sequences[at]), request))

    def _chosen(self) -> Sent | None:
        return self._sent[-1 - self._choices.number() % len(self._sent)] if self._sent else None

    def _stamp(self) -> None:
        if (probe := self._chosen()) is not None:
            kernel_ns = self._wall_ns - self._choices.number(2) * 1000
            self._sessions.transmitted(_probes([probe[:2]]), np.array([kernel_ns], np.int64))

    def _expire(self) -> None:
        if (probe := self._chosen()) is not None:
            self._sessions.expired(_probes([probe[:2]]))

    def _set_clock(self) -> None:
        choices = self._choices
        if choices.flag():
            path = self._paths[choices.below(2)]
            self._sessions.change(path, (1 + choices.number()) * MS, 1 + choices.number())
            return
        self._wall_ns += (choices.number(3) - (1 << 23)) * MS // 16
        self._observe()

    def _answer(self) -> None:
        choices = self._choices
        arrived: list[tuple[bytes, bool, bool]] = []
        for _ in range(1 + choices.below(_MOST_AT_ONCE)):
            probe = self._chosen()
            payload = bytearray(b"" if probe is None else self._reply(probe[2], self._wall_ns))
            for _ in range(choices.below(4)):
                at, value = choices.number(), choices.number()
                if at < len(payload):
                    payload[at] ^= value
            if choices.below(8) == 1:
                del payload[choices.number() :]
            if choices.below(8) == 1:
                payload += choices.take(choices.number())
            arrived.append((bytes(payload[:_PAYLOAD_OCTETS]), choices.below(8) == 1, choices.below(8) == 1))
        self._observe()
        stranger = bytes(octet ^ 1 for octet in self._address)
        replies = self._outlet.read(
            Arrivals(
                np.array([list(one.ljust(_PAYLOAD_OCTETS, b"\0")) for one, _, _ in arrived], np.uint8),
                np.array([len(one) for one, _, _ in arrived], np.uint32),
                np.array(
                    [list(stranger if foreign else self._address) for _, foreign, _ in arrived], np.uint8
                ),
                np.array([0 if unstamped else self._wall_ns for _, _, unstamped in arrived], np.int64),
            ),
            self._discarded,
        )
        assert len(replies.rows) + self._discarded.total() >= len(arrived)
        self._sessions.replied(replies, choices.number() or UNKNOWN_NS, self._monotonic_ns)

    # What is said of it

    def _record(self, measurements: Measurements) -> None:
        rows = measurements.probes.rows.tolist()
        for row, measured in zip(rows, measurements.each(), strict=True):
            self._recorded[row, measured.sequence] += 1
            _check_bounds(measured, _FLOORS_NS[row])


def _check_bounds(measured: Measurement, floor_ns: int) -> None:
    """The bounds are those of `agent.core.interval`, in numbers that do not overflow."""
    if measured.forward_bounds is None or measured.reverse_bounds is None:
        return
    assert measured.forward_ns is not None
    assert measured.reverse_ns is not None
    assert measured.round_trip_ns == measured.forward_ns + measured.reverse_ns
    ceiling_ns = measured.round_trip_ns - floor_ns
    slack_ns = UNKNOWN_NS if measured.uncertainty_ns is None else measured.uncertainty_ns
    assert slack_ns >= 0
    assert 0 <= measured.round_trip_ns <= _LONGEST_TIMEOUT_NS
    for delay_ns, bounds in (
        (measured.forward_ns, measured.forward_bounds),
        (measured.reverse_ns, measured.reverse_bounds),
    ):
        expected = max(delay_ns - slack_ns, floor_ns), min(delay_ns + slack_ns, ceiling_ns)
        if ceiling_ns < floor_ns:
            expected = 0, max(0, measured.round_trip_ns)
        elif expected[0] > ceiling_ns or expected[1] < floor_ns:
            expected = floor_ns, ceiling_ns
        assert bounds == expected


def _probes(which: list[tuple[int, int]]) -> Probes:
    rows, sequences = np.array(which, np.int64).T
    return Probes(rows, sequences)
