"""Data sockets of an agent that grants tests: who has no lease gets nothing, and who has one no more than it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.core.authentication import Key
from agent.core.throughput.feedback import Feedback, FeedbackKind
from agent.core.throughput.handshake import Progress, Requester
from agent.core.throughput.lease import (
    MAX_STREAMS,
    Admittance,
    LeaseRequest,
    LeaseState,
    Protocol,
    Share,
    Way,
)
from agent.core.throughput.preamble import PREAMBLE_OCTETS, Preamble, PreambleKind
from agent.core.throughput.result import ErrorReason
from agent.runtime.quantities import Endpoint
from agent.throughput import data_sockets
from agent.throughput.control_client import ControlClient, NoTest
from agent.throughput.data_sockets import open_all
from agent.throughput_documents import Grant
from tests.support.processes import eventually
from tests.support.throughput import TOKEN, Granting, engines, granting

SECOND_NS = 1_000_000_000
RATE = 20_000_000
HOST = "127.0.0.1"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Granting]:
    """An agent that grants tests; when the test is over it has no slot taken and no process left."""
    async with granting(tmp_path) as one:
        yield one
        await one.until_free()
        assert engines(os.getpid()) == []


@pytest.fixture
async def control(there: Granting) -> AsyncIterator[ControlClient]:
    """Its control channel."""
    async with ControlClient(Endpoint(HOST, there.http), TOKEN) as one:
        yield one


def request(protocol: Protocol, way: Way, seconds: int = 2, octets: int | None = None) -> LeaseRequest:
    share = Share.lasting(RATE, seconds * SECOND_NS) if octets is None else Share(RATE, octets)
    down, up = (share if one is way else None for one in Way)
    return LeaseRequest(bytes(4), protocol, seconds * SECOND_NS, down, up)


def admitted(there: Granting, decided: Admittance) -> int:
    """How many data sockets were decided of so."""
    assert there.agent.throughput is not None
    return there.agent.throughput.desk.sockets[decided]


async def drained(one: socket.socket, protocol: Protocol) -> int:
    """Octets that come until the connection ends, or until nothing has come for a second and a half."""
    loop = asyncio.get_running_loop()
    octets = 0
    while True:
        try:
            piece = await asyncio.wait_for(loop.sock_recv(one, 1 << 16), 1.5)
        except (TimeoutError, ConnectionError):
            return octets
        if not piece and protocol is Protocol.TCP:
            return octets
        octets += len(piece)


async def talk(grant: Grant, token: Key, lease: bytes | None = None) -> tuple[Progress, bytes]:
    """Ask for stream 0 down over TCP with some token; how far that goes, and the PROOF that was sent."""
    requester = Requester(grant.id if lease is None else lease, token, Way.DOWN, 0, os.urandom(16))
    reader, writer = await asyncio.open_connection(HOST, grant.port)
    proof = b""
    try:
        while requester.progress in (Progress.ASKING, Progress.PROVING):
            proof = requester.message
            writer.write(proof)
            if not requester.receive(await reader.readexactly(PREAMBLE_OCTETS)):
                break
        if requester.progress is Progress.REFUSED:
            assert await reader.read() == b""
    finally:
        writer.close()
    return requester.progress, proof


async def test_a_forged_proof(there: Granting, control: ControlClient) -> None:
    """Who does not know the token is refused and cut off, for a lease that there is as for one that there is not."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    assert (await talk(grant, Key(bytes(16))))[0] is Progress.REFUSED
    assert (await talk(grant, grant.token, bytes(8)))[0] is Progress.REFUSED
    assert admitted(there, Admittance.FORGED) == 1
    assert admitted(there, Admittance.UNKNOWN) == 1
    assert engines(os.getpid()) == []
    await control.give_back(grant)


