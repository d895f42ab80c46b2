"""A trace without its sockets: which probe goes next, and whose answer is whose.

Every probe is a STAMP request (RFC 8762) of one five-tuple, so that routers which balance by flow send it where they
send the session's packets, and the target's reflector answers it. Probes differ in their TTL and in their payload
(sequence number and timestamp), and by the payload in the UDP checksum: all of it beyond the ports, where no router
looks that balances by flow (B. Augustin et al., Avoiding traceroute anomalies with Paris traceroute, IMC 2006).

The first probe goes the whole way. A reflector says with what TTL a request reached it, so its reply tells the
distance, and no probe need be sent further than that: the target sees few probes more than it must. Then every hop is
asked once a round, in as many rounds as asked for, because routers limit how fast they answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from agent.core.exceptions import Truncated
from agent.core.route import Answer, AnswerKind, Flow, Hop, Route
from agent.core.stamp import BASE_OCTETS, Octets, ReflectorPacket, SenderPacket
from agent.core.timestamps import ErrorEstimate, ntp_from_ns

WHOLE_WAY: Final = 255
"""The TTL of the first probe, that of every STAMP packet."""
_SEQUENCE_OCTETS: Final = 4
_NOT_SYNCHRONISED: Final = ErrorEstimate.of_bound(None).wire


@dataclass(slots=True)
class Probe:
    """One probe.

    Attributes:
        ttl: with which it is sent.
        payload: of the UDP datagram.
        sent_ns: wall time at which it was built; then the kernel's transmit time where that became known.
        answer: what came back, its round trip left out; None where nothing has.
        received_ns: wall time at which the answer arrived.
        told: distance of the target as its reply tells it; None where it tells none.
        withdrawn: it could not be sent.
    """

    ttl: int
    payload: bytes
    sent_ns: int
    answer: Answer | None = None
    received_ns: int = 0
    told: int | None = None
    withdrawn: bool = False

    def answered(self) -> Answer | None:
        """The answer with its round trip."""
        if self.answer is None:
            return None
        rtt_ns = self.received_ns - self.sent_ns
        return replace(self.answer, rtt_ns=rtt_ns if rtt_ns > 0 else None)


class Trace:
    """One trace.

    Args:
        flow: the five-tuple and code point of every probe.
        started_ns: wall time.
        count: probes for each hop, 1 or more.
        max_hops: how far to go, 1 to 255.
        ssid: session identifier; another than the session's, whose sequence numbers stay its own.

    Attributes:
        unidentified: ICMP errors that quoted too little to tell the probe.
        foreign: ICMP errors and datagrams that concern none of our probes.
    """

    def __init__(self, flow: Flow, started_ns: int, count: int, max_hops: int, ssid: int) -> None:
        self.flow = flow
        self.unidentified = 0
        self.foreign = 0
        self._started_ns = started_ns
        self._max_hops = max_hops
        self._ssid = ssid
        self._probes: list[Probe] = []
        self._passed = 0
        self._arrived: int | None = None
        self._told: int | None = None
        self._blocked: int | None = None
        self._plan = self._in_order(count)

    def next_probe(self, now_ns: int) -> Probe | None:
        """The probe to send now (wall time); None where all are sent."""
        ttl = next(self._plan, None)
        if ttl is None:
            return None
        packet = SenderPacket(len(self._probes), ntp_from_ns(now_ns), _NOT_SYNCHRONISED, self._ssid)
        probe = Probe(ttl, packet.serialise(), now_ns)
        self._probes.append(probe)
        return probe

    def transmitted(self, datagram: Octets, transmitted_ns: int) -> None:
        """The kernel says when a datagram left, and shows it from any header on."""
        probe = self._quoted(datagram[-BASE_OCTETS:])
        if probe is not None:
            probe.sent_ns = transmitted_ns

    def refused(self, quote: Octets, address: str, kind: AnswerKind, code: int, received_ns: int) -> None:
        """An ICMP error came.

        Args:
            quote: what it quotes of the UDP payload; may be short, padded, or anything at all.
            address: who sent it.
            kind: what it says.
            code: its ICMP code.
            received_ns: wall time.
        """
        if len(quote) < _SEQUENCE_OCTETS:
            self.unidentified += 1
            return
        probe = self._quoted(quote)
        if probe is None:
            self.foreign += 1
        elif probe.answer is None:
            probe.answer, probe.received_ns = Answer(address, None, kind, code), received_ns
            if kind is AnswerKind.PORT_UNREACHABLE or address == self.flow.destination:
                self._arrived = _nearer(self._arrived, probe.ttl)
            elif kind is AnswerKind.TIME_EXCEEDED:
                self._passed = max(self._passed, probe.ttl)
            else:
                self._blocked = _nearer(self._blocked, probe.ttl)

    def replied(self, payload: Octets, received_ns: int) -> None:
        """A datagram came from the target's address and port."""
        try:
            reply = ReflectorPacket.parse(payload)
        except Truncated:
            self.foreign += 1
            return
        probe = self._numbered(reply.sender_sequence)
        if probe is None or SenderPacket.parse(probe.payload).timestamp != reply.sender_timestamp:
            self.foreign += 1
        elif probe.answer is None:
            probe.answer = Answer(self.flow.destination, None, AnswerKind.REPLY)
            probe.received_ns = received_ns
            self._arrived = _nearer(self._arrived, probe.ttl)
            # A peer that leaves the sender's TTL out, or invents it, mostly tells a distance that cannot be.
            distance = probe.ttl - reply.sender_ttl + 1
            if reply.sender_ttl and distance >= 1:
                probe.told = distance
                self._told = _nearer(self._told, distance)

    @property
    def complete(self) -> bool:
        """Whether every probe up to the end of the way has been answered; meant for when all are sent."""
        return all(
            probe.answer is not None or probe.withdrawn for probe in self._probes if probe.ttl <= self._last
        )

    def route(self) -> Route:
        """What is known by now."""
        last = self._last
        hops: list[list[Probe]] = [[] for _ in range(last)]
        for probe in self._probes:
            distance = probe.told if self._trusts(probe.told) else probe.ttl
            if distance is not None and distance <= last and not probe.withdrawn:
                hops[distance - 1].append(probe)
        while hops and not any(probe.answer for probe in hops[-1]):
            hops.pop()
        return Route(
            self.flow,
            self._started_ns,
            tuple(
                Hop(ttl, len(probes), tuple(filter(None, (probe.answered() for probe in probes))))
                for ttl, probes in enumerate(hops, 1)
            ),
            self._target is not None and self._target == len(hops),
            self.unidentified,
        )

    @property
    def _last(self) -> int:
        """The furthest distance worth a probe: the target's, or else where the way ends before it."""
        end = self._blocked if self._target is None else self._target
        return self._max_hops if end is None else min(end, self._max_hops)

    @property
    def _target(self) -> int | None:
        """The target's distance: the least at which it answered, or that it told."""
        return (
            _nearer(self._arrived, self._told)
            if self._told is not None and self._trusts(self._told)
            else self._arrived
        )

    def _trusts(self, told: int | None) -> bool:
        """Whether a told distance agrees with the routers: one that lies as far away proves the target further."""
        return told is not None and told > self._passed

    def _in_order(self, count: int) -> Iterator[int]:
        yield WHOLE_WAY
        for _ in range(count):
            ttl = 1
            while ttl <= self._last:
                yield ttl
                ttl += 1

    def _quoted(self, quote: Octets) -> Probe | None:
        """The probe whose payload begins with a quote, as far as the quote goes."""
        probe = self._numbered(int.from_bytes(quote[:_SEQUENCE_OCTETS], "big"))
        length = min(len(quote), BASE_OCTETS)
        return probe if probe is not None and probe.payload[:length] == bytes(quote[:length]) else None

    def _numbered(self, sequence: int) -> Probe | None:
        return self._probes[sequence] if sequence < len(self._probes) else None


def _nearer(known: int | None, distance: int) -> int:
    return distance if known is None else min(known, distance)
