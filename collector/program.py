"""The running collector: read, store, judge, tell, show; from start to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from agent.core.outcome import Direction, Limit
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint
from collector.alerts.service import Alerts
from collector.alerts.targets import webhook_targets
from collector.documents import Name
from collector.evaluation import evaluate
from collector.fleet.plan import compile_plan
from collector.fleet.settings import AgentsSourceSettings, FleetSettings
from collector.sla.breach import advance
from collector.sla.verdict import PathKey
from collector.sources import Source
from collector.sources.agents import AgentsSource
from collector.sources.prometheus import PrometheusSource
from collector.state import NEVER_READ, CollectorState, RecentBlocks
from collector.store.store import Store
from collector.web.app import create_app
from collector.web.view import Fleet, Objective, Site, Tier

_SECOND_NS: Final = 1_000_000_000
_KEEP_BEYOND_WINDOW_NS: Final = 3600 * _SECOND_NS
_RECENT_BREACHES_NS: Final = 7 * 24 * 3600 * _SECOND_NS
_RECENT_BREACHES: Final = 1000
_PRUNE_EVERY_NS: Final = 600 * _SECOND_NS
_MAX_TIMEOUT_S: Final = 10.0

log = logging.getLogger(__name__)


class HttpBindError(IsochroneError):
    """The page cannot be served where it is told to."""


def page_url(fleet: FleetSettings) -> str:
    """How people reach the page."""
    return fleet.external_url or f"http://{fleet.listen}"


def fleet_view(fleet: FleetSettings) -> Fleet:
    """What the page and the API say of the fleet file."""
    return Fleet(
        sites=[
            Site(
                site.id,
                Name(site.name.zh, site.name.en),
                site.provider,
                site.district,
                None if site.agent is None else str(site.agent),
            )
            for site in fleet.sites
        ],
        tiers=[
            Tier(identifier, Name(tier.name.zh, tier.name.en), tier.limit, tier.direction)
            for identifier, tier in fleet.tiers.items()
        ],
        objectives=[
            Objective(objective.id, objective.percentile, objective.window, objective.min_coverage)
            for objective in fleet.objectives
        ],
        evaluation_interval_ns=fleet.evaluation_interval,
        address=str(fleet.listen),
        page_url=page_url(fleet),
    )


def open_source(fleet: FleetSettings) -> Source:
    """The source that the fleet file names."""
    settings = fleet.source
    timeout_s = min(_MAX_TIMEOUT_S, settings.interval / _SECOND_NS)
    agents = {site.id: str(site.agent) for site in fleet.sites if site.agent is not None}
    if isinstance(settings, AgentsSourceSettings):
        return AgentsSource(agents, timeout_s, time.time_ns)
    return PrometheusSource(settings.url, list(agents), settings.interval, timeout_s, time.time_ns)


class Collector:
    """One collector; `run` lasts until the event it is given is set.

    Args:
        fleet: the fleet file, without problems.
        fleet_file: where it is; files it names are relative to its folder.

    Raises:
        ConfigError: a secret's file cannot be used.
    """

    def __init__(self, fleet: FleetSettings, fleet_file: Path) -> None:
        self.fleet = fleet
        self.plan = compile_plan(fleet)
        self.state = CollectorState(sources=dict.fromkeys(self.plan.agents, NEVER_READ))
        self._state_file = fleet_file.parent / fleet.state
        self._webhooks = webhook_targets(fleet.alerts.webhooks, fleet_file)
        self._blocks = RecentBlocks()
        self._limits: dict[tuple[PathKey, Direction], Limit] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Collect and judge until `stop` is set.

        Raises:
            StoreError: the state file cannot be used.
            HttpBindError: the address cannot be used.
        """
        store = await Store.open(self._state_file)
        try:
            await self._recall(store)
            alerts = Alerts(
                self._webhooks,
                self.fleet.alerts.alertmanagers,
                store,
                lambda: self.state.breaches,
                fleet_view(self.fleet).names(),
                page_url(self.fleet),
                time.time_ns,
                random.Random(),
            )
            app = create_app(fleet_view(self.fleet), self.state, alerts.counts)
            async with _serving(app, self.fleet.listen), _running(alerts):
                log.info(
                    "plan %s: %d agents, %d verdicts, source %s, page %s",
                    self.plan.version,
                    len(self.plan.agents),
                    len(self.plan.targets),
                    self.fleet.source.kind,
                    page_url(self.fleet),
                )
                await self._work(store, alerts, stop)
        finally:
            await store.close()

    async def _recall(self, store: Store) -> None:
        now_ns = time.time_ns()
        remembered = await store.recall(now_ns - self.plan.longest_window_ns - _KEEP_BEYOND_WINDOW_NS)
        self._blocks.add(remembered.blocks)
        self.state.watches = remembered.watches
        self.state.breaches = await store.recent_breaches(now_ns - _RECENT_BREACHES_NS, _RECENT_BREACHES)

    async def _work(self, store: Store, alerts: Alerts, stop: asyncio.Event) -> None:
        """Read and judge, each in its own rhythm; a slow turn delays the next one and is not made up for."""
        source = open_source(self.fleet)
        try:
            next_read = next_evaluation = next_prune = time.monotonic_ns()
            while not stop.is_set():
                now = time.monotonic_ns()
                if now >= next_read:
                    next_read = _after(next_read, self.fleet.source.interval, now)
                    await self._read(source, store)
                if now >= next_evaluation:
                    next_evaluation = _after(next_evaluation, self.fleet.evaluation_interval, now)
                    await self._evaluate(store, alerts)
                if now >= next_prune:
                    next_prune = now + _PRUNE_EVERY_NS
                    oldest_ns = time.time_ns() - self.plan.longest_window_ns - _KEEP_BEYOND_WINDOW_NS
                    self._blocks.forget(oldest_ns)
                    await store.prune(oldest_ns)
                pause_s = (min(next_read, next_evaluation) - time.monotonic_ns()) / _SECOND_NS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, pause_s))
        finally:
            await source.close()

    async def _read(self, source: Source, store: Store) -> None:
        for reading in await source.read():
            before = self.state.sources.get(reading.site, NEVER_READ)
            after = before.after(reading)
            self.state.sources[reading.site] = after
            if before.up is not after.up or (not after.up and before.reason != after.reason):
                log.info("agent of %s: %s", reading.site, after.reason or "read")
            self._blocks.add(await store.ingest(reading.readings))
            for path in reading.readings:
                for direction, limit in path.limits.items():
                    self._limits[path.path, direction] = limit

    async def _evaluate(self, store: Store, alerts: Alerts) -> None:
        started = time.perf_counter()
        now_ns = time.time_ns()
        judgements = evaluate(self.plan, self._blocks, self.state.sources, self._limits, now_ns)
        watches, events = advance(self.state.watches, judgements, self.plan.hysteresis, now_ns)
        if events or watches != self.state.watches:
            await store.record([event.breach for event in events], watches, alerts.announcements(events))
        self.state.judgements = judgements
        self.state.watches = watches
        if events:
            self.state.breaches = await store.recent_breaches(now_ns - _RECENT_BREACHES_NS, _RECENT_BREACHES)
            alerts.wake()
        for event in events:
            key = event.breach.key
            log.info("%s: %s %s %s", type(event).__name__, key.path, key.direction, key.objective)
        self.state.evaluated_ns = time.time_ns()
        self.state.evaluations += 1
        self.state.evaluation_seconds += time.perf_counter() - started


def _after(due: int, interval: int, now: int) -> int:
    """The next time on the grid that lies ahead."""
    return due + (max(0, now - due) // interval + 1) * interval


@contextlib.asynccontextmanager
async def _serving(app: web.Application, endpoint: Endpoint) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, endpoint.host, endpoint.port).start()
        except OSError as error:
            raise HttpBindError(f"cannot listen on {endpoint}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _running(alerts: Alerts) -> AsyncIterator[None]:
    task = asyncio.create_task(alerts.run(), name="alerts")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
