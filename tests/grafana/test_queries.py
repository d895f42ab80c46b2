"""Every query of every panel, asked of a real Prometheus that watches the quickstart with one path degraded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from agent.core import metrics
from deploy.quickstart.ports import turn
from deploy.quickstart.processes import processes
from deploy.quickstart.stage import Stage
from deploy.quickstart.story import DEGRADED, HUB
from grafana.generate import FOLDER
from tests.support.requirements import require_binary

PERMITTED = os.geteuid() == 0
"""Whether routes can be traced, which takes a privilege that the quickstart does without."""

UNANSWERED = ("> 0",) if PERMITTED else (metrics.ROUTE_CHANGES, metrics.ROUTE_HOPS)
"""What must be sound, and has no answer here: the marks of changes of a route that has none, or all about routes."""

DEADLINE_S = 60.0
RATE_INTERVAL = "8s"
LOOK_BACK_S = 20
TESTER = "guanggu"
"""The site that tests the quickstart's pilot line."""
SINGLE = {
    "source": "wuhan",
    "target": HUB,
    "tier": "hub",
    "provider": "mobile",
    "kind": "stamp",
    "dscp": "0",
}
"""The degraded path, which the dashboard of one path is to show."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """The query API of one that runs."""

    session: aiohttp.ClientSession
    url: str

    async def series(self, expr: str, *, instant: bool) -> list[dict[str, Any]]:
        """What an expression gives, now or over the last seconds.

        Raises:
            AssertionError: it does not accept the expression.
        """
        now = time.time()
        if instant:
            result = await self._get("query", {"query": expr, "time": now})
        else:
            span = {"query": expr, "start": now - LOOK_BACK_S, "end": now, "step": 1}
            result = await self._get("query_range", span)
        found: list[dict[str, Any]] = result["result"]
        return found

    async def label_values(self, selector: str, label: str) -> list[str]:
        """The values of a label among some series."""
        found: list[str] = await self._get(f"label/{label}/values", {"match[]": selector})
        return found

    async def _get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            document = await response.json()
        assert document["status"] == "success", (parameters, document)
        return document["data"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a dashboard, as Grafana would send it."""

    place: str
    expr: str
    instant: bool

    async def answered(self, prometheus: Prometheus) -> bool:
        """Whether it gives at least one number."""
        found = await prometheus.series(self.expr, instant=self.instant)
        samples = [sample for one in found for sample in one.get("values", [one.get("value")])]
        return any(not math.isnan(float(value)) for _, value in samples)


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Prometheus]:
    """The quickstart's programs with a Prometheus, and the hub's path degraded from the start."""
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        with await turn(stop):
            stage = Stage(folder, "declared", prometheus=True)
            if PERMITTED:
                trace_the_route(stage.fleet_file)
            children = await stack.enter_async_context(processes(folder))
            relay = await stage.start(children, stop)
        await relay.order(link=HUB, direction="forward", delay=DEGRADED)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await have_the_line_tested_often(stage, session)
        yield Prometheus(session, f"http://127.0.0.1:{stage.port('127.0.0.1:9466')}")


def trace_the_route(fleet_file: Path) -> None:
    """Have the way to the hub followed."""
    fleet = yaml.safe_load(fleet_file.read_text(encoding="utf-8"))
    (path,) = (path for path in fleet["paths"] if path["target"] == HUB)
    path["route"] = "10s"
    fleet_file.write_text(yaml.safe_dump(fleet, allow_unicode=True), encoding="utf-8")


