"""What windows of all lengths cost over days that are full of data, and how long a collector is blind after a restart.

A ledger is filled with 31 days (`tests.bench.full_ledger`), and read by a program that has nothing of it in memory: the
first window of all is that of five minutes, and reads the latest hour for all others too. Each window is made once and
then anew, as it is after its lag (`collector.windows`): a later end, on the same ledger, of very many paths over as
many evaluations as it takes. The stall is for how long the event loop, and with it the page, had to wait meanwhile. The
greatest number of paths has the short windows alone, and the day that tells of them how much packets depend on each
other: what a restart has to wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import numpy as np

from collector.fleet.plan import compile_plan
from collector.ledger.minutes import MINUTE_NS
from collector.ledger.recent import RecentSlices
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.observation import Observation
from collector.sla.window import Calendar, Window
from collector.store.blocks import DAY, day_of
from collector.store.store import Store
from collector.windows import Windows
from tests.bench.evaluation import OBJECTIVES, fleet_of
from tests.bench.fleet import resident
from tests.bench.full_ledger import PATHS, fill
from tests.bench.report import Row

_STOP: Final = day_of(29_800_000) + 14 * 60 + 40
"""Twenty to three in the afternoon: the hour before is in blocks, and this one is not."""

_SHORT: Final = {"5m": Window(5 * MINUTE_NS), "1h": Window(60 * MINUTE_NS), "1d": Window(DAY * MINUTE_NS)}
_WINDOWS: Final = {
    **_SHORT,
    "2h": Window(120 * MINUTE_NS),
    "6h": Window(360 * MINUTE_NS),
    "day": Window(Calendar.DAY),
    "30d": Window(30 * DAY * MINUTE_NS),
    "month": Window(Calendar.MONTH),
}
SIZES: Final = {1_000: _WINDOWS, 10_000: _WINDOWS, 100_000: _SHORT}
_DAYS: Final = 31
_LATER_NS: Final = 10 * MINUTE_NS + MINUTE_NS // 2
"""Longer than any window may lag, and not so long that it must be made at once."""

_TICK_S: Final = 0.005


def run(seconds: float, sizes: dict[int, dict[str, Window]] = SIZES) -> list[Row]:
    """Measure and give the rows; how long it takes is given by the number of paths, not by `seconds`."""
    del seconds
    rows: list[Row] = []
    for paths, windows in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            rows += asyncio.run(_measured(Path(folder) / "state.sqlite", paths, windows))
    return rows


async def _measured(file: Path, paths: int, asked: dict[str, Window]) -> list[Row]:
    plan = compile_plan(fleet_of(-(-paths // PATHS), PATHS, OBJECTIVES))
    begins = [_STOP - window.longest_ns // MINUTE_NS for window in _WINDOWS.values()]
    await fill(file, plan.sources, _STOP, _DAYS, begins)
    store = await Store.open(file)
    calendar = MaintenanceCalendar()
    windows = Windows.of_plan(plan, store, RecentSlices(), lambda: calendar)
    # as collector.cli does once the plan is there
    gc.collect()
    gc.freeze()
    now_ns = _STOP * MINUTE_NS
    ends_ns = np.full(len(plan.paths), now_ns)
    took: dict[str, list[tuple[list[float], str]]] = defaultdict(list)
    seen: dict[str, Observation] = {}
    async with _stalls() as stalls:
        for late_ns in (0, _LATER_NS):
            for name, window in asked.items():
                stalls.clear()
                before, evaluations = seen.get(name), list[float]()
                while seen.get(name) is before:
                    begun, now_ns = time.perf_counter(), now_ns + 1
                    seen[name] = await windows.observe(window, ends_ns + late_ns, now_ns + late_ns)
                    evaluations.append(time.perf_counter() - begun)
                await asyncio.sleep(2 * _TICK_S)
                stall = f"stall {1000 * max(stalls):.0f} ms, memory {resident() / 1e6:.0f} MB"
                took[name].append((evaluations, stall))
                assert seen[name].outcomes.sum() > 0
    await store.close()
    return [
        Row(
            f"collector: window {name} of {len(plan.paths)} paths",
            first_s,
            "s",
            note=f"{first}; made anew by {len(some_s)} evaluations, {max(some_s):.2f} s each at most, {anew}",
        )
        for name, (([first_s], first), (some_s, anew)) in took.items()
    ]


@contextlib.asynccontextmanager
async def _stalls() -> AsyncIterator[list[float]]:
    """For how long the event loop had to wait, time and again (s)."""
    found: list[float] = []

    async def watch() -> None:
        while True:
            due = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            found.append(time.monotonic() - due)

    watching = asyncio.create_task(watch())
    try:
        yield found
    finally:
        watching.cancel()
