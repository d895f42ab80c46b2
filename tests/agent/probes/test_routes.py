"""Following routes while paths are probed: when, how many at a time, and that nothing of it harms the probing."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.core.ledger import PathLabels
from agent.core.outcome import Outcome
from agent.core.route import Answer, AnswerKind, Flow, Hop, Route
from agent.core.route_history import TraceResult
from agent.exposition import registry, render
from agent.probes import routes as module
from agent.probes.routes import Routes, TracedFlow, TraceFailed, trace_in_child
from agent.program import Agent
from agent.runtime.quantities import Endpoint
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from tests.support.exposition import value
from tests.support.processes import eventually, free_port
from tests.support.requirements import require_root

MS = 1_000_000
FLOW = TracedFlow(40_000, Endpoint("192.0.2.9", 862), 0)


def labels(number: int) -> PathLabels:
    """Names of a path."""
    return PathLabels("here", f"t{number}", "city", "telecom", "stamp", 0)


def found(hop: str = "192.0.2.5") -> Route:
    """A route over this hop."""
    flow = Flow("192.0.2.1", FLOW.source_port, FLOW.target.host, FLOW.target.port, 0)
    answers = (Answer(hop, MS, AnswerKind.TIME_EXCEEDED, 0),)
    return Route(flow, 0, (Hop(1, 1, answers), Hop(2, 1, (Answer("192.0.2.9", MS, AnswerKind.REPLY),))), True)


class Tracing:
    """A tracer that counts, and waits where it is told to."""

    def __init__(self, result: Callable[[], Awaitable[Route]]) -> None:
        self.traced = self.under_way = self.most = 0
        self._result = result

    async def __call__(self, flow: TracedFlow) -> Route:
        """Trace once."""
        self.traced += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self._result()
        finally:
            self.under_way -= 1


async def test_each_path_is_traced_again_and_again_a_few_at_a_time() -> None:
    """Twenty paths, each every 50 ms or as often as two at a time can be; what is no longer followed is not traced."""

    async def slow() -> Route:
        await asyncio.sleep(0.002)
        return found()

    tracing = Tracing(slow)
    routes = Routes(random.Random(1), tracing)
    routes.follow({labels(number): (50 * MS, lambda: FLOW) for number in range(20)})
    running = asyncio.create_task(routes.run())

    async def often(count: int) -> bool:
        return all(history.results[TraceResult.REACHED] >= count for history in routes.histories.values())

    await eventually(lambda: often(3), "each is traced three times")
    assert 1 <= tracing.most <= 2
    kept = routes.histories[labels(0)]
    routes.follow({labels(0): (50 * MS, lambda: FLOW), labels(99): (50 * MS, lambda: None)})
    assert routes.histories[labels(0)] is kept
    assert routes.histories.keys() == {labels(0), labels(99)}
    before = kept.results[TraceResult.REACHED]
    await eventually(lambda: often_one(kept.results, before), "it goes on")
    routes.follow({labels(0): (80 * MS, lambda: FLOW)})
    assert routes.histories[labels(0)] is kept
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert tracing.under_way == 0


async def often_one(results: dict[TraceResult, int], before: int) -> bool:
    """Whether there was a trace more."""
    return results[TraceResult.REACHED] > before


async def test_what_fails_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A trace that is not permitted harms nobody and fills no log."""

    async def refused() -> Route:
        raise TraceFailed(TraceResult.NOT_PERMITTED, "needs CAP_NET_RAW")

    routes = Routes(random.Random(1), Tracing(refused))
    routes.follow({labels(1): (10 * MS, lambda: FLOW)})
    running = asyncio.create_task(routes.run())

    async def counted() -> bool:
        return routes.histories[labels(1)].results[TraceResult.NOT_PERMITTED] >= 3

    await eventually(counted, "three traces")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text.count("needs CAP_NET_RAW") == 1


