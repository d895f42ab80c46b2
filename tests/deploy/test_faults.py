"""What is broken, with real programs: an agent, a reflector, one direction of a path, and the collector's own sight."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.runtime.settings import parse
from deploy.quickstart.relay import Order, Relay, RelaySettings
from tests.support.processes import agent_command, collector_command, eventually, free_port, running

FLEET = """
listen: 127.0.0.1:{collector}
source: {{kind: agents, interval: 250ms}}
evaluation_interval: 250ms
sites:
- {{id: wuhan, name: {{zh: 武汉, en: Wuhan}}, lat: 30.59, lon: 114.31, {clock},
   agent: "127.0.0.1:{front_of_wuhan}"}}
- {{id: guanggu, name: {{zh: 光谷, en: Optics Valley}}, lat: 30.49, lon: 114.42, {clock},
   agent: "127.0.0.1:{front_of_guanggu}", reflector: "127.0.0.1:{reflector}"}}
- {{id: ezhou, name: {{zh: 鄂州, en: Ezhou}}, lat: 30.39, lon: 114.89, {clock},
   agent: "127.0.0.1:{front_of_ezhou}"}}
- {{id: yichang, name: {{zh: 宜昌, en: Yichang}}, lat: 30.69, lon: 111.29, {clock},
   reflector: "127.0.0.1:{bare}"}}
tiers:
  loop: {{name: {{zh: 往返, en: Round trips}}, limit: "< 50ms", direction: round_trip}}
paths:
- {{source: wuhan, target: guanggu, tier: loop, interval: 20ms, timeout: 200ms, address: "127.0.0.1:{relay}"}}
- {{source: ezhou, target: guanggu, tier: loop, interval: 20ms, timeout: 200ms}}
- {{source: wuhan, target: yichang, tier: loop, interval: 20ms, timeout: 200ms}}
- {{source: ezhou, target: yichang, tier: loop, interval: 20ms, timeout: 200ms}}
objectives:
- {{id: detection, percentile: 90, window: 2s, min_coverage: 0.4, open_after: 3, close_after: 2}}
"""


class Front:
    """Where the collector reads an agent, which listens elsewhere: the way between the two can be cut."""

    def __init__(self, port: int, agent: int) -> None:
        self._port = port
        self._agent = agent
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Let everything through."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """Nothing gets through any more."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError):
            beyond_reader, beyond = await asyncio.open_connection("127.0.0.1", self._agent)
            self._open.add(beyond)
            await asyncio.gather(_copy(reader, beyond), _copy(beyond_reader, writer))
            self._open.discard(beyond)
        writer.close()
        self._open.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while octets := await reader.read(1 << 16):
            writer.write(octets)
            await writer.drain()
    writer.close()


