"""The route probe over real routers: three hops of veth between namespaces, the middle one a balanced pair."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import scapy.layers.inet as inet
import scapy.layers.inet6 as inet6
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.packet import Raw

from agent import cli
from agent.core.reflection import ReflectorMode
from agent.core.route import AnswerKind, Flow, KnownWays, Route, compare
from agent.net.clock import DeclaredClock
from agent.net.icmp_errors import ErrorQueueSocket, IcmpError
from agent.net.local_clock import LocalClock
from agent.probes import route as probing
from agent.probes.exceptions import TraceImpossible
from agent.probes.route import trace
from agent.reflector.stamp import StampReflector
from agent.runtime.quantities import Endpoint
from tests.support.reflectors import ANYBODY
from tests.support.requirements import require_ipv6
from tests.support.routers import Routers, routed_namespaces

PORT = 8620
SESSION_PORT = 40_862
BOTH = pytest.mark.parametrize("version", [4, 6])
CAPABILITY_VERSION_3 = 0x2008_0522


@pytest.fixture
def routers() -> Iterator[Routers]:
    """The network, one way through it."""
    with routed_namespaces() as network:
        network.forward_by("upper")
        yield network


@contextlib.contextmanager
def reflecting(network: Routers) -> Iterator[StampReflector]:
    """A reflector at the target."""
    with network["target"].entered():
        reflector = StampReflector(
            [Endpoint("0.0.0.0", PORT), Endpoint("::", PORT)],
            ReflectorMode.STATEFUL,
            LocalClock(DeclaredClock(1000)),
            ANYBODY,
        )
    reflector.start()
    try:
        yield reflector
    finally:
        reflector.close()


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Take every capability from this thread: it may then do what any user may."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, had = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, had) == 0
    # effective, permitted, inheritable, of the lower and of the upper 32 capabilities
    without = (ctypes.c_uint32 * 6)(0, had[1], had[2], 0, had[4], had[5])
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, had) == 0


@contextlib.contextmanager
def held_port(network: Routers, version: int) -> Iterator[socket.socket]:
    """A socket of the prober's that holds the session's port, as a running session does."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with network["prober"].entered():
        session = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with session:
        session.bind(("", SESSION_PORT))
        yield session


async def traced(network: Routers, version: int, **arguments: Any) -> Route:
    """Trace from the prober to the target."""
    with network["prober"].entered():
        return await trace(Endpoint(network.address("target", version), PORT), **arguments)


def addresses(route: Route) -> list[str | None]:
    """Who answered, hop by hop."""
    return [hop.address for hop in route.hops]


def expected(network: Routers, version: int, *roles: str) -> list[str]:
    """The addresses of the nodes on a way."""
    return [network.address(role, version) for role in roles]


@BOTH
async def test_hops_in_order(routers: Routers, version: int) -> None:
    """An ordinary user finds every hop in order, each probe answered, the target by its reflector, and no round trip
    is longer than a tenth of a second or shorter than nothing."""
    with reflecting(routers), routers["prober"].entered(), unprivileged():
        route = await trace(Endpoint(routers.address("target", version), PORT), count=4)
    assert addresses(route) == expected(routers, version, "first", "upper", "last", "target")
    assert route.reached
    for hop in route.hops[:-1]:
        assert (hop.sent, len(hop.rtts_ns)) == (4, 4)
        assert {answer.kind for answer in hop.answers} == {AnswerKind.TIME_EXCEEDED}
    assert {answer.kind for answer in route.hops[-1].answers} == {AnswerKind.REPLY}
    for hop in route.hops:
        assert all(0 < rtt_ns < 100_000_000 for rtt_ns in hop.rtts_ns)
    assert route.flow.source == routers.address("prober", version)
    assert route.unidentified == 0


