"""What one scrape costs the collector: an exposition of very many paths parsed, and taken into the ledger.

The text is that of a simulated agent, as it answers the collector: the families that are needed, after some more
packets each time. The first one, of which the layout is learned, stands beside it in the note. The time is that of the
processor, for parsing and for the transaction; what the disk takes to make it last is not in it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from collector.sla.verdict import PathKey
from collector.sources.layout import Layout
from collector.sources.samples import NEEDED
from collector.store.store import Store
from tests.bench.report import Row
from tests.support.counting import HUB_LIMIT
from tests.support.simulated import SimulatedAgent, SimulatedPath

SIZES: Final = (10, 100, 1_000)
_BAR_MS: Final = 50.0
_TIMES: Final = 5
_PACKETS: Final = 3
_BEGIN_NS: Final = 1_788_000_000_000_000_000
_INTERVAL_NS: Final = 10_000_000_000
_SITE: Final = "site"


def run(seconds: float, sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """Measure and give a row for each number of paths; how long it takes is given by that, not by `seconds`."""
    del seconds
    return [asyncio.run(_ingested(paths, paths == max(sizes))) for paths in sizes]


async def _ingested(paths: int, barred: bool) -> Row:
    keys = [PathKey(_SITE, f"target{number}", "hub", "telecom", "stamp", 0) for number in range(paths)]
    agent = SimulatedAgent([SimulatedPath(key, HUB_LIMIT, late_forward=0.1) for key in keys])
    agent.run(_PACKETS)
    octets = agent.exposition(NEEDED).encode()
    cpu = time.process_time()
    layout = Layout.learned(_SITE, octets)
    learned_ms = 1000 * (time.process_time() - cpu)
    assert layout is not None
    parsing_ms: list[float] = []
    taking_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(Path(folder) / "state.sqlite")
        for number in range(_TIMES + 1):
            agent.run(_PACKETS)
            octets = agent.exposition(NEEDED).encode()
            cpu = time.process_time()
            reading = layout.read(octets, _BEGIN_NS + number * _INTERVAL_NS)
            parsed = time.process_time()
            assert reading is not None
            await store.ledger.ingest(reading.readings)
            parsing_ms.append(1000 * (parsed - cpu))
            taking_ms.append(1000 * (time.process_time() - parsed))
        found = await store.ledger.sums(0, 1 << 36)
        await store.close()
    assert int(found.counts[:, 0].sum()) == sum(path.ledger.sent for path in agent.paths)
    # The first has the numbers of the paths to give.
    both = [parsing + taking for parsing, taking in zip(parsing_ms[1:], taking_ms[1:], strict=True)]
    parts = f"{median(parsing_ms[1:]):.1f} ms to parse, {median(taking_ms[1:]):.1f} ms to take in"
    note = (
        f"{len(octets) / 1e6:.1f} MB; {parts}; {min(both):.1f}..{max(both):.1f} ms of {_TIMES}; "
        f"the layout is learned in {learned_ms:.0f} ms; ledger equal to what was counted"
    )
    return Row(
        f"collector: exposition of {paths} paths", median(both), "ms", _BAR_MS if barred else None, note=note
    )
