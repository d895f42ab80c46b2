"""A test from its lease to its outcomes, against an agent on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.throughput.cause import Pressure
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import WINDOW_NS, Packets, Window
from agent.core.throughput.report import ServerReport
from agent.core.throughput.result import ErrorReason, Verdict
from agent.core.throughput.trial import Trial
from agent.throughput.child import EngineProcess
from agent.throughput.control_client import ControlClient
from agent.throughput.plan import Ended, EngineReport, WayReport
from agent.throughput.trial import _Test, try_line
from tests.support.processes import eventually, free_port
from tests.support.requirements import require_ipv6
from tests.support.throughput import TOKEN, Granting, engines, granting, is_there, line_to

QUIET = 0.003


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Granting]:
    """An agent that grants tests; when the test is over it has no slot taken and no process left."""
    async with granting(tmp_path) as one:
        yield one
        await one.until_free()
        assert engines(os.getpid()) == []


def errors(trial: Trial) -> set[ErrorReason | None]:
    """Why there was no test, each way; all that is an error has no rate."""
    for outcome in trial.outcomes.values():
        assert (outcome.verdict is Verdict.ERROR) is (outcome.error is not None)
        if outcome.error is not None:
            assert outcome.goodput is None
    return {outcome.error for outcome in trial.outcomes.values()}


def was_quiet(trial: Trial) -> bool:
    """Whether this machine had its cores for both ends of a test: else what it says of a line is less sure."""
    hosts = (trial.host, trial.server_host)
    return all(
        host is not None and host.run_delay_ns < QUIET * host.elapsed_ns * host.threads for host in hosts
    )


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_both_ways_at_once(there: Granting, protocol: str) -> None:
    """Floors that the line carries are proven long before the time is over; a test is paced just above them."""
    trial = await try_line(line_to(there.http, protocol=protocol, longest="8s"), TOKEN)
    assert errors(trial) == {None}
    for way, floor in ((Way.DOWN, 40e6), (Way.UP, 10e6)):
        outcome = trial.outcomes[way]
        assert outcome.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE), outcome
        proven = outcome.verdict is Verdict.PASS
        assert proven or not was_quiet(trial), outcome
        assert outcome.ip_layer is not None
        assert outcome.goodput is not None
        assert outcome.goodput.mean < outcome.ip_layer.mean < 1.1 * floor
        assert trial.windows is not None
        assert not proven or len(trial.windows[way]) <= 16
        assert trial.octets is not None
        assert trial.octets[way] > floor / 8
    assert trial.cpu_ns > 0
    assert trial.began_ns is not None
    assert trial.ended_ns is not None
    assert trial.ended_ns - trial.began_ns > 1.5e9


@pytest.mark.parametrize(("protocol", "headers"), [("tcp", 40 + 20 + 12), ("udp", 40 + 8)])
async def test_over_ipv6(tmp_path: Path, protocol: str, headers: int) -> None:
    """A line over IPv6 is tested as one over IPv4, and its headers are counted as long as they are."""
    require_ipv6()
    async with granting(tmp_path, "::1") as there:
        line = line_to(there.http, address=f"[::1]:{there.http}", protocol=protocol, longest="3s")
        trial = await try_line(line, TOKEN)
        await there.until_free()
    assert errors(trial) == {None}, [(way, one.error, one.detail) for way, one in trial.outcomes.items()]
    down = trial.outcomes[Way.DOWN]
    assert down.goodput is not None
    assert down.ip_layer is not None
    payload = headers / (down.ip_layer.mean / down.goodput.mean - 1)
    assert payload == pytest.approx(round(payload), abs=1e-3)
    assert round(payload) % 8 == 0 if protocol == "udp" else payload > 1_000


async def test_capacity(there: Granting) -> None:
    """Without a floor there is a rate and no verdict, bounded by the ceiling that the lease was asked for."""
    line = line_to(
        there.http,
        protocol="udp",
        mode="capacity",
        direction="up",
        floors={},
        ceilings={"up": "30M"},
        streams=1,
    )
    outcome = (await try_line(line, TOKEN)).outcomes[Way.UP]
    assert outcome.verdict is None
    assert outcome.ip_layer is not None
    assert 10e6 < outcome.ip_layer.mean < 31e6


@pytest.mark.parametrize("rtt_ms", [None, 5, 60, 160])
def test_what_ends_a_test_is_what_it_comes_to(rtt_ms: int | None) -> None:
    """Wherever the ramp ends, a floor is proven by the windows by which the test was ended, and by no others."""
    line = line_to(1, direction="down", floors={"down": "40M"}, streams=1)
    test = _Test(line, ControlClient(line.address, TOKEN))
    rates = (20, 39.5, 42.5, 40.5, 41.5, 41, 40.8, 41.1, 40.9, 41)
    rtt_ns = None if rtt_ms is None else rtt_ms * 1_000_000
    decided = []
    for count in range(1, len(rates) + 1):
        windows = [
            Window(at * WINDOW_NS, (at + 1) * WINDOW_NS, int(rate * 1e6 / 16))
            for at, rate in enumerate(rates[:count])
        ]
        told = WayReport(1, tuple(windows), Packets(1_448, 52), rtt_ns, ended=Ended.TOLD)
        report = EngineReport({Way.DOWN: told})
        outcome = test._outcome(Way.DOWN, report, ServerReport(sent_packets=told.packets))
        decided.append(test._is_decided(Way.DOWN, report))
        assert decided[-1] is (outcome.verdict is Verdict.PASS), (count, outcome)
    assert decided[-1]


@pytest.mark.parametrize(("seen", "heard", "verdict"), [(9, 8, Verdict.PASS), (18, 8, Verdict.FAIL)])
def test_what_the_sender_has_not_heard_of_counts(seen: int, heard: int, verdict: Verdict) -> None:
    """Up, a path that goes dead keeps back how little has come: then the receiver's own windows are asked."""
    line = line_to(1, direction="up", floors={"up": "40M"}, streams=1)
    test = _Test(line, ControlClient(line.address, TOKEN))
    windows = tuple(
        Window(at * WINDOW_NS, (at + 1) * WINDOW_NS, 2_600_000 if at < 8 else 0) for at in range(seen)
    )
    pressure = Pressure(1e6, timed_out=0.5, idle=0.2, lost=0.1)
    told = WayReport(
        1, windows[:heard], Packets(1_448, 52), 1_000_000, pressures=(pressure,), ended=Ended.TOLD
    )
    outcome = test._outcome(Way.UP, EngineReport({Way.UP: told}), ServerReport(received=windows))
    assert outcome.verdict is verdict


