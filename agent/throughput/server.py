"""Who serves tests: data sockets at the agent's addresses, admitted by lease, handed to a child process for each test.

Who has no lease that admits sockets now is not listened to, whatever list he is on. Before it has proven itself a
connection costs a task, 64 octets and two seconds, and of one address there are few of them at once; a datagram costs
nothing that is kept. What opens is handed over; the child begins when all sockets of its lease are there, and not at
all where some do not come while they are admitted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.core.authentication import Key
from agent.core.throughput.handshake import Association, DatagramDoor, StreamDoor
from agent.core.throughput.lease import MAX_STREAMS, TOKEN_OCTETS, Lease, Protocol, Way
from agent.core.throughput.preamble import NONCE_OCTETS, PREAMBLE_OCTETS, Cookies, Preamble
from agent.core.throughput.report import ServerReport
from agent.core.timestamps import SECOND_NS
from agent.net.addresses import bindable
from agent.reflector.leases import LeaseDesk
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint
from agent.throughput.child import EngineProcess
from agent.throughput.congestion_control import choose_congestion_control
from agent.throughput.plan import Ended, EnginePlan, EngineReport, WayPlan

log = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 2.0
_MOST_AT_DOOR: Final = 4 * MAX_STREAMS
"""Of one address: both ways of a test, and as many again for whoever shares the address and has no lease."""
_BACKLOG: Final = 64
_PER_WAKE: Final = 64
_FULL_S: Final = 0.05
_HUNG: Final = "the test's process did not end by itself"


class ThroughputBindError(IsochroneError):
    """Data sockets cannot listen where they are told to."""


@dataclass(slots=True)
class _Running:
    """A test with at least one data socket."""

    lease: Lease
    engine: asyncio.Task[EngineProcess]
    opened: int = 0
    begun: bool = False
    waiting: list[asyncio.Task[None]] = field(default_factory=list)


class ThroughputServer:
    """The data plane of an agent's leases.

    Args:
        desk: of the leases.
        listen: addresses of the data sockets.

    Raises:
        ThroughputBindError: one is taken or is not ours.
    """

    def __init__(self, desk: LeaseDesk, listen: Sequence[Endpoint]) -> None:
        self._desk = desk
        self._running: dict[bytes, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_door: Counter[bytes] = Counter()
        self._listeners: list[socket.socket] = []
        self._doors: list[tuple[socket.socket, DatagramDoor]] = []
        try:
            for endpoint in listen:
                self._listeners.append(_bound(endpoint, socket.SOCK_STREAM))
                choose_congestion_control(self._listeners[-1])
                one = _bound(endpoint, socket.SOCK_DGRAM)
                cookies = Cookies(Key(secrets.token_bytes(TOKEN_OCTETS)))
                self._doors.append((one, DatagramDoor(cookies, self._admit_datagrams)))
        except OSError as error:
            self._close_sockets()
            why = error.strerror or error
            raise ThroughputBindError(f"throughput: cannot listen on {endpoint}: {why}") from error
        desk.data = self

    def start(self) -> None:
        """Admit data sockets from now on."""
        for listener in self._listeners:
            listener.listen(_BACKLOG)
            self._spawn(self._accept(listener), "accept data connections")

    async def close(self) -> None:
        """Close all sockets; tests that run are for the desk to end, before."""
        loop = asyncio.get_running_loop()
        for one, _ in self._doors:
            loop.remove_reader(one)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for running in list(self._running.values()):
            await self._stop(running)
        self._close_sockets()

    async def stop(self, lease: Lease) -> Mapping[Way, int] | None:
        """Close all sockets of a lease; see `agent.reflector.leases.DataPlane`."""
        running = self._running.get(lease.id)
        if running is None:
            return {}
        return await self._stop(running)

    async def _stop(self, running: _Running) -> Mapping[Way, int] | None:
        try:
            engine = await running.engine
        except OSError:
            self._forget(running.lease)
            return {}
        await engine.stop()
        self._tell(running.lease, engine.report, "" if engine.complete else _HUNG)
        self._forget(running.lease)
        return _used(engine) if running.begun else {}

    def _close_sockets(self) -> None:
        for one in (*self._listeners, *(one for one, _ in self._doors)):
            one.close()

    def _spawn(self, work: object, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log.error("throughput: %s: %s", task.get_name(), failure)

    # TCP

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                one, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await asyncio.sleep(_FULL_S)
                continue
            peer = ipaddress.ip_address(address[0].partition("%")[0]).packed
            if peer not in self._desk.expected() or self._at_door[peer] >= _MOST_AT_DOOR:
                one.close()
                continue
            self._at_door[peer] += 1
            self._spawn(self._greet(one, peer), "greet a data connection")

    async def _greet(self, one: socket.socket, peer: bytes) -> None:
        """Have a connection prove itself, and hand it over."""
        try:
            opened = await self._opened(one, peer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            opened = None
        finally:
            self._leave_door(peer)
        if opened is None:
            one.close()
        else:
            await self._take(opened, one)

    def _leave_door(self, peer: bytes) -> None:
        self._at_door[peer] -= 1
        if not self._at_door[peer]:
            del self._at_door[peer]

    async def _opened(self, one: socket.socket, peer: bytes) -> Preamble | None:
        loop = asyncio.get_running_loop()
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        door = StreamDoor(
            secrets.token_bytes(NONCE_OCTETS), lambda proof: self._desk.open(proof, peer, Protocol.TCP)
        )
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                while door.opened is None:
                    answer = door.receive(await _exactly(one, PREAMBLE_OCTETS))
                    if answer:
                        await loop.sock_sendall(one, answer)
                    if door.closed:
                        break
        except BaseException:
            one.close()
            raise
        return door.opened

    # UDP

    def expect(self) -> None:
        """Read datagrams from now on; see `agent.reflector.leases.DataPlane`."""
        loop = asyncio.get_running_loop()
        for one, door in self._doors:
            loop.add_reader(one, self._receive, one, door)

    def _receive(self, one: socket.socket, door: DatagramDoor) -> None:
        expected = self._desk.expected()
        if not expected:
            # a flood costs nothing while nobody has a lease: what nobody reads the kernel throws away
            asyncio.get_running_loop().remove_reader(one)
            return
        for _ in range(_PER_WAKE):
            try:
                data, address = one.recvfrom(PREAMBLE_OCTETS + 1)
            except OSError:
                return
            peer = ipaddress.ip_address(address[0].partition("%")[0]).packed
            if peer not in expected:
                continue
            answer, association = door.receive(data, peer, address[1], time.monotonic_ns())
            if association is not None:
                # from now on the peer's datagrams come to a socket of their own, as do questions that he repeats
                own = _connected(one, address)
                if own is None:
                    continue
                self._spawn(self._take_association(association, own, data, answer), "take an association")
            elif answer:
                with contextlib.suppress(OSError):
                    one.sendto(answer, address)

    def _admit_datagrams(self, proof: Preamble, peer: bytes) -> Key | None:
        return self._desk.open(proof, peer, Protocol.UDP)

    async def _take_association(
        self, association: Association, own: socket.socket, proof: bytes, accept: bytes
    ) -> None:
        with contextlib.suppress(OSError):
            own.send(accept)
        await self._take(association.proof, own, proof, accept)

    # Both

    async def _take(
        self, opened: Preamble, one: socket.socket, proof: bytes = b"", accept: bytes = b""
    ) -> None:
        """Hand a socket to its lease's child, and let that begin when all are there."""
        lease = self._desk.running(opened.lease)
        if lease is None:
            one.close()
            return
        running = self._running.get(lease.id)
        if running is None:
            engine = asyncio.create_task(self._engine(lease), name="start a test")
            running = self._running[lease.id] = _Running(lease, engine)
            self._spawn(self._watch(running), "watch a test")
        try:
            child = await asyncio.shield(running.engine)
        except OSError as error:
            one.close()
            log.error("throughput: no process for a test: %s", error.strerror or error)
            return
        child.hand_over(opened.way, opened.stream, one, proof, accept)
        running.opened += 1
        request = lease.request
        if running.opened == request.streams * len(request.directions.ways):
            self._begin(running, child)

    def _begin(self, running: _Running, child: EngineProcess) -> None:
        if not running.begun:
            running.begun = True
            child.begin()

    async def _engine(self, lease: Lease) -> EngineProcess:
        request = lease.request
        plan = EnginePlan(
            request.protocol,
            4 if len(request.peer) == 4 else 6,
            lease.token,
            request.duration_ns,
            request.streams,
            {
                way: WayPlan(way is Way.DOWN, share, not request.exclusive, request.exclusive)
                for way, share in request.shares()
            },
        )
        return await EngineProcess.start(plan, lambda report: self._tell(lease, report))

    async def _watch(self, running: _Running) -> None:
        """Give a lease back when its child ends by itself; begin without those sockets that do not come."""
        lease = running.lease
        try:
            child = await asyncio.shield(running.engine)
        except OSError:
            self._forget(lease)
            self._desk.release(lease.id)
            return
        late_s = max(0, lease.start_by_ns - time.monotonic_ns()) / SECOND_NS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(late_s):
                await child.ended()
        if not running.begun:
            # who has asked for more sockets than he opens has no test
            await child.kill()
        await child.ended()
        if self._running.get(lease.id) is running:
            self._tell(lease, child.report, "" if child.complete else "the test's process has ended early")
            self._forget(lease)
            self._desk.release(lease.id, _used(child) if running.begun else {})

    def _forget(self, lease: Lease) -> None:
        self._running.pop(lease.id, None)
        for _, door in self._doors:
            door.forget(lease.id)

    def _tell(self, lease: Lease, report: EngineReport, error: str = "") -> None:
        self._desk.tell(lease.id, server_report(report, error))


