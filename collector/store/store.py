"""The store: what has been read and decided survives a restart, in whole transactions.

A scrape is one transaction: its blocks and the readings that the next ones are compared with. An evaluation is one
transaction: the breaches that changed, the runs that lead to the next change, and what is to be told of it. So a
collector killed at any moment has counted everything it read once, and has announced, or will announce, everything it
decided once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, event, inspect, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from agent.core.outcome import Direction, Limit
from collector.alerts.outbox import Notification, Pending
from collector.sla.breach import Breach, BreachKey, Watch
from collector.sla.counts import Block, DirectionCounts, Reading, counters_fell, difference
from collector.sla.verdict import PathKey
from collector.store.exceptions import StoreError
from collector.store.schema import VERSION, about, blocks, breaches, metadata, outbox, paths, readings, runs

log = logging.getLogger(__name__)

_BREACH: Final = TypeAdapter(Breach)
_DIRECTIONS: Final = TypeAdapter(dict[Direction, DirectionCounts])
_LIMITS: Final = TypeAdapter(dict[Direction, Limit])
_PATH_COLUMNS: Final = ("source", "target", "tier", "provider", "kind", "dscp")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a collector finds when it starts.

    Attributes:
        readings: the last one of each path.
        blocks: those that end after the given time, in order.
        watches: open breaches and runs.
    """

    readings: dict[PathKey, Reading]
    blocks: list[Block]
    watches: dict[BreachKey, Watch]


