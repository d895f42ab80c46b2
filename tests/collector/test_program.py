"""The collector as a whole, in this process, over simulated agents: from the first reading to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import resource
import socket
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import URL

from agent.core.outcome import Direction
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from collector.fleet.settings import FleetSettings
from collector.program import Collector, HttpBindError
from collector.sla.verdict import Verdict
from collector.store.exceptions import StoreError
from collector.store.store import Store
from tests.support.counting import PATH
from tests.support.ledgers import totals
from tests.support.postgres import new_database
from tests.support.processes import collector_command, eventually, free_port, running, serving
from tests.support.receiver import Receiver, receiving
from tests.support.simulated import MetricsServer, SimulatedAgent, SimulatedPath, showing

FLEET = """
listen: 127.0.0.1:{port}
source: {{kind: agents, interval: 100ms}}
evaluation_interval: 100ms
sites:
- {{id: wuhan, name: {{zh: 武汉, en: Wuhan}}, lat: 30.59, lon: 114.31, provider: telecom, agent: "{agent}"}}
- {{id: beijing, name: {{zh: 北京, en: Beijing}}, lat: 39.9, lon: 116.4, agent: "{other}"}}
- {{id: qingyang, name: {{zh: 庆阳, en: Qingyang}}, lat: 35.73, lon: 107.64, provider: telecom, reflector: 127.0.0.1}}
tiers: {{hub: {{name: {{zh: 枢纽, en: Hubs}}, limit: "<= 10ms"}}}}
paths: [{{source: wuhan, target: qingyang, tier: hub}}]
objectives: [{{id: detection, percentile: 95, window: 1s, min_coverage: 0.2, open_after: 2, close_after: 2}}]
alerts: {{webhooks: [{{name: noc, url: "{hook}/hook"}}]}}
"""


@dataclass
class Scene:
    """A fleet file, an agent that keeps counting, and a receiver of announcements."""

    folder: Path
    text: str
    agent: SimulatedAgent
    receiver: Receiver
    port: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def collecting(self, text: str = "") -> AsyncIterator[Collector]:
        """A collector over the fleet file; stopped, and ended without an error, at the end."""
        self.stop = asyncio.Event()
        fleet = parse(text or self.text, FleetSettings, "fleet.yaml")
        collector = Collector(fleet, self.folder / "fleet.yaml")
        task = asyncio.create_task(collector.run(self.stop))
        try:
            yield collector
        finally:
            self.stop.set()
            await asyncio.wait_for(task, 10)

    async def until(self, collector: Collector, direction: Direction, verdict: Verdict) -> None:
        """Wait for a verdict, while the agent counts on."""

        async def reached() -> bool:
            self.agent.run(30)
            return any(
                one.direction is direction and one.verdict is verdict for one in collector.state.judgements
            )

        await eventually(reached, f"{direction} {verdict.name}")

    def events(self) -> list[tuple[str, str]]:
        """What was announced."""
        bodies: list[dict[str, Any]] = [json.loads(one.body) for one in self.receiver.received]
        return [(body["event"], body["direction"]) for body in bodies]

    async def announced(self, number: int) -> None:
        """Wait for so many announcements, while the agent counts on."""

        async def there() -> bool:
            self.agent.run(30)
            return len(self.receiver.received) >= number

        await eventually(there, f"{number} announcements")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Everything but the collector."""
    agent = SimulatedAgent([SimulatedPath()], epoch=time.time())
    receiver, port = Receiver(), free_port()
    async with showing(MetricsServer(agent)) as server, receiving(receiver):
        text = FLEET.format(
            port=port, agent=server.address, other=f"127.0.0.1:{free_port()}", hook=receiver.url
        )
        yield Scene(tmp_path, text, agent, receiver, port)


async def test_a_degraded_direction_is_judged_announced_and_forgiven(scene: Scene) -> None:
    """PASS both ways; then FAIL forward alone, one breach and one message; then recovery, and one more message."""
    async with scene.collecting() as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.PASS)
        await scene.until(collector, Direction.REVERSE, Verdict.PASS)
        assert collector.state.sources["wuhan"].up
        assert not collector.state.sources["beijing"].up
        assert scene.events() == []
        scene.agent.paths[0].late_forward = 1.0
        await scene.announced(1)
        (breach,) = collector.state.breaches
        assert (breach.key.path, breach.key.direction, breach.closed_ns) == (PATH, Direction.FORWARD, None)
        scene.agent.paths[0].late_forward = 0.0
        await scene.announced(2)
        assert scene.events() == [("breach_opened", "forward"), ("breach_closed", "forward")]
        (breach,) = collector.state.breaches
        assert breach.closing is not None


@dataclass
class Babbling(MetricsServer):
    """Says something else each time that is no exposition."""

    async def answer(self, request: web.Request) -> web.Response:
        """Text with the number of the request."""
        self.text = f'isochrone_probe_sent_total{{babble {self.requests}}} "\n'
        return await super().answer(request)


