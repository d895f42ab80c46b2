"""Maintenance windows for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collector.fleet.plan import compile_plan
from collector.maintenance import Maintenance
from collector.sla.maintenance import DAY_NS, Category, MaintenanceWindow
from collector.sla.selector import Selector
from collector.store.store import Store
from collector.web.maintenance import MaintenanceApi
from tests.support.collector_web import serving
from tests.support.fleets import FLEET, fleet
from tests.support.verdicts import NAMES, State

HOUR_NS = 3_600_000_000_000
BASE_NS = 1_796_058_000_000_000_000
"""2026-12-01 01:00 in Shanghai, a Tuesday."""

USUAL = MaintenanceWindow(
    id="cutover",
    start_ns=BASE_NS,
    end_ns=BASE_NS + 2 * HOUR_NS,
    category=Category.PLANNED,
    approver="Li Na",
    reason="cutover of the ring",
    selector=Selector(),
    announced_ns=BASE_NS - 10 * DAY_NS,
    created_ns=BASE_NS - 10 * DAY_NS,
    created_by="zhang.wei",
)


def window(**changed: Any) -> MaintenanceWindow:
    """Two hours of planned work on every path, announced ten days before, but for what is given."""
    return replace(USUAL, **changed)


TOKEN = "a-token-of-the-tests-0123456789"


@dataclass
class Office:
    """A server of maintenance windows, its store, and a clock that a test sets."""

    maintenance: Maintenance
    store: Store
    url: str = ""
    now_ns: int = BASE_NS - 6 * DAY_NS


@contextlib.asynccontextmanager
async def office(folder: Path, text: str = FLEET, token: str | None = TOKEN) -> AsyncIterator[Office]:
    """Serve on loopback, six days before the usual window."""
    settings = fleet(text)
    store = await Store.open(folder / "state.sqlite")
    try:
        maintenance = Maintenance(
            store.maintenance, settings.maintenance, settings.names(), lambda: made.now_ns
        )
        made = Office(maintenance, store)
        await maintenance.open()
        api = MaintenanceApi(maintenance, NAMES, token, compile_plan(settings).facts)
        async with serving(State(), more=api.routes()) as made.url:
            yield made
    finally:
        await store.close()
