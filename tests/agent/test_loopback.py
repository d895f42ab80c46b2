"""The agent against its own reflector on loopback, in one event loop: real sockets, real stamps."""

from __future__ import annotations

import asyncio
import random
import socket
import time

import numpy as np
import pytest

from agent.core import metrics
from agent.core.flight import FlightRecorder, under_load
from agent.core.outcome import Outcome
from agent.core.reflection import ReflectorMode
from agent.exposition import registry, render
from agent.net.addresses import encode_address
from agent.net.clock import Clock, DeclaredClock, UnsynchronisedClock
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.outlet import Outlet
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.program import Agent
from agent.reflector.stamp import ReflectorBindError, StampReflector
from agent.runtime.settings import parse
from agent.settings import AgentSettings, PathSettings
from tests.support.exposition import assert_law, value
from tests.support.processes import eventually, free_port
from tests.support.reflectors import reflector_on

MS = 1_000_000


def path(address: str, **changes: object) -> PathSettings:
    """A quick path to an address."""
    return PathSettings.model_validate(
        {
            "target": "target",
            "tier": "city",
            "provider": "telecom",
            "address": address,
            "interval": "5ms",
            "timeout": "200ms",
            "limits": {"forward": "< 1ms"},
            **changes,
        }
    )


async def measure(prober: Prober, *reflectors: StampReflector) -> None:
    """Run a limited prober to its end, and check the law."""
    for reflector in reflectors:
        reflector.start()
    await prober.start()
    await prober.idle()
    await prober.stop()
    for reflector in reflectors:
        reflector.close()
    for probed in prober.paths:
        assert probed.ledger.broken_laws() == []
        assert probed.ledger.in_flight == 0


def prober_of(paths: list[PathSettings], probes: int, clock: Clock | None = None) -> Prober:
    """A prober with a seeded schedule that ends by itself."""
    return Prober(
        StampProbes(),
        "wuhan",
        paths,
        LocalClock(clock or DeclaredClock(50_000)),
        random.Random(1),
        probes=probes,
    )


