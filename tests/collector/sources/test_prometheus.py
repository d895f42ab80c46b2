"""Through a Prometheus: a real one that scrapes simulated agents, and answers that no Prometheus would give."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from agent.core import metrics
from agent.core.outcome import Direction
from collector.fleet.source import PrometheusSourceSettings
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
from collector.sources.query_api import Access
from collector.sources.samples import NEEDED, AgentReading
from collector.sources.text_format import parse
from collector.store.store import Store
from collector.windows import Windows
from tests.support.counting import HUB_LIMIT, MS, OTHER_PATH, PATH, SECOND_NS
from tests.support.processes import eventually, free_port, running, serving
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
    async with running(command, folder / "prometheus.log"):
        await serving(f"{url}/-/ready", "Prometheus")
        yield url


@contextlib.asynccontextmanager
async def victoria_metrics(folder: Path, **agents: str) -> AsyncIterator[str]:
    """A real VictoriaMetrics that does the same, and is found where a proxy would put it."""
    binary = require_binary("victoria-metrics")
    port = free_port()
    config = folder / "scrape.yml"
    config.write_text(CONFIG.format(**agents))
    command = [
        binary,
        f"-promscrape.config={config}",
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-http.pathPrefix=/vm",
        "-loggerLevel=WARN",
    ]
    url = f"http://127.0.0.1:{port}/vm"
    async with running(command, folder / "victoria.log"):
        await serving(f"{url}/health", "VictoriaMetrics")
        yield url


SERVERS = pytest.mark.parametrize("server_of", [prometheus, victoria_metrics])
ServerOf = Callable[..., contextlib.AbstractAsyncContextManager[str]]


def source(url: str, *sites: str, access: Access | None = None, timeout_s: float = 5.0) -> PrometheusSource:
    """A source that is read every second."""
    return PrometheusSource(
        url, sites or ("wuhan",), INTERVAL_NS, timeout_s, time.time_ns, access or Access()
    )


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
    every_ns = np.full(2, SECOND_NS)
    windows = Windows(
        store.ledger, store.numbers, RecentSlices(), paths, [promised] * 2, every_ns, [], MaintenanceCalendar
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


def in_order(reading: AgentReading) -> AgentReading:
    """The same, its paths in an order of their own: servers name series in any."""
    return replace(reading, readings=tuple(sorted(reading.readings, key=lambda one: str(one.path))))


@SERVERS
async def test_a_real_server_gives_the_same_readings_and_verdicts_as_the_agents(
    tmp_path: Path, server_of: ServerOf
) -> None:
    """To the packet, for every path and direction, over a restart of the agent in between; an agent that is down and
    one that is gone are down."""
    agent = SimulatedAgent(
        [
            SimulatedPath(late_forward=0.2, lost_reverse=0.1, lost_somewhere=0.05),
            SimulatedPath(OTHER_PATH),
        ],
        epoch=round(time.time() - 1, 2),
    )
    async with (
        contextlib.AsyncExitStack() as stack,
        showing(MetricsServer(agent)) as server,
        server_of(tmp_path, wuhan=server.address, beijing=f"127.0.0.1:{free_port()}") as url,
    ):
        indirect, direct = (
            source(url, "wuhan", "beijing", "yichang", access=Access(shards=2, delay_ns=2 * SECOND_NS)),
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
                agent.restart(round(time.time(), 2))
            # It counts nothing while both read it, so that both can only have read the same.
            agent.run(clean_packets_needed(0.05) * 3)
            through = await next_reading(indirect, "wuhan", time.time_ns())
            (straight,) = await direct.read()
            assert counted(through) == counted(straight)
            assert (through.clock_source, through.clock_bound_ns) == ("declared", 50_000)
            for name, taken in (("prometheus", through), ("agents", straight)):
                # read at one time, for in which minutes packets were counted tells how many of them are independent
                readings = [replace(one, taken_ns=through.taken_ns) for one in taken.readings]
                assert len(await stores[name].ledger.ingest(readings)) == 2
            past.append(through)
        judged = await verdicts(stores["agents"])
        assert await verdicts(stores["prometheus"]) == judged
        for then in past:
            found = await indirect.read_at(then.taken_ns)
            assert found is not None
            (again,) = (one for one in found if one.site == "wuhan")
            assert in_order(again) == in_order(then), "the past is what it was"
        assert {one.verdict for one in judged.values()} >= {Verdict.PASS, Verdict.FAIL}
        by_site = {one.site: one for one in await indirect.read()}
        assert (by_site["beijing"].up, by_site["yichang"].up) == (False, False)
        assert "no recent scrape" in by_site["beijing"].reason


@SERVERS
async def test_what_was_scraped_long_ago_is_not_taken_for_new(tmp_path: Path, server_of: ServerOf) -> None:
    """An agent that has gone is down after three intervals, though an instant query would show its last values for
    five minutes."""
    agent = SimulatedAgent([SimulatedPath()])
    agent.run(10)
    async with contextlib.AsyncExitStack() as stack:
        served = contextlib.AsyncExitStack()
        server = await served.enter_async_context(showing(MetricsServer(agent)))
        url = await stack.enter_async_context(
            server_of(tmp_path, wuhan=server.address, beijing=server.address)
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
        (200, success({"metric": START, "values": [[1, "1_000"]]}), "1_000 is no number"),
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


@dataclass
class Choosy:
    """A server of the API that says what it is told to say, one answer after the other, and keeps what it was asked.

    Attributes:
        answers: status, body and headers of each; the last one again and again.
        asked: headers and form of each request.
    """

    answers: list[tuple[int, Any, dict[str, str]]]
    asked: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """The next one."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((dict(request.headers), form))
        status, body, headers = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return web.json_response(body, status=status, headers=headers)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address."""
        app = web.Application()
        app.router.add_post("/api/v1/query", self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield "http://{}:{}".format(*runner.addresses[0][:2])
        finally:
            await runner.cleanup()


def whole(*sites: str) -> list[dict[str, Any]]:
    """Agents without paths, one scrape each."""
    return [{"metric": START | {"site": site}, "values": [[1.5, "1"]]} for site in sites]


TOKEN = "s3cret-t0ken-of-the-tenant"


async def test_what_a_server_needs_to_be_told_is_told_with_every_query(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tenant, headers, token and parameters; the token is in no log and no reason."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    settings = PrometheusSourceSettings(
        kind="prometheus",
        url="http://127.0.0.1",
        tenant="wuhan",
        headers={"X-From": "isochrone"},
        bearer_token_file=Path("token"),
        partial_response=False,
        parameters={"dedup": "true"},
        shards=2,
    )
    caplog.set_level(logging.DEBUG)
    choosy = Choosy([(401, {"status": "error", "error": "no"}, {})])
    async with choosy.serving() as url:
        access = settings.access(tmp_path)
        reader = source(url, "wuhan", "wuhan.2", "x", access=access)
        found = await reader.read()
        await reader.close()
    assert {one.reason for one in found} == {"Prometheus: 401: no"}
    assert len(choosy.asked) == 2
    for headers, form in choosy.asked:
        assert headers["X-Scope-OrgID"] == "wuhan"
        assert headers["X-From"] == "isochrone"
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert (form["dedup"], form["partial_response"]) == ("true", "false")
    assert sorted(form["query"].split("site=~")[1] for _, form in choosy.asked) == [
        '"wuhan\\\\.2"}[3000ms]',
        '"wuhan|x"}[3000ms]',
    ]
    assert TOKEN not in caplog.text + repr(found) + repr(access) + repr(settings)


async def test_a_busy_server_is_asked_again_when_it_says() -> None:
    """Once, after the time that it names."""
    busy = (429, {"status": "error", "error": "too many"}, {"Retry-After": "1"})
    choosy = Choosy([busy, (200, success(*whole("wuhan")), {})])
    async with choosy.serving() as url:
        reader = source(url)
        begun = time.monotonic()
        (one,) = await reader.read()
        await reader.close()
    assert one.up
    assert len(choosy.asked) == 2
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize(
    ("status", "headers", "named"),
    [
        (429, {"Retry-After": "60"}, "429: slow down; asks to wait 60 s"),
        (503, {"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT"}, "503: slow down; asks to wait"),
        (503, {}, "503: slow down"),
        (429, {}, "does not answer in time"),
        (429, {"Retry-After": "soon"}, "does not answer in time"),
    ],
)
async def test_a_server_that_stays_busy_is_given_up(status: int, headers: dict[str, str], named: str) -> None:
    """Within the time-out of all tries; all agents are unread, and that says nothing of them."""
    choosy = Choosy([(status, {"status": "error", "error": "slow down"}, headers)])
    async with choosy.serving() as url:
        reader = source(url, timeout_s=1.5)
        (one,) = await reader.read()
        await reader.close()
    assert (one.up, one.blind) == (False, True)
    assert named in one.reason
    assert len(choosy.asked) <= 2


@pytest.mark.parametrize(
    ("more", "named"),
    [({"warnings": ["store a is down"]}, "store a is down"), ({"isPartial": True}, "the answer is partial")],
)
async def test_who_is_missing_from_a_partial_answer_may_be_there(more: dict[str, Any], named: str) -> None:
    """What is in it counts; what is not is not known, and no agent's fault."""
    choosy = Choosy([(200, success(*whole("wuhan")) | more, {})])
    async with choosy.serving() as url:
        reader = source(url, "wuhan", "beijing")
        found = await reader.read()
        await reader.close()
    assert [(one.up, one.blind) for one in found] == [(True, False), (False, True)]
    assert named in found[1].reason