async def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the fingerprint of the new way."""
    caplog.set_level("INFO")
    hops = iter(["192.0.2.5"] * 2 + ["192.0.2.6"] * 1000)

    async def changing() -> Route:
        return found(next(hops))

    routes = Routes(random.Random(1), Tracing(changing))
    routes.follow({labels(1): (10 * MS, lambda: FLOW)})
    running = asyncio.create_task(routes.run())

    async def changed() -> bool:
        return routes.histories[labels(1)].changes == 1

    await eventually(changed, "the way changes")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    current = routes.histories[labels(1)].current
    assert current is not None
    assert f"now {current.fingerprint}" in caplog.text


async def test_a_child_traces_a_free_port_without_privilege() -> None:
    """A process of its own gives the route; a target that cannot be is a failure with its reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        target = Endpoint("127.0.0.1", unused.getsockname()[1])
    route = await trace_in_child(TracedFlow(free_port(socket.SOCK_DGRAM), target, 0))
    assert route.reached
    assert [hop.address for hop in route.hops] == ["127.0.0.1"]
    with pytest.raises(TraceFailed, match="cannot resolve") as failed:
        await trace_in_child(TracedFlow(free_port(socket.SOCK_DGRAM), Endpoint("nowhere.invalid", 9), 0))
    assert failed.value.result is TraceResult.FAILED


@pytest.mark.parametrize(
    ("program", "result", "said"),
    [
        (
            "import sys; sys.exit('x needs the capability CAP_NET_RAW')",
            TraceResult.NOT_PERMITTED,
            "CAP_NET_RAW",
        ),
        ("raise SystemExit(3)", TraceResult.FAILED, "exit status 3"),
        ("print('[]')", TraceResult.FAILED, "not the document"),
        ("print('x')", TraceResult.FAILED, "not the document"),
        ("import time; time.sleep(60)", TraceResult.FAILED, "no end within"),
    ],
)
async def test_a_child_that_goes_astray_is_a_failure(
    program: str, result: TraceResult, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it prints, however it ends; one that does not end is killed."""
    start = asyncio.create_subprocess_exec

    async def astray(*command: str, **pipes: int) -> asyncio.subprocess.Process:
        return await start(sys.executable, "-c", program, **pipes)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", astray)
    monkeypatch.setattr(module, "_PROCESS_TIMEOUT_S", 0.5 if "sleep" in program else 20)
    with pytest.raises(TraceFailed, match=said) as failed:
        await trace_in_child(FLOW)
    assert failed.value.result is result


async def test_no_process_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives none."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TraceFailed, match="no process"):
        await trace_in_child(FLOW)


async def test_a_running_agent_follows_its_sessions(tmp_path: Path) -> None:
    """Beside the session's own socket, along its five-tuple: the way is in the metrics and in the API, no probe is lost
    by it, and the agent's own process never reads scapy."""
    require_root()
    port = free_port(socket.SOCK_DGRAM)
    text = f"""
site: here
clock: {{source: declared, error_bound: 1us}}
reflector: {{listen: ["127.0.0.1:{port}"], allow: [127.0.0.1]}}
paths:
  - {{target: t, address: "127.0.0.1:{port}", interval: 20ms, route: 10s, limits: {{forward: < 1s}}}}
  - {{target: u, address: "127.0.0.1:{port}", interval: 20ms, limits: {{forward: < 1s}}}}
"""
    agent = Agent(parse(text, AgentSettings, "agent.yaml"))
    assert [named.target for named, _ in agent.routes] == ["t"]
    agent._routes.follow(
        {key: (200 * MS, followed.flow) for key, followed in agent._routes._followed.items()}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))

    async def traced() -> bool:
        return agent.routes[0][1].results[TraceResult.REACHED] >= 2

    await eventually(traced, "the route is traced twice")
    shown = "".join(render(agent, registry(agent)))
    stop.set()
    assert await running
    (path, _) = agent.paths
    assert path.ledger.round_trip.outcomes[Outcome.LOST] == 0
    assert value(shown, "isochrone_route_hops", target="t") == 1
    assert value(shown, "isochrone_route_changes_total", target="t") == 0
    assert value(shown, "isochrone_route_traces_total", target="t", result="reached") >= 2
    current = agent.routes[0][1].current
    assert current is not None
    assert current.last.flow.destination_port == port


def test_the_program_does_not_read_scapy() -> None:
    """It costs 55 MB and 0.4 s: only the child pays them."""
    code = "import sys, agent.program; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
