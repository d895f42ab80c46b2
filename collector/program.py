"""The running collector: read, store, judge, tell, show; from start to a clean end.

All times of counts and verdicts are of the clock that saw the scrape: the collector's, or Prometheus's. The agents'
clocks enter nothing but the packets' delays, and there with their bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from sqlalchemy import URL

from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint
from agent.runtime.supervision import Supervision
from collector.alerts.gathering import Gathering
from collector.alerts.service import Alerts
from collector.alerts.targets import webhook_target
from collector.diagnosis import SILENT_INTERVALS, Diagnosis
from collector.evaluation import evaluate
from collector.fleet.plan import compile_plan
from collector.fleet.settings import FleetSettings
from collector.fleet.source import AgentsSourceSettings
from collector.ledger.minutes import minute_of
from collector.ledger.recent import RecentSlices
from collector.maintenance import Maintenance
from collector.sla.breach import Breach, advance
from collector.sla.verdict import Fault, PathKey
from collector.sources import Source
from collector.sources.agents import AgentsSource
from collector.sources.backfill import Backfilled
from collector.sources.prometheus import PrometheusSource
from collector.sources.query_api import Access
from collector.sources.samples import AgentReading
from collector.state import NEVER_READ, CollectorState
from collector.store.ledger import Ledger
from collector.store.location import location
from collector.store.lock import held
from collector.store.store import Store
from collector.web.app import create_app
from collector.web.maintenance import MaintenanceApi
from collector.web.view import fleet_view
from collector.windows import SHORTEST_OF_MINUTES_NS, Windows

_SECOND_NS: Final = 1_000_000_000
_READINGS_BEYOND_WINDOW: Final = 10
"""A window may end this many readings ago, with the last one that succeeded; memory holds no more than it needs."""

_RECENT_BREACHES_NS: Final = 7 * 24 * 3600 * _SECOND_NS
_RECENT_BREACHES: Final = 1000
_SETTLE_EVERY_NS: Final = 60 * _SECOND_NS
_SETTLE_AFTER_MINUTES: Final = 5
"""How long after its end an hour's journal is put into blocks: what comes later costs writing the block again."""

_GATHER_AFTER_MINUTES: Final = 1
_SETTLED_AT_ONCE: Final = 20
"""Of how many agents between two readings: an hour of a hundred paths takes a tenth of a second."""

_MONTH_MINUTES: Final = 31 * 24 * 60
_MAX_TIMEOUT_S: Final = 10.0
_AGENTS_AT_ONCE: Final = 16
"""Whose readings are one transaction: more cost less, and keep the page waiting for longer."""

log = logging.getLogger(__name__)


class HttpBindError(IsochroneError):
    """The page cannot be served where it is told to."""


def open_source(fleet: FleetSettings, known_ns: Mapping[str, int], access: Access) -> Source:
    """The source that the fleet file names.

    Args:
        fleet: the fleet file.
        known_ns: when the latest counted reading of each site was taken.
        access: how a Prometheus is asked.
    """
    settings = fleet.source
    timeout_s = min(_MAX_TIMEOUT_S, settings.interval / _SECOND_NS)
    agents = {site.id: str(site.agent) for site in fleet.sites if site.agent is not None}
    if isinstance(settings, AgentsSourceSettings):
        return AgentsSource(agents, timeout_s, time.time_ns)
    prometheus = PrometheusSource(
        settings.url, list(agents), settings.interval, timeout_s, time.time_ns, access
    )
    return Backfilled(prometheus, known_ns, settings.interval)