async def test_a_replayed_proof(there: Granting, control: ControlClient) -> None:
    """A stream is opened once; a PROOF that was overheard opens nothing on another connection."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    progress, proof = await talk(grant, grant.token)
    assert progress is Progress.OPEN
    assert (await talk(grant, grant.token))[0] is Progress.REFUSED
    reader, writer = await asyncio.open_connection(HOST, grant.port)
    writer.write(proof)
    assert Preamble.parse(await reader.readexactly(PREAMBLE_OCTETS)).kind is PreambleKind.REFUSED
    assert await reader.read() == b""
    writer.close()
    assert admitted(there, Admittance.REPLAYED) == 1
    await control.give_back(grant)


async def test_an_ended_lease(there: Granting, control: ControlClient) -> None:
    """It opens nothing more, and its token is worth nothing, also while its peer has another one."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    await control.give_back(grant)
    assert await is_not_listened_to(grant.port)
    other = await control.ask(request(Protocol.TCP, Way.DOWN))
    assert (await talk(grant, grant.token))[0] is Progress.REFUSED
    assert admitted(there, Admittance.OVER) == 1
    await control.give_back(other)


async def test_who_says_nothing_is_cut_off(there: Granting, control: ControlClient) -> None:
    """A connection that proves nothing within two seconds is closed, and so is one that speaks something else."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    port = grant.port
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    other_reader, other = await asyncio.open_connection(HOST, port)
    other.write(b"GET / HTTP/1.0\r\n\r\n".ljust(PREAMBLE_OCTETS))
    assert await other_reader.read() == b""
    assert time.monotonic() - begun < 1.5
    assert await reader.read() == b""
    for one in (writer, other):
        one.close()
    await control.give_back(grant)


async def test_who_says_nothing_keeps_nobody_out(there: Granting, control: ControlClient) -> None:
    """Connections of others, and as many of the peer's own address as a test has, leave a test room at the door."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    with contextlib.ExitStack() as silent:
        for number in range(2 * MAX_STREAMS + 20):
            one = silent.enter_context(socket.socket())
            one.setblocking(False)
            own = number < 2 * MAX_STREAMS
            one.bind((HOST if own else f"127.0.0.{number}", 0))
            await asyncio.get_running_loop().sock_connect(one, (HOST, grant.port))
        assert (await talk(grant, grant.token))[0] is Progress.OPEN
    await control.give_back(grant)