@BOTH
async def test_without_a_reflector(routers: Routers, version: int) -> None:
    """A target that has no reflector is found by its port unreachable."""
    route = await traced(routers, version)
    assert addresses(route) == expected(routers, version, "first", "upper", "last", "target")
    assert route.reached
    assert AnswerKind.PORT_UNREACHABLE in {answer.kind for answer in route.hops[-1].answers}


@BOTH
async def test_a_silent_router_is_a_gap(routers: Routers, version: int) -> None:
    """A router whose errors never come is a hop without address, and what lies behind it is found; compared with the
    route before, nothing has changed."""
    with reflecting(routers):
        routers.forward_by("lower")
        before = await traced(routers, version)
        routers.silence("lower")
        route = await traced(routers, version, timeout_ns=300_000_000)
    assert addresses(before)[1] == routers.address("lower", version)
    assert addresses(route)[1] is None
    assert [hop.ttl for hop in route.hops if hop.answers] == [1, 3, 4]
    assert route.hops[1].sent == 3
    assert route.reached
    assert compare(before, route) == ()
    known = KnownWays()
    assert known.name(before) == known.name(route)


@BOTH
async def test_one_flow_takes_one_way(routers: Routers, version: int) -> None:
    """Through a pair balanced by five-tuple every probe of a trace takes the same one, and so does the next trace of
    the same source port; other source ports show that the pair is balanced."""
    routers.forward_by("upper", "lower")
    pair = set(expected(routers, version, "upper", "lower"))
    seen = set()
    with reflecting(routers):
        for source_port in range(SESSION_PORT, SESSION_PORT + 12):
            route = await traced(routers, version, source_port=source_port, count=5)
            again = await traced(routers, version, source_port=source_port, count=5)
            assert route.flow == again.flow
            assert route.fingerprint == again.fingerprint
            (chosen,) = route.hops[1].addresses
            seen.add(chosen)
    assert seen == pair


@BOTH
async def test_a_route_change_is_seen(routers: Routers, version: int) -> None:
    """When the network sends the flow another way, the fingerprint changes and the comparison says where; back on the
    first way, it is the first fingerprint again."""
    with reflecting(routers):
        before = await traced(routers, version, source_port=SESSION_PORT)
        routers.forward_by("lower")
        after = await traced(routers, version, source_port=SESSION_PORT)
        routers.forward_by("upper")
        back = await traced(routers, version, source_port=SESSION_PORT)
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint == back.fingerprint
    change = compare(before, after)[0]
    assert (change.ttl, change.before, change.after) == (
        2,
        frozenset({routers.address("upper", version)}),
        frozenset({routers.address("lower", version)}),
    )
    assert compare(before, back) == ()


@BOTH
async def test_beside_a_running_session(routers: Routers, version: int) -> None:
    """The way of a five-tuple is the same whether a socket of its own finds it or, built by scapy, it is traced beside
    the session that holds the port; the session's socket hears no error of it."""
    routers.forward_by("upper", "lower")
    with reflecting(routers):
        for code_point in (0, 46):
            alone = await traced(routers, version, source_port=SESSION_PORT, dscp=code_point)
            with held_port(routers, version) as session:
                beside = await traced(routers, version, source_port=SESSION_PORT, dscp=code_point)
                assert session.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert beside.flow == alone.flow
            assert addresses(beside) == addresses(alone)
            assert beside.fingerprint == alone.fingerprint
            assert beside.reached
            assert all(len(hop.rtts_ns) >= 3 for hop in beside.hops)
            assert all(0 < rtt_ns < 100_000_000 for hop in beside.hops for rtt_ns in hop.rtts_ns)


