"""All parts together as programs: measured, judged, announced; and killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.core import metrics
from agent.core.outcome import Direction, Outcome
from agent.runtime.settings import parse
from collector.store.store import Store
from deploy.quickstart.relay import Order, Relay, RelaySettings
from tests.support.exposition import total
from tests.support.ledgers import totals
from tests.support.processes import (
    agent_command,
    collector_command,
    eventually,
    free_port,
    running,
)
from tests.support.receiver import Receiver, receiving

FLEET = """
listen: 127.0.0.1:{collector}
state: state.sqlite
source: {{kind: agents, interval: 250ms}}
evaluation_interval: 250ms
sites:
- {{id: wuhan, name: {{zh: 武汉, en: Wuhan}}, lat: 30.59, lon: 114.31, agent: "127.0.0.1:{source}",
   clock: {{source: declared, error_bound: 50us}}}}
- {{id: qingyang, name: {{zh: 庆阳, en: Qingyang}}, lat: 35.73, lon: 107.64, provider: mobile,
   agent: "127.0.0.1:{target}", reflector: "127.0.0.1:{reflector}", clock: {{source: declared, error_bound: 50us}}}}
tiers:
  hub: {{name: {{zh: 枢纽, en: Hub}}, limit: "<= 10ms"}}
paths:
- {{source: wuhan, target: qingyang, tier: hub, interval: 10ms, timeout: 300ms, address: "127.0.0.1:{front}"}}
objectives:
- {{id: detection, percentile: 90, window: 3s, min_coverage: 0.3, open_after: 2, close_after: 3}}
alerts:
  webhooks: [{{name: noc, url: "{hook}/hook"}}]
"""


@dataclass
class Scene:
    """A source, a target behind 7 ms of emulated distance, a collector and a receiver."""

    folder: Path
    relay: Relay
    receiver: Receiver
    ports: dict[str, int]
    sent_before: float = 0.0
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self, name: str) -> asyncio.subprocess.Process:
        """Start one of: source, target, collector."""
        if name == "collector":
            command = collector_command("run", "--config", self.folder / "fleet.yaml")
        else:
            site = {"source": "wuhan", "target": "qingyang"}[name]
            command = agent_command("run", "--config", self.folder / f"{site}.yaml")
        return await self.stack.enter_async_context(running(command, self.folder / f"{name}.log"))

    def hub(self, delay: str) -> None:
        """Set the forward delay."""
        self.relay.change(Order.model_validate({"link": "hub", "direction": "forward", "delay": delay}))

    async def get(self, path: str) -> dict[str, Any]:
        """Ask the collector; nothing where it does not answer."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.ports['collector']}{path}") as response,
            ):
                document: dict[str, Any] = await response.json()
                return document
        return {}

    async def scrape(self, name: str) -> str:
        """An agent's exposition; empty where it does not answer."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.ports[name]}/metrics") as response,
            ):
                return await response.text()
        return ""

    async def verdict(self, direction: str, wanted: str) -> None:
        """Wait for a verdict."""

        async def reached() -> bool:
            found = await self.get("/api/v1/verdicts")
            return any(
                one["direction"] == direction and one["verdict"] == wanted
                for one in found.get("verdicts", [])
            )

        await eventually(reached, f"{direction} {wanted}", 30)

    async def breaches(self, state: str, number: int) -> list[dict[str, Any]]:
        """Wait until there are so many breaches of a state, and give them."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            nonlocal found
            found = (await self.get(f"/api/v1/breaches?state={state}")).get("breaches", [])
            return len(found) == number

        await eventually(there, f"{number} breaches {state}", 30)
        return found

    def events(self) -> list[tuple[str, str]]:
        """What was announced: event and breach, in order."""
        bodies = [json.loads(one.body) for one in self.receiver.received]
        return [(body["event"], body["id"]) for body in bodies]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """The scene, nothing but relay and receiver running."""
    names = ("collector", "source", "target", "reflector", "front")
    ports = {
        name: free_port(socket.SOCK_DGRAM if name in names[3:] else socket.SOCK_STREAM) for name in names
    }
    links = parse(
        f"links: [{{name: hub, front: '127.0.0.1:{ports['front']}', back: '127.0.0.1:{ports['reflector']}', "
        "forward: {delay: 7ms}, reverse: {delay: 7.4ms}}]",
        RelaySettings,
        "links",
    )
    relay = Relay(links.links)
    relay.start()
    async with receiving(Receiver()) as receiver:
        (tmp_path / "fleet.yaml").write_text(FLEET.format(**ports, hook=receiver.url), encoding="utf-8")
        made = Scene(tmp_path, relay, receiver, ports)
        for site in ("wuhan", "qingyang"):
            process = await asyncio.create_subprocess_exec(
                *map(str, collector_command("plan", "--site", site, "--config", tmp_path / "fleet.yaml")),
                stdout=asyncio.subprocess.PIPE,
            )
            text, _ = await process.communicate()
            (tmp_path / f"{site}.yaml").write_bytes(text)
        async with made.stack:
            yield made
    relay.close()


@pytest.mark.timeout(150)
async def test_killed_in_the_middle(scene: Scene) -> None:
    """kill -9 of collector and agent in the middle of a breach: nothing is counted twice, no breach forgotten, none
    announced twice, and the recovery is announced once."""
    await scene.start("target")
    source = await scene.start("source")
    collector = await scene.start("collector")
    await scene.verdict("forward", "PASS")
    await scene.verdict("reverse", "PASS")

    scene.hub("12ms")
    (breach,) = await scene.breaches("open", 1)
    assert (breach["direction"], breach["target"]) == ("forward", "qingyang")
    await scene.receiver.until(1)

    collector.kill()
    await collector.wait()
    collector = await scene.start("collector")
    (again,) = await scene.breaches("open", 1)
    assert again["id"] == breach["id"]
    await scene.verdict("forward", "FAIL")

    before_kill = await scene.scrape("source")
    source.kill()
    await source.wait()
    source = await scene.start("source")
    await scene.verdict("forward", "FAIL")
    assert scene.events() == [("breach_opened", breach["id"])]

    scene.hub("7ms")
    (closed,) = await scene.breaches("closed", 1)
    assert closed["id"] == breach["id"]
    await scene.receiver.until(2)
    assert scene.events() == [("breach_opened", breach["id"]), ("breach_closed", breach["id"])]

    collector.terminate()
    assert await collector.wait() == 0
    source.terminate()
    assert await source.wait() == 0
    at_end = await scene.scrape("target")
    await _assert_counted_once(
        scene, before_kill, reflected=total(at_end, metrics.REFLECTOR_PACKETS, result="reflected")
    )


async def _assert_counted_once(scene: Scene, before_kill: str, reflected: float) -> None:
    """The store holds what both runs of the agent exported, each probe once, and never more than the target saw."""
    store = await Store.open(scene.folder / "state.sqlite")
    ((sent, counts),) = (await totals(store)).values()
    await store.close()
    round_trip, forward, reverse = (
        counts[direction].outcomes
        for direction in (Direction.ROUND_TRIP, Direction.FORWARD, Direction.REVERSE)
    )
    answered = sum(round_trip[: Outcome.LOST])
    assert total(before_kill, metrics.PROBE_SENT) <= sent
    assert answered <= reflected
    # what was under way when the agent was killed, or was counted after its last reading, is not in the sums
    assert reflected - answered < 200
    assert sum(forward) == sum(round_trip) <= sent
    assert sum(reverse) == sum(round_trip) - forward[Outcome.LOST]