@pytest.mark.parametrize(
    ("host", "literal"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.2")],
)
@pytest.mark.parametrize("mode", ReflectorMode)
async def test_every_probe_is_measured(host: str, literal: str, mode: ReflectorMode) -> None:
    """Over IPv4 and IPv6, bound to one address or to all, every probe is answered and measured."""
    reflector = reflector_on(host, mode)
    prober = prober_of([path(f"{literal}:{reflector.sockets[0].address[1]}")], 50)
    await measure(prober, reflector)
    ledger = prober.paths[0].ledger
    assert ledger.sent == 50 == sum(ledger.round_trip.outcomes[: Outcome.LOST])
    assert ledger.forward.outcomes[Outcome.WITHIN] == 50
    assert prober.sessions.reflector_is_stateful(0) is (mode is ReflectorMode.STATEFUL)
    assert reflector.results["reflected"] == 50
    assert reflector.sessions == (1 if mode is ReflectorMode.STATEFUL else 0)
    assert 0 < ledger.round_trip.delay.sum_ns / 50 < 20 * MS
    assert ledger.clock_contradictions == 0
    assert prober.discarded == {}


async def test_unsynchronised_peer_is_said_and_bounded() -> None:
    """Where one end vouches for nothing, one-way delays are not exported, and the round trip still proves the limit."""
    reflector = reflector_on("127.0.0.1", clock=UnsynchronisedClock())
    prober = prober_of(
        [path(f"127.0.0.1:{reflector.sockets[0].address[1]}", limits={"forward": "< 100ms"})], 20
    )
    await measure(prober, reflector)
    ledger = prober.paths[0].ledger
    assert ledger.forward.outcomes[Outcome.WITHIN] == 20
    assert ledger.forward.delay.total == 0
    assert ledger.round_trip.delay.total == 20


async def test_silence_is_loss() -> None:
    """A port where nobody answers loses every probe, in a direction that nobody can prove."""
    prober = prober_of([path(f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}")], 10)
    await measure(prober)
    ledger = prober.paths[0].ledger
    assert ledger.round_trip.outcomes[Outcome.LOST] == ledger.forward.outcomes[Outcome.UNATTRIBUTED] == 10


async def test_one_bad_name_harms_nobody() -> None:
    """A target that cannot be resolved is not sent to and is shown; the others are measured."""
    reflector = reflector_on("127.0.0.1")
    good = path(f"127.0.0.1:{reflector.sockets[0].address[1]}")
    bad = path("nowhere.invalid", target="nowhere")
    prober = prober_of([bad, good], 20)
    await measure(prober, reflector)
    assert not prober.paths[0].resolved
    assert prober.paths[0].ledger.sent == 0
    assert prober.paths[0].ledger.not_sent["unresolved"] == 20
    assert sum(prober.paths[1].ledger.round_trip.outcomes[: Outcome.LOST]) == 20


async def test_refused_sends_are_not_loss() -> None:
    """What the kernel refuses to send is not sent, with the reason; the next target is sent to all the same."""
    reflector = reflector_on("127.0.0.1")
    good = path(f"127.0.0.1:{reflector.sockets[0].address[1]}")
    forbidden = path("255.255.255.255:862", target="broadcast")
    prober = prober_of([forbidden, good], 20)
    await measure(prober, reflector)
    assert prober.paths[0].ledger.sent == 0
    assert prober.paths[0].ledger.not_sent["eacces"] == 20
    assert sum(prober.paths[1].ledger.round_trip.outcomes[: Outcome.LOST]) == 20


async def test_many_paths_to_one_target() -> None:
    """Paths that share target and socket are told apart by their session."""
    reflector = reflector_on("127.0.0.1")
    address = f"127.0.0.1:{reflector.sockets[0].address[1]}"
    prober = prober_of(
        [path(address, target=f"t{number}", dscp=46 * (number % 2)) for number in range(40)], 10
    )
    await measure(prober, reflector)
    assert [sum(probed.ledger.round_trip.outcomes[:3]) for probed in prober.paths] == [10] * 40
    assert reflector.sessions == 40
    assert len(prober.sockets) == 2


async def test_what_is_sent_while_a_line_is_filled_counts_apart() -> None:
    """Answered or lost, on the paths to that target alone, from its beginning to its end; the law holds throughout."""
    reflector = reflector_on("127.0.0.1")
    address = f"127.0.0.1:{reflector.sockets[0].address[1]}"
    silent = f"127.0.0.2:{free_port(socket.SOCK_DGRAM)}"
    other = f"127.0.0.3:{free_port(socket.SOCK_DGRAM)}"
    paths = [path(address), path(silent, kind="stamp", tier="hub"), path(other, target="other")]
    recorder = FlightRecorder(600_000 * MS, 1_000_000)
    clock = LocalClock(DeclaredClock(50_000))
    prober = Prober(StampProbes(), "wuhan", paths, clock, random.Random(2), record=recorder.add)
    reflector.start()
    await prober.start()
    answered, lost, beside = (probed.ledger for probed in prober.paths)
    await eventually(lambda: _is(sum(answered.round_trip.outcomes) > 5), "probes before")
    prober.begin_load("target", "192.0.2.1", time.time_ns())
    await eventually(lambda: _is(sum(lost.round_trip.under_load) > 20), "probes meanwhile")
    assert answered.broken_laws() == lost.broken_laws() == []
    until_ns = time.time_ns() + 20 * MS
    prober.end_load("target", "192.0.2.1", until_ns)
    counted = sum(answered.round_trip.outcomes)
    await eventually(lambda: _is(sum(answered.round_trip.outcomes) > counted + 5), "probes after")
    await prober.stop()
    reflector.close()
    for ledger in (answered, lost, beside):
        assert ledger.broken_laws() == []
        assert ledger.in_flight == 0
    assert lost.round_trip.under_load[Outcome.LOST] == sum(lost.round_trip.under_load)
    assert answered.round_trip.delay.total == sum(answered.round_trip.outcomes[:3])
    assert not any(beside.round_trip.under_load)
    marked = under_load(recorder.between(0, until_ns + 1))
    after = under_load(recorder.between(until_ns + 1, time.time_ns()))
    assert marked.sum() == sum(answered.round_trip.under_load) + sum(lost.round_trip.under_load)
    assert not after.any()
    prober.begin_load("nobody", "127.0.0.3", time.time_ns())
    assert prober.sessions.loads.under(np.array([2]), np.array([time.time_ns()])) is not None
    assert prober.hosts == {0: "127.0.0.1", 1: "127.0.0.2", 2: "127.0.0.3"}
    prober.begin_load("nobody", "192.0.2.1", time.time_ns(), {"127.0.0.1"})
    found = prober.sessions.loads.under(np.arange(2), np.full(2, time.time_ns()))
    assert found is not None
    assert found.tolist() == [True, False]


async def test_garbage_moves_counters_and_nothing_else() -> None:
    """Malformed and foreign datagrams at both ends are counted and kill nothing."""
    reflector = reflector_on("127.0.0.1")
    port = reflector.sockets[0].address[1]
    prober = prober_of([path(f"127.0.0.1:{port}", interval="2ms")], 100)
    reflector.start()
    await prober.start()
    noise = TimestampedSocket(socket.AF_INET)
    rng = random.Random(7)
    targets = [encode_address("127.0.0.1", port), encode_address("127.0.0.1", prober.sockets[0].address[1])]
    short = short_reply = 0
    for _ in range(200):
        garbage = rng.randbytes(rng.choice([0, 1, 14, 43, 44, 60, 1500]))
        short += len(garbage) < 44
        short_reply += len(garbage) < 41
        for target in targets:
            noise.send([(garbage, target, b"")])
        await asyncio.sleep(0)
    await prober.idle()
    await eventually(lambda: _is(reflector.results["too_short"] == short), "all garbage seen")
    await prober.stop()
    reflector.close()
    noise.close()
    ledger = prober.paths[0].ledger
    assert ledger.broken_laws() == []
    assert sum(ledger.round_trip.outcomes[: Outcome.LOST]) == 100
    assert prober.discarded["malformed"] == short_reply
    assert prober.discarded["unknown"] == 200 - short_reply


async def _is(condition: bool) -> bool:
    return condition


async def test_drain_closes_the_law_at_zero() -> None:
    """Stopping waits one timeout for what is under way: nothing is left in flight, answered or not."""
    reflector = reflector_on("127.0.0.1")
    silent = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    prober = Prober(
        StampProbes(),
        "wuhan",
        [path(f"127.0.0.1:{reflector.sockets[0].address[1]}"), path(silent, target="silent")],
        LocalClock(DeclaredClock(50_000)),
        random.Random(2),
    )
    reflector.start()
    await prober.start()
    await eventually(lambda: _is(prober.paths[1].ledger.in_flight > 5), "probes under way")
    await prober.stop()
    reflector.close()
    for probed in prober.paths:
        assert probed.ledger.in_flight == 0
        assert probed.ledger.broken_laws() == []
    assert prober.paths[1].ledger.round_trip.outcomes[Outcome.LOST] == prober.paths[1].ledger.sent


async def test_one_agent_probes_itself() -> None:
    """A sender and a reflector run in one agent, and its metrics carry the law, the clock and the stamps' origin."""
    port, http = free_port(socket.SOCK_DGRAM), free_port()
    settings = parse(
        f"""
        site: wuhan
        listen: 127.0.0.1:{http}
        clock: {{source: declared, error_bound: 50us}}
        plan_version: v7
        reflector: {{listen: ["127.0.0.1:{port}"], allow: [127.0.0.1]}}
        paths:
          - target: self
            tier: city
            provider: telecom
            address: 127.0.0.1:{port}
            interval: 5ms
            timeout: 100ms
            limits: {{forward: "< 1ms"}}
            floors: {{forward: 1us}}
        """,
        AgentSettings,
        "agent.yaml",
    )
    agent = Agent(settings, random.Random(3))
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    await eventually(lambda: _is(agent.paths[0].ledger.sent >= 20), "probes sent")
    text = _exposition(agent)
    assert_law(text)
    labels = {
        "source": "wuhan",
        "target": "self",
        "tier": "city",
        "provider": "telecom",
        "kind": "stamp",
        "dscp": "0",
    }
    assert value(text, metrics.PROBE_SENT, **labels) >= 20
    assert value(text, metrics.CLOCK_ERROR_BOUND, clock_source="declared") == 50e-6
    assert value(text, metrics.TIMESTAMPING_INFO, transmit="kernel", receive="kernel") == 1
    assert value(text, metrics.PLAN_INFO, version="v7") == 1
    assert value(text, metrics.DELAY_LIMIT, direction="forward", operator="<") == 0.001
    assert value(text, metrics.DELAY_LIMIT, direction="round_trip", operator="<") == 0.002
    assert value(text, metrics.DELAY_FLOOR, direction="forward") == 1e-6
    assert value(text, metrics.REFLECTOR_PACKETS, result="reflected") >= 19
    stop.set()
    await running
    text = _exposition(agent)
    assert_law(text)
    assert value(text, metrics.PROBE_IN_FLIGHT, **labels) == 0


def _exposition(agent: Agent) -> str:

    return "".join(render(agent, registry(agent)))


async def test_port_in_use_is_said() -> None:
    """A reflector whose port is taken says so, with the endpoint."""
    first = reflector_on("127.0.0.1")
    port = first.sockets[0].address[1]
    with pytest.raises(ReflectorBindError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*in use"):
        reflector_on("127.0.0.1", port=port)
    first.close()


async def test_a_failure_to_send_ends_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends the sending thread is not kept secret: the agent ends with it, rather than fall silent."""

    def broken(*_: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(Outlet, "send_due", broken)
    agent = Agent(AgentSettings(site="wuhan", paths=(path("127.0.0.1:9"),)))
    with pytest.raises(RuntimeError, match="no more"):
        await agent.run(asyncio.Event())
    prober = prober_of([path("127.0.0.1:9")], 1)
    await prober.start()
    with pytest.raises(RuntimeError, match="no more"):
        await prober.idle()
    await prober.close()


async def test_waiting_does_not_spin() -> None:
    """With both queues drained the event loop sleeps between packets instead of spinning on the error queue."""
    reflector = reflector_on("127.0.0.1")
    prober = prober_of([path(f"127.0.0.1:{reflector.sockets[0].address[1]}", interval="20ms")], 20)
    loop = asyncio.get_running_loop()
    rounds = 0
    select = loop._selector.select  # type: ignore[attr-defined]

    def counted(timeout: float | None) -> object:
        nonlocal rounds
        rounds += 1
        return select(timeout)

    loop._selector.select = counted  # type: ignore[attr-defined]
    await measure(prober, reflector)
    # a probe wakes for its send, its stamp and the reply at the sender, the request and the stamp at the reflector,
    # and its timeout
    assert rounds < 20 * 10 + 50