@dataclass
class Scene:
    """Three agents, a reflector alone, and a collector that reads the agents through fronts."""

    folder: Path
    ports: dict[str, int]
    relay: Relay
    fronts: list[Front]
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self, site: str) -> None:
        """Start a site's agent, or the collector."""
        command = (
            collector_command("run", "--config", self.folder / "fleet.yaml")
            if site == "collector"
            else agent_command("run", "--config", self.folder / f"{site}.yaml")
        )
        self.processes[site] = await self.stack.enter_async_context(
            running(command, self.folder / f"{site}.log")
        )

    async def kill(self, site: str) -> None:
        """As a crash would."""
        os.kill(self.processes[site].pid, signal.SIGKILL)
        await self.processes[site].wait()

    def block(self, direction: str, loss: float) -> None:
        """Lose this share of what the relay carries in one direction."""
        self.relay.change(Order.model_validate({"link": "city", "direction": direction, "loss": loss}))

    async def get(self, path: str) -> Any:
        """Ask the collector; nothing where it does not answer yet."""
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.ports['collector']}{path}") as response,
            ):
                return await response.json()
        return {}

    async def faults(self) -> list[tuple[str, str | None, str | None, int]]:
        """Kind, site or path's source, direction and number of paths of what is known to be broken."""
        return [
            (
                one["kind"],
                one["site"] if one["path"] is None else f"{one['path']['source']}-{one['path']['target']}",
                one["direction"],
                one["paths"],
            )
            for one in (await self.get("/api/v1/faults")).get("faults", [])
        ]

    async def broken(self, *wanted: tuple[str, str | None, str | None, int]) -> None:
        """Wait until this is what is known to be broken."""
        found: list[Any] = []

        async def there() -> bool:
            found[:] = await self.faults()
            return found == list(wanted)

        try:
            await eventually(there, f"{wanted}", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}; but {found}") from error

    async def verdicts(self) -> dict[str, dict[str, Any]]:
        """By source and target."""
        found = (await self.get("/api/v1/verdicts")).get("verdicts", [])
        return {f"{one['source']}-{one['target']}": one for one in found}

    async def explained(self, path: str, direction: str) -> None:
        """Wait until a path's verdict says which direction is down."""

        async def there() -> bool:
            fault = (await self.verdicts())[path]["fault"]
            return fault is not None and fault["direction"] == direction

        await eventually(there, f"{path}: {direction} in the verdict")

    async def well(self) -> None:
        """Wait until everything is PASS and nothing is broken."""

        async def passing() -> bool:
            found = await self.verdicts()
            return len(found) == 4 and all(one["verdict"] == "PASS" for one in found.values())

        await eventually(passing, "all PASS", 40)
        await self.broken()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """The scene, with everything running."""
    sites = ("wuhan", "guanggu", "ezhou")
    ports = {name: free_port() for name in ("collector", *sites, *(f"front_of_{site}" for site in sites))}
    ports |= {name: free_port(socket.SOCK_DGRAM) for name in ("reflector", "bare", "relay")}
    links = parse(
        f"links: [{{name: city, front: '127.0.0.1:{ports['relay']}', back: '127.0.0.1:{ports['reflector']}', "
        "forward: {delay: 1ms}, reverse: {delay: 1ms}}]",
        RelaySettings,
        "links",
    )
    relay = Relay(links.links)
    relay.start()
    fleet = FLEET.format(**ports, clock="clock: {source: declared, error_bound: 50us}")
    (tmp_path / "fleet.yaml").write_text(fleet, encoding="utf-8")
    fronts = [Front(ports[f"front_of_{site}"], ports[site]) for site in sites]
    made = Scene(tmp_path, ports, relay, fronts)
    async with made.stack:
        made.stack.callback(relay.close)
        for site in (*sites, "yichang"):
            process = await asyncio.create_subprocess_exec(
                *map(str, collector_command("plan", "--site", site, "--config", tmp_path / "fleet.yaml")),
                stdout=asyncio.subprocess.PIPE,
            )
            config, _ = await process.communicate()
            text = config.decode()
            if site in sites:
                text = text.replace(f":{ports[f'front_of_{site}']}", f":{ports[site]}")
            (tmp_path / f"{site}.yaml").write_text(text, encoding="utf-8")
            await made.start(site)
        for front in fronts:
            await front.start()
            made.stack.push_async_callback(front.cut)
        await made.start("collector")
        yield made


@pytest.mark.timeout(240)
async def test_each_fault_is_told_from_the_others(scene: Scene) -> None:
    """One direction either way, a reflector, an agent, and the collector's own blindness, one after the other; what is
    not concerned stays PASS, and every breach says what it is part of."""
    await scene.well()

    for direction in ("reverse", "forward"):
        scene.block(direction, 1)
        await scene.broken(("direction_down", "wuhan-guanggu", direction, 1))
        await scene.explained("wuhan-guanggu", direction)
        found = await scene.verdicts()
        assert {found[path]["verdict"] for path in found if path != "wuhan-guanggu"} == {"PASS"}
        scene.block(direction, 0)
        await scene.well()

    before = len((await scene.get("/api/v1/breaches"))["breaches"])
    await scene.kill("yichang")
    await scene.broken(("target_down", "yichang", None, 2))

    async def both_breached() -> bool:
        return len((await scene.get("/api/v1/breaches"))["breaches"]) == before + 2

    await eventually(both_breached, "a breach of each path")
    (fault,) = (await scene.get("/api/v1/faults"))["faults"]
    opened = (await scene.get("/api/v1/breaches?state=open&target=yichang"))["breaches"]
    assert [one["fault"]["id"] for one in opened] == [fault["id"]] * 2
    assert fault["summary"]["en"] == "target down: Yichang (2 sites get no answer)"
    await scene.start("yichang")
    await scene.well()

    await scene.kill("ezhou")
    await scene.broken(("agent_down", "ezhou", None, 2))
    found = await scene.verdicts()
    assert {found[path]["verdict"] for path in found if path.startswith("wuhan")} == {"PASS"}
    await scene.start("ezhou")
    await scene.well()

    opened_before = await scene.get("/api/v1/breaches")
    for front in scene.fronts:
        await front.cut()
    said: set[str] = set()

    async def all_unknown() -> bool:
        verdicts = {one["verdict"] for one in (await scene.verdicts()).values()}
        said.update(verdicts)
        return verdicts == {"NO_DATA"}

    await scene.broken(("source_down", None, None, 4))
    await eventually(all_unknown, "NO_DATA everywhere")
    assert "FAIL" not in said
    assert await scene.get("/api/v1/breaches") == opened_before
    reasons = [one["reason"]["en"] for one in (await scene.verdicts()).values()]
    assert all("the collector's own source is down" in reason for reason in reasons)
    for front in scene.fronts:
        await front.start()
    await scene.well()
