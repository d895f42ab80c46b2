"""The store: what has been read and decided survives a restart, in whole transactions.

A scrape is one transaction (`collector.store.ledger`). An evaluation is one transaction: the breaches that changed, the
runs that lead to the next change, and what is to be told of it. So a collector killed at any moment has counted
everything it read once, and has announced, or will announce, everything it decided once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter
from sqlalchemy import URL, bindparam, delete, select, update

from agent.core.outcome import Direction
from collector.alerts.gathering import Waiting
from collector.alerts.outbox import Notification, Pending
from collector.ledger.minutes import minute_of
from collector.ledger.recent import Slices
from collector.sla.breach import Breach, BreachClosed, BreachEvent, BreachKey, BreachOpened, Watch
from collector.store.database import Database
from collector.store.ledger import Ledger
from collector.store.maintenance import MaintenanceTables
from collector.store.numbers import Numbers
from collector.store.schema import breaches, outbox, runs

_BREACH: Final = TypeAdapter(Breach)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a collector finds when it starts.

    Attributes:
        slices: what was counted since the given time, one for each path and minute.
        watches: open breaches and runs.
    """

    slices: Slices
    watches: dict[BreachKey, Watch]


class Store:
    """The collector's state in a database; also the outbox of `collector.alerts`.

    Use `Store.open`; one collector per database announces, which `Database.held_alone` sees to.

    Attributes:
        ledger: what was counted.
        maintenance: windows of maintenance.
        numbers: by which the ledger names paths.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.numbers = Numbers(database)
        self.ledger = Ledger(database, self.numbers)
        self.maintenance = MaintenanceTables(database)
        self._waiting: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, where: Path | URL) -> Store:
        """Open or create the state.

        Raises:
            StoreError: not a state of this program, of a newer version of it, or not to be written.
        """
        store = cls(await Database.open(where))
        await store.numbers.learn()
        return store

    def assert_in_place(self) -> None:
        """See to it that the state is still the one that was opened.

        Raises:
            StateGone: its file was removed or replaced.
        """
        self._database.assert_in_place()

    async def close(self) -> None:
        """Close it."""
        await self._database.close()

    async def recall(self, since_ns: int) -> Remembered:
        """What is known from before, with what was counted after `since_ns`."""
        opened = select(breaches.c.document).where(breaches.c.closed_ns.is_(None))
        async with self._database.reading() as connection:
            watches = {
                breach.key: Watch(breach)
                for breach in map(_BREACH.validate_json, (await connection.execute(opened)).scalars())
            }
            for row in await connection.execute(select(runs)):
                key = BreachKey(self.numbers.keys[row.path], Direction(row.direction), row.objective)
                watches[key] = Watch(watches.get(key, Watch()).open, row.length)
        return Remembered(await self._slices_since(since_ns), watches)

    async def _slices_since(self, since_ns: int) -> Slices:
        taken_ns = await self.ledger.last_taken_ns()
        if not taken_ns:
            return Slices.empty()
        last = minute_of(max(taken_ns.values()))
        found = await self.ledger.minutes(minute_of(since_ns), last + 1)
        latest_ns = [taken_ns[self.numbers.keys[path].source] for path in found.path.tolist()]
        return Slices.of(found, np.array(latest_ns, np.int64))

    async def record(
        self,
        changed: Iterable[Breach],
        watches: Mapping[BreachKey, Watch],
        notifications: Iterable[Notification],
        waiting: Iterable[Waiting] = (),
    ) -> None:
        """Write one evaluation.

        Args:
            changed: breaches that are not as they were.
            watches: for the runs, as they are now.
            notifications: what is to be told.
            waiting: all that has changed and is to be told later.
        """
        running = {key: watch.run for key, watch in watches.items() if watch.run}
        await self.numbers.give(key.path for key in running)
        async with self._database.writing() as connection:
            rows = [
                {
                    "id": breach.id,
                    "opened_ns": breach.opened_ns,
                    "closed_ns": breach.closed_ns,
                    "document": _BREACH.dump_json(breach).decode(),
                }
                for breach in changed
            ]
            if rows:
                statement = self._database.insert(breaches)
                taken = {name: statement.excluded[name] for name in ("opened_ns", "closed_ns", "document")}
                await connection.execute(
                    statement.on_conflict_do_update(index_elements=["id"], set_=taken), rows
                )
            await connection.execute(delete(runs))
            if running:
                await connection.execute(
                    runs.insert(),
                    [
                        {
                            "path": self.numbers.paths[key.path],
                            "direction": key.direction.value,
                            "objective": key.objective,
                            "length": length,
                        }
                        for key, length in running.items()
                    ],
                )
            later = {_waiting_key(one.event): one.since_ns for one in waiting}
            if gone := self._waiting - later.keys():
                one = delete(outbox).where(outbox.c.key == bindparam("gone"))
                await connection.execute(one, [{"gone": key} for key in gone])
            new = [Notification(key, "", "", later[key]) for key in later if key not in self._waiting]
            added = [*notifications, *new]
            if added:
                await connection.execute(
                    self._database.insert(outbox).on_conflict_do_nothing(index_elements=["key"]),
                    [
                        {
                            "key": told.key,
                            "channel": told.channel,
                            "payload": told.payload,
                            "created_ns": told.created_ns,
                            "next_attempt_ns": told.created_ns,
                            "attempts": 0,
                            "abandoned": 0,
                            "last_error": "",
                        }
                        for told in added
                    ],
                )
        self._waiting = frozenset(later)

    async def waiting(self) -> list[Waiting]:
        """All that has changed and is not yet told; rows of the outbox without a channel stand for it."""
        query = select(outbox.c.key, outbox.c.created_ns).where(outbox.c.channel == "").order_by(outbox.c.id)
        async with self._database.reading() as connection:
            since_ns = {row.key: row.created_ns for row in await connection.execute(query)}
            closed_ns = breaches.c.closed_ns
            found = select(breaches.c.document).where(
                closed_ns.is_(None) | (closed_ns >= min(since_ns.values(), default=0))
            )
            documents = (await connection.execute(found)).scalars().all() if since_ns else []
        of = {breach.id: breach for breach in map(_BREACH.validate_json, documents)}
        self._waiting = frozenset(since_ns)
        changed = {
            key: (BreachOpened if key.endswith("/opened") else BreachClosed)(of[key.split("/")[1]])
            for key in since_ns
        }
        return [Waiting(event, since_ns[key]) for key, event in changed.items()]

    async def recent_breaches(self, since_ns: int, limit: int) -> list[Breach]:
        """All open breaches, and those that closed since then, the latest first; at most `limit` closed ones."""
        closed = (
            select(breaches.c.document)
            .where(breaches.c.closed_ns >= since_ns)
            .order_by(breaches.c.closed_ns.desc())
            .limit(limit)
        )
        opened = (
            select(breaches.c.document)
            .where(breaches.c.closed_ns.is_(None))
            .order_by(breaches.c.opened_ns.desc())
        )
        async with self._database.reading() as connection:
            return [
                _BREACH.validate_json(document)
                for query in (opened, closed)
                for document in (await connection.execute(query)).scalars()
            ]

    # The outbox of collector.alerts

    async def pending(self, channel: str) -> list[Pending]:
        """All rows of a channel that are neither delivered nor abandoned, oldest first."""
        query = (
            select(outbox)
            .where(outbox.c.channel == channel, outbox.c.delivered_ns.is_(None), outbox.c.abandoned == 0)
            .order_by(outbox.c.id)
        )
        async with self._database.reading() as connection:
            return [
                Pending(
                    row.id,
                    Notification(row.key, row.channel, row.payload, row.created_ns),
                    row.attempts,
                    row.next_attempt_ns,
                )
                for row in await connection.execute(query)
            ]

    async def record_delivered(self, row: int, now_ns: int) -> None:
        """The receiver has taken it."""
        await self._update_outbox(row, delivered_ns=now_ns)

    async def record_failed(self, row: int, next_attempt_ns: int, error: str) -> None:
        """One more try has failed."""
        await self._update_outbox(
            row, attempts=outbox.c.attempts + 1, next_attempt_ns=next_attempt_ns, last_error=error
        )

    async def record_abandoned(self, row: int, error: str) -> None:
        """It is not tried any more."""
        await self._update_outbox(row, attempts=outbox.c.attempts + 1, abandoned=1, last_error=error)

    async def _update_outbox(self, row: int, **values: Any) -> None:
        async with self._database.writing() as connection:
            await connection.execute(update(outbox).where(outbox.c.id == row).values(**values))


def _waiting_key(event: BreachEvent) -> str:
    return f"/{event.breach.id}/{'opened' if isinstance(event, BreachOpened) else 'closed'}"
