"""The agent's counts as Prometheus metrics: read from the ledgers when scraped, all at one moment."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from agent import __version__
from agent.core import metrics
from agent.core.histogram import LE_LABELS, Histogram
from agent.core.ledger import DirectionLedger, PathLedger
from agent.core.outcome import Outcome

_SECOND_NS = 1e9


class PathView(Protocol):
    """What is shown of one path."""

    @property
    def ledger(self) -> PathLedger:
        """Its counts."""

    @property
    def resolved(self) -> bool:
        """Whether its target's address is known."""


class AgentView(Protocol):
    """What is shown of the agent; times in ns, None where not known."""

    @property
    def paths(self) -> Sequence[PathView]:
        """All paths."""

    @property
    def clock_source(self) -> str:
        """Where the clock's quality is taken from."""

    @property
    def clock_bound_ns(self) -> int | None:
        """How far the clock may be off UTC."""

    @property
    def send_lag(self) -> Histogram:
        """How late probes were sent."""

    @property
    def discarded_replies(self) -> dict[str, int]:
        """Datagrams on the probes' sockets that were no reply to a probe, by reason."""

    @property
    def reflected(self) -> dict[str, int]:
        """Datagrams that reached the reflector, by result."""

    @property
    def transmit_stamps(self) -> str:
        """Where transmit times come from: kernel or user."""

    @property
    def receive_stamps(self) -> str:
        """Where receive times come from: kernel or user."""

    @property
    def plan_version(self) -> str:
        """Version of the plan that the configuration was compiled from."""

    def monotonic_ns(self) -> int:
        """The time by which recent minima are judged."""


class _Families:
    """Metric families by name, in order of first use."""

    def __init__(self) -> None:
        self._made: dict[str, Metric] = {}

    def family(self, name: str, kind: str, documentation: str) -> Metric:
        """The family of this name; made on first use."""
        base = name.removesuffix("_total") if kind == "counter" else name
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = Metric(base, documentation, kind)
        return made

    def counter(self, name: str, documentation: str, labels: dict[str, str], value: float) -> None:
        """Add a sample of a counter."""
        self.family(name, "counter", documentation).add_sample(name, labels, value)

    def gauge(self, name: str, documentation: str, labels: dict[str, str], value: float) -> None:
        """Add a sample of a gauge."""
        self.family(name, "gauge", documentation).add_sample(name, labels, value)

    def histogram(self, name: str, documentation: str, labels: dict[str, str], counted: Histogram) -> None:
        """Add a histogram in seconds."""
        family = self.family(name, "histogram", documentation)
        cumulative = counted.cumulative()
        for le, count in zip(LE_LABELS, cumulative, strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": le}, count)
        family.add_sample(f"{name}_sum", labels, counted.sum_ns / _SECOND_NS)
        family.add_sample(f"{name}_count", labels, cumulative[-1])

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._made.values())


