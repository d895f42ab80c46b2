"""Through a Prometheus: a real one that scrapes simulated agents, and answers that no Prometheus would give."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from agent.core.outcome import Direction
from collector.ledger.recent import RecentSlices
from collector.sla.confidence import clean_packets_needed
from collector.sla.counts import Reading
from collector.sla.judge import Question, judge
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.reasons import AgentFacts
from collector.sla.verdict import Judgement, Verdict
from collector.sla.verdicts import Answer, Verdicts
from collector.sla.window import Window
from collector.sources.agents import AgentsSource
from collector.sources.prometheus import PrometheusSource
from collector.sources.samples import AgentReading
from collector.store.store import Store
from collector.windows import Windows
from tests.support.counting import HUB_LIMIT, MS, OTHER_PATH, PATH, SECOND_NS
from tests.support.processes import eventually, free_port, running
from tests.support.requirements import require_binary
from tests.support.simulated import MetricsServer, SimulatedAgent, SimulatedPath, showing

INTERVAL_NS = SECOND_NS
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: isochrone-agent
    honor_labels: true
    static_configs:
      - {{targets: ["{wuhan}"], labels: {{site: wuhan, site_provider: telecom}}}}
      - {{targets: ["{beijing}"], labels: {{site: beijing}}}}
"""