@BOTH
def test_beside_a_session_without_privilege(
    routers: Routers, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without CAP_NET_RAW the command says on one line which capability is missing and how to give it, and ends with
    status 2."""
    target = str(Endpoint(routers.address("target", version), PORT))
    with held_port(routers, version), routers["prober"].entered(), unprivileged():
        status = cli.main(["probe", "route", target, "--source-port", str(SESSION_PORT)])
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {SESSION_PORT} is in use" in line
    assert "CAP_NET_RAW" in line
    assert "setcap" in line


def old_routers_error(probe: bytes, version: int, router: str, octets: int) -> Any:
    """The ICMP error of a router, quoting so many octets of a probe's UDP datagram."""
    if version == 4:
        sender = inet.IP(probe).src
        return inet.IP(src=router, dst=sender) / inet.ICMP(type=11) / Raw(probe[: 20 + octets])
    sender = inet6.IPv6(probe).src
    error = inet6.ICMPv6TimeExceeded()
    return inet6.IPv6(src=router, dst=sender) / error / Raw(probe[: 40 + octets])


@contextlib.contextmanager
def impostor(network: Routers, version: int, octets: int) -> Iterator[None]:
    """In place of `first`, which swallows everything, something that answers as a router of 1981 would: with no more
    of the datagram than its UDP header, if so told."""
    network.swallow()
    ethertype, header = (0x0800, 20) if version == 4 else (0x86DD, 40)
    protocol_at, ttl_at = (9, 8) if version == 4 else (6, 7)
    with network["first"].entered():
        listener = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ethertype)
        )
        listener.bind(("v0", ethertype))
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        out = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    router = network.address("first", version)

    def answer() -> None:
        probe = listener.recv(2048)
        if len(probe) > header and probe[protocol_at] == socket.IPPROTO_UDP and probe[ttl_at] == 1:
            packet = bytes(old_routers_error(probe, version, router, octets))
            out.sendto(packet, (network.address("prober", version), 0))

    loop = asyncio.get_running_loop()
    with listener, out:
        loop.add_reader(listener.fileno(), answer)
        try:
            yield
        finally:
            loop.remove_reader(listener.fileno())


@BOTH
async def test_short_quotes(routers: Routers, version: int) -> None:
    """A router that quotes eight octets of the datagram, as RFC 792 asks: the ordinary socket cannot tell the probe
    and says so; the raw one tells it by its UDP checksum."""
    arguments = {"source_port": SESSION_PORT, "max_hops": 2, "timeout_ns": 300_000_000}
    with impostor(routers, version, octets=8):
        alone = await traced(routers, version, **arguments)
        with held_port(routers, version):
            beside = await traced(routers, version, **arguments)
    assert addresses(alone) == []
    assert alone.unidentified == 3
    assert addresses(beside) == [routers.address("first", version)]
    assert len(beside.hops[0].answers) == 3


@BOTH
@pytest.mark.parametrize("held", [False, True])
async def test_garbage_does_not_kill_it(routers: Routers, version: int, held: bool) -> None:
    """Errors that quote the five-tuple and nothing right after it, cut anywhere, of any type, do not disturb a trace:
    every hop is found, and nobody else."""
    rng = random.Random(7)
    source, target = routers.address("prober", version), routers.address("target", version)
    udp = inet.UDP(sport=SESSION_PORT, dport=PORT)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with routers["first"].entered():
        out = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def garbage() -> bytes:
        outer: Any
        error: Any
        filling = Raw(rng.randbytes(rng.randrange(60)))
        if version == 4:
            quoted = bytes(inet.IP(src=source, dst=target, ttl=1) / udp / filling)
            error = inet.ICMP(type=rng.choice((3, 11, 11, 12)), code=rng.randrange(4))
            outer = inet.IP(src="203.0.113.66", dst=source)
        else:
            quoted = bytes(inet6.IPv6(src=source, dst=target, hlim=1) / udp / filling)
            error = rng.choice((inet6.ICMPv6TimeExceeded, inet6.ICMPv6DestUnreach))(code=rng.randrange(5))
            outer = inet6.IPv6(src="2001:db8::66", dst=source)
        return bytes(outer / error / Raw(quoted[: rng.randrange(20, len(quoted) + 1)]))

    async def pester() -> None:
        while True:
            for _ in range(20):
                out.sendto(garbage(), (source, 0))
            await asyncio.sleep(0.001)

    with out, reflecting(routers), contextlib.ExitStack() as stack:
        if held:
            stack.enter_context(held_port(routers, version))
        pest = asyncio.create_task(pester())
        try:
            route = await traced(routers, version, source_port=SESSION_PORT, interval_ns=10_000_000)
        finally:
            pest.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pest
    assert addresses(route) == expected(routers, version, "first", "upper", "last", "target")
    assert route.reached


