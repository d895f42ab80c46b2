"""How much of the disk the ledger takes, for each path and month.

Minutes of random counts, of paths that are probed ten times and once a second, are taken in, settled, and the pages of
the SQLite file in use are counted. The counts are drawn anew each minute, delays over four buckets with a loss of one
in a thousand: what a real path repeats takes less.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from collector.ledger.minutes import minute_of
from collector.ledger.readings import Readings
from collector.store.blocks import DAY, day_of
from collector.store.store import Store
from tests.bench.report import Row
from tests.support.traffic import readings

RATES: Final = (600, 60)
PATHS: Final = 20
DAYS: Final = 1
_MONTH_DAYS: Final = 365.25 / 12
_KEPT_MONTHS: Final = 14
_BEGIN: Final = day_of(29_800_000)
_TOGETHER: Final = 10


def run(seconds: float, rates: Sequence[int] = RATES, paths: int = PATHS, days: int = DAYS) -> list[Row]:
    """Measure and give the rows; how long it takes is given by the days, not by `seconds`."""
    del seconds
    return [_disk(rate, paths, days) for rate in rates]


def _disk(rate: int, paths: int, days: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.sqlite"
        empty, full = asyncio.run(_filled(file, rate, paths, days))
        with closing(sqlite3.connect(file)) as connection:
            query = "SELECT sum(length(body)) FROM {}"
            blocks, of_sums = (
                connection.execute(query.format(table)).fetchone()[0] for table in ("hours", "sums")
            )
    by_month = _MONTH_DAYS / paths / days / 1e6
    value = (full - empty) * by_month
    note = (
        f"{paths} paths, {days * 24} h; blocks {blocks * by_month:.3f}, sums {of_sums * by_month:.3f}; "
        f"{_KEPT_MONTHS} months: {value * _KEPT_MONTHS:.1f} MB a path"
    )
    return Row(f"ledger: disk for a path and month, {rate} packets a minute", value, "MB", note=note)


async def _filled(file: Path, rate: int, paths: int, days: int) -> tuple[int, int]:
    """Octets of the pages in use, before and after."""
    store = await Store.open(file)
    empty = _used(file)
    begin_s = _BEGIN * 60
    waiting: list[Readings] = []
    for taken in readings("bench", paths, days * DAY, rate, begin_s):
        waiting.append(taken)
        if len(waiting) >= _TOGETHER:
            await store.ledger.ingest(*waiting)
            waiting = []
    await store.ledger.ingest(*waiting)
    await store.ledger.settle(minute_of(begin_s * 1_000_000_000) + days * DAY + DAY)
    await store.close()
    return empty, _used(file)


def _used(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size