class Store:
    """The collector's state in an SQLite file; also the outbox of `collector.alerts`.

    Use `Store.open`; one collector per file, which `collector.store.lock` sees to.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._paths: dict[PathKey, int] = {}

    @classmethod
    async def open(cls, file: Path) -> Store:
        """Open or create the state file.

        Raises:
            StoreError: not a state file of this program, of another version of it, or not to be written.
        """
        engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
        event.listen(engine.sync_engine, "connect", _prepare_connection)
        event.listen(engine.sync_engine, "begin", _begin)
        store = cls(engine)
        try:
            async with engine.begin() as connection:
                problem = await connection.run_sync(_create_or_check)
        except DatabaseError as error:
            problem = f"not usable as a state file: {error.orig}"
        if problem:
            await engine.dispose()
            raise StoreError(f"{file}: {problem}")
        return store

    async def close(self) -> None:
        """Close the file."""
        await self._engine.dispose()

    async def recall(self, since_ns: int) -> Remembered:
        """What is known from before, with the blocks that end after `since_ns`."""
        async with self._engine.connect() as connection:
            keys = {row.id: _path_key(row) for row in await connection.execute(select(paths))}
            self._paths = {key: identifier for identifier, key in keys.items()}
            last = await self._last_readings(connection, self._paths)
            recent = select(blocks).where(blocks.c.end_ns > since_ns).order_by(blocks.c.end_ns)
            found = [
                Block(
                    keys[row.path],
                    row.start_ns,
                    row.end_ns,
                    row.sent,
                    _DIRECTIONS.validate_json(row.directions),
                    _LIMITS.validate_json(row.limits),
                )
                for row in await connection.execute(recent)
            ]
            opened = select(breaches.c.document).where(breaches.c.closed_ns.is_(None))
            watches = {
                breach.key: Watch(breach)
                for breach in map(_BREACH.validate_json, (await connection.execute(opened)).scalars())
            }
            for row in await connection.execute(select(runs)):
                key = BreachKey(keys[row.path], Direction(row.direction), row.objective)
                watches[key] = Watch(watches.get(key, Watch()).open, row.length)
        return Remembered(last, found, watches)

    async def ingest(self, taken: Sequence[Reading]) -> list[Block]:
        """Take one scrape into the store: what it adds to the previous one, and itself as the next one's previous.

        Returns:
            The blocks that were added; a reading that is not newer than the last one of its path adds nothing.
        """
        if not taken:
            return []
        async with self._engine.begin() as connection:
            identifiers = await self._identifiers(connection, (reading.path for reading in taken))
            last = await self._last_readings(connection, identifiers)
            added: list[Block] = []
            for reading in taken:
                previous = last.get(reading.path)
                block = difference(previous, reading)
                if block is None:
                    continue
                if previous is not None and counters_fell(previous, reading):
                    log.warning("%s: counters fell without a restart: taken as begun anew", reading.path)
                added.append(block)
                row = {
                    "path": identifiers[reading.path],
                    "epoch": reading.epoch,
                    "taken_ns": reading.taken_ns,
                    "sent": reading.sent,
                    "in_flight": reading.in_flight,
                    "directions": _directions_json(reading.directions),
                }
                await connection.execute(
                    insert(readings)
                    .values(row)
                    .on_conflict_do_update(
                        index_elements=["path"],
                        set_={name: value for name, value in row.items() if name != "path"},
                    )
                )
            if added:
                await connection.execute(
                    blocks.insert(),
                    [
                        {
                            "path": identifiers[block.path],
                            "start_ns": block.start_ns,
                            "end_ns": block.end_ns,
                            "sent": block.sent,
                            "directions": _directions_json(block.directions),
                            "limits": _LIMITS.dump_json(dict(block.limits)).decode(),
                        }
                        for block in added
                    ],
                )
        self._paths |= identifiers
        return added

    async def prune(self, before_ns: int) -> None:
        """Forget blocks that ended before this time."""
        async with self._engine.begin() as connection:
            await connection.execute(delete(blocks).where(blocks.c.end_ns < before_ns))

    async def record(
        self,
        changed: Iterable[Breach],
        watches: Mapping[BreachKey, Watch],
        notifications: Iterable[Notification],
    ) -> None:
        """Write one evaluation: breaches that opened or closed, all runs as they are now, and what is to be told."""
        async with self._engine.begin() as connection:
            for breach in changed:
                row = {
                    "opened_ns": breach.opened_ns,
                    "closed_ns": breach.closed_ns,
                    "document": _BREACH.dump_json(breach).decode(),
                }
                await connection.execute(
                    insert(breaches)
                    .values(id=breach.id, **row)
                    .on_conflict_do_update(index_elements=["id"], set_=row)
                )
            await connection.execute(delete(runs))
            running = {key: watch.run for key, watch in watches.items() if watch.run}
            identifiers = await self._identifiers(connection, (key.path for key in running))
            if running:
                await connection.execute(
                    runs.insert(),
                    [
                        {
                            "path": identifiers[key.path],
                            "direction": key.direction.value,
                            "objective": key.objective,
                            "length": length,
                        }
                        for key, length in running.items()
                    ],
                )
            for told in notifications:
                await connection.execute(
                    insert(outbox)
                    .values(
                        key=told.key,
                        channel=told.channel,
                        payload=told.payload,
                        created_ns=told.created_ns,
                        next_attempt_ns=told.created_ns,
                        attempts=0,
                        abandoned=0,
                        last_error="",
                    )
                    .on_conflict_do_nothing(index_elements=["key"])
                )
        self._paths |= identifiers

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
        async with self._engine.connect() as connection:
            return [
                _BREACH.validate_json(document)
                for query in (opened, closed)
                for document in (await connection.execute(query)).scalars()
            ]

    async def totals(self) -> dict[PathKey, tuple[int, dict[Direction, DirectionCounts]]]:
        """The sum of all blocks of each path: probes sent, and counts by direction."""
        sums: dict[PathKey, tuple[int, dict[Direction, DirectionCounts]]] = {}
        for block in (await self.recall(-1)).blocks:
            sent, counts = sums.get(block.path, (0, {}))
            merged = {
                direction: counts.get(direction, DirectionCounts()) + more
                for direction, more in block.directions.items()
            }
            sums[block.path] = (sent + block.sent, {**counts, **merged})
        return sums

    # The outbox of collector.alerts

    async def pending(self, channel: str) -> list[Pending]:
        """All rows of a channel that are neither delivered nor abandoned, oldest first."""
        query = (
            select(outbox)
            .where(outbox.c.channel == channel, outbox.c.delivered_ns.is_(None), outbox.c.abandoned == 0)
            .order_by(outbox.c.id)
        )
        async with self._engine.connect() as connection:
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
        async with self._engine.begin() as connection:
            await connection.execute(update(outbox).where(outbox.c.id == row).values(**values))

    async def _identifiers(self, connection: AsyncConnection, keys: Iterable[PathKey]) -> dict[PathKey, int]:
        """The rows of paths; made where they are new, and not to be remembered before that is committed."""
        found: dict[PathKey, int] = {}
        for key in keys:
            if key in self._paths:
                found[key] = self._paths[key]
                continue
            values = dict(zip(_PATH_COLUMNS, astuple(key), strict=True))
            await connection.execute(insert(paths).values(values).on_conflict_do_nothing())
            query = select(paths.c.id).where(*(paths.c[name] == value for name, value in values.items()))
            found[key] = int((await connection.execute(query)).scalar_one())
        return found

    @staticmethod
    async def _last_readings(
        connection: AsyncConnection, identifiers: Mapping[PathKey, int]
    ) -> dict[PathKey, Reading]:
        keys = {identifier: key for key, identifier in identifiers.items()}
        wanted = select(readings).where(readings.c.path.in_(keys))
        return {
            keys[row.path]: Reading(
                keys[row.path],
                row.epoch,
                row.taken_ns,
                row.sent,
                row.in_flight,
                _DIRECTIONS.validate_json(row.directions),
            )
            for row in await connection.execute(wanted)
        }


def _create_or_check(connection: Connection) -> str:
    """Make the tables of a new file; what is wrong with one that is not new, or nothing."""
    tables = inspect(connection).get_table_names()
    if not tables:
        metadata.create_all(connection)
        connection.execute(about.insert().values(version=VERSION))
        return ""
    if about.name not in tables:
        return f"not a state file of this program: it has the tables {', '.join(tables)[:200]}"
    version = connection.execute(select(about.c.version)).scalar()
    return "" if version == VERSION else f"state of version {version}, this program has version {VERSION}"


def _prepare_connection(connection: Any, _: Any) -> None:
    """Write-ahead log, so that reading does not wait for writing; foreign keys, which SQLite leaves off."""
    # The driver must not begin transactions by itself: it would leave out reads and the making of tables.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Begin as a writer: one that reads first and then finds another writer ahead of it could not go on."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _path_key(row: Any) -> PathKey:
    return PathKey(row.source, row.target, row.tier, row.provider, row.kind, row.dscp)


def _directions_json(directions: Mapping[Direction, DirectionCounts]) -> str:
    return _DIRECTIONS.dump_json(dict(directions)).decode()
