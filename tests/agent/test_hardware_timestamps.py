"""Agents whose times a network card takes, from probe to metric: loopback, its times as if there were a card."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from agent.core import metrics
from agent.core.outcome import Outcome
from agent.core.session_report import SessionReport
from agent.core.tlv_values import TimestampMethod
from agent.exposition import registry, render
from agent.net.clocks.card import CardChoice
from agent.program import Agent, RestartNeeded
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from tests.support.cards import FakeClock, card_clock, stamp_by_card
from tests.support.exposition import assert_law, total, value
from tests.support.processes import eventually, free_port


def settings_of(port: int, hardware: str = "true") -> AgentSettings:
    """An agent that probes itself, asking how times are taken."""
    path = f"address: '127.0.0.1:{port}', interval: 10ms, timeout: 5s, limits: {{forward: '< 100ms'}}"
    text = (
        f"site: s\nhardware_timestamps: {hardware}\nclock: {{source: declared, error_bound: 1us}}\n"
        f"reflector: {{listen: ['127.0.0.1:{port}'], allow: [127.0.0.1]}}\n"
        "paths:\n"
        f"  - {{target: asking, {path}, tlvs: [timestamp_information]}}\n"
        f"  - {{target: plain, {path}}}\n"
    )
    return parse(text, AgentSettings, "agent.yaml")


def exposition(agent: Agent) -> str:
    """All that a scrape shows."""
    return "".join(render(agent, registry(agent)))


def report(agent: Agent) -> SessionReport:
    """What the replies of the path that asks tell."""
    return next(path.report for path in agent.paths if path.settings.target == "asking")


async def within(agent: Agent, count: int) -> bool:
    """Whether both paths have so many good measurements."""
    return all(path.ledger.forward.outcomes[Outcome.WITHIN] >= count for path in agent.paths)


async def test_a_cards_times_are_measured_by_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics and TLVs name the card; its bound is part of every uncertainty; when it is gone the kernel takes over,
    and no probe is lost or counted twice by any of it."""
    clock = FakeClock()
    monkeypatch.setattr("agent.program.choose_card", lambda: CardChoice(card_clock(clock), "eth7"))
    stamp_by_card(monkeypatch, clock)
    agent = Agent(settings_of(free_port(socket.SOCK_DGRAM)), random.Random(1))
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    try:
        await eventually(lambda: within(agent, 30), "both paths are measured")
        text = exposition(agent)
        assert value(text, metrics.TIMESTAMPING_INFO, transmit="hardware", receive="hardware") == 1
        told = report(agent).timestamping
        assert told is not None
        assert told.method_in == TimestampMethod.HARDWARE
        records = agent.recorder.between(0, 1 << 62)
        # more than the two declared clocks
        assert int(records["uncertainty_ns"][-1]) > 2_000
        clock.gone = True

        async def by_the_kernel() -> bool:
            return (agent.transmit_stamps, agent.receive_stamps) == ("kernel", "kernel")

        await eventually(by_the_kernel, "the kernel's own times are used again")
        counted = min(path.ledger.forward.outcomes[Outcome.WITHIN] for path in agent.paths)
        await eventually(lambda: within(agent, counted + 20), "and measured by")
    finally:
        stop.set()
        assert await running
    text = exposition(agent)
    assert_law(text)
    assert total(text, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="lost") == 0
    assert clock.closed


async def test_without_a_card_the_kernel_takes_the_times(caplog: pytest.LogCaptureFixture) -> None:
    """Loopback has none: nothing claims to be hardware. Whether a card is used is for a restart to change."""
    port = free_port(socket.SOCK_DGRAM)
    found = [settings_of(port)]
    agent = Agent(found[0], random.Random(1), read=lambda: found[0])
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    try:
        await eventually(lambda: within(agent, 20), "both paths are measured")
        text = exposition(agent)
        assert value(text, metrics.TIMESTAMPING_INFO, transmit="kernel", receive="kernel") == 1
        told = report(agent).timestamping
        assert told is not None
        assert told.method_in == TimestampMethod.SOFTWARE
        found[0] = settings_of(port, "false")
        with pytest.raises(RestartNeeded, match="hardware_timestamps"):
            await agent.reload()
    finally:
        stop.set()
        assert await running
    other = Agent(found[0])
    assert other.card == CardChoice(None, "switched off")
    assert other.reflector is not None
    other.reflector.close()
