"""The shipped Prometheus as a program, over a collector's and an agent's true expositions."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from agent.core import metrics
from collector.sla.verdict import Verdict
from tests.support.alert_rules import PROMETHEUS, RULE_FILES, rules
from tests.support.collector_web import serving
from tests.support.counting import PATH
from tests.support.processes import eventually, free_port, running
from tests.support.receiver import Receiver, receiving
from tests.support.requirements import require_binary
from tests.support.simulated import MetricsServer, SimulatedAgent, SimulatedPath, showing
from tests.support.verdicts import Source, State, breach, fleet, judgement

RUNBOOKS = "http://noc.example/isochrone/"
PATH_LABELS = {name: str(getattr(PATH, name)) for name in metrics.PATH_LABELS}


class ProbingAgent(SimulatedAgent):
    """Sends some probes from scrape to scrape."""

    def exposition(self, wanted: Container[str] | None = None) -> str:
        """What it shows, later each time."""
        self.run(200)
        return super().exposition(wanted)


@dataclass
class Scene:
    """A Prometheus with the shipped configuration, and who is told of its alerts."""

    url: str
    session: aiohttp.ClientSession
    alertmanager: Receiver

    async def get(self, path: str, **query: str) -> Any:
        """Ask the API; None while it does not answer."""
        try:
            async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as response:
                return (await response.json())["data"]
        except (aiohttp.ClientError, ValueError):
            return None

    def told(self) -> Iterator[dict[str, Any]]:
        """The alerts that the Alertmanager was told of."""
        for request in self.alertmanager.received:
            yield from json.loads(request.body)


def hurried(text: str) -> str:
    """The same with every interval a second."""
    return re.sub(r"(interval|timeout): \w+", r"\1: 1s", text)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """One agent, one of whose two paths is in breach; the collector that says so, and Prometheus over both."""
    prometheus = require_binary("prometheus")
    agent = ProbingAgent([SimulatedPath(PATH, late_forward=0.5), SimulatedPath(replace(PATH, target="well"))])
    state = State([judgement(Verdict.FAIL, PATH)], [breach(path=PATH)], {PATH.source: Source()})
    port, collector_port = free_port(), free_port()
    async with (
        showing(MetricsServer(agent)) as shown,
        receiving(Receiver()) as alertmanager,
        aiohttp.ClientSession() as session,
    ):
        known = fleet(address=f"127.0.0.1:{collector_port}")
        known = replace(known, sites=[replace(known.sites[0], agent=shown.address)])
        async with serving(state, shown=known, port=collector_port):
            text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
            for shipped, own in (
                ("127.0.0.1:9460", known.address),
                ("127.0.0.1:9093", urlsplit(alertmanager.url).netloc),
                ('runbooks: ""', f"runbooks: {RUNBOOKS}"),
            ):
                assert shipped in text
                text = text.replace(shipped, own)
            config = tmp_path / "prometheus.yml"
            config.write_text(hurried(text), encoding="utf-8")
            (tmp_path / "rules").mkdir()
            for file in RULE_FILES:
                (tmp_path / "rules" / file.name).write_text(hurried(file.read_text(encoding="utf-8")))
            command = [
                prometheus,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ]
            async with running(command, tmp_path / "prometheus.log"):
                yield Scene(f"http://127.0.0.1:{port}", session, alertmanager)


async def test_true_expositions_go_through_the_rules_to_the_alertmanager(scene: Scene) -> None:
    """No rule fails; what the collector says of a path is joined with what the agent counted on it; and the alert
    arrives with the path's own labels, without the base of the runbooks but for its place in the link."""

    async def joined() -> bool:
        answer = await scene.get("query", query="path_direction:isochrone_sla_failing:max == 1")
        return bool(answer) and [one["metric"] for one in answer["result"]] == [
            {"__name__": "path_direction:isochrone_sla_failing:max", **PATH_LABELS, "direction": "forward"}
        ]

    async def breach_is_told() -> bool:
        return any(one["labels"]["alertname"] == "IsochroneBreachOpen" for one in scene.told())

    await eventually(breach_is_told, "the Alertmanager is told of the breach")
    (labels,) = {tuple(sorted(one["labels"].items())) for one in scene.told()}
    assert dict(labels) == {
        **PATH_LABELS,
        "direction": "forward",
        "objective": "detection",
        "alertname": "IsochroneBreachOpen",
        "severity": "warning",
    }
    assert {one["annotations"]["runbook_url"] for one in scene.told()} == {
        f"{RUNBOOKS}runbooks.md#isochronebreachopen"
    }
    await eventually(joined, "the breach is known to go on")
    groups = (await scene.get("rules"))["groups"]
    health = {
        rule["name"]: (rule["health"], rule.get("lastError")) for group in groups for rule in group["rules"]
    }
    assert set(health.values()) == {("ok", None)}, health
    assert health.keys() == {rule.get("alert") or rule["record"] for rule in rules()}
