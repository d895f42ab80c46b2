"""Reflectors for tests, and peers that ask them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from agent.core.admission import AdmissionRules, PacketRate
from agent.core.authentication import KeyRing
from agent.core.reflection import ReflectorMode
from agent.core.stamp import BASE_OCTETS, SenderPacket
from agent.core.tlv import HEADER_OCTETS
from agent.core.tlv_values import ExtraPadding, serialise_request
from agent.net.addresses import encode_address
from agent.net.clock import Clock, DeclaredClock
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.reflector.stamp import StampReflector
from agent.runtime.quantities import Endpoint
from tests.support.processes import eventually
from tests.support.requirements import require_ipv6

_ARRIVES_WITHIN_S = 1.0
_UNLIMITED_PERCENT = 10_000
"""Of one core: where the whole machine stands still for a moment, the kernel counts it as time that was used, and the
budget would refuse newcomers for it."""
ANYBODY = AdmissionRules(
    allow=[ip_network("0.0.0.0/0"), ip_network("::/0")],
    per_source=PacketRate(1_000_000, 10_000),
    overall=PacketRate(1_000_000, 10_000),
)
"""Whoever asks is answered."""


def reflector_on(
    host: str,
    mode: ReflectorMode = ReflectorMode.STATEFUL,
    clock: Clock | None = None,
    rules: AdmissionRules = ANYBODY,
    port: int = 0,
    keys: KeyRing | None = None,
    markable: Sequence[int] = (),
) -> StampReflector:
    """A reflector, on a port of the kernel's choice unless one is given, which may use all the CPU time it needs."""
    return StampReflector(
        [Endpoint(host=host, port=port)],
        mode,
        LocalClock(clock or DeclaredClock(50_000)),
        rules,
        keys=keys,
        markable=markable,
        cpu_percent=_UNLIMITED_PERCENT,
    )


def request(sequence: int, octets: int = BASE_OCTETS, ssid: int = 3) -> bytes:
    """A request, padded with octets that are none where there is no room for a TLV."""
    base = SenderPacket(sequence, (sequence + 1) << 20, 0x8AD2, ssid).serialise()
    padding = octets - BASE_OCTETS - HEADER_OCTETS
    if padding < 0:
        return base.ljust(octets, b"\0")
    return base + serialise_request(ExtraPadding(bytes(i & 0xFF for i in range(padding))))


class Peer:
    """A sender of anything, and what it gets back.

    Attributes:
        markings: TOS or traffic class of the replies to what was asked last.
    """

    def __init__(self, source: str, target: str, reflector: StampReflector, dscp: int = 0) -> None:
        require_ipv6() if ":" in source else None
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        self.socket = TimestampedSocket(
            family, (source, 0), dscp=dscp, answering=True, batch=512, payload_octets=9000
        )
        self.markings: list[int | None] = []
        self._to = encode_address(target, reflector.sockets[0].address[1])
        self._reflector = reflector
        self.target = self._to
        own, packed = bytearray(self.socket.any_source), ip_address(source).packed
        at = 16 if family == socket.AF_INET6 else 20
        own[at : at + len(packed)] = packed
        self._from = bytes(own)

    async def ask(self, payloads: list[bytes]) -> list[tuple[bytes, bytes, int | None]]:
        """Send at once what a reflector then finds together; all replies with their source and T4."""
        self.markings = []
        before, reflected = sum(self._reflector.results.values()), self._reflector.results["reflected"]
        self.send(payloads)
        self._reflector.start()

        async def settled() -> bool:
            return sum(self._reflector.results.values()) >= before + len(payloads)

        await eventually(settled, "every request has a result")
        found: list[tuple[bytes, bytes, int | None]] = []

        async def arrived() -> bool:
            found.extend(self.replies())
            return len(found) >= min(len(payloads), self._reflector.results["reflected"] - reflected)

        # what was reflected may have been for others: then there is nothing to wait for
        with contextlib.suppress(AssertionError):
            await eventually(arrived, "every reply has arrived", _ARRIVES_WITHIN_S)
        return found

    def send(self, payloads: list[bytes]) -> None:
        """Send from the address of its own."""
        self.socket.send([(payload, self._to, self._from) for payload in payloads])

    def replies(self) -> Iterator[tuple[bytes, bytes, int | None]]:
        while found := self.socket.receive():
            for one in found:
                self.markings.append(one.traffic_class)
                yield bytes(one.payload), one.source, one.received_ns


class Stage:
    """Opens reflectors and peers, which are closed at the end."""

    def __init__(self) -> None:
        self._open: list[StampReflector | TimestampedSocket] = []

    def reflector(self, made: StampReflector) -> StampReflector:
        """Takes charge of a reflector."""
        self._open.append(made)
        return made

    def peer(self, source: str, target: str, reflector: StampReflector, dscp: int = 0) -> Peer:
        """A peer on an address of its own."""
        peer = Peer(source, target, reflector, dscp)
        self._open.append(peer.socket)
        return peer

    def close(self) -> None:
        """Close everything."""
        for one in self._open:
            one.close()
