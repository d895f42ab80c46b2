"""The collector's metrics, and what Prometheus' own tools say of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics
from agent.core.outcome import Direction
from collector.alerts.counts import NotificationCounts, Result
from collector.sla.breach import BreachKey
from collector.sla.fault_watch import Standing
from collector.sla.faults import FaultKind
from collector.sla.measure import Measure
from collector.sla.verdict import Verdict
from collector.web.verdict_text import VerdictText
from tests.support.collector_web import serving, text_of
from tests.support.exposition import samples, value
from tests.support.requirements import require_binary
from tests.support.verdicts import CUT_OFF, HUB_PATH, SECOND_NS, Source, State, breach, closed, judgement


def state() -> State:
    """Every verdict once, an open and a closed breach, an agent up and one down."""
    return State(
        judgements=[
            judgement(verdict, replace(HUB_PATH, target=f"target-{verdict.name}"), Direction.FORWARD)
            for verdict in Verdict
        ],
        breaches=[
            breach(1, path=replace(HUB_PATH, target="target-FAIL")),
            closed(breach(2, path=replace(HUB_PATH, target="target-PASS"))),
            breach(3, path=replace(HUB_PATH, target="no-longer-judged")),
        ],
        sources={"wuhan": Source(), "yichang": Source(up=False)},
        standing=Standing([CUT_OFF, replace(CUT_OFF, id="f2", site="yichang")]),
    )


@pytest.fixture
async def exposition() -> AsyncIterator[str]:
    """What Prometheus reads."""
    counts = NotificationCounts()
    counts.add_channel("webhook:noc")
    counts.count("webhook:noc", Result.DELIVERED)
    async with (
        serving(state(), counts) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/metrics") as response,
    ):
        yield await response.text()


async def test_promtool_has_no_complaint(exposition: str) -> None:
    """Names, units, types and help are as Prometheus wants them."""
    promtool = require_binary("promtool")
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(exposition.encode())
    assert (process.returncode, output.decode()) == (0, "")


async def test_a_verdict_is_a_number_per_path_direction_and_objective(exposition: str) -> None:
    """0 PASS, 1 FAIL, 2 INDETERMINATE, 3 NO_DATA."""
    for verdict in Verdict:
        labels = {"target": f"target-{verdict.name}", "direction": "forward", "objective": "detection"}
        assert value(exposition, "isochrone_sla_verdict", **labels) == verdict.value


async def test_the_violation_ratio_is_absent_where_there_were_no_packets(exposition: str) -> None:
    """Nothing is not zero."""
    failing = {"target": "target-FAIL"}
    assert value(exposition, "isochrone_sla_violation_ratio", bound="lower", **failing) > 0.9
    assert value(exposition, "isochrone_sla_violation_ratio", bound="upper", **failing) <= 1
    shown = samples(exposition)["isochrone_sla_violation_ratio"]
    assert not any(("target", "target-NO_DATA") in labels for labels in shown)


async def test_an_open_breach_is_one_and_stays_shown_when_its_path_is_judged_no_more(
    exposition: str,
) -> None:
    """A path that leaves the fleet file does not close its breach."""
    name = "isochrone_sla_breach_open"
    assert value(exposition, name, target="target-FAIL") == 1
    assert value(exposition, name, target="target-PASS") == 0
    assert value(exposition, name, target="no-longer-judged") == 1


async def test_the_collectors_own_health_is_shown(exposition: str) -> None:
    """Agents, notifications, evaluations, version."""
    assert value(exposition, "isochrone_source_up", source="wuhan") == 1
    assert value(exposition, "isochrone_source_up", source="yichang") == 0
    name = "isochrone_notifications_total"
    assert value(exposition, name, channel="webhook:noc", result="delivered") == 1
    assert value(exposition, name, channel="webhook:noc", result="abandoned") == 0
    assert value(exposition, "isochrone_evaluation_duration_seconds_count") == 7
    assert value(exposition, "isochrone_evaluation_duration_seconds_sum") == 0.35
    assert value(exposition, "isochrone_build_info") == 1


async def test_faults_are_counted_by_kind(exposition: str) -> None:
    """Every kind is there, so that its absence can be alerted on; no site or path is a label."""
    assert value(exposition, metrics.FAULTS, kind="uplink_down") == 2
    assert value(exposition, metrics.FAULTS, kind="source_down") == 0
    assert len(samples(exposition)[metrics.FAULTS]) == len(FaultKind)


def test_budgets_are_told_by_their_objective() -> None:
    """What is left of one beside the verdict; how fast it burns by window, and no verdict nor breach of its own."""
    kept = replace(judgement(), budget_remaining=0.25)
    burning = replace(
        judgement(Verdict.FAIL),
        objective="detection:budget",
        measure=Measure.BUDGET,
        burn_rates={300 * SECOND_NS: 20.5, 3600 * SECOND_NS: 15.0},
    )
    opened = replace(
        breach(), key=BreachKey(HUB_PATH, Direction.FORWARD, "detection:budget"), opening=burning
    )
    text = text_of(State(judgements=[kept, burning], breaches=[opened]), NotificationCounts())
    families = text_string_to_metric_families(text)
    shown = [one for family in families for one in family.samples if "_sla_" in one.name]
    assert {
        (
            one.name.removeprefix("isochrone_sla_"),
            one.labels["objective"],
            one.labels.get("window"),
        ): one.value
        for one in shown
        if "bound" not in one.labels
    } == {
        ("verdict", "detection", None): 0,
        ("coverage_ratio", "detection", None): 1,
        ("error_budget_remaining_ratio", "detection", None): 0.25,
        ("burn_rate", "detection", "5m"): 20.5,
        ("burn_rate", "detection", "1h"): 15,
        ("breach_open", "detection", None): 0,
    }


def test_what_is_too_long_for_memory_is_the_same() -> None:
    """More than is kept there, read in pieces; and names with whatever in them."""
    paths = [replace(HUB_PATH, target=f'a"b\\c{number}' + "x" * 1000) for number in range(2000)]
    text = VerdictText(State(judgements=[judgement(path=path) for path in paths]))
    pieces = [*text.pieces()]
    assert len(pieces) > 40
    assert sum(map(len, pieces)) == text.octets()
    text.close()
    found = samples(b"".join(pieces).decode())
    assert {dict(labels)["target"] for labels in found[metrics.SLA_VERDICT]} == {one.target for one in paths}
    assert len(found[metrics.SLA_COVERAGE]) == len(found[metrics.SLA_BREACH_OPEN]) == len(paths)


async def test_who_asks_for_the_head_alone_gets_that() -> None:
    """With the length of the rest."""
    async with (
        serving(state(), NotificationCounts()) as url,
        aiohttp.ClientSession() as session,
        session.head(f"{url}/metrics") as response,
    ):
        assert response.status == 200
        assert await response.read() == b""
        assert int(response.headers["Content-Length"]) > 1000
