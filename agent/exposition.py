"""The agent as Prometheus metrics: its paths' counts, all of one moment, and what it says of itself."""

from __future__ import annotations

import platform
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from agent import __version__
from agent.core import metrics
from agent.core.histogram import LE_LABELS, Histogram
from agent.core.ledger import PathLabels
from agent.core.route_history import RouteHistory, TraceResult
from agent.core.throughput.cause import Cause
from agent.core.throughput.rates import Layer
from agent.core.throughput.turn import Latest, LineRecord
from agent.path_exposition import PathView, render_paths

_SECOND_NS = 1e9


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
    def clock_steps(self) -> int:
        """How often the clock was seen to be set."""

    @property
    def send_lag(self) -> Histogram:
        """How late probes were sent."""

    @property
    def discarded_replies(self) -> dict[tuple[str, str], int]:
        """What came and was no reply to a probe, by kind of probe and reason."""

    @property
    def follow_ups(self) -> dict[str, int]:
        """Replies of which the next one should tell when they left, by whether it did."""

    @property
    def reflected(self) -> dict[str, int]:
        """Datagrams that reached the reflector, by result."""

    @property
    def http_closed(self) -> dict[str, int]:
        """Connections to the HTTP server that were not kept, by reason."""

    @property
    def throughput(self) -> ThroughputView | None:
        """The server of throughput tests; None: there is none."""

    @property
    def transmit_stamps(self) -> str:
        """Where transmit times come from: hardware, kernel or user."""

    @property
    def receive_stamps(self) -> str:
        """Where receive times come from: hardware, kernel or user."""

    @property
    def lines(self) -> Sequence[tuple[PathLabels, LineRecord]]:
        """What has come of throughput tests of lines."""

    @property
    def plan_version(self) -> str:
        """Version of the plan that the configuration was compiled from."""

    @property
    def routes(self) -> Sequence[tuple[PathLabels, RouteHistory]]:
        """What is known of the ways of paths that are traced."""

    def settle(self) -> None:
        """Bring the counts up to this moment."""

    def monotonic_ns(self) -> int:
        """The time by which recent minima are judged."""


