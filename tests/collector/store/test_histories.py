"""The ledger's sums equal what the agents counted, whatever goes wrong between the two."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import URL

from collector.ledger.minutes import MINUTE_MS, minute_of
from collector.sla.counts import Reading
from collector.sla.verdict import PathKey
from collector.store.store import Store
from tests.support.counting import SECOND_NS
from tests.support.histories import BEGIN_S, Delivery, History
from tests.support.killing import Killed, killed_at
from tests.support.ledgers import FOREVER

HISTORIES = 1000
TOGETHER = 50
MOMENTS = 10


class Collectors:
    """Two collectors of one database, which can be killed and come back."""

    def __init__(self, where: Path | URL, rng: random.Random) -> None:
        self._where = where
        self._rng = rng
        self._stores: list[Store] = []
        self.faults: Counter[str] = Counter()

    async def start(self) -> None:
        """Both."""
        self._stores = [await Store.open(self._where) for _ in range(2)]

    async def close(self) -> None:
        """Both."""
        for store in self._stores:
            await store.close()

    async def deliver(self, deliveries: list[Delivery]) -> None:
        """Let both read, at the same time or in turn, with a crash now and then."""
        given: list[list[Reading]] = [[], []]
        for delivery in deliveries:
            given[delivery.collector] += delivery.readings
        chance = self._rng.random()
        if chance < 0.15:
            victim = self._rng.randrange(2)
            # At one of its statements, at the commit, or right after.
            with contextlib.suppress(Killed), killed_at(self._rng.randrange(1, 9)):
                await self._stores[victim].ledger.ingest(given[victim])
            self.faults["killed"] += 1
            await self._stores[victim].close()
            self._stores[victim] = await Store.open(self._where)
        if 0.1 < chance < 0.2:
            self.faults["hour settled"] += 1
            await self._stores[self._rng.randrange(2)].ledger.settle(
                minute_of(int((BEGIN_S + self._rng.uniform(0, 20_000)) * SECOND_NS))
            )
        await asyncio.gather(
            *(store.ledger.ingest(readings) for store, readings in zip(self._stores, given, strict=True))
        )

    async def sums(self, paths: Iterable[PathKey]) -> dict[PathKey, list[int]]:
        """What the ledger says was counted."""
        (store, _) = self._stores
        found = await store.ledger.minutes(0, FOREVER, (store.numbers.paths[path] for path in paths))
        assert found.covered_ms.min() >= 0
        assert found.counts.min() >= 0
        for path in set(found.path.tolist()):
            mine = found.take(found.path == path)
            by_minute = Counter[int]()
            for minute, covered_ms in zip(mine.minute.tolist(), mine.covered_ms.tolist(), strict=True):
                by_minute[minute] += covered_ms
            assert max(by_minute.values()) <= MINUTE_MS, "no time is covered twice"
        return {
            store.numbers.keys[path]: found.counts[found.path == path].sum(axis=0).tolist()
            for path in set(found.path.tolist())
        }


@pytest.mark.timeout(180)
async def test_the_sums_equal_what_the_agents_counted(
    where: Path | URL, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the packet, for every path, after every history; halfway nothing was counted that no agent has counted."""
    rng = random.Random(4)
    collectors = Collectors(where, rng)
    await collectors.start()
    readings, faults = 0, Counter[str]()
    for first in range(0, HISTORIES, TOGETHER):
        histories = [History.random(seed, f"site{seed}", MOMENTS) for seed in range(first, first + TOGETHER)]
        for step in range(max(len(history.deliveries) for history in histories)):
            now = [history.deliveries[step] for history in histories if step < len(history.deliveries)]
            await collectors.deliver(now)
        sums = await collectors.sums(key for history in histories for key in history.agent.counted())
        for seed, history in enumerate(histories, first):
            for key, counted in history.agent.counted().items():
                assert sums[key] == counted, f"history {seed}, {key}"
            readings += history.readings
            faults += history.agent.faults
    faults += collectors.faults
    await collectors.close()
    kind = "PostgreSQL" if isinstance(where, URL) else "SQLite"
    with capsys.disabled():
        print(
            f"\n{kind}: {HISTORIES} histories, {readings} readings, {faults.total()} faults "
            f"({', '.join(f'{name} {count}' for name, count in sorted(faults.items()))}): "
            f"ledger sums equal agent counts in all"
        )
    assert all(count >= 20 for count in faults.values())