async def test_what_cannot_be_read_is_told_once_and_not_at_each_scrape(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """However its reason changes, which is on the page; and once more when it can be read."""
    caplog.set_level("INFO", "collector.program")

    async def asked(server: MetricsServer) -> bool:
        return server.requests > 5

    async with showing(Babbling()) as server:
        text = re.sub(r'(id: beijing.*agent: )"[^"]*"', rf'\1"{server.address}"', scene.text)
        async with scene.collecting(text) as collector:
            await eventually(functools.partial(asked, server), "some scrapes")
            assert "babble" in collector.state.sources["beijing"].reason
    told = [one.getMessage() for one in caplog.records if "agent of beijing" in one.getMessage()]
    assert len(told) == 1
    assert "babble 0" in told[0]


async def test_the_next_collector_goes_on_with_the_breach_that_it_finds(scene: Scene) -> None:
    """Neither forgotten nor announced again; its end is announced by whoever sees it."""
    async with scene.collecting() as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.PASS)
        scene.agent.paths[0].late_forward = 1.0
        await scene.announced(1)
        (before,) = collector.state.breaches
    async with scene.collecting() as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.FAIL)
        assert [one.id for one in collector.state.breaches] == [before.id]
        scene.agent.paths[0].late_forward = 0.0
        await scene.announced(2)
    assert scene.events() == [("breach_opened", "forward"), ("breach_closed", "forward")]


async def test_a_breach_of_a_path_that_left_the_fleet_file_is_closed(scene: Scene) -> None:
    """And said not to be judged any more, rather than recovered."""
    async with scene.collecting() as collector:
        scene.agent.paths[0].late_forward = 1.0
        await scene.until(collector, Direction.FORWARD, Verdict.FAIL)
        await scene.announced(1)
    without = scene.text.replace("paths: [{source: wuhan, target: qingyang, tier: hub}]", "paths: []")
    assert without != scene.text
    async with scene.collecting(without):
        await scene.announced(2)
    closed = json.loads(scene.receiver.received[1].body)
    assert (closed["event"], closed["closing"]) == ("breach_closed", None)
    assert "No longer judged" in closed["summary"]["en"]
    assert "不再判定" in closed["summary"]["zh"]


async def test_the_store_holds_what_the_agent_counted_over_its_restart(scene: Scene) -> None:
    """Each run of the agent once, to the probe."""
    async with scene.collecting() as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.PASS)

        async def read_since(now_ns: int) -> bool:
            return (collector.state.sources[PATH.source].seen_ns or 0) > now_ns

        await eventually(functools.partial(read_since, time.time_ns()), "all that was counted is read")
        first = scene.agent.paths[0].ledger.sent
        scene.agent.restart(time.time())
        scene.agent.run(100)
        await eventually(functools.partial(read_since, time.time_ns()), "the new run is read")
    store = await Store.open(scene.folder / "state.sqlite")
    ((sent, _),) = (await totals(store)).values()
    await store.close()
    assert sent == first + 100


async def test_a_state_on_a_server_is_as_good_as_a_file(
    scene: Scene, server: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """Breaches, counts and announcements go on where they were; a second collector is refused; no password is shown."""
    url = (await new_database(server)).set(password="correct-horse")
    (scene.folder / "state.url").write_text(url.render_as_string(hide_password=False) + "\n")
    text = scene.text + "state_url_file: state.url\n"
    async with scene.collecting(text) as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.PASS)
        scene.agent.paths[0].late_forward = 1.0
        await scene.announced(1)
        (before,) = collector.state.breaches
        fleet = parse(text, FleetSettings, "fleet.yaml", scene.folder)
        with pytest.raises(StoreError, match="is used by another collector") as refused:
            await Collector(fleet, scene.folder / "fleet.yaml").run(asyncio.Event())
    async with scene.collecting(text) as collector:
        await scene.until(collector, Direction.FORWARD, Verdict.FAIL)
        assert [one.id for one in collector.state.breaches] == [before.id]
    store = await Store.open(url)
    ((sent, _),) = (await totals(store)).values()
    await store.close()
    assert 0 < sent <= scene.agent.paths[0].ledger.sent
    assert "correct-horse" not in caplog.text + str(refused.value) + repr(fleet)
    assert not (scene.folder / "state.sqlite").exists()


async def test_http_says_when_it_is_ready_and_what_it_found(scene: Scene) -> None:
    """Ready after the first evaluation; every agent with its state."""
    async with scene.collecting(), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{scene.port}"
        await serving(f"{url}/-/ready", "the collector")
        async with session.get(f"{url}/metrics") as response:
            text = await response.text()
        assert 'isochrone_source_up{source="wuhan"} 1.0' in text
        assert 'isochrone_source_up{source="beijing"} 0.0' in text
        assert "isochrone_evaluation_duration_seconds_count" in text


