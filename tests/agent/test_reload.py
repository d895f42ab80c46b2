"""Reloads of the agent on loopback: paths that stay keep their counts, and nothing is lost on account of a move."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence

import numpy as np
import pytest

from agent.core import metrics
from agent.core.outcome import Outcome
from agent.core.steps import ClockPair
from agent.net.clocks.pair import read_pair
from agent.probes import prober as prober_module
from agent.probes.probed import ProbedPath
from agent.program import Agent, RestartNeeded
from agent.runtime.exceptions import ConfigError
from agent.settings import AgentSettings, PathSettings
from tests.support.probing import path
from tests.support.processes import eventually
from tests.support.reflectors import reflector_on

MS = 1_000_000


async def test_reload_keeps_what_stays() -> None:
    """Paths that stay keep counts and session, also under other settings; new ones begin, gone ones are drained."""
    reflector = reflector_on("127.0.0.1")
    address = f"127.0.0.1:{reflector.sockets[0].address[1]}"
    before = [path("stamp", address, target=name) for name in ("stays", "slower", "goes")]
    after = [
        path("stamp", address, target="stays"),
        path(
            "stamp", address, target="slower", interval="20ms", timeout="500ms", limits={"forward": "< 2ms"}
        ),
        path("stamp", address, target="new"),
    ]
    settings = [AgentSettings(site="wuhan", paths=tuple(paths)) for paths in (before, after)]
    agent = Agent(settings[0], random.Random(1), read=lambda: settings[1])
    stop = asyncio.Event()
    reflector.start()
    running = asyncio.create_task(agent.run(stop))

    async def targets_are(*targets: str) -> bool:
        return {one.settings.target for one in agent.paths} == set(targets)

    async def all_sent(probes: int) -> bool:
        return all(one.ledger.sent - counted.get(one.settings.target, 0) > probes for one in agent.paths)

    counted: dict[str, int] = {}
    await eventually(lambda: all_sent(20), "probes are sent")
    ledgers = {one.settings.target: one.ledger for one in agent.paths}
    counted |= {target: ledger.sent for target, ledger in ledgers.items()}
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: targets_are("stays", "slower", "new"), "the new paths")
    now = {one.settings.target: one.ledger for one in agent.paths}
    begun_ns = {target: ledger.begun_ns or 0 for target, ledger in (*ledgers.items(), *now.items())}
    assert begun_ns["new"] > begun_ns["stays"] > 0
    gone = ledgers["goes"].sent
    await eventually(lambda: all_sent(20), "probes of the new paths")
    stop.set()
    assert await running
    reflector.close()
    assert now["stays"] is ledgers["stays"]
    assert now["slower"] is ledgers["slower"]
    assert now["slower"].forward.promise.limit.limit_ns == 2 * MS
    assert ledgers["goes"].sent == gone
    for ledger in (*now.values(), *ledgers.values()):
        assert ledger.broken_laws() == []
        assert (ledger.in_flight, ledger.late, ledger.round_trip.outcomes[Outcome.LOST]) == (0, 0, 0)


async def reloaded(*stages: Sequence[PathSettings], probes: int = 20) -> Agent:
    """An agent that is run on some paths, then on others, until each has sent so many more; what it had counted."""
    settings = [AgentSettings(site="wuhan", paths=tuple(paths)) for paths in stages]
    agent = Agent(settings[0], random.Random(1), read=lambda: settings[1])
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    for number in range(len(settings)):
        if number:
            await agent.reload()
            settings.pop(0)
        before = [(one, one.ledger.sent + sum(one.ledger.not_sent.values())) for one in agent.paths]

        async def went_on(before: list[tuple[ProbedPath, int]] = before) -> bool:
            return all(
                one.ledger.sent + sum(one.ledger.not_sent.values()) >= sent + probes
                for one, sent in before
                if one.gone_ns is None
            )

        await eventually(went_on, "probes are sent")
    stop.set()
    assert await running
    return agent


async def test_a_path_that_returns_goes_on() -> None:
    """Taken out by mistake and put back while probes of it are under way: it is one path, and keeps its counts."""
    silent = path("stamp", "127.0.0.1:9", target="returns", timeout="2s")
    agent = await reloaded([silent], [], [silent])
    (only,) = agent.paths
    assert only.ledger.sent >= 30
    assert only.ledger.broken_laws() == []


async def test_no_reply_is_lost_on_account_of_a_move() -> None:
    """What was sent to the address before is answered from there, and counts."""
    reflectors = [reflector_on("127.0.0.1"), reflector_on("127.0.0.2")]
    places = [f"{host}:{port}" for one in reflectors for host, port in (one.sockets[0].address[:2],)]
    for reflector in reflectors:
        reflector.start()
    agent = await reloaded(*([path("stamp", place)] for place in (*places, *places)), probes=30)
    for reflector in reflectors:
        assert reflector.results[metrics.REFLECTED] > 0
        reflector.close()
    (only,) = agent.paths
    assert only.ledger.round_trip.outcomes[Outcome.LOST] == 0
    assert agent.discarded_replies == {}


async def test_a_move_to_a_name_that_is_unknown_is_no_stay() -> None:
    """Where the new address cannot be had nothing is sent, least of all to the old one."""
    reflector = reflector_on("127.0.0.1")
    reflector.start()
    agent = await reloaded(
        [path("stamp", f"127.0.0.1:{reflector.sockets[0].address[1]}")],
        [path("stamp", "name.invalid:862")],
        probes=60,
    )
    reflector.close()
    (only,) = agent.paths
    assert not only.resolved
    assert only.ledger.not_sent["unresolved"] > 0


async def test_a_reload_with_longer_timeouts_watches_the_clock_for_longer() -> None:
    """An agent that began without paths still sees what crosses a step of the clock once it has some."""
    later = AgentSettings(site="wuhan", paths=(path("stamp", "127.0.0.1:9", interval="1s", timeout="5s"),))
    agent = Agent(AgentSettings(site="wuhan"), read=lambda: later)
    await agent.reload()
    await agent.probing.probers["stamp"].close()
    begun, steps = read_pair(), agent.clock.steps
    steps.observe(begun)
    for wall_ms, monotonic_ms in ((900, 400), (4500, 4000)):
        steps.observe(ClockPair(begun.realtime_ns + wall_ms * MS, begun.monotonic_ns + monotonic_ms * MS))
    crossed = steps.crossed(np.array([begun.realtime_ns]), np.array([begun.realtime_ns + 4400 * MS]))
    assert crossed.tolist() == [True]


async def test_more_paths_than_session_identifiers_need_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path that is new takes an identifier for good: where none is left a reload is refused, and nothing lost."""
    monkeypatch.setattr(prober_module, "MAX_PATHS", 2)
    names = iter(["second", "third", "second"])
    agent = Agent(
        AgentSettings(site="wuhan", paths=(path("stamp", "127.0.0.1:9", target="first"),)),
        read=lambda: AgentSettings(site="wuhan", paths=(path("stamp", "127.0.0.1:9", target=next(names)),)),
    )

    async def begun() -> bool:
        return agent.paths[0].ledger.sent > 0

    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    await eventually(begun, "probes are sent")
    await agent.reload()
    with pytest.raises(RestartNeeded, match="stamp paths since the start"):
        await agent.reload()
    await agent.reload()
    stop.set()
    assert await running
    assert [one.settings.target for one in agent.paths if one.gone_ns is None] == ["second"]


async def test_a_bad_reload_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What only a restart can change is refused by name, and so is a file with faults; the agent goes on as before."""
    first = AgentSettings(site="wuhan", paths=(path("stamp", "127.0.0.1:9"),))
    found: list[AgentSettings] = [first.model_copy(update={"site": "elsewhere"})]

    def read() -> AgentSettings:
        if not found:
            raise ConfigError([])
        return found.pop()

    agent = Agent(first, read=read)
    with pytest.raises(RestartNeeded, match="by a restart: site"):
        await agent.reload()
    with pytest.raises(ConfigError):
        await agent.reload()
    assert agent.settings is first
    await agent.probing.probers["stamp"].close()
