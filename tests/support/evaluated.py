"""What a collector says of an agent of which a test has all readings, by way of a real ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collector.evaluation import evaluate
from collector.fleet.plan import compile_plan
from collector.ledger.recent import RecentSlices
from collector.sla.counts import Reading
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.verdict import Judgement
from collector.state import CollectorState, SourceStatus
from collector.store.store import Store
from collector.windows import Windows
from tests.support.fleets import fleet

MINUTE_NS = 60_000_000_000


async def evaluated(
    file: Path, text: str, readings: Sequence[Reading], now_ns: int, calendar: MaintenanceCalendar
) -> Sequence[Judgement]:
    """All verdicts at a time at which the agent of Wuhan was read.

    Args:
        file: of the state.
        text: the fleet file.
        readings: of one path of that agent, the last of them at `now_ns`, a whole minute.
    """
    store = await Store.open(file)
    try:
        plan = compile_plan(fleet(text))
        windows = Windows(
            store.ledger,
            store.numbers,
            RecentSlices(),
            plan.paths,
            [plan.promised[path] for path in plan.paths],
            plan.intervals_ns,
            plan.facts,
            lambda: calendar,
            plan.rules,
        )
        await store.ledger.ingest(readings)
        await store.ledger.settle(now_ns // MINUTE_NS)
        state = CollectorState(sources={"wuhan": SourceStatus(True, "", now_ns, "declared", 50_000)})
        verdicts = await evaluate(plan, windows, state, now_ns)
        return [*verdicts]
    finally:
        await store.close()
