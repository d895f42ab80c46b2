"""The route probe: which way a STAMP session's packets take, found out by letting them die on it.

Two ways to send and hear:

- Where the source port is free, an ordinary UDP socket does, without any privilege: its error queue tells who dropped
  which probe, with the kernel's times.
- Where another socket holds the source port, as that of a running session does, its five-tuple can only be had beside
  it: the packets are built and the errors parsed by scapy, on raw sockets, which need CAP_NET_RAW. The session's own
  socket is left alone, for errors queued on it would fail the session's next sends; it gets the target's replies to
  these probes too, which carry the session identifier 0 that no session of ours has. Since scapy sees the quoted UDP
  header, it also tells probes by their checksum where a router quotes no more than RFC 792 asks for.

Over IPv6 the raw packets carry flow label 0, those of sockets one that the kernel makes from the five-tuple: routers
that balance by flow label may send them another way, unless the host makes none (sysctl net.ipv6.auto_flowlabels=0).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from agent.core.route import AnswerKind, Flow, Route
from agent.core.trace import Trace
from agent.net.icmp_errors import (
    ErrorQueueSocket,
    Event,
    IcmpError,
    Received,
    SocketAddress,
    Transmitted,
    plain,
)
from agent.net.raw import RawFlow
from agent.probes.exceptions import TargetOutOfReach, TraceImpossible
from agent.runtime.apart import apart
from agent.runtime.hosts import addresses_of
from agent.runtime.quantities import Endpoint

NO_SESSION: Final = 0
"""The session identifier of the probes; sessions have others (RFC 8972, section 3)."""
DEFAULT_TIMEOUT_NS: Final = 2_000_000_000
_INTERVAL_NS: Final = 2_000_000
_SECOND_NS: Final = 1e9
_UDP_HEADER: Final = 8
_CAPABILITY: Final = (
    "needs the capability {0}: run as root, or give it to the unit (AmbientCapabilities={0}) or to the interpreter "
    "(setcap {1}+ep)"
)


class _Socket(Protocol):
    """A way to send probes and to hear what becomes of them."""

    def filenos(self) -> list[int]: ...

    def send(self, payload: bytes, ttl: int) -> None: ...

    def events(self) -> Iterator[Event]: ...

    def close(self) -> None: ...


async def trace(
    target: Endpoint,
    *,
    source_port: int = 0,
    dscp: int = 0,
    count: int = 3,
    max_hops: int = 30,
    timeout_ns: int = DEFAULT_TIMEOUT_NS,
    interval_ns: int = _INTERVAL_NS,
) -> Route:
    """Find the way to a target.

    Args:
        target: the reflector; a name is resolved.
        source_port: of the five-tuple; 0 for a free one. One in use needs CAP_NET_RAW.
        dscp: code point of the probes, 0 to 63.
        count: probes for each hop, 1 or more.
        max_hops: how far to go, 1 to 255.
        timeout_ns: for everything after name resolution; what has not answered by then is silent.
        interval_ns: from probe to probe: routers limit how fast they answer.

    Raises:
        TargetOutOfReach: the name cannot be resolved, or there is no way to the address.
        TraceImpossible: a privilege is missing.
    """
    family, destination = await _look_up(target)
    try:
        source = _source_address(family, destination)
        opened, flow = await _open(family, destination, source, source_port, dscp)
    except OSError as error:
        raise TargetOutOfReach(f"cannot trace {target}: {os.strerror(error.errno or 0)}") from error
    session = Trace(flow, time.time_ns(), count, max_hops, NO_SESSION)
    try:
        refusal = await _exchange(session, opened, timeout_ns / _SECOND_NS, interval_ns / _SECOND_NS)
    finally:
        opened.close()
    if refusal is not None:
        raise TargetOutOfReach(f"cannot trace {target}: {os.strerror(refusal)}")
    return session.route()


async def _exchange(session: Trace, opened: _Socket, timeout_s: float, interval_s: float) -> int | None:
    """Send all probes and hear the answers; the errno of the last refusal where none could be sent."""
    loop, heard, filenos = asyncio.get_running_loop(), asyncio.Event(), opened.filenos()
    sent, refusal = 0, None

    def hear() -> None:
        for event in opened.events():
            _apply(session, event)
        heard.set()

    for fileno in filenos:
        loop.add_reader(fileno, hear)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (probe := session.next_probe(time.time_ns())) is not None:
                    try:
                        opened.send(probe.payload, probe.ttl)
                        sent += 1
                    except OSError as error:
                        probe.withdrawn, refusal = True, error.errno
                    await asyncio.sleep(interval_s)
                while sent and not session.complete:
                    heard.clear()
                    await heard.wait()
    finally:
        for fileno in filenos:
            loop.remove_reader(fileno)
    return None if sent else refusal


def _apply(session: Trace, event: Event) -> None:
    flow = session.flow
    match event:
        case Transmitted(datagram, at_ns):
            session.transmitted(datagram, at_ns)
        case IcmpError(quote, address, kind, code, at_ns):
            said = AnswerKind.of_icmp(6 if ":" in flow.destination else 4, kind, code)
            if said is not None:
                session.refused(quote, address, said, code, at_ns)
        case Received(payload, address, port, at_ns):
            if (address, port) == (flow.destination, flow.destination_port):
                session.replied(payload, at_ns)


async def _look_up(target: Endpoint) -> tuple[socket.AddressFamily, SocketAddress]:
    try:
        address, *_ = await apart(addresses_of, target.host)
        found = socket.getaddrinfo(address, target.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except OSError as error:
        raise TargetOutOfReach(f"cannot resolve {target.host}: {error.strerror}") from error
    family, _, _, _, name = found[0]
    return family, name  # type: ignore[return-value]  # what UDP over IP has


def _source_address(family: socket.AddressFamily, destination: SocketAddress) -> str:
    """The address that packets to a destination leave from; asked of the routing, nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect(destination)
        return plain(asking.getsockname()[0])


