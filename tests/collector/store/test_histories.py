"""The ledger's sums equal what the agents counted, whatever goes wrong between the two."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import URL

from collector.ledger.minutes import MINUTE_MS, minute_of
from collector.ledger.sums import Sums
from collector.sla.counts import Reading
from collector.sla.verdict import PathKey
from collector.store.store import Store
from tests.support.counting import SECOND_NS
from tests.support.histories import BEGIN_S, Delivery, History
from tests.support.killing import Killed, killed_at
from tests.support.ledgers import FOREVER

HISTORIES = 1000
ON_POSTGRESQL = 250
"""The law is the same on both, and a server's transactions take longer."""

REMEMBERED = 12
TURNS = 12
"""In which all are delivered, as many at a time: fewer transactions for as many histories."""

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
        if 0.1 < chance < 0.25:
            self.faults["hour settled"] += 1
            await self._stores[self._rng.randrange(2)].ledger.settle(
                minute_of(int((BEGIN_S + self._rng.uniform(0, 20_000)) * SECOND_NS))
            )
        if 0.2 < chance < 0.4:
            self.faults["minutes gathered"] += 1
            await self._stores[self._rng.randrange(2)].ledger.gather(
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

    async def recall(self, stop: int) -> None:
        """Have the latest minutes in memory, both."""
        for store in self._stores:
            await store.ledger.recall(stop)

    async def assert_remembered(self) -> None:
        """What each has in memory is what the database has."""
        other = await Store.open(self._where)
        for store in self._stores:
            lately = store.ledger.last_hour
            if lately is None:
                continue  # it was killed, and has nothing yet
            minutes = await other.ledger.minutes(lately.since, FOREVER)
            found = await store.ledger.sums(lately.since, FOREVER)
            for name in ("path", "terms", "covered_ms", "reach_s", "minima_us", "counts", "products"):
                np.testing.assert_array_equal(getattr(found, name), getattr(Sums.of(minutes), name), name)
        await other.close()


async def test_memory_holds_what_the_database_has(where: Path | URL) -> None:
    """Whichever of two collectors has written it, whatever is settled meanwhile, and after each crash."""
    rng = random.Random(5)
    collectors = Collectors(where, rng)
    await collectors.start()
    histories = [History.random(seed, f"site{seed}", MOMENTS) for seed in range(REMEMBERED)]
    for step in range(max(len(history.deliveries) for history in histories)):
        if step % 4 == 0:
            await collectors.recall(minute_of(int((BEGIN_S + 250 * step) * SECOND_NS)))
        now = [history.deliveries[step] for history in histories if step < len(history.deliveries)]
        await collectors.deliver(now)
        if step % 2:
            await collectors.assert_remembered()
    assert collectors.faults["killed"]
    assert collectors.faults["hour settled"]
    assert collectors.faults["minutes gathered"]
    await collectors.close()


@pytest.mark.timeout(180)
async def test_the_sums_equal_what_the_agents_counted(
    where: Path | URL, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the packet, for every path, after every history; halfway nothing was counted that no agent has counted."""
    rng = random.Random(4)
    collectors = Collectors(where, rng)
    await collectors.start()
    readings, faults = 0, Counter[str]()
    kind, number = ("PostgreSQL", ON_POSTGRESQL) if isinstance(where, URL) else ("SQLite", HISTORIES)
    for first in range(0, number, number // TURNS):
        seeds = range(first, min(number, first + number // TURNS))
        histories = [History.random(seed, f"site{seed}", MOMENTS) for seed in seeds]
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
    with capsys.disabled():
        print(
            f"\n{kind}: {number} histories, {readings} readings, {faults.total()} faults "
            f"({', '.join(f'{name} {count}' for name, count in sorted(faults.items()))}): "
            f"ledger sums equal agent counts in all"
        )
    assert all(count >= 20 for count in faults.values())