async def have_the_line_tested_often(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Have a slot of the pilot line come every 20 s: a machine that is slow at the start has missed the only one."""
    file = stage.folder / f"{TESTER}.yaml"
    work = yaml.safe_load(file.read_text(encoding="utf-8"))
    (line,) = work["throughput_paths"]
    line["slot"] = {"every": "1m", "offsets": ["20s", "40s", "60s"], "jitter": "1s"}
    file.write_text(yaml.safe_dump(work), encoding="utf-8")
    async with session.post(f"http://{stage.agents[TESTER]}/-/reload") as response:
        assert response.status == 200, await response.text()


def boards() -> list[dict[str, Any]]:
    """The dashboards in one language: the other asks the same, as another test sees to."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("zh/*.json"))]


def chosen(board: dict[str, Any]) -> dict[str, str]:
    """What stands in place of each variable: everything where several can be chosen, else the degraded path."""
    names = {variable["name"]: variable for variable in board["templating"]["list"]}
    every = {name: variable["allValue"] for name, variable in names.items() if variable.get("multi")}
    return {name: value for name, value in SINGLE.items() if name in names} | every


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables replaced; others are left alone, as Grafana does."""
    values = {**values, "__rate_interval": RATE_INTERVAL}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], found[0]), text)


def asked(board: dict[str, Any]) -> list[Asked]:
    """Every query of a dashboard, with everything chosen."""
    values = chosen(board)
    found = [
        Asked(f"{board['uid']}: {panel['title']} {target['refId']}", target["expr"], target["instant"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]
    found += [
        Asked(f"{board['uid']}: {annotation['name']}", annotation["expr"], False)
        for annotation in board["annotations"]["list"]
    ]
    return [Asked(one.place, filled(one.expr, values), one.instant) for one in found]


async def offered(prometheus: Prometheus, board: dict[str, Any]) -> dict[str, list[str]]:
    """What each variable of a dashboard offers, as Grafana would find out."""
    values = chosen(board)
    found: dict[str, list[str]] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = filled(variable["query"]["query"], values)
        if of_label := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
            found[variable["name"]] = await prometheus.label_values(*of_label.groups())
        else:
            of_result = re.fullmatch(r"query_result\((.+)\)", query)
            assert of_result, query
            results = await prometheus.series(of_result[1], instant=True)
            texts = [
                ",".join(f'{name}="{value}"' for name, value in one["metric"].items()) for one in results
            ]
            pattern = re.compile(variable["regex"].strip("/"))
            found[variable["name"]] = [one for text in texts for one in pattern.findall(text)]
    return found


async def marks_of(prometheus: Prometheus, board: dict[str, Any], panel: dict[str, Any]) -> dict[str, str]:
    """The row of a heatmap that each of its marks is drawn at, where there is such a row."""
    values = chosen(board)
    buckets, marks = [
        [one["metric"] for one in await prometheus.series(filled(target["expr"], values), instant=False)]
        for target in panel["targets"]
    ]
    rows = {bucket["le"] for bucket in buckets}
    return {mark["mark"]: mark["le"] for mark in marks if mark["le"] in rows}


@pytest.mark.timeout(120)
async def test_every_query_has_an_answer(tmp_path: Path) -> None:
    """None is refused and none is empty; every variable offers something, among it the path that is degraded."""
    require_binary("prometheus")
    loaded = boards()
    async with watched(tmp_path) as prometheus:
        outstanding = [one for board in loaded for one in asked(board)]
        deadline = time.monotonic() + DEADLINE_S
        while outstanding := [one for one in outstanding if not await one.answered(prometheus)]:
            unexplained = [one for one in outstanding if not any(part in one.expr for part in UNANSWERED)]
            if not unexplained:
                break
            assert time.monotonic() < deadline, "empty:\n" + "\n".join(
                f"{one.place}: {one.expr}" for one in unexplained
            )
            await asyncio.sleep(0.5)
        for board in loaded:
            values = await offered(prometheus, board)
            assert all(values.values()), (board["uid"], values)
            if board["uid"] == "isochrone-path-zh":
                assert {name: value for name, value in SINGLE.items() if value in values[name]} == SINGLE
                heatmaps = [panel for panel in board["panels"] if panel["type"] == "heatmap"]
                drawn = [await marks_of(prometheus, board, panel) for panel in heatmaps]
                one_way = {"limit": "0.01", "floor": "0.004"}  # 10 ms, and 4.13 ms of fibre
                assert drawn == [one_way, one_way, {"limit": "0.015", "floor": "0.0075"}]