async def test_no_way_there(routers: Routers) -> None:
    """Where the kernel has no way to the address, and where a name is unknown, it says so."""
    with (
        routers["first"].entered(),
        pytest.raises(TraceImpossible, match=r"cannot trace 198\.51\.100\.1:862: Network is unreachable"),
    ):
        await trace(Endpoint("198.51.100.1", 862))
    with pytest.raises(TraceImpossible, match=r"cannot resolve no-such-host\.invalid"):
        await trace(Endpoint("no-such-host.invalid", 862))


async def test_every_send_refused(routers: Routers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel refuses every probe, the reason is told, at once."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(ErrorQueueSocket, "send", refuse)
    with pytest.raises(TraceImpossible, match="Operation not permitted"):
        await traced(routers, 4, max_hops=2)


def test_a_port_of_the_system(routers: Routers, capsys: pytest.CaptureFixture[str]) -> None:
    """A source port that ordinary users may not have is refused with the capability that it takes."""
    # the kernel lets a namespace choose which ports those are; 862 is one by default
    with routers["prober"].entered(), unprivileged():
        status = cli.main(["probe", "route", "127.0.0.1", "--source-port", "862"])
    assert status == 2
    assert "source port 862 needs the capability CAP_NET_BIND_SERVICE" in capsys.readouterr().err


async def test_a_spent_error_is_no_refusal(routers: Routers) -> None:
    """The error that an earlier datagram caused is told at the next send, and does not keep that from being sent."""
    with routers["prober"].entered():
        closed = ErrorQueueSocket(socket.AF_INET, 0, (routers["prober"].ipv4, PORT), 0)
    with contextlib.closing(closed):
        for number in range(5):
            closed.send(bytes([number]) * 4, 64)
        errors = [event for event in closed.events() if isinstance(event, IcmpError)]
    assert [error.quote[0] for error in errors] == [0, 1, 2, 3, 4]


async def test_scapy_that_cannot_be_read(routers: Routers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scapy fails to load, the raw sockets are closed, not left to the garbage collector."""

    def broken() -> None:
        raise ImportError("scapy")

    monkeypatch.setattr(probing, "_scapy", broken)
    with held_port(routers, 4), pytest.raises(ImportError):
        await traced(routers, 4, source_port=SESSION_PORT)


@BOTH
def test_the_command(routers: Routers, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    """`probe route` prints a table for people and one JSON document for programs; its status is 0 where the target was
    reached and 1 where not."""
    target = str(Endpoint(routers.address("target", version), PORT))
    with routers["prober"].entered():
        assert cli.main(["probe", "route", target]) == 0
        table = capsys.readouterr().out
        assert cli.main(["probe", "route", target, "--json", "--count", "2", "--dscp", "46"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert cli.main(["probe", "route", target, "--max-hops", "2", "--timeout", "1s"]) == 1
        short = capsys.readouterr().out
    lines = table.splitlines()
    assert lines[1].split() == ["hop", "address", "answered", "min", "median", "max", "ms"]
    assert [line.split()[:3] for line in lines[2:5]] == [
        [str(ttl), address, "3/3"]
        for ttl, address in enumerate(expected(routers, version, "first", "upper", "last"), 1)
    ]
    assert lines[5].endswith("port unreachable")
    assert lines[6] == f"reached in 4 hops, fingerprint {document['fingerprint']}"
    assert (document["target"], document["kind"], document["flow"]["dscp"]) == (target, "route", 46)
    assert [hop["sent"] for hop in document["hops"][:3]] == [2, 2, 2]
    assert "not reached within 2 hops and 1s, fingerprint" in short
    routers.swallow()
    with routers["prober"].entered():
        assert cli.main(["probe", "route", target, "--max-hops", "2", "--timeout", "100ms"]) == 1
    assert capsys.readouterr().out.endswith("not reached within 2 hops and 100ms, nothing answered\n")


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--max-hops", "65"], ["--source-port", "x"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A number out of range is refused with the range, status 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["probe", "route", "127.0.0.1", *arguments])
    assert ended.value.code == 2
    assert "is out of range: 1 to" in capsys.readouterr().err


def test_a_name_of_nobody_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that cannot be resolved is no mistake of the command: status 1, as of all other kinds of probes."""
    assert cli.main(["probe", "route", "no-such-host.invalid"]) == 1
    assert capsys.readouterr().err.startswith("cannot resolve no-such-host.invalid: ")


def test_a_name_that_hangs_keeps_the_end_waiting_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives a trace up need not wait for the resolver."""
    stuck = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stuck.wait(30) or [])
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(trace(Endpoint("hangs.example", PORT)), 0.1))
    took_s = time.monotonic() - begun
    stuck.set()
    assert took_s < 15


def test_scapy_is_not_read_in_vain() -> None:
    """Neither the command nor the module of the probe reads scapy."""
    program = "import sys, agent.cli, agent.probes.route; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class FakeRaw:
    """What `_Crafted` needs to know in order to read."""

    def __init__(self, version: int) -> None:
        self.version = version


@settings(max_examples=60)
@given(st.sampled_from([4, 6]), st.binary(max_size=44), st.data())
def test_errors_are_read_or_passed_by(version: int, payload: bytes, data: st.DataObject) -> None:
    """An error cut or changed anywhere is read as one, or is none; never an exception."""
    flow = Flow("192.0.2.1", 1, "192.0.2.9", 862, 0)
    crafted = probing._Crafted(FakeRaw(version), flow, probing._scapy())  # type: ignore[arg-type]
    if version == 4:
        probe = bytes(inet.IP(src="192.0.2.1", dst="192.0.2.9") / inet.UDP() / Raw(payload))
        error = bytearray(bytes(old_routers_error(probe, 4, "192.0.2.5", 99)))
    else:
        probe = bytes(inet6.IPv6(src="2001:db8::1", dst="2001:db8::9") / inet.UDP() / Raw(payload))
        error = bytearray(bytes(old_routers_error(probe, 6, "2001:db8::5", 99))[40:])
    whole = crafted.parse_error(bytes(error), "192.0.2.5", 5)
    assert whole is not None
    assert whole.quote == payload
    for _ in range(data.draw(st.integers(0, 4))):
        error[data.draw(st.integers(0, len(error) - 1))] = data.draw(st.integers(0, 255))
    mangled = bytes(error[: data.draw(st.integers(0, len(error)))])
    assert isinstance(crafted.parse_error(mangled, "192.0.2.5", 5), IcmpError | None)


def test_an_error_that_scapy_gives_up_on_is_passed_by() -> None:
    """A header too short to be one has more options than scapy counts; the other errors are still heard."""
    many_options = bytes((0x40,)) + bytes(19) + b"\1" * 130
    crafted = probing._Crafted(FakeRaw(4), Flow("192.0.2.1", 1, "192.0.2.9", 862, 0), probing._scapy())  # type: ignore[arg-type]
    for data in (b"", many_options):
        assert crafted.parse_error(data, "192.0.2.5", 5) is None


async def test_loopback() -> None:
    """The nearest target, one's own host, is one hop away, with no root needed."""
    require_ipv6()
    for host in ("127.0.0.1", "::1"):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind((host, 0))
            port = unused.getsockname()[1]
        route = await trace(Endpoint(host, port))
        assert addresses(route) == [host]
        assert route.reached
