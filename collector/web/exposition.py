"""The collector's verdicts and its own health as Prometheus metrics, read from the state when scraped."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from agent import __version__
from agent.core import metrics
from agent.core.outcome import Direction
from agent.runtime.quantities import format_duration
from collector.alerts.counts import NotificationCounts
from collector.sla.breach import BreachKey
from collector.sla.budget import budget_owner
from collector.sla.faults import FaultKind
from collector.sla.measure import Measure
from collector.sla.promise import direction_label
from collector.sla.verdict import PathKey
from collector.sla.verdicts import shown
from collector.web.view import StateView

JUDGED_LABELS = (*metrics.PATH_LABELS, "direction", "objective")


def judged_labels(path: PathKey, direction: Direction, objective: str) -> list[str]:
    """The values of `JUDGED_LABELS`."""
    return [
        path.source,
        path.target,
        path.tier,
        path.provider,
        path.kind,
        str(path.dscp),
        direction_label(path.kind, direction),
        objective,
    ]


class VerdictCollector(Collector):
    """Yields every metric of the collector."""

    def __init__(self, state: StateView, notifications: NotificationCounts) -> None:
        self._state = state
        self._notifications = notifications

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry must not evaluate the state to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._verdicts()
        yield self._open_breaches()
        faults = GaugeMetricFamily(metrics.FAULTS, "What is known to be broken, by kind.", labels=["kind"])
        standing = Counter(fault.kind for fault in self._state.standing.faults)
        for kind in FaultKind:
            faults.add_metric([kind.value], standing[kind])
        yield faults
        notifications = CounterMetricFamily(
            metrics.NOTIFICATIONS,
            "Tries to tell somebody; an Alertmanager is told again and again, and every time counts.",
            labels=["channel", "result"],
        )
        for channel, result, number in list(self._notifications):
            notifications.add_metric([channel, result.value], number)
        yield notifications
        yield SummaryMetricFamily(
            metrics.EVALUATION_DURATION,
            "How long evaluations took.",
            count_value=self._state.evaluations,
            sum_value=self._state.evaluation_seconds,
        )
        up = GaugeMetricFamily(
            metrics.SOURCE_UP, "1 where the last reading of this agent succeeded.", labels=["source"]
        )
        for site, source in list(self._state.sources.items()):
            up.add_metric([site], float(source.up))
        yield up
        build = GaugeMetricFamily(metrics.BUILD_INFO, "The running program.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build

    def _verdicts(self) -> Iterator[Metric]:
        verdicts = GaugeMetricFamily(
            metrics.SLA_VERDICT,
            "0 PASS, 1 FAIL, 2 INDETERMINATE, 3 NO_DATA.",
            labels=JUDGED_LABELS,
        )
        ratios = GaugeMetricFamily(
            metrics.SLA_VIOLATION_RATIO,
            "One-sided 95 % bounds of the share of packets that broke the promise: the verdict holds them "
            "against the share that may break it; of time or tests the shares themselves.",
            labels=[*JUDGED_LABELS, "bound"],
        )
        coverage = GaugeMetricFamily(
            metrics.SLA_COVERAGE, "Share of the window that was observed.", labels=JUDGED_LABELS
        )
        budget = GaugeMetricFamily(
            metrics.SLA_ERROR_BUDGET,
            "Share of the error budget of the objective's window that is left, below 0 where more was spent.",
            labels=JUDGED_LABELS,
        )
        burn = GaugeMetricFamily(
            metrics.SLA_BURN_RATE,
            "Share of packets that broke the promise lately, over the share that may.",
            labels=[*JUDGED_LABELS, "window"],
        )
        for judgement in shown(self._state.judgements):
            labels = judged_labels(judgement.path, judgement.direction, judgement.objective)
            if judgement.measure is Measure.BUDGET:
                labels[-1] = budget_owner(judgement.objective)
                for span_ns, rate in judgement.burn_rates.items():
                    burn.add_metric([*labels, format_duration(span_ns)], rate)
                continue
            verdicts.add_metric(labels, judgement.verdict.value)
            coverage.add_metric(labels, judgement.coverage)
            for bound, value in (("lower", judgement.bound_lower), ("upper", judgement.bound_upper)):
                if value is not None:
                    ratios.add_metric([*labels, bound], value)
            if judgement.budget_remaining is not None:
                budget.add_metric(labels, judgement.budget_remaining)
        yield from (verdicts, ratios, coverage, budget, burn)

    def _open_breaches(self) -> Metric:
        family = GaugeMetricFamily(
            metrics.SLA_BREACH_OPEN, "1 while a breach stands open.", labels=JUDGED_LABELS
        )
        judged = {
            BreachKey(one.path, one.direction, one.objective): 0
            for one in shown(self._state.judgements)
            if one.measure is not Measure.BUDGET
        }
        standing = {
            breach.key: 1
            for breach in self._state.breaches
            if breach.closed_ns is None and breach.opening.measure is not Measure.BUDGET
        }
        for key, value in {**judged, **standing}.items():
            family.add_metric(judged_labels(*key), value)
        return family


def registry(state: StateView, notifications: NotificationCounts) -> CollectorRegistry:
    """A registry with the collector's metrics and those of its process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(VerdictCollector(state, notifications))
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made
