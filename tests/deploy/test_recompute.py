"""Verdicts recomputed from what is printed of them, by a program that shares nothing with the collector."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from agent.core.outcome import Direction
from collector.documents import breach_document, judgement_document
from collector.sla.counts import Reading
from collector.sla.effective import Blocks, Side, effective_samples
from collector.sla.judge import Question, judge
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.reasons import AgentFacts
from collector.sla.selector import Selector
from collector.sla.verdict import PathKey
from collector.sla.verdicts import Answer, Verdicts
from collector.sla.window import Window
from deploy.recompute import (
    design_effect,
    differences,
    incomplete_beta,
    lower_bound,
    recomputed,
    t_quantile,
    upper_bound,
)
from tests.support.counting import HUB_LIMIT, MS, SECOND_NS, counts, observation, reading
from tests.support.evaluated import MINUTE_NS, evaluated
from tests.support.fleets import changed
from tests.support.maintenance import window
from tests.support.recomputed import recompute
from tests.support.verdicts import NAMES, breach

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
  - {id: moment, measure: delay_variation, percentile: 99, variation: "<= 300us", window: 5m, tiers: [hub]}
  - {id: long, measure: delay_variation, percentile: 99, variation: "<= 3ms", window: 3h, tiers: [hub]}
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


def test_what_the_packets_are_worth_follows_from_the_blocks(document: dict[str, Any]) -> None:
    """Of delay, loss and delay variation, over an hour and longer, with bursts and with what a history has told;
    nothing of it is printed of other measures, nor where everything was good."""
    by_objective = {one["objective"]: one for one in document["verdicts"] if one["judged_packets"]}
    told = {name for name, one in by_objective.items() if one["blocks"]}
    assert told >= {"hourly", "month", "losses", "steady", "moment", "long"}
    lengths = {name: [block["minutes"] for block in by_objective[name]["blocks"]] for name in told}
    assert (lengths["hourly"], lengths["moment"]) == ([1, 3, 12], [1])
    assert lengths["long"] == [9, 36]
    for name in told:
        one = by_objective[name]
        assert one["effective"]["upper"] < 0.6 * one["judged_packets"]
    long = {"month", "losses"}
    assert all((by_objective[name]["prior_design_effect"] is None) == (name in long) for name in told)
    assert any((by_objective[name]["prior_design_effect"] or 0) > 2 for name in told)
    assert by_objective["up"]["blocks"] is None
    nothing = {(), None}
    assert {
        tuple(one["blocks"] or ()) for one in document["verdicts"] if not one["judged_packets"]
    } <= nothing


def test_a_window_that_is_maintenance_throughout_is_covered_by_nothing(document: dict[str, Any]) -> None:
    """Nothing is left of it that could have been seen."""
    verdict = next(one for one in document["verdicts"] if one["objective"] == "moment")
    nothing = {
        **verdict,
        "verdict": "NO_DATA",
        "coverage": 0.0,
        "unobserved_seconds": 0.0,
        "maintenance": {**verdict["maintenance"], "seconds": verdict["window"]["seconds"]},
    }
    _, lines = recompute({"verdicts": [nothing]})
    assert not any(line.strip().startswith("coverage") for line in lines), lines


@pytest.mark.parametrize("end_ns", [294_105_999_999, 294_106_000_000, 294_106_123_456, 7_999_999, 400_000])
@pytest.mark.parametrize("coverage", [0.0, 0.593, 0.9999, 1.0])
def test_the_coverage_of_a_window_that_ends_with_a_reading_follows(end_ns: int, coverage: float) -> None:
    """At whatever nanosecond that was."""
    objective = Objective("lost", Measure.LOSS, Window(300 * SECOND_NS), 0.01, 0.5)
    question = Question.of(objective, [Target(HUB, Direction.FORWARD, objective, HUB_LIMIT, 0)], [0])
    seen = observation(counts(within=600, lost=1), end_ns=end_ns, coverage=coverage)
    evidence = judge(question, seen, None, np.zeros(1, np.bool_))
    (one,) = Verdicts([Answer(question, seen, evidence, lambda _: AgentFacts(True, None), {})])
    document = judgement_document(one, NAMES)
    assert not [*differences(document, recomputed(document))]


def test_verdicts_of_a_former_version_are_taken_at_their_word(document: dict[str, Any]) -> None:
    """They tell what packets are worth, and not by which blocks."""
    one = next(one for one in document["verdicts"] if one["objective"] == "hourly" and one["judged_packets"])
    for blocks in ({"blocks": None}, {}):
        former = {name: value for name, value in one.items() if name not in ("blocks", "prior_design_effect")}
        assert recompute({"verdicts": [former | blocks]})[0] == 0


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 400)), min_size=2, max_size=60),
    st.integers(1, 12),
    st.booleans(),
)
def test_what_packets_are_worth_is_what_the_collector_says(
    drawn: list[tuple[int, int]], length: int, upper: bool
) -> None:
    """Of any blocks, though nothing of it is shared."""
    x = np.array([min(one) for one in drawn])
    n = np.array([max(one) for one in drawn])
    starts = [np.arange(0, len(x), step) for step in (1, length)]
    blocks = [Blocks.of(np.add.reduceat(x, one), np.add.reduceat(n, one)) for one in starts]
    sums = [
        tuple(int(one) for one in (block.events_squared, block.events_by_trials, block.trials_squared))
        for block in blocks
    ]
    expected = effective_samples(x.sum(), n.sum(), blocks, Side.UPPER if upper else Side.LOWER)
    found = design_effect(int(x.sum()), int(n.sum()), sums, upper)
    assert found == pytest.approx(float(expected.design_effect), rel=1e-7)


@pytest.mark.parametrize("degrees", [1, 1.5, 3, 4.25, 59, 1439, 44_639])
def test_the_t_quantile_is_scipy_s(degrees: float) -> None:
    """For whole degrees of freedom and others."""
    assert t_quantile(degrees) == pytest.approx(float(stdtrit(degrees, 0.95)), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one["counts"].update(lost=one["counts"]["lost"] + 100), "violation_ratio.lower"),
        (lambda one: one["violation_bound"].update(upper=0.5), "violation_bound.upper"),
        (lambda one: one.update(verdict="FAIL" if one["verdict"] == "PASS" else "PASS"), "verdict"),
        (lambda one: one.update(coverage=0.95), "coverage"),
        (lambda one: [block["lower"].__setitem__(0, 10**8) for block in one["blocks"]], "effective.lower"),
        (lambda one: one.update(prior_design_effect=1e4), "effective.upper"),
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