def server_report(report: EngineReport, error: str = "") -> ServerReport:
    """What the peer is told of a child's report."""
    down, up = report.ways.get(Way.DOWN), report.ways.get(Way.UP)
    if not error and any(way is not None and way.ended == Ended.EXCEEDED for way in (down, up)):
        error = "more has come than the lease grants"
    return ServerReport(
        received=() if up is None else up.windows,
        received_packets=None if up is None else up.packets,
        pressures=() if down is None else down.pressures,
        sent_packets=None if down is None else down.packets,
        congestion_control="" if down is None else down.congestion_control,
        sent_octets=0 if down is None else down.octets,
        datagrams_down=None if down is None else down.datagrams,
        datagrams_up=None if up is None else up.datagrams,
        host=report.host,
        error=error,
    )


def _used(child: EngineProcess) -> dict[Way, int] | None:
    """What was transferred; None: the child was killed, and nobody knows."""
    return {way: told.octets for way, told in child.report.ways.items()} if child.complete else None


async def _exactly(one: socket.socket, octets: int) -> bytes:
    """So many octets.

    Raises:
        IncompleteReadError: the peer has closed before.
    """
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < octets:
        piece = await loop.sock_recv(one, octets - len(data))
        if not piece:
            raise asyncio.IncompleteReadError(data, octets)
        data += piece
    return data


def _bound(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    """A socket at an address, to which others of ours may be added.

    Raises:
        OSError: the address is taken or is not ours.
    """
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    one = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        reuse = socket.SO_REUSEADDR if kind is socket.SOCK_STREAM else socket.SO_REUSEPORT
        one.setsockopt(socket.SOL_SOCKET, reuse, 1)
        one.bind(bindable(endpoint.host, endpoint.port))
    except OSError:
        one.close()
        raise
    return one


def _connected(listening: socket.socket, address: tuple[str, int]) -> socket.socket | None:
    """A UDP socket at the same address as another, for one peer alone; None: the kernel has none."""
    one = socket.socket(listening.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if listening.family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(listening.getsockname())
        one.connect(address)
    except OSError:
        one.close()
        return None
    return one
