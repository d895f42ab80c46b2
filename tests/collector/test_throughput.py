"""The throughput of a line, from a shaped link through real tests to the collector's verdicts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import yaml

from agent.core.outcome import Direction
from agent.core.throughput.bystanders import InterfaceOctets
from agent.core.throughput.lease import Way
from agent.core.throughput.turn import LineRecord, Result
from agent.core.timestamps import SECOND_NS
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from agent.throughput.rota import Rota, Surroundings
from agent.throughput.trial import try_line
from collector.documents import Names, breach_document, judgement_document
from collector.fleet.plan import agent_config
from collector.fleet.settings import FleetSettings
from collector.program import Collector
from collector.sla.verdict import Judgement, Verdict
from tests.support.netns import Namespace, joined_namespaces
from tests.support.processes import agent_command, eventually, free_port, running
from tests.support.recomputed import recompute
from tests.support.requirements import require_binary
from tests.support.simulated import MetricsServer, SimulatedAgent, showing
from tests.support.throughput import TOKEN

FLEET = """
listen: 127.0.0.1:{page}
source: {{kind: agents, interval: 1s}}
evaluation_interval: 200ms
sites:
- {{id: home, name: {{zh: 家, en: Home}}, lat: 30.59, lon: 114.31, agent: "127.0.0.1:{home}", probes_from: [{left}],
   throughput: {{token_file: token}}}}
- {{id: centre, name: {{zh: 中心, en: Centre}}, lat: 30.49, lon: 114.42, provider: telecom, agent: "{right}:9461",
   throughput: {{token_file: token, listen: "{right}:9462"}}}}
tiers: {{city: {{name: {{zh: 市内, en: In the city}}, limit: "< 1ms"}}}}
throughput:
  tiers: {{pilot: {{name: {{zh: 试点, en: Pilot}}, floors: {{down: 60M, up: 5M}}}}}}
  pilots: [{{source: home, target: centre, tier: pilot, every: 15m, longest: 3s, streams: 2}}]