class ThroughputView(Protocol):
    """What is shown of the server of throughput tests; all counts are there from the start."""

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests for leases, by result."""

    @property
    def sockets(self) -> Mapping[str, int]:
        """Data sockets, by what was decided of them."""

    @property
    def ended(self) -> Mapping[str, int]:
        """Leases that are over, by how they ended."""

    @property
    def running(self) -> int:
        """Leases that hold a slot."""


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
    """Yields every metric of the agent as a whole from its state."""

    def __init__(self, agent: AgentView) -> None:
        self._agent = agent

    def describe(self) -> Iterable[Metric]:
        """Nothing: families depend on the state, so the registry must not call `collect` to learn their names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, consistent with each other: nothing else runs in the event loop meanwhile."""
        families = _Families()
        self._self(families)
        for named, history in self._agent.routes:
            _route(families, _labels(named), history)
        for named, record in self._agent.lines:
            _line(families, _labels(named), record)
        return iter(families)

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
        families.counter(
            metrics.CLOCK_STEPS, "How often this clock was seen to be set.", {}, agent.clock_steps
        )
        families.gauge(
            metrics.TIMESTAMPING_INFO,
            "Where transmit and receive times come from.",
            {"transmit": agent.transmit_stamps, "receive": agent.receive_stamps},
            1,
        )
        families.histogram(metrics.SEND_LAG, "How late probes were sent.", {}, agent.send_lag)
        for (kind, reason), count in agent.discarded_replies.items():
            families.counter(
                metrics.SENDER_REPLIES,
                "What came and was no reply to a probe.",
                {"kind": kind, "reason": reason},
                count,
            )
        for result, count in agent.follow_ups.items():
            families.counter(
                metrics.FOLLOW_UPS,
                "Replies by whether the next one told when they really left (RFC 8972, section 4.7).",
                {"result": result},
                count,
            )
        for result, count in agent.reflected.items():
            families.counter(
                metrics.REFLECTOR_PACKETS,
                "Datagrams that reached the reflector.",
                {"result": result},
                count,
            )
        for reason, count in agent.http_closed.items():
            families.counter(
                metrics.HTTP_CLOSED,
                "Connections to the HTTP server that were one too many, or on which nothing came.",
                {"reason": reason},
                count,
            )
        if agent.throughput is not None:
            _throughput(families, agent.throughput)
        families.gauge(metrics.PLAN_INFO, "The plan that is carried out.", {"version": agent.plan_version}, 1)
        families.gauge(
            metrics.BUILD_INFO,
            "The running program.",
            {"version": __version__, "python": platform.python_version()},
            1,
        )


def _throughput(families: _Families, server: ThroughputView) -> None:
    for name, documentation, label, counts in (
        (metrics.THROUGHPUT_REQUESTS, "Requests for throughput tests.", "result", server.requests),
        (metrics.THROUGHPUT_SOCKETS, "Data sockets of throughput tests.", "result", server.sockets),
        (metrics.THROUGHPUT_LEASES, "Throughput tests that are over.", "state", server.ended),
    ):
        for value, count in counts.items():
            families.counter(name, documentation, {label: value}, count)
    families.gauge(
        metrics.THROUGHPUT_RUNNING, "Throughput tests that are granted and not over.", {}, server.running
    )


def _line(families: _Families, labels: dict[str, str], record: LineRecord) -> None:
    for way, floor in record.floors.items():
        if floor is not None:
            families.gauge(
                metrics.THROUGHPUT_FLOOR,
                "What the line is promised to carry.",
                {**labels, "direction": way.value, "layer": floor.layer.value},
                floor.rate,
            )
    for way, latest in record.latest.items():
        _latest(families, {**labels, "direction": way.value}, latest)
    for (way, result), count in record.counts.items():
        families.counter(
            metrics.THROUGHPUT_TESTS,
            "Turns by what one test or two of them came to; fail: enough of those before missed the floor too.",
            {**labels, "direction": way.value, "result": result.value},
            count,
        )
    for (way, reason), count in record.errors.items():
        families.counter(
            metrics.THROUGHPUT_ERRORS,
            "Turns that were no test, by reason.",
            {**labels, "direction": way.value, "reason": reason.value},
            count,
        )
    for why, count in record.untested.items():
        families.counter(
            metrics.THROUGHPUT_UNTESTED,
            "Slots that have passed without a test, by reason.",
            {**labels, "reason": why.value},
            count,
        )


def _latest(families: _Families, labels: dict[str, str], latest: Latest) -> None:
    outcome = latest.outcome
    for layer, rate in ((Layer.IP, outcome.ip_layer), (Layer.GOODPUT, outcome.goodput)):
        if rate is not None:
            families.gauge(
                metrics.THROUGHPUT,
                "What the last test that has measured anything found.",
                {**labels, "layer": layer.value},
                rate.mean,
            )
    families.gauge(
        metrics.THROUGHPUT_LAST_TEST,
        "When that test ended (Unix time).",
        labels,
        latest.ended_ns / _SECOND_NS,
    )
    for cause in Cause:
        families.gauge(
            metrics.THROUGHPUT_LIMITED_BY,
            "1 for what bounded that test.",
            {**labels, "cause": cause.value},
            float(cause is outcome.cause),
        )


def _labels(named: PathLabels) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(named).items()}


def _route(families: _Families, labels: dict[str, str], history: RouteHistory) -> None:
    families.counter(
        metrics.ROUTE_CHANGES,
        "How often a trace took another way than the one before.",
        labels,
        history.changes,
    )
    for result in TraceResult:
        families.counter(
            metrics.ROUTE_TRACES,
            "Traces by what came of them.",
            {**labels, "result": result.value},
            history.results[result],
        )
    current = history.current
    if current is not None:
        families.gauge(
            metrics.ROUTE_INFO,
            "The way that the path's packets take.",
            {**labels, "fingerprint": current.fingerprint},
            1,
        )
        families.gauge(
            metrics.ROUTE_HOPS,
            "Hops to the target, or to the last hop that answered.",
            labels,
            len(current.last.hops),
        )


def registry(agent: AgentView) -> CollectorRegistry:
    """A registry with the agent's own metrics and those of its process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(AgentCollector(agent))
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made


def render(agent: AgentView, own: CollectorRegistry, wanted: Container[str] | None = None) -> Iterator[str]:
    """Everything, in pieces of the Prometheus text format; what is counted is that of the first piece's moment.

    Args:
        agent: what is shown.
        own: the agent's own metrics, as `registry` makes them.
        wanted: only families that have one of these names, or samples of one; None: all.
    """
    agent.settle()
    yield from render_paths(agent.paths, agent.monotonic_ns(), wanted)
    if wanted is not None:
        shown = CollectorRegistry(auto_describe=False)
        shown.register(_Some(own, wanted))
        own = shown
    yield generate_latest(own).decode()


class _Some(Collector):
    """Those families of a registry that have samples of these names."""

    def __init__(self, of: CollectorRegistry, wanted: Container[str]) -> None:
        self._of = of
        self._wanted = wanted

    def describe(self) -> Iterable[Metric]:
        """Nothing, as for the agent's own."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The families."""
        for family in self._of.collect():
            if any(sample.name in self._wanted for sample in family.samples):
                yield family
