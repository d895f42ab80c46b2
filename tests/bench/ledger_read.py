"""How fast windows are read back from the ledger as arrays over very many paths, and readings are taken in."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, TypeVar

from collector.ledger.sums import totals
from collector.store.blocks import DAY, HOUR, day_of
from collector.store.store import Store
from tests.bench.report import Row
from tests.support.traffic import readings

AGENTS: Final = 1000
PATHS: Final = 100
_BEGIN: Final = day_of(29_800_000)
_BEFORE: Final = 3
_READINGS: Final = 6

Result = TypeVar("Result")


def run(seconds: float, agents: int = AGENTS, paths: int = PATHS) -> list[Row]:
    """Measure and give the rows; how long it takes is given by the number of agents, not by `seconds`."""
    del seconds
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder) / "state.sqlite", agents, paths))


async def _run(file: Path, agents: int, paths: int) -> list[Row]:
    store = await Store.open(file)
    taking_s = 0.0
    for agent in range(agents):
        # Three minutes within an hour that will be settled, and three after it.
        begin_s = (_BEGIN + HOUR - _BEFORE) * 60
        for taken in readings(f"site{agent}", paths, _READINGS, 600, begin_s, agent):
            took_s, _ = await _timed(store.ledger.ingest(taken))
            taking_s += took_s
    settling_s, _ = await _timed(store.ledger.settle(_BEGIN + HOUR))
    numbers = sorted(store.numbers.keys)
    rows = [
        Row(
            "ledger: reading of an agent taken in",
            taking_s / agents / _READINGS * 1e3,
            "ms",
            note=f"{paths} paths, mean of {_READINGS * agents}, each one transaction",
        ),
        Row(
            "ledger: hour of an agent settled",
            settling_s / agents * 1e3,
            "ms",
            note=f"{paths} paths, mean of {agents}, each one transaction; {_BEFORE} minutes of each path",
        ),
    ]
    for name, first, last in (
        ("recent five minutes", _BEGIN + HOUR, _BEGIN + HOUR + 5),
        ("settled hour", _BEGIN, _BEGIN + HOUR),
        ("day", _BEGIN, _BEGIN + DAY),
    ):
        took_s, sums = await _timed(store.ledger.sums(first, last))
        begun = time.perf_counter()
        found = totals(sums, numbers, store.numbers.limits)
        arrays_s = time.perf_counter() - begun
        assert found.sent.min() > 0
        note = f"of that {arrays_s:.2f} s to put them in the order of the paths"
        rows.append(Row(f"ledger: {name} of {len(numbers)} paths read", took_s + arrays_s, "s", note=note))
    await store.close()
    return rows


async def _timed(work: Awaitable[Result]) -> tuple[float, Result]:
    begun = time.perf_counter()
    result = await work
    return time.perf_counter() - begun, result