async def test_a_shard_that_fails_hides_no_other() -> None:
    """Its own agents are unread; the past is asked for again as a whole."""
    choosy = Choosy([(200, success(*whole("wuhan", "beijing")), {}), (500, {"status": "error"}, {})])
    async with choosy.serving() as url:
        reader = source(url, "wuhan", "beijing", access=Access(shards=2))
        found = await reader.read()
        assert await reader.read_at(1_500_000_000) is None
        await reader.close()
    assert sorted((one.up, one.blind) for one in found) == [(False, True), (True, False)]


async def test_a_scrape_of_which_the_starts_are_still_to_come_is_not_read() -> None:
    """Its counts would be taken for those of another start; those of a new process that tells none are."""
    agent = SimulatedAgent([SimulatedPath(), SimulatedPath(OTHER_PATH)], epoch=50.5)
    for path in agent.paths:
        path.restart(60_000_000_000)
    agent.run(20)
    samples = parse(agent.exposition(), NEEDED)

    def scraped(at_s: float, **changed: float) -> tuple[int, Any, dict[str, str]]:
        values = {sample.name: changed.get(sample.name, sample.value) for sample in samples}
        result = [
            {
                "metric": dict(one.labels) | {"__name__": one.name, "site": "wuhan"},
                "values": [[at_s, repr(changed.get(one.name, one.value))]],
            }
            for one in samples
            if not math.isnan(values[one.name])
        ]
        return 200, success(*result), {}

    late = {metrics.PATH_START: math.nan}
    answers = [
        scraped(70),
        scraped(80, **late),
        scraped(90),
        scraped(100, **late, process_start_time_seconds=95.5),
    ]
    choosy = Choosy(answers)
    async with choosy.serving() as url:
        reader = source(url)
        found = [(await reader.read())[0] for _ in answers]
        await reader.close()
    assert [one.up for one in found] == [True, False, True, True]
    assert "isochrone_path_start_time_seconds missing" in found[1].reason


async def test_a_series_that_has_ended_is_not_read() -> None:
    """A server that shows the marker of its end shows no number there."""
    ended = [{"metric": START, "values": [[1.0, "1"], [1.5, "NaN"]]}]
    async with answering(success(*ended)) as url:
        reader = source(url)
        (one,) = await reader.read()
        await reader.close()
    assert (one.up, one.blind) == (False, False)
    assert "no recent scrape" in one.reason


def test_the_limit_of_the_simulated_path_is_the_hubs() -> None:
    """What the verdicts above were held against."""
    assert SimulatedPath().limit == HUB_LIMIT