async def test_who_has_no_token(there: Granting) -> None:
    """He is told that he is not authorised."""
    assert errors(await try_line(line_to(there.http), TOKEN + "!")) == {ErrorReason.UNAUTHORISED}


async def test_nobody_is_there() -> None:
    """Where nothing listens there is no test, and no rate."""
    assert errors(await try_line(line_to(free_port()), TOKEN)) == {ErrorReason.UNREACHABLE}


async def test_an_unknown_name() -> None:
    """A name that stands for nothing is unreachable too."""
    line = line_to(1, address="nowhere.invalid:9461")
    assert errors(await try_line(line, TOKEN)) == {ErrorReason.UNREACHABLE}


async def test_who_else_is_there() -> None:
    """What listens and is no agent's HTTP server is malformed."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-none\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert errors(await try_line(line_to(port), TOKEN)) == {ErrorReason.MALFORMED}


async def test_a_second_test_is_refused(there: Granting) -> None:
    """While one runs: busy, with when to come again."""
    first = asyncio.create_task(try_line(line_to(there.http, longest="2s"), TOKEN))

    async def running() -> bool:
        return bool(there.leases)

    await eventually(running, "a lease is granted")
    second = await try_line(line_to(there.http), TOKEN)
    assert errors(second) == {ErrorReason.REFUSED}
    assert second.retry_after_s is not None
    assert 1 <= second.retry_after_s <= 11
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def children(there: Granting, count: int) -> list[int]:
    """The processes of a test that runs, of both ends: both are children of this process."""
    found: list[int] = []

    async def started() -> bool:
        nonlocal found
        found = engines(os.getpid())
        return len(found) == count

    await eventually(started, "the test's processes run")
    return found


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("end", ["ours", "theirs"])
async def test_an_end_is_killed(
    there: Granting, protocol: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle: it is an error with a reason and never a rate, the other end is over too, and the slot is free."""
    pids: list[int] = []
    start = EngineProcess.start

    async def started(*given: Any) -> Any:
        process = await start(*given)
        pids.append(process.pid)
        return process

    # the client's is the first that is started
    monkeypatch.setattr(EngineProcess, "start", started)
    testing = asyncio.create_task(
        try_line(line_to(there.http, protocol=protocol, floors={"down": "40M"}, direction="down"), TOKEN)
    )
    both = await children(there, 2)
    await asyncio.sleep(0.3)  # so that data flows, or is about to
    own = pids[0]
    victim = own if end == "ours" else next(pid for pid in both if pid != own)
    os.kill(victim, 9)
    trial = await asyncio.wait_for(testing, 12)
    assert errors(trial) <= {ErrorReason.BROKEN_OFF, ErrorReason.INTERNAL, ErrorReason.EMPTY}
    await there.until_free()
    assert not any(is_there(pid) for pid in both)