@contextlib.asynccontextmanager
async def prometheus(folder: Path, **agents: str) -> AsyncIterator[str]:
    """A real Prometheus that scrapes these agents every second; its address."""
    binary = require_binary("prometheus")
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(**agents))
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    async with running(command, folder / "prometheus.log"), aiohttp.ClientSession() as session:

        async def ready() -> bool:
            try:
                async with session.get(f"{url}/-/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(ready, "Prometheus is ready")
        yield url


def source(url: str, *sites: str) -> PrometheusSource:
    """A source that is read every second."""
    return PrometheusSource(url, sites or ("wuhan",), INTERVAL_NS, 5.0, time.time_ns)


async def next_reading(reader: PrometheusSource, site: str, after_ns: int) -> AgentReading:
    """The first reading of a scrape that began after this time."""
    found: list[AgentReading] = []

    async def read() -> bool:
        found[:] = [one for one in await reader.read() if one.site == site and one.up]
        return bool(found) and found[0].taken_ns > after_ns

    await eventually(read, f"a new scrape of {site}")
    return found[0]


def counted(reading: AgentReading) -> list[Reading]:
    """What was counted, whenever it was read."""
    return [replace(one, taken_ns=0) for one in sorted(reading.readings, key=lambda one: one.path)]


async def verdicts(store: Store) -> dict[object, Judgement]:
    """Judge what is in a ledger, and leave out the times: two sources do not read at the same instant."""
    promised = dict.fromkeys(Direction, HUB_LIMIT)
    objective = Objective("detection", Measure.DELAY, Window(3600 * SECOND_NS), 0.05, 0.5, 95)
    paths = [PATH, OTHER_PATH]
    now_ns = time.time_ns()
    windows = Windows(
        store.ledger, store.numbers, RecentSlices(), paths, [promised] * 2, [], MaintenanceCalendar
    )
    observed = await windows.observe(objective.window, np.full(2, now_ns), now_ns)
    observed.covered_ms[:] = 3_600_000
    targets = [
        Target(path, direction, objective, HUB_LIMIT, 4 * MS) for path in paths for direction in Direction
    ]
    question = Question.of(objective, targets, [row for row, _ in enumerate(paths) for _ in Direction])
    evidence = judge(question, observed, None, np.zeros(len(targets), np.bool_))
    return {
        (one.path, one.direction): replace(one, window_start_ns=0, window_end_ns=0)
        for one in Verdicts([Answer(question, observed, evidence, lambda path: AgentFacts(True, 50_000), {})])
    }


async def test_a_real_prometheus_gives_the_same_readings_and_verdicts_as_the_agents(tmp_path: Path) -> None:
    """To the packet, for every path and direction, over a restart of the agent in between; an agent that is down and
    one that is gone are down."""
    agent = SimulatedAgent(
        [
            SimulatedPath(late_forward=0.2, lost_reverse=0.1, lost_somewhere=0.05),
            SimulatedPath(OTHER_PATH),
        ],
        epoch=time.time() - 1,
    )
    async with (
        contextlib.AsyncExitStack() as stack,
        showing(MetricsServer(agent)) as server,
        prometheus(tmp_path, wuhan=server.address, beijing=f"127.0.0.1:{free_port()}") as url,
    ):
        indirect, direct = (
            source(url, "wuhan", "beijing", "yichang"),
            AgentsSource({"wuhan": server.address}, 5.0, time.time_ns),
        )
        stack.push_async_callback(indirect.close)
        stack.push_async_callback(direct.close)
        stores = {name: await Store.open(tmp_path / f"{name}.sqlite") for name in ("prometheus", "agents")}
        for store in stores.values():
            stack.push_async_callback(store.close)
        past: list[AgentReading] = []
        for turn in range(3):
            if turn == 2:
                agent.restart(time.time())
            # It counts nothing while both read it, so that both can only have read the same.
            agent.run(clean_packets_needed(0.05) * 3)
            through = await next_reading(indirect, "wuhan", time.time_ns())
            (straight,) = await direct.read()
            assert counted(through) == counted(straight)
            assert (through.clock_source, through.clock_bound_ns) == ("declared", 50_000)
            for name, taken in (("prometheus", through), ("agents", straight)):
                assert len(await stores[name].ledger.ingest(taken.readings)) == 2
            past.append(through)
        judged = await verdicts(stores["agents"])
        assert await verdicts(stores["prometheus"]) == judged
        for then in past:
            found = await indirect.read_at(then.taken_ns)
            assert found is not None
            assert [one for one in found if one.site == "wuhan"] == [then], "the past is what it was"
        assert {one.verdict for one in judged.values()} >= {Verdict.PASS, Verdict.FAIL}
        by_site = {one.site: one for one in await indirect.read()}
        assert (by_site["beijing"].up, by_site["yichang"].up) == (False, False)
        assert "no recent scrape" in by_site["beijing"].reason


async def test_what_prometheus_scraped_long_ago_is_not_taken_for_new(tmp_path: Path) -> None:
    """An agent that has gone is down after three intervals, though an instant query would show its last values for
    five minutes."""
    agent = SimulatedAgent([SimulatedPath()])
    agent.run(10)
    async with contextlib.AsyncExitStack() as stack:
        served = contextlib.AsyncExitStack()
        server = await served.enter_async_context(showing(MetricsServer(agent)))
        url = await stack.enter_async_context(
            prometheus(tmp_path, wuhan=server.address, beijing=server.address)
        )
        reader = source(url)
        stack.push_async_callback(reader.close)
        await next_reading(reader, "wuhan", 0)
        await served.aclose()

        async def is_down() -> bool:
            (one,) = await reader.read()
            return not one.up

        await eventually(is_down, "the agent is down")
        (one,) = await reader.read()
        assert "no recent scrape" in one.reason


@contextlib.asynccontextmanager
async def answering(body: Any, status: int = 200) -> AsyncIterator[str]:
    """Something that answers every query with this body."""

    async def answer(_: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(text=text, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_post("/prefix/api/v1/query", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}/prefix/".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


def success(*result: Any) -> dict[str, Any]:
    """The envelope of an answer."""
    return {"status": "success", "data": {"resultType": "matrix", "result": list(result)}}


START = {"__name__": "process_start_time_seconds", "site": "wuhan"}
SENT = {
    "__name__": "isochrone_probe_sent_total",
    "site": "wuhan",
    "source": "wuhan",
    "target": "x",
    "kind": "stamp",
}


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (200, success(), "no recent scrape"),
        (200, success({"metric": START, "values": []}), "no recent scrape"),
        (200, success({"metric": SENT | {"dscp": "0"}, "values": [[1.5, "3"]]}), "no recent scrape"),
        (
            200,
            success(
                {"metric": START, "values": [[1.5, "1"]]},
                {"metric": SENT | {"dscp": "0"}, "values": [[1.5, "3"]]},
            ),
            "missing",
        ),
        (400, {"status": "error", "errorType": "bad_data", "error": "unknown escape"}, "400: unknown escape"),
        (503, {"status": "error", "error": "query timed out"}, "query timed out"),
        (200, "<html>", "Prometheus: "),
        (200, "[]", "no query API"),
        (200, "null", "no query API"),
        (200, {"status": "success"}, "not the answer of a query API"),
        (200, {"status": "success", "data": None}, "not the answer of a query API"),
        (200, success("x"), "not the answer of a query API"),
        (200, success({"metric": {}, "values": [[1, "1"]]}), "not the answer of a query API"),
        (200, success({"metric": {"__name__": "x"}, "values": [[1, "1"]]}), "not the answer of a query API"),
        (200, success({"metric": START, "values": {"a": 1}}), "not the answer of a query API"),
        (200, success({"metric": START, "values": [[1]]}), "Prometheus: "),
        (200, success({"metric": START, "values": [["x", "1"]]}), "Prometheus: "),
        (200, success({"metric": START, "values": [[1, "x"]]}), "Prometheus: "),
        (200, success({"metric": START, "values": [["inf", "1"]]}), "not the answer of a query API"),
        (200, success({"metric": START, "values": [["1e17", "1"]]}), "1e17 is no time"),
        (200, success({"metric": START, "values": [[-1, "1"]]}), "-1 is no time"),
        (200, success({"metric": "x", "values": [[1, "1"]]}), "not the answer of a query API"),
        (
            200,
            success({"metric": START | {"site": ["wuhan"]}, "values": [[1, "1"]]}),
            "label site is no text",
        ),
        (200, success({"metric": SENT | {"kind": {}}, "values": [[1, "1"]]}), "label kind is no text"),
        (200, success({"metric": SENT | {"kind": "\ud800"}, "values": [[1, "1"]]}), "surrogates not allowed"),
        (200, "[" * 100_000, "no query API"),
        (200, {"status": "error", "error": "a\nb\ud800"}, "200: a\\nb\\ud800"),
    ],
)
async def test_an_answer_that_says_nothing_makes_every_agent_unread(
    status: int, body: Any, named: str
) -> None:
    """Down with the reason, never zero."""
    async with answering(body, status) as url:
        reader = source(url, "wuhan", "beijing")
        found = await reader.read()
        await reader.close()
    assert [(one.site, one.up, one.readings) for one in found] == [
        ("wuhan", False, ()),
        ("beijing", False, ()),
    ]
    # one that answers, and knows nothing of an agent, is not what is down
    assert {one.blind for one in found} == {named not in ("no recent scrape", "missing")}
    assert named in found[0].reason


async def test_a_prometheus_that_is_not_there_makes_every_agent_unread() -> None:
    """The same: nothing is known."""
    reader = source(f"http://127.0.0.1:{free_port()}")
    (one,) = await reader.read()
    assert await reader.read_at(time.time_ns()) is None
    await reader.close()
    assert (one.up, one.readings) == (False, ())
    assert one.reason.startswith("Prometheus: ")


def test_the_limit_of_the_simulated_path_is_the_hubs() -> None:
    """What the verdicts above were held against."""
    assert SimulatedPath().limit == HUB_LIMIT