class AgentCollector(Collector):
    """Yields every metric of the agent from its state."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent

    def describe(self) -> Iterable[Metric]:
        """Nothing: families depend on the state, so the registry must not call `collect` to learn their names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, consistent with each other: nothing else runs in the event loop meanwhile."""
        families = _Families()
        now_ns = self._agent.monotonic_ns()
        for path in self._agent.paths:
            self._path(families, path, now_ns)
        self._self(families)
        return iter(families)

    def _path(self, families: _Families, path: PathView, now_ns: int) -> None:
        ledger = path.ledger
        named = ledger.labels
        labels = {
            "source": named.source,
            "target": named.target,
            "tier": named.tier,
            "provider": named.provider,
            "kind": named.kind,
            "dscp": str(named.dscp),
        }
        families.counter(metrics.PROBE_SENT, "Probes that the kernel took.", labels, ledger.sent)
        for reason, count in ledger.not_sent.items():
            families.counter(
                metrics.PROBE_NOT_SENT,
                "Probes due that were not sent: never loss.",
                {**labels, "reason": reason},
                count,
            )
        families.gauge(
            metrics.PROBE_IN_FLIGHT, "Probes neither answered nor given up.", labels, ledger.in_flight
        )
        families.counter(
            metrics.PROBE_LATE, "Replies after the timeout; their probes are lost.", labels, ledger.late
        )
        families.counter(
            metrics.CLOCK_CONTRADICTIONS,
            "Replies that prove a clock wrong by more than it admits.",
            labels,
            ledger.clock_contradictions,
        )
        families.counter(
            metrics.FLOOR_CONTRADICTIONS,
            "Replies faster than the configured distance allows.",
            labels,
            ledger.floor_contradictions,
        )
        families.gauge(
            metrics.TARGET_RESOLVED, "1 where the target's address is known.", labels, float(path.resolved)
        )
        for direction, counted in ledger.directions():
            self._direction(families, {**labels, "direction": direction.value}, counted, now_ns)

    @staticmethod
    def _direction(
        families: _Families, labels: dict[str, str], counted: DirectionLedger, now_ns: int
    ) -> None:
        for outcome in Outcome:
            families.counter(
                metrics.PROBE_OUTCOMES,
                "Probes by what became of them; each counts once per direction.",
                {**labels, "outcome": outcome.label},
                counted.outcomes[outcome],
            )
        families.counter(
            metrics.PROBE_DUPLICATES, "Replies beyond the first to a probe.", labels, counted.duplicates
        )
        families.counter(
            metrics.PROBE_REORDERED, "Packets that a later one overtook.", labels, counted.reordered
        )
        families.histogram(metrics.DELAY, "Delay as measured.", labels, counted.delay)
        families.histogram(
            metrics.DELAY_VARIATION, "Delay less the recent minimum (PDV).", labels, counted.variation
        )
        minimum_ns = counted.minimum_ns(now_ns)
        if minimum_ns is not None:
            families.gauge(
                metrics.DELAY_MIN,
                "Least delay of the last one to two minutes.",
                labels,
                minimum_ns / _SECOND_NS,
            )
        limit = counted.promise.limit
        families.gauge(
            metrics.DELAY_LIMIT,
            "The limit that outcomes are counted against.",
            {**labels, "operator": limit.operator.value},
            limit.limit_ns / _SECOND_NS,
        )
        families.gauge(
            metrics.DELAY_FLOOR,
            "The least delay that physics allows.",
            labels,
            counted.promise.floor_ns / _SECOND_NS,
        )

    def _self(self, families: _Families) -> None:
        agent = self._agent
        clock = {"clock_source": agent.clock_source}
        bound_ns = agent.clock_bound_ns
        families.gauge(
            metrics.CLOCK_SYNCHRONIZED,
            "1 where the clock vouches for its error.",
            clock,
            float(bound_ns is not None),
        )
        families.gauge(
            metrics.CLOCK_ERROR_BOUND,
            "How far this clock may be off UTC; infinite where nothing is known.",
            clock,
            float("inf") if bound_ns is None else bound_ns / _SECOND_NS,
        )
        families.gauge(
            metrics.TIMESTAMPING_INFO,
            "Where transmit and receive times come from.",
            {"transmit": agent.transmit_stamps, "receive": agent.receive_stamps},
            1,
        )
        families.histogram(metrics.SEND_LAG, "How late probes were sent.", {}, agent.send_lag)
        for reason, count in agent.discarded_replies.items():
            families.counter(
                metrics.SENDER_REPLIES,
                "Datagrams that were no reply to a probe.",
                {"reason": reason},
                count,
            )
        for result, count in agent.reflected.items():
            families.counter(
                metrics.REFLECTOR_PACKETS,
                "Datagrams that reached the reflector.",
                {"result": result},
                count,
            )
        families.gauge(metrics.PLAN_INFO, "The plan that is carried out.", {"version": agent.plan_version}, 1)
        families.gauge(
            metrics.BUILD_INFO,
            "The running program.",
            {"version": __version__, "python": platform.python_version()},
            1,
        )


def registry(agent: AgentView) -> CollectorRegistry:
    """A registry with the agent's metrics and those of its process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(AgentCollector(agent))
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made
