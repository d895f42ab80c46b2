"""The stage of a run: the shipped files with the run's own addresses, and the processes that play on it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from agent.core.timestamps import SECOND_NS
from agent.runtime.quantities import parse_duration
from agent.runtime.settings import load
from collector.fleet.plan import agent_config
from collector.fleet.settings import FleetSettings
from deploy.quickstart import watching
from deploy.quickstart.ports import free_addresses, moved
from deploy.quickstart.processes import Processes, RelayControl

HERE: Final = Path(__file__).parent
SOURCE: Final = "wuhan"
_PROMETHEUS_ADDRESS: Final = "127.0.0.1:9466"
_TESTED_AFTER_S: Final = 6
"""After the agent was started; all others are by then, and the story has not begun."""

_ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=1)


class Stage:
    """The shipped files with this run's addresses, clock and source."""

    def __init__(self, folder: Path, clock: str, *, prometheus: bool) -> None:
        fleet_text, links_text = (
            HERE.joinpath(name).read_text(encoding="utf-8") for name in ("fleet.yaml", "links.yaml")
        )
        scrape_text = (HERE.parent / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
        self._addresses = free_addresses([fleet_text, links_text, _PROMETHEUS_ADDRESS, watching.ADDRESS])
        fleet: dict[str, Any] = yaml.safe_load(moved(fleet_text, self._addresses))
        if clock == "unsynchronised":
            for site in fleet["sites"]:
                site["clock"] = {"source": "unsynchronised"}
        self._has_prometheus = prometheus
        if prometheus:
            fleet["source"] = {"kind": "prometheus", "url": f"http://{self.prometheus}", "interval": "1s"}
        self.folder = folder
        self.names: dict[str, dict[str, str]] = {site["id"]: site["name"] for site in fleet["sites"]}
        self.agents: dict[str, str] = {site["id"]: site["agent"] for site in fleet["sites"]}
        self.page = f"http://{fleet['listen']}/"
        self.webhook_key = secrets.token_bytes(24)
        for name, secret in (
            ("webhook.secret", f"whsec_{base64.b64encode(self.webhook_key).decode()}"),
            ("throughput.token", secrets.token_hex(16)),
        ):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(f"{secret}\n")
        self.fleet_file = folder / "fleet.yaml"
        self.fleet_file.write_text(
            yaml.safe_dump(fleet, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        (folder / "links.yaml").write_text(moved(links_text, self._addresses), encoding="utf-8")
        scrape: dict[str, Any] = yaml.safe_load(moved(scrape_text, self._addresses))
        every = watching.SCRAPE_INTERVAL
        scrape["global"] = {"scrape_interval": every, "scrape_timeout": every}
        for job in scrape["scrape_configs"]:
            for discovery in job["http_sd_configs"]:
                discovery["refresh_interval"] = "2s"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape), encoding="utf-8")

    @property
    def prometheus(self) -> str:
        """HOST:PORT of the Prometheus, which may not be asked for."""
        return self._addresses[_PROMETHEUS_ADDRESS]

    def port(self, address: str) -> int:
        """The port that this run uses for an address of the shipped files."""
        return int(self._addresses[address].rpartition(":")[2])

    async def start_grafana(self, children: Processes, stop: asyncio.Event, lang: str) -> str | None:
        """Start Grafana, where it is installed, and wait until it answers: it first makes its database.

        Args:
            children: take the process.
            stop: set, it is not waited for any more.
            lang: of the dashboard it opens with.

        Returns:
            Its address for a browser; None where it is not installed.

        Raises:
            ProcessDiedError: it did not live until it answered.
        """
        installed = watching.installed()
        if installed is None:
            return None
        address = self._addresses[watching.ADDRESS]
        command = watching.command(installed, self.folder, address, self.prometheus, lang)
        await children.start("grafana", *command)
        await _answering([f"http://{address}/api/health"], children, stop)
        return f"http://{address}/"

    async def start(self, children: Processes, stop: asyncio.Event) -> RelayControl:
        """Start all processes: whoever answers before whoever asks, for silence at the start would be loss.

        When it is over, every address of this run is bound.

        Args:
            children: take the processes.
            stop: set, nobody is waited for any more.

        Raises:
            ProcessDiedError: one did not live to the end of the start.
        """
        relay = await children.start_python(
            "relay", "deploy.quickstart.relay", self.folder / "links.yaml", piped=True
        )
        fleet = load(self.fleet_file, FleetSettings)
        for site in sorted(fleet.sites, key=lambda site: site.id == SOURCE):
            if site.id == SOURCE:
                targets = (address for target, address in self.agents.items() if target != SOURCE)
                await _answering([f"http://{address}/-/ready" for address in targets], children, stop)
            config = self.folder / f"{site.id}.yaml"
            work = agent_config(fleet, site)
            for line in work.get("throughput_paths", ()):
                line["slot"] = _slot(line["slot"]["every"])
            config.write_text(yaml.safe_dump(work), encoding="utf-8")
            await children.start_python(f"agent-{site.id}", "agent", "run", "--config", config)
        await children.start_python("collector", "collector", "run", "--config", self.fleet_file)
        last = [f"http://{self.agents[SOURCE]}/-/ready", f"{self.page}-/healthy"]
        if self._has_prometheus:
            await children.start(
                "prometheus",
                "prometheus",
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
                f"--web.listen-address={self.prometheus}",
            )
            last.append(f"http://{self.prometheus}/-/healthy")
        await _answering(last, children, stop)
        control = RelayControl(relay)
        await control.order()
        return control


def _slot(every: str) -> dict[str, Any]:
    """A slot that comes in a moment, and then as often as planned: nobody waits for the planned one."""
    every_s = parse_duration(every) // SECOND_NS
    offset_s = (int(time.time()) + _TESTED_AFTER_S) % every_s
    return {"every": every, "offsets": [f"{offset_s or every_s}s"], "jitter": "1s"}


async def _answering(urls: Iterable[str], children: Processes, stop: asyncio.Event) -> None:
    """Wait until all answer with 200, as long as the children live and `stop` is not set."""
    async with aiohttp.ClientSession(timeout=_ANSWER_WITHIN) as session:
        for url in urls:
            while not stop.is_set():
                children.check()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
    children.check()  # for it may be somebody else who answers
