"""Service discovery, and a real Prometheus that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.runtime.settings import parse
from collector.fleet.settings import FleetSettings
from collector.web.discovery import agents, collectors
from collector.web.view import Fleet, fleet_view
from tests.support.collector_web import serving
from tests.support.processes import eventually, free_port, running
from tests.support.requirements import require_binary
from tests.support.verdicts import State, fleet


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


async def test_agents_are_listed_with_site_provider_and_district(session: aiohttp.ClientSession) -> None:
    """Sites without an agent are not; no label clashes with one of the agents' own series."""
    async with serving(State()) as url, session.get(f"{url}/sd/prometheus") as response:
        groups = await response.json()
    assert [group["targets"] for group in groups] == [
        ["127.0.0.1:9461"],
        ["127.0.0.1:9462"],
        ["127.0.0.1:9463"],
    ]
    assert groups[0]["labels"] == {"site": "wuhan", "site_provider": "telecom", "district": "洪山区"}


async def test_the_collector_lists_itself(session: aiohttp.ClientSession) -> None:
    """So that one http_sd job is all that a Prometheus needs."""
    async with serving(State()) as url:
        async with session.get(f"{url}/sd/prometheus?role=collector") as response:
            assert await response.json() == [{"targets": ["127.0.0.1:9460"], "labels": {}}]
        async with session.get(f"{url}/sd/prometheus?role=collector&role=agent") as response:
            assert len(await response.json()) == 4


CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: isochrone-agents
    http_sd_configs: [{url: "%(url)s/sd/prometheus", refresh_interval: 1s}]
  - job_name: isochrone-collector
    http_sd_configs: [{url: "%(url)s/sd/prometheus?role=collector", refresh_interval: 1s}]
"""


async def test_a_real_prometheus_finds_and_scrapes_whom_we_list(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Its configuration check passes, and the collector is up with the labels we gave."""
    prometheus, promtool = require_binary("prometheus"), require_binary("promtool")
    port, own_port = free_port(), free_port()
    shown = fleet(address=f"127.0.0.1:{own_port}")
    shown = replace(shown, sites=[replace(shown.sites[0], agent=f"127.0.0.1:{own_port}")])
    config = tmp_path / "prometheus.yml"
    async with serving(State(), shown=shown, port=own_port) as url:
        config.write_text(CONFIG % {"url": url})
        check = await asyncio.create_subprocess_exec(
            promtool,
            "check",
            "config",
            str(config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await check.communicate()
        assert check.returncode == 0, output.decode()
        command = [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        found: list[dict[str, Any]] = []

        async def both_are_up() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/api/v1/targets") as response:
                    found[:] = (await response.json())["data"]["activeTargets"]
            except (aiohttp.ClientError, ValueError):
                return False
            return [target["health"] for target in found] == ["up", "up"]

        async with running(command, tmp_path / "prometheus.log"):
            await eventually(both_are_up, "Prometheus scrapes both targets")
    by_job = {target["labels"]["job"]: target["labels"] for target in found}
    assert by_job["isochrone-agents"]["site"] == "wuhan"
    assert by_job["isochrone-agents"]["district"] == "洪山区"
    assert set(by_job["isochrone-collector"]) == {"job", "instance"}


def view(listen: str, external_url: str = "") -> Fleet:
    """What is shown of a fleet file that listens so."""
    text = f"""
listen: "{listen}"
{f"external_url: {external_url}" if external_url else ""}
sites:
  - {{id: wuhan, name: {{zh: 武汉, en: Wuhan}}, lat: 30.59, lon: 114.31, provider: telecom, district: 洪山区,
      agent: "[::1]:9461", reflector: "[::1]:862"}}
  - {{id: yichang, name: {{zh: 宜昌, en: Yichang}}, lat: 30.7, lon: 111.3}}
tiers: {{province: {{name: {{zh: 省内, en: Province}}, limit: "< 3ms"}}}}
objectives: [{{id: detection, percentile: 99.9, window: 5m}}]
"""
    return fleet_view(parse(text, FleetSettings, "fleet.yaml"))


def test_the_fleet_file_is_shown_as_it_is() -> None:
    """Names in both languages, addresses as Prometheus writes them."""
    shown = view("127.0.0.1:9460")
    assert agents(shown) == [
        {
            "targets": ["[::1]:9461"],
            "labels": {"site": "wuhan", "site_provider": "telecom", "district": "洪山区"},
        }
    ]
    assert shown.names().site("yichang").zh == "宜昌"
    assert shown.names().tier("province").en == "Province"
    assert shown.objectives[0].window_ns == 300_000_000_000
    assert shown.evaluation_interval_ns == 10_000_000_000


@pytest.mark.parametrize(
    ("listen", "external", "address", "page"),
    [
        ("127.0.0.1:9460", "", "127.0.0.1:9460", "http://127.0.0.1:9460"),
        ("10.0.0.5:9460", "https://noc.example/isochrone", "10.0.0.5:9460", "https://noc.example/isochrone"),
        (
            "0.0.0.0:9460",
            "https://noc.example/isochrone",
            "noc.example:9460",
            "https://noc.example/isochrone",
        ),
        ("[::]:9460", "", "thishost:9460", "http://thishost:9460"),
    ],
)
def test_an_address_that_means_everywhere_is_told_to_nobody(
    listen: str, external: str, address: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People and Prometheus need one that leads here."""
    monkeypatch.setattr("platform.node", lambda: "thishost")
    shown = view(listen, external)
    assert collectors(shown)[0]["targets"] == [address]
    assert shown.page_url == page