async def _open(
    family: socket.AddressFamily, destination: SocketAddress, source: str, port: int, dscp: int
) -> tuple[_Socket, Flow]:
    try:
        queue = ErrorQueueSocket(family, port, destination, dscp)
    except PermissionError as error:
        needed = _CAPABILITY.format("CAP_NET_BIND_SERVICE", "cap_net_bind_service")
        raise TraceImpossible(f"source port {port} {needed}") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    else:
        return queue, Flow(source, queue.port, plain(destination[0]), destination[1], dscp)
    flow = Flow(source, port, plain(destination[0]), destination[1], dscp)
    try:
        raw = RawFlow(flow, destination)
    except PermissionError as error:
        needed = _CAPABILITY.format("CAP_NET_RAW", "cap_net_raw")
        raise TraceImpossible(
            f"source port {port} is in use, and tracing its packets' way beside it {needed}"
        ) from error
    try:
        # in a thread, so that the loop goes on; but the threads share one interpreter, and what is due within a few
        # milliseconds may come late this once
        return _Crafted(raw, flow, await asyncio.to_thread(_scapy)), flow
    except BaseException:
        raw.close()
        raise


class _Scapy(NamedTuple):
    """What is used of scapy."""

    inet: Any
    inet6: Any
    packet: Any


def _scapy() -> _Scapy:
    """Read scapy: 55 MB and 0.4 s, so only where it is needed."""
    import scapy.layers.inet
    import scapy.layers.inet6
    import scapy.packet

    return _Scapy(scapy.layers.inet, scapy.layers.inet6, scapy.packet)


class _Crafted:
    """Probes built octet by octet, beside the socket that holds their port."""

    def __init__(self, raw: RawFlow, flow: Flow, scapy: _Scapy) -> None:
        self._raw = raw
        self._flow = flow
        self._scapy = scapy
        self._by_checksum: dict[int, bytes] = {}

    def filenos(self) -> list[int]:
        """The descriptors to wait for."""
        return self._raw.filenos()

    def close(self) -> None:
        """Close the sockets."""
        self._raw.close()

    def send(self, payload: bytes, ttl: int) -> None:
        """Build and send one probe."""
        inet, flow = self._scapy.inet, self._flow
        udp = inet.UDP(sport=flow.source_port, dport=flow.destination_port)
        if self._raw.version == 4:
            network = inet.IP(
                src=flow.source, dst=flow.destination, ttl=ttl, tos=flow.dscp << 2, flags="DF", id=0
            )
        else:
            network = self._scapy.inet6.IPv6(
                src=flow.source, dst=flow.destination, hlim=ttl, tc=flow.dscp << 2
            )
        packet = bytes(network / udp / self._scapy.packet.Raw(payload))
        checksum = packet[-len(payload) - 2 : -len(payload)]
        self._by_checksum[int.from_bytes(checksum, "big")] = payload
        self._raw.send(packet)

    def events(self) -> Iterator[Event]:
        """What has happened."""
        yield from self._raw.transmitted()
        for message in self._raw.errors():
            error = self.parse_error(message.data, message.name[0], message.stamped_ns or time.time_ns())
            if error is not None:
                yield error
        for message in self._raw.answers():
            yield self._answer(message.data, message.name[0], message.stamped_ns or time.time_ns())

    def parse_error(self, data: bytes, sender: str, at_ns: int) -> IcmpError | None:
        """Read an ICMP error as a raw socket gives it; None where it is none that quotes UDP."""
        inet, inet6 = self._scapy.inet, self._scapy.inet6
        try:
            if self._raw.version == 4:
                packet = inet.IP(data)
                error = packet.getlayer(inet.ICMP)
            else:
                kind = inet6.ICMPv6TimeExceeded if data[:1] == b"\3" else inet6.ICMPv6DestUnreach
                packet = error = kind(data)
        except (
            Exception
        ):  # scapy promises nothing: struct.error for a header cut off, its own for one that lies
            return None
        quoted = packet.getlayer(inet.UDPerror)
        if error is None or quoted is None:
            return None
        quote = bytes(quoted.original[_UDP_HEADER:]) or self._by_checksum.get(quoted.chksum, b"")
        return IcmpError(quote, plain(sender), error.type, error.code, at_ns)

    def _answer(self, data: bytes, sender: str, at_ns: int) -> Received:
        headers = _UDP_HEADER + (4 * (data[0] & 0xF) if self._raw.version == 4 else 0)
        return Received(data[headers:], plain(sender), self._flow.destination_port, at_ns)