async def test_an_agent_that_hangs_does_not_hold_up_the_end(scene: Scene) -> None:
    """Told to stop in the middle of a reading, the collector stops."""
    async with receiving(Receiver(hanging=True)) as hanging:
        text = scene.text.replace("interval: 100ms}", "interval: 500s}").replace(
            "window: 1s", "window: 1000s"
        )
        address = text[text.index('agent: "') + 8 :].split('"')[0]
        text = text.replace(address, hanging.url.removeprefix("http://"))
        async with scene.collecting(text):
            await hanging.until(1)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 5


async def test_a_port_in_use_is_named(scene: Scene) -> None:
    """And nothing is left running."""
    taken = socket.create_server(("127.0.0.1", scene.port))
    with taken, pytest.raises(HttpBindError, match=f"cannot listen on 127.0.0.1:{scene.port}"):
        async with scene.collecting():
            pass


async def test_a_state_file_of_something_else_is_not_overwritten(scene: Scene) -> None:
    """The operator has mistyped the name."""
    file = scene.folder / "state.sqlite"
    file.write_text("my diary, page one: " * 100)
    with pytest.raises(StoreError, match="not usable as a state"):
        async with scene.collecting():
            pass
    assert file.read_text().startswith("my diary")


async def test_a_state_file_in_use_is_refused_until_its_collector_is_dead(scene: Scene) -> None:
    """The second of two processes says who has the file, status 2; readers read on; kill -9 leaves no lock."""

    def command(port: int) -> list[str | Path]:
        file = scene.folder / f"fleet-{port}.yaml"
        file.write_text(scene.text.replace(f"listen: 127.0.0.1:{scene.port}", f"listen: 127.0.0.1:{port}"))
        return collector_command("run", "--config", file)

    second_port = free_port()
    async with running(command(scene.port), scene.folder / "first.log") as first:
        await serving(f"http://127.0.0.1:{scene.port}/-/ready", "the collector")
        async with running(command(second_port), scene.folder / "second.log") as second:
            assert await asyncio.wait_for(second.wait(), 20) == 2
        state = scene.folder / "state.sqlite"
        said = (scene.folder / "second.log").read_text()
        assert said == f"{state} is used by another collector (pid {first.pid})\n"
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as reader:
            assert reader.execute("select count(*) from alembic_version").fetchone() == (1,)
        first.kill()
        await first.wait()
        async with running(command(second_port), scene.folder / "second.log"):
            await serving(f"http://127.0.0.1:{second_port}/-/ready", "the collector")


async def test_a_state_file_that_is_removed_ends_the_collector_and_its_successor_makes_another(
    scene: Scene,
) -> None:
    """With a status at which the service is started again: what it wrote to a file without a name would be lost."""
    file, state = scene.folder / "fleet.yaml", scene.folder / "state.sqlite"
    file.write_text(scene.text)
    async with running(collector_command("run", "--config", file), scene.folder / "log") as process:
        await serving(f"http://127.0.0.1:{scene.port}/-/ready", "the collector")
        state.unlink()
        assert await asyncio.wait_for(process.wait(), 20) == 1
    said = (scene.folder / "log").read_text()
    assert f"{state}: was removed or replaced while it was in use" in said
    assert "Traceback" not in said
    async with scene.collecting():
        await serving(f"http://127.0.0.1:{scene.port}/-/ready", "the collector")
        assert state.exists()


def test_a_disk_that_is_full_is_no_mistake_of_the_configuration(scene: Scene) -> None:
    """It ends with a status with which systemd starts it again, until there is room."""
    (scene.folder / "fleet.yaml").write_text(scene.text, encoding="utf-8")
    done = subprocess.run(
        collector_command("run", "--config", scene.folder / "fleet.yaml"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].endswith("not usable as a state: disk I/O error")


async def test_a_database_that_is_away_is_no_mistake_of_the_configuration(scene: Scene) -> None:
    """Its status is not that of one, at which the service would stay down: it is started until the server is back."""
    file = scene.folder / "fleet.yaml"
    port = free_port()
    file.write_text(f"state: postgresql://isochrone@127.0.0.1:{port}/isochrone\n{scene.text}")
    async with running(collector_command("run", "--config", file), scene.folder / "log") as process:
        assert await asyncio.wait_for(process.wait(), 20) == 1
    said = (scene.folder / "log").read_text()
    assert said.startswith(f"postgresql://isochrone@127.0.0.1:{port}/isochrone: cannot be reached: ")
    assert "Traceback" not in said


def test_a_secret_that_cannot_be_read_is_a_problem_of_the_configuration(scene: Scene) -> None:
    """Found before anything starts, with its line."""
    text = scene.text.replace('/hook"', '/hook", secret_file: nowhere.secret')
    with pytest.raises(
        ConfigError, match=r"fleet.yaml:\d+: alerts.webhooks\[0\]\.secret_file: cannot be read"
    ):
        parse(text, FleetSettings, "fleet.yaml", scene.folder)
