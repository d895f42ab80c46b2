"""Paths with schedules of their own, probed on loopback."""

from __future__ import annotations

import random

import pytest

from agent.core.outcome import Outcome
from agent.core.schedule import Schedule
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from agent.settings import AgentSettings, PathSettings
from tests.support.reflectors import reflector_on

AGENT = """\
site: wuhan
paths:
  - {{target: guanggu, address: "127.0.0.1:{port}", interval: 5ms, limits: {{forward: "< 1ms"}}{schedule}}}
"""


def path(schedule: str = "", port: int = 862) -> PathSettings:
    """A path as an agent's file has it."""
    return parse(AGENT.format(port=port, schedule=schedule), AgentSettings, "agent.yaml").paths[0]


def test_a_path_is_periodic_unless_it_says_otherwise() -> None:
    """By name."""
    assert path().schedule is Schedule.PERIODIC
    for schedule in Schedule:
        assert path(f", schedule: {schedule.value}").schedule is schedule


def test_an_unknown_schedule_is_refused() -> None:
    """With its line, its key, and what there is."""
    with pytest.raises(ConfigError, match=r"agent\.yaml:3: paths\[0\]\.schedule: .*jittered.*poisson"):
        path(", schedule: uniform")


async def test_each_path_is_sent_to_by_its_schedule() -> None:
    """Side by side on one socket, every probe is measured; and another schedule begins anew, counts kept."""
    clock = LocalClock(DeclaredClock(50_000))
    reflector = reflector_on("127.0.0.1")
    reflector.start()
    port = reflector.sockets[0].address[1]
    paths = [path(f", schedule: {schedule.value}, tier: {schedule.value}", port) for schedule in Schedule]
    prober = Prober(StampProbes(), "wuhan", paths, clock, random.Random(1), probes=50)
    await prober.start()
    await prober.idle()
    assert [probed.ledger.sent for probed in prober.paths] == [50, 50, 50]

    await prober.update([*paths[:2], path(", schedule: jittered, tier: poisson", port)])
    await prober.idle()
    assert [probed.ledger.sent for probed in prober.paths] == [50, 50, 100]
    await prober.stop()
    reflector.close()
    for probed in prober.paths:
        assert probed.ledger.broken_laws() == []
        assert sum(probed.ledger.round_trip.outcomes[: Outcome.LOST]) == probed.ledger.sent
