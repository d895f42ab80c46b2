"""What a collector says of an agent of which a test has all readings, by way of a real ledger."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from collector.evaluation import evaluate
from collector.fleet.plan import Plan, compile_plan
from collector.ledger.recent import RecentSlices
from collector.sla.counts import Reading
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.verdict import Judgement
from collector.state import CollectorState, SourceStatus
from collector.store.store import Store
from collector.windows import Windows
from tests.support.fleets import fleet

MINUTE_NS = 60_000_000_000


class Observed(NamedTuple):
    """What a collector has at hand to judge by."""

    plan: Plan
    windows: Windows
    state: CollectorState


@contextlib.asynccontextmanager
async def observed(
    file: Path, text: str, readings: Sequence[Reading], now_ns: int, calendar: MaintenanceCalendar
) -> AsyncIterator[Observed]:
    """At a time at which the agent of Wuhan was read.

    Args:
        file: of the state.
        text: the fleet file.
        readings: of one path of that agent, the last of them at `now_ns`, a whole minute.
    """
    store = await Store.open(file)
    try:
        plan = compile_plan(fleet(text))
        windows = Windows.of_plan(plan, store, RecentSlices(), lambda: calendar)
        await store.ledger.ingest(readings)
        await store.ledger.settle(now_ns // MINUTE_NS)
        status = SourceStatus(True, "", now_ns, "declared", 50_000)
        yield Observed(plan, windows, CollectorState(sources={"wuhan": status}))
    finally:
        await store.close()


async def evaluated(
    file: Path, text: str, readings: Sequence[Reading], now_ns: int, calendar: MaintenanceCalendar
) -> Sequence[Judgement]:
    """All verdicts; arguments as of `observed`."""
    async with observed(file, text, readings, now_ns, calendar) as at_hand:
        return [*await evaluate(*at_hand, now_ns)]
