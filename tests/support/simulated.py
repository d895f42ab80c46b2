"""A simulated agent: seeded outcomes that are true to the conservation law, in the real agent's exposition."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import dataclass, field

import numpy as np
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from agent.core import metrics
from agent.core.histogram import Histogram
from agent.core.ledger import IN_FLIGHT, OUTCOMES, SENT, UNDER_LOAD, Ledgers, PathLabels, PathLedger, Promise
from agent.core.outcome import Limit, Outcome
from agent.core.route_history import RouteHistory
from agent.core.session_report import SessionReport
from agent.core.throughput.turn import LineRecord
from agent.exposition import AgentCollector, render
from collector.sla.verdict import PathKey
from tests.support.counting import HUB_LIMIT, MS, PATH


@dataclass
class SimulatedPath:
    """One path and how it behaves.

    Attributes:
        late_forward: share of packets that are over the limit on the way there.
        lost_forward, lost_reverse, lost_somewhere: shares that are lost.
        loaded: whether a throughput test fills the line.
    """

    key: PathKey = PATH
    limit: Limit = HUB_LIMIT
    late_forward: float = 0.0
    lost_forward: float = 0.0
    lost_reverse: float = 0.0
    lost_somewhere: float = 0.0
    resolved: bool = True
    loaded: bool = False
    timeout_ns: int = 1000 * MS
    interval_ns: int = 100 * MS
    ledger: PathLedger = field(init=False)
    report: SessionReport = field(default_factory=SessionReport)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, begun_ns: int | None = None) -> None:
        """Begin to count anew, at this time where the agent tells it."""
        key = self.key
        promise = Promise(self.limit, 4 * MS)
        self.ledger = Ledgers(1).open(
            PathLabels(key.source, key.target, key.tier, key.provider, key.kind, key.dscp),
            promise,
            promise,
            Limit(2 * self.limit.limit_ns, self.limit.operator),
            begun_ns,
        )

    def probe(self, rng: random.Random) -> None:
        """Send one probe and see what becomes of it; some are still under way at any moment."""
        ledger = self.ledger
        ledger.count(SENT)
        if rng.random() < 0.05:
            ledger.count(IN_FLIGHT)
            return
        chance = rng.random()
        first = UNDER_LOAD if self.loaded else OUTCOMES
        if chance < self.lost_somewhere:
            ledger.forward.count(first + Outcome.UNATTRIBUTED)
            ledger.reverse.count(first + Outcome.UNATTRIBUTED)
            ledger.round_trip.count(first + Outcome.LOST)
        elif chance < self.lost_somewhere + self.lost_forward:
            ledger.forward.count(first + Outcome.LOST)
            ledger.round_trip.count(first + Outcome.LOST)
        elif chance < self.lost_somewhere + self.lost_forward + self.lost_reverse:
            ledger.forward.count(first + Outcome.WITHIN)
            ledger.reverse.count(first + Outcome.LOST)
            ledger.round_trip.count(first + Outcome.LOST)
        else:
            late = rng.random() < self.late_forward
            limit_ns = self.limit.limit_ns
            forward_ns = limit_ns + 1 if late else rng.randrange(limit_ns // 2, limit_ns)
            ledger.forward.count(first + (Outcome.OVER if late else Outcome.WITHIN))
            ledger.reverse.count(first + Outcome.WITHIN)
            ledger.round_trip.count(first + Outcome.WITHIN)
            if not self.loaded:
                self._observe(forward_ns, limit_ns // 2)

    def settle(self) -> None:
        """Answers to all that were under way arrive."""
        ledger = self.ledger
        for _ in range(ledger.in_flight):
            for _, counted in ledger.directions():
                counted.count(Outcome.WITHIN)
            self._observe(self.limit.limit_ns // 2, self.limit.limit_ns // 2)
        ledger.count(IN_FLIGHT, -ledger.in_flight)

    def _observe(self, forward_ns: int, reverse_ns: int) -> None:
        delays_ns = np.array([[forward_ns], [reverse_ns], [forward_ns + reverse_ns]])
        row, sequence = np.array([self.ledger.row]), np.array([self.ledger.sent])
        self.ledger.table.observe(row, sequence, delays_ns, np.array([True]), 0)


class SimulatedAgent:
    """What an agent shows, without one.

    Attributes:
        paths: may be changed as a test likes.
        epoch: its start time (Unix, s).
        clock_bound_ns: None: not synchronised.
    """

    clock_source = "declared"
    transmit_stamps = receive_stamps = "kernel"
    plan_version = "simulated"
    throughput = None

    def __init__(
        self, paths: Sequence[SimulatedPath], epoch: float = 1_700_000_000.25, seed: int = 1
    ) -> None:
        self.paths = paths
        self.epoch = epoch
        self.clock_bound_ns: int | None = 50_000
        self.clock_steps = 0
        self.send_lag = Histogram()
        self.follow_ups = {"told": 0, "untold": 0}
        self.routes: list[tuple[PathLabels, RouteHistory]] = []
        self.lines: list[tuple[PathLabels, LineRecord]] = []
        self.discarded_replies: dict[tuple[str, str], int] = {("stamp", "malformed"): 0}
        self.http_closed: dict[str, int] = {"too_many": 0}
        self.reflected: dict[str, int] = {"reflected": 7}
        self._rng = random.Random(seed)

    def run(self, probes: int) -> None:
        """Send so many probes on each path."""
        for path in self.paths:
            path.settle()
            for _ in range(probes):
                path.probe(self._rng)

    def restart(self, epoch: float) -> None:
        """The process is replaced by a new one."""
        self.epoch = epoch
        for path in self.paths:
            path.restart()

    def settle(self) -> None:
        """Nothing is kept back here."""

    def monotonic_ns(self) -> int:
        """Time does not pass here."""
        return 0

    def exposition(self, wanted: Container[str] | None = None) -> str:
        """What `/metrics` says at this moment; of families with these names alone, where they are given."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(AgentCollector(self))
        Gauge(metrics.PROCESS_START, "Start time.", registry=registry).set(self.epoch)
        return "".join(render(self, registry, wanted))


@dataclass
class MetricsServer:
    """An HTTP server that shows what it is given, or fails as it is told.

    Attributes:
        agent: shows its exposition, where `text` is empty.
        text: what is shown instead.
        status: of the answer.
    """

    agent: SimulatedAgent | None = None
    text: str = ""
    status: int = 200
    address: str = ""
    requests: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """The exposition, of the metrics that are asked for."""
        self.requests += 1
        wanted = request.query.getall("name[]", None)
        text = self.text or (self.agent.exposition(wanted) if self.agent is not None else "")
        return web.Response(text=text, status=self.status)


@contextlib.asynccontextmanager
async def showing(server: MetricsServer, port: int = 0) -> AsyncIterator[MetricsServer]:
    """Serve `/metrics` on loopback."""
    app = web.Application()
    app.router.add_get("/metrics", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.address = "{}:{}".format(*runner.addresses[0][:2])
    try:
        yield server
    finally:
        await runner.cleanup()
