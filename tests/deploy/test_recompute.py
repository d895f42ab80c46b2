"""Verdicts recomputed from what is printed of them, by a program that shares nothing with the collector."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from agent.core.outcome import Direction
from collector.documents import breach_document, judgement_document
from collector.sla.counts import Reading
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.selector import Selector
from collector.sla.verdict import PathKey
from deploy.recompute import incomplete_beta, lower_bound, upper_bound
from tests.support.counting import MS, SECOND_NS, counts, reading
from tests.support.evaluated import MINUTE_NS, evaluated
from tests.support.fleets import changed
from tests.support.maintenance import window
from tests.support.verdicts import NAMES, breach

SCRIPT = Path(__file__).parents[2] / "deploy/recompute.py"
HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 30_000_000 * MINUTE_NS
FLEET = changed(
    "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
    """{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}
  - {id: month, percentile: 99.9, window: month, tiers: [hub], min_coverage: 0.001}
  - {id: losses, measure: loss, loss_ratio: 0.001, window: 3d, min_coverage: 0.001, tiers: [hub]}
  - {id: lost, measure: loss, loss_ratio: 0.0001, window: 1h, tiers: [hub]}
  - {id: steady, measure: delay_variation, percentile: 99, variation: "< 3ms", window: 1h, tiers: [hub]}
  - {id: steadier, measure: delay_variation, percentile: 99, variation: "<= 300us", window: 1h, tiers: [hub]}
  - {id: up, measure: availability, availability: 99, consecutive: 3, window: 2h, tiers: [hub]}""",
).replace("interval: 50ms", "interval: 100ms")


def readings() -> list[Reading]:
    """An agent that is read every minute of four hours, but for some, and whose packets are lost and late in bursts."""
    found: list[Reading] = []
    read = reading(0, path=HUB)
    for ago in range(240, -1, -1):
        more = counts(within=590, uncertain=10, delays={6 * MS + 1_500_000: 500, 5 * MS: 95, 10 * MS: 5})
        if ago % 50 == 7:
            more = counts(within=560, over=20, lost=20, delays={int(7.5 * MS): 500, 10 * MS: 60, 15 * MS: 20})
        if 120 <= ago < 125:
            more = counts(lost=600)
        before = read.directions if found or ago < 240 else dict.fromkeys(Direction, counts())
        read = replace(
            read,
            epoch=NOW_NS / SECOND_NS - 240 * 60,
            taken_ns=NOW_NS - ago * MINUTE_NS,
            sent=read.sent + 600 * (ago < 240),
            directions={way: before[way] + more for way in Direction} if ago < 240 else before,
            minima_ns=dict.fromkeys(Direction, 4_700_000),
        )
        if not 20 < ago < 25:
            found.append(read)
    return found


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `verdicts --json` prints of them."""
    worked_on = window(
        selector=Selector(),
        announced_ns=1,
        created_ns=1,
        start_ns=NOW_NS - 100 * MINUTE_NS,
        end_ns=NOW_NS - 90 * MINUTE_NS,
    )
    file = tmp_path_factory.mktemp("state") / "state.sqlite"
    found = asyncio.run(evaluated(file, FLEET, readings(), NOW_NS, MaintenanceCalendar([worked_on])))
    return {"verdicts": [judgement_document(one, NAMES) for one in found]}


def recompute(document: dict[str, Any]) -> tuple[int, list[str]]:
    """The status and the lines of the script."""
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def test_each_kind_of_verdict_follows_from_its_figures(document: dict[str, Any]) -> None:
    """Of every measure, with bursts, maintenance, an outage and time that nobody saw."""
    status, lines = recompute(document)
    assert (status, lines[-1]) == (
        0,
        f"{len(document['verdicts'])} verdicts recomputed, none printed otherwise",
    ), lines
    told = {(one["measure"], one["verdict"]) for one in document["verdicts"]}
    assert {measure for measure, _ in told} == {"delay", "loss", "delay_variation", "availability", "budget"}
    assert {verdict for _, verdict in told} == {"PASS", "FAIL", "INDETERMINATE", "NO_DATA"}
    assert any(
        one["effective"]["lower"] and one["effective"]["lower"] < 0.5 * one["packets"]
        for one in document["verdicts"]
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one["counts"].update(lost=one["counts"]["lost"] + 100), "violation_ratio.lower"),
        (lambda one: one["violation_bound"].update(upper=0.5), "violation_bound.upper"),
        (lambda one: one.update(verdict="FAIL" if one["verdict"] == "PASS" else "PASS"), "verdict"),
        (lambda one: one.update(coverage=0.95), "coverage"),
        (lambda one: one.update(error_budget_remaining_ratio=0.123), "error_budget_remaining_ratio"),
    ],
)
def test_a_figure_that_does_not_follow_is_named(document: dict[str, Any], change: Any, named: str) -> None:
    """With what is printed and what follows; the status is 1."""
    one = next(one for one in document["verdicts"] if one["objective"] == "hourly" and one["judged_packets"])
    other = json.loads(json.dumps(one))
    change(other)
    status, lines = recompute({"verdicts": [other]})
    assert status == 1
    assert any(line.strip().startswith(f"{named} is printed as") for line in lines), lines
    assert lines[-1] == "1 verdicts recomputed, 1 printed otherwise"


def test_breaches_are_recomputed_by_what_opened_and_closed_them(document: dict[str, Any]) -> None:
    """Their evidence is made of verdicts."""
    one = breach_document(breach(), NAMES) | {"opening": document["verdicts"][0], "closing": None}
    assert recompute({"breaches": [one]})[1][-1].startswith("1 verdicts recomputed, none")


@pytest.mark.parametrize(("events", "trials"), [(0, 30), (1, 300), (3, 299), (17, 40), (39, 40)])
def test_the_bounds_are_those_of_exact_fractions(events: int, trials: int) -> None:
    """At a bound so many events or more, or so many or fewer, have a chance of one in twenty: summed term by term."""

    def chance(p: float, numbers: range) -> float:
        share = Fraction(p)
        terms = (math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in numbers)
        return float(sum(terms))

    assert chance(upper_bound(events, trials), range(events + 1)) == pytest.approx(0.05, rel=1e-9)
    if events:
        assert chance(lower_bound(events, trials), range(events, trials + 1)) == pytest.approx(0.05, rel=1e-9)
        assert incomplete_beta(0.1, events, trials - events + 1) == pytest.approx(
            chance(0.1, range(events, trials + 1)), rel=1e-9
        )