class Collector:
    """One collector; `run` lasts until the event it is given is set.

    Args:
        fleet: the fleet file, without problems.
        fleet_file: where it is; files it names are relative to its folder, but for the state, which is in the service's
            state folder where systemd gives it one (STATE_DIRECTORY).
        supervision: who is told how it goes.

    Raises:
        UnusableFile: a secret's file cannot be used.
        ConfigError: the API's token, or that of the source, cannot be used.
    """

    def __init__(
        self, fleet: FleetSettings, fleet_file: Path, supervision: Supervision | None = None
    ) -> None:
        self.fleet = fleet
        self._supervision = supervision or Supervision()
        self.plan = compile_plan(fleet)
        self.state = CollectorState(sources=dict.fromkeys(self.plan.agents, NEVER_READ))
        self._state = location(
            fleet.state,
            fleet.state_url_file,
            fleet_file.parent,
            Path(os.environ.get("STATE_DIRECTORY", fleet_file.parent)),
        )
        self._webhooks = tuple(
            webhook_target(webhook, fleet_file.parent) for webhook in fleet.alerts.webhooks
        )
        self._token = fleet.token(fleet_file.parent)
        self._access = fleet.access(fleet_file.parent)
        self._recent = RecentSlices()
        self._gathering = Gathering(0)
        short = (
            question.objective.window.longest_ns
            for question in self.plan.questions
            if question.objective.window.longest_ns < SHORTEST_OF_MINUTES_NS
        )
        # Windows of minutes are read from the ledger: without a shorter one nothing is remembered here.
        longest = max(short, default=0)
        self._memory_ns = longest and longest + _READINGS_BEYOND_WINDOW * fleet.source.interval

    async def run(self, stop: asyncio.Event) -> None:
        """Collect and judge until `stop` is set.

        Raises:
            StoreError: the state file cannot be used, or another collector uses it; `StateGone`: it was removed.
            HttpBindError: the address cannot be used.
        """
        async with held(self._state):
            store = await Store.open(self._state)
            try:
                await self._collect(store, stop)
            finally:
                await store.close()

    async def _collect(self, store: Store, stop: asyncio.Event) -> None:
        await self._recall(store)
        shown = fleet_view(self.fleet)
        alerts = Alerts(
            self._webhooks,
            self.fleet.alerts.alertmanagers,
            store,
            self._settled_breaches,
            shown.names(),
            shown.page_url,
            time.time_ns,
            random.Random(),
        )
        maintenance = Maintenance(store.maintenance, self.fleet.maintenance, self.fleet.names(), time.time_ns)
        await maintenance.open()
        writing = MaintenanceApi(maintenance, shown.names(), self._token, self.plan.facts)
        app = create_app(shown, self.state, alerts.counts, writing.routes())
        async with (
            _serving(app, self.fleet.listen),
            _running(alerts),
            self._supervision.kept_alive(),
        ):
            log.info(
                "plan %s: %d agents, %d verdicts, source %s, page %s",
                self.plan.version,
                len(self.plan.agents),
                len(self.plan.targets),
                self.fleet.source.kind,
                shown.page_url,
            )
            self._supervision.ready(self.in_short)
            await self._work(store, maintenance, alerts, stop)

    @property
    def in_short(self) -> str:
        """What it does, in one line."""
        return f"{len(self.plan.agents)} agents, {len(self.plan.targets)} verdicts"

    @property
    def state_is_remote(self) -> bool:
        """Whether its state is on a server, which may be away for a while."""
        return isinstance(self._state, URL)

    async def _recall(self, store: Store) -> None:
        now_ns = time.time_ns()
        remembered = await store.recall(now_ns - self._memory_ns)
        self._recent.add(remembered.slices)
        self.state.watches = remembered.watches
        self._gathering = Gathering(SILENT_INTERVALS * self.fleet.source.interval, await store.waiting())
        self.state.breaches = await store.recent_breaches(now_ns - _RECENT_BREACHES_NS, _RECENT_BREACHES)

    async def _work(
        self, store: Store, maintenance: Maintenance, alerts: Alerts, stop: asyncio.Event
    ) -> None:
        """Read and judge, each in its own rhythm; a slow turn delays the next one and is not made up for."""
        plan = self.plan
        windows = Windows.of_plan(plan, store, self._recent, lambda: maintenance.calendar)
        store.ledger.expect(dict(zip(plan.paths, plan.intervals_ns.tolist(), strict=True)))
        known = [watch.open.fault for watch in self.state.watches.values() if watch.open is not None]
        diagnosis = Diagnosis(
            plan,
            store.numbers.paths,
            self.fleet.source.interval,
            [fault for fault in known if fault is not None],
            time.time_ns(),
        )
        source = open_source(self.fleet, await store.ledger.last_taken_ns(), self._access)
        try:
            next_read = next_evaluation = next_settling = time.monotonic_ns()
            while not stop.is_set():
                now = time.monotonic_ns()
                if now >= next_read:
                    next_read = _after(next_read, self.fleet.source.interval, now)
                    await self._read(source, store, diagnosis, stop)
                if now >= next_evaluation and not stop.is_set():
                    store.assert_in_place()
                    next_evaluation = _after(next_evaluation, self.fleet.evaluation_interval, now)
                    self.state.standing = diagnosis.look(self.state.sources, time.time_ns())
                    await self._evaluate(store, windows, alerts)
                if now >= next_settling:
                    next_settling = now if await self._settle(store.ledger) else now + _SETTLE_EVERY_NS
                next_turn = min(next_read, next_evaluation, next_settling)
                pause_s = (next_turn - time.monotonic_ns()) / _SECOND_NS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, pause_s))
        finally:
            await source.close()

    async def _read(self, source: Source, store: Store, diagnosis: Diagnosis, stop: asyncio.Event) -> None:
        read = await _unless(stop, source.read())
        for first in range(0, len(read), _AGENTS_AT_ONCE):
            some = read[first : first + _AGENTS_AT_ONCE]
            for reading in some:
                self._heard(reading)
            added = await store.ledger.ingest(*(reading.readings for reading in some))
            self._recent.add(added)
            diagnosis.take(some, added)
            for reading in some:
                self.state.hear(reading, self.plan.leaving[reading.site])
                self.state.note(reading.readings, self.plan.promised)

    def _heard(self, reading: AgentReading) -> None:
        before = self.state.sources.get(reading.site, NEVER_READ)
        after = before.after(reading)
        self.state.sources[reading.site] = after
        # not whenever the reason changes: it may quote what is read, which differs at each scrape
        if before.up is not after.up or (before.reason == NEVER_READ.reason and not after.up):
            log.log(
                logging.INFO if after.up else logging.WARNING,
                "agent of %s: %s",
                reading.site,
                after.reason or "read",
            )

    async def _settle(self, ledger: Ledger) -> bool:
        """Settle some agents' hours, or gather their minutes; whether others wait for it."""
        minute = minute_of(time.time_ns())
        if await ledger.settle(minute - _SETTLE_AFTER_MINUTES, _SETTLED_AT_ONCE):
            return True
        if await ledger.gather(minute - _GATHER_AFTER_MINUTES, _SETTLED_AT_ONCE):
            return True
        await ledger.forget(minute - self.fleet.minutes_kept_months * _MONTH_MINUTES)
        return False

    async def _evaluate(self, store: Store, windows: Windows, alerts: Alerts) -> None:
        started = time.perf_counter()
        now_ns = time.time_ns()
        plan = self.plan
        self._recent.forget(now_ns - self._memory_ns)
        verdicts = await evaluate(plan, windows, self.state, now_ns)
        watches, events = advance(
            self.state.watches, verdicts, plan.keys, plan.places, plan.hysteresis, now_ns
        )
        gathering, unsettled = self._gathering, self._gathering.unsettled
        gathering.take(events, now_ns)
        joined = gathering.join(watches, self._fault_of)
        told = gathering.due(now_ns)
        watches |= joined
        changed = [event.breach for event in events]
        changed += [watch.open for watch in joined.values() if watch.open is not None]
        if changed or told or watches != self.state.watches:
            await store.record(changed, watches, alerts.announcements(told), gathering.waiting)
        self.state.judgements = verdicts
        self.state.watches = watches
        if changed:
            self.state.breaches = await store.recent_breaches(now_ns - _RECENT_BREACHES_NS, _RECENT_BREACHES)
        if changed or told or gathering.unsettled != unsettled:
            alerts.wake()
        for event in events:
            key = event.breach.key
            log.info("%s: %s %s %s", type(event).__name__, key.path, key.direction, key.objective)
        self.state.evaluated_ns = time.time_ns()
        self.state.evaluations += 1
        self.state.evaluation_seconds += time.perf_counter() - started

    def _fault_of(self, path: PathKey) -> Fault | None:
        row = self.plan.rows.get(path)
        return None if row is None else self.state.standing.of(row)

    def _settled_breaches(self) -> list[Breach]:
        """Those of which it is known why they opened, as far as it will be."""
        return [breach for breach in self.state.breaches if breach.id not in self._gathering.unsettled]


async def _unless(
    stop: asyncio.Event, reading: Coroutine[Any, Any, Sequence[AgentReading]]
) -> Sequence[AgentReading]:
    """What is read; nothing where `stop` is set meanwhile: an agent that hangs must not hold up the end."""
    asked, stopped = asyncio.create_task(reading), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else ()
    finally:
        asked.cancel()
        stopped.cancel()
        await asyncio.wait({asked, stopped})


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