async def is_not_listened_to(port: int) -> bool:
    """Whether a connection is closed before a word is said."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        return await asyncio.wait_for(reader.read(), 1) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def test_who_has_no_lease(there: Granting) -> None:
    """He is closed at once, or gets no answer, whatever list he is on: nothing of what he says is looked at."""
    assert there.agent.settings.throughput is not None
    port = there.agent.settings.throughput.listen[0].port
    hello = Preamble(PreambleKind.HELLO, Way.DOWN, 0, bytes(8), os.urandom(16)).serialise()
    assert await is_not_listened_to(port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as one:
        one.connect((HOST, port))
        one.send(hello)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 2_048), 0.3)


@pytest.mark.parametrize("protocol", Protocol)
async def test_who_sends_too_much_is_cut_off(
    there: Granting, control: ControlClient, protocol: Protocol
) -> None:
    """More octets up than were granted end the test at the server, which tells so; the slot is free."""
    grant = await control.ask(request(protocol, Way.UP, octets=1_000_000))
    opened = await open_all(grant, HOST, protocol, (Way.UP,), 1)
    one = opened[Way.UP, 0]
    loop = asyncio.get_running_loop()
    piece = bytes(8_000)
    with one:
        try:
            for _ in range(2_000):
                await asyncio.wait_for(loop.sock_sendall(one, piece), 5)
                if not there.leases:
                    break
                await asyncio.sleep(0.002)
        except ConnectionError:
            pass
        await there.until_free()
    state, report = await control.look(grant)
    assert state is LeaseState.RELEASED
    assert report.error == "more has come than the lease grants"


@pytest.mark.parametrize("protocol", Protocol)
async def test_no_more_comes_than_is_granted(
    there: Granting, control: ControlClient, protocol: Protocol
) -> None:
    """Down, the server stops by itself at what was granted; over UDP it begins when somebody says that he is there, and
    stops much earlier where nobody says that anything came."""
    wanted = request(protocol, Way.DOWN)
    assert wanted.down is not None
    grant = await control.ask(wanted)
    opened = await open_all(grant, HOST, protocol, (Way.DOWN,), 1)
    with opened[Way.DOWN, 0] as one:
        if protocol is Protocol.UDP:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 2_048), 0.3)
            one.send(Feedback(FeedbackKind.NEWS, Way.DOWN, 0, 0).serialise(grant.token))
        octets = await drained(one, protocol)
    assert 0 < octets <= wanted.down.octets
    if protocol is Protocol.UDP:
        assert octets < 0.95 * wanted.down.octets
    await there.until_free()
    state, report = await control.look(grant)
    assert state is LeaseState.RELEASED
    assert report.sent_octets <= wanted.down.octets


async def test_nothing_flows_to_who_only_says_where_he_is(there: Granting, control: ControlClient) -> None:
    """Over UDP a HELLO brings a challenge of its length, a PROOF without the cookie nothing, and no data ever."""
    grant = await control.ask(request(Protocol.UDP, Way.DOWN))
    loop = asyncio.get_running_loop()
    hello = Preamble(PreambleKind.HELLO, Way.DOWN, 0, grant.id, os.urandom(16))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as one:
        one.connect((HOST, grant.port))
        for _ in range(3):
            one.send(hello.serialise())
            assert len(await loop.sock_recv(one, 2_048)) == PREAMBLE_OCTETS
        one.send(hello.challenge(os.urandom(16)).proof(grant.token).serialise())
        one.send(b"anything else")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(one, 2_048), 0.3)
    assert engines(os.getpid()) == []
    await control.give_back(grant)


async def test_sockets_that_do_not_come(there: Granting, control: ControlClient) -> None:
    """A test of which sockets are missing never begins; when no more are admitted, its process is gone."""
    wanted = LeaseRequest(bytes(4), Protocol.TCP, SECOND_NS, up=Share.lasting(RATE, SECOND_NS), streams=2)
    grant = await control.ask(wanted)
    reader, writer = await asyncio.open_connection(HOST, grant.port)
    requester = Requester(grant.id, grant.token, Way.UP, 1, os.urandom(16))
    while requester.progress is not Progress.OPEN:
        writer.write(requester.message)
        assert requester.receive(await reader.readexactly(PREAMBLE_OCTETS))

    async def started() -> bool:
        return bool(engines(os.getpid()))

    await eventually(started, "the process is there")
    assert await asyncio.wait_for(reader.read(), 8) == b""
    writer.close()
    await there.until_free()
    assert (await control.look(grant))[1].received == ()


async def test_a_process_that_hangs(there: Granting, control: ControlClient) -> None:
    """It is killed when the lease is given back, and what it has told until then is no result."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    opened = await open_all(grant, HOST, Protocol.TCP, (Way.DOWN,), 1)
    with opened[Way.DOWN, 0] as one:
        assert await asyncio.get_running_loop().sock_recv(one, 1)
        (child,) = engines(os.getpid())
        os.kill(child, signal.SIGSTOP)
        await control.give_back(grant)
    state, report = await control.look(grant)
    assert state is LeaseState.RELEASED
    assert report.error == "the test's process did not end by itself"


async def test_who_opens_too_little_has_used_nothing(there: Granting, control: ControlClient) -> None:
    """A test that is given back before it has begun leaves the day's octets as they were."""
    wanted = LeaseRequest(bytes(4), Protocol.TCP, SECOND_NS, up=Share.lasting(RATE, SECOND_NS), streams=2)
    grant = await control.ask(wanted)
    one = await data_sockets._opened(grant, HOST, Protocol.TCP, Way.UP, 0)
    await control.give_back(grant)
    one.close()
    assert there.agent.throughput is not None
    book = there.agent.throughput.desk._book
    assert book.octets_left(ip_address(HOST).packed, time.time_ns()) == book._rules.octets_per_day


async def test_no_data_port(there: Granting, control: ControlClient) -> None:
    """Where the data port is not what it should be, the test is an error that names the port."""
    grant = await control.ask(request(Protocol.TCP, Way.DOWN))
    elsewhere = Grant(grant.id, grant.token, there.http, grant.start_by_ns, grant.stop_by_ns)
    with pytest.raises(NoTest) as refused:
        await open_all(elsewhere, HOST, Protocol.TCP, (Way.DOWN,), 1)
    assert refused.value.reason in (ErrorReason.MALFORMED, ErrorReason.REFUSED)
    await control.give_back(grant)
