"""The collector's own health as Prometheus metrics, read from the state when scraped; verdicts have a module of their
own (`collector.web.verdict_text`)."""

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
from collector.alerts.counts import NotificationCounts
from collector.sla.faults import FaultKind
from collector.web.view import StateView


class HealthCollector(Collector):
    """Yields what the collector says of itself, its sources and what is broken."""

    def __init__(self, state: StateView, notifications: NotificationCounts) -> None:
        self._state = state
        self._notifications = notifications

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry must not evaluate the state to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
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


def registry(state: StateView, notifications: NotificationCounts) -> CollectorRegistry:
    """A registry with what the collector says of itself, and the metrics of its process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(HealthCollector(state, notifications))
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made