objectives: [{{id: pilots, measure: throughput, window: 110s}}]
"""
CARRIED = 40e6
FRAME = 1514 / 1500


@dataclass
class Hurried:
    """Real time, but for what is slept away; after so many turns nothing is done any more."""

    record: LineRecord | None = None
    ahead_ns: int = 0
    allowed: int = 0
    resumed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def turns(self) -> int:
        return 0 if self.record is None else sum(self.record.counts[Way.DOWN, result] for result in Result)

    def around(self) -> Surroundings:
        return Surroundings(
            lambda: time.time_ns() + self.ahead_ns,
            self.monotonic,
            self.sleep,
            lambda _name: InterfaceOctets(0, 0, self.monotonic()),
            lambda _host, _port: "eth0",
        )

    def monotonic(self) -> int:
        return time.monotonic_ns() + self.ahead_ns

    async def sleep(self, seconds: float) -> None:
        while self.turns >= self.allowed:
            self.resumed.clear()
            await self.resumed.wait()
        self.ahead_ns += round(seconds * SECOND_NS)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def granting(end: Namespace, fleet: FleetSettings, folder: Path) -> AsyncIterator[None]:
    """The agent that grants tests as the plan has it."""
    site = fleet.site("centre")
    assert site is not None
    file, log = folder / "centre.yaml", folder / "centre.log"
    file.write_text(yaml.safe_dump(agent_config(fleet, site)), encoding="utf-8")
    command = end.command(*map(str, agent_command("run", "--config", file)))
    async with running(command, log):

        async def up() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{end.ipv4}:9461/-/ready") as response:
                    return response.status == 200
            return False

        async with aiohttp.ClientSession() as session:
            await eventually(up, "the agent runs")
        yield


@pytest.mark.timeout(120)
async def test_a_line_that_carries_too_little_fails_when_that_is_confirmed(tmp_path: Path) -> None:
    """One turn below the floor is no violation; the second opens a breach, with its cause and the rate as evidence. The
    way that carries its floor passes meanwhile, and nothing of it is a delay."""
    with joined_namespaces() as (left, right), left.entered():
        kilobits = round(CARRIED * FRAME / 1e3)
        shaper = ("tbf", "rate", f"{kilobits}kbit", "burst", "20kb", "limit", "200kb")
        right.run(require_binary("tc"), "qdisc", "replace", "dev", right.interface, "root", *shaper)
        home = free_port()
        text = FLEET.format(page=free_port(), home=home, left=left.ipv4, right=right.ipv4)
        fleet = parse(text, FleetSettings, "fleet.yaml")
        (tmp_path / "token").write_text(TOKEN + "\n", encoding="ascii")
        (tmp_path / "token").chmod(0o600)
        site = fleet.site("home")
        assert site is not None
        (line,) = parse(
            yaml.safe_dump(agent_config(fleet, site)), AgentSettings, "home.yaml"
        ).throughput_paths
        hurried, shown = Hurried(), SimulatedAgent([], epoch=time.time() - 1)
        rota = Rota("home", try_line, random.Random(1), tmp_path, hurried.around())
        rota.follow([line])
        shown.lines = list(rota.records)
        ((_, record),) = shown.lines
        hurried.record = record
        collector, stop = Collector(fleet, tmp_path / "fleet.yaml"), asyncio.Event()

        def measured(way: Way) -> int:
            """Turns that were a test: on a busy machine one may have been none."""
            return sum(record.counts[way, result] for result in Result if result is not Result.ERROR)

        def said() -> dict[Way, Judgement]:
            found = {one.direction: one for one in collector.state.judgements}
            return {Way.DOWN: found[Direction.REVERSE], Way.UP: found[Direction.FORWARD]}

        async def turn() -> dict[Way, Judgement]:
            """Let the line be tested once more, and the collector say what it makes of that."""
            hurried.allowed += 1
            hurried.resumed.set()

            async def told() -> bool:
                if hurried.turns < hurried.allowed or not collector.state.judgements:
                    return False
                return all(one.trials == measured(way) for way, one in said().items())

            await eventually(told, "the turn is judged", 40)
            return said()

        async with granting(right, fleet, tmp_path), showing(MetricsServer(shown), home):
            collecting = asyncio.create_task(collector.run(stop))
            testing = asyncio.create_task(rota.run())
            try:
                first, second = await turn(), await turn()
            finally:
                testing.cancel()
                stop.set()
                await asyncio.wait_for(collecting, 10)
        documents = [judgement_document(one, Names()) for one in (*first.values(), *second.values())]
        breaches = [breach_document(one, Names()) for one in collector.state.breaches]
        status, lines = recompute({"verdicts": documents, "breaches": breaches})
        assert status == 0, lines
        assert lines[-1] == f"{4 + len(breaches)} verdicts recomputed, none printed otherwise"
        # where this machine was busy a test says nothing of the line, and neither does the collector
        assert Verdict.FAIL not in (one.verdict for one in first.values())
        assert first[Way.DOWN].verdict is not Verdict.PASS
        down = second[Way.DOWN]
        if record.counts[Way.DOWN, Result.FAIL]:
            assert first[Way.DOWN].verdict is Verdict.INDETERMINATE
            assert (down.verdict, down.reason.code) == (Verdict.FAIL, "floor_missed")
            assert "bounded by the path's rate (path_rate)" in down.reason.en
            assert down.last_test is not None
            assert max(down.last_test.rates.values()) == pytest.approx(CARRIED, rel=0.1)
            assert lines[2].endswith("1 of 2: 50.00000% to 100.00000%, 0.00000% allowed: FAIL")
            (breach,) = collector.state.breaches
            assert breach.key.direction is Direction.REVERSE
            assert breach.opening.last_test is not None
        else:
            assert down.verdict in (Verdict.INDETERMINATE, Verdict.NO_DATA)
        if record.counts[Way.UP, Result.PASS] == 2:
            assert second[Way.UP].verdict is Verdict.PASS
            assert lines[3].endswith("0 of 2: 0.00000% to 0.00000%, 0.00000% allowed: PASS")
            assert second[Way.UP].reason.code == "floor_met"
