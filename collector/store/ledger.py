"""The ledger's tables: what every path counted in every minute, once.

An agent's reading is one transaction: its head is replaced by a head of the next revision, *if it is still of the
revision that was read*, and what the reading adds to it is written into the journal under that revision. Whoever finds
the head changed meanwhile, by another collector, reads it again and adds what is left to add, which is nothing where
the other has read the same. So a crash at any moment leaves both or neither, and a replay adds nothing.

Once an hour is over its part of the journal is put into blocks of a path and an hour each.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.ledger.codec import QUICKLY, decode, decode_heads, encode, encode_heads
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    Minutes,
    counts_vector,
    direction_counts,
)
from collector.ledger.telescope import Added, Heads, Taken, telescope
from collector.sla.counts import Block, Reading
from collector.store.database import Database
from collector.store.exceptions import OvertakenError
from collector.store.numbers import Numbers, canonical
from collector.store.schema import heads, hours, journal

log = logging.getLogger(__name__)

MINUTES_PER_HOUR: Final = 60
_SECOND_NS: Final = 1_000_000_000
_US_NS: Final = 1_000
_AT_ONCE: Final = 500
"""Numbers in one IN (…)."""

_TRIES: Final = 100
"""Each try that fails is another collector's that has succeeded."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The head of an agent as it was last seen."""

    revision: int
    taken_ns: int
    heads: Heads


class Ledger:
    """The ledger in a database.

    Args:
        database: where it is.
        numbers: of its paths and agents.
    """

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers
        self._known: dict[int, _Known] = {}

    async def ingest(self, readings: Sequence[Reading]) -> list[Block]:
        """Take readings into the ledger, in their order.

        Args:
            readings: of any agents; those of one agent with the older ones first. None of them is counted twice,
                whatever was read before; what comes out of order is counted in the minute in which it was read only as
                far as nothing newer of the same counters is known.

        Returns:
            What each reading has added.

        Raises:
            OvertakenError: other collectors were faster a hundred times in a row.
        """
        if not readings:
            return []
        await self._numbers.give(
            {reading.path for reading in readings},
            {canonical(reading.limits) for reading in readings},
            {reading.path.source for reading in readings},
        )
        by_agent: dict[int, list[Reading]] = defaultdict(list)
        for reading in readings:
            by_agent[self._numbers.agents[reading.path.source]].append(reading)
        for _ in range(_TRIES):
            written: dict[int, _Known] = {}
            try:
                async with self._database.writing() as connection:
                    blocks = [
                        block
                        # In one order, so that two collectors never wait for each other in a ring.
                        for agent in sorted(by_agent)
                        for block in await self._ingest_agent(connection, agent, by_agent[agent], written)
                    ]
            except _Overtaken as overtaken:
                self._known.pop(overtaken.agent, None)
                continue
            self._known |= written
            return blocks
        raise OvertakenError(f"{self._database.shown}: other collectors write faster than this one can")

    async def _ingest_agent(
        self,
        connection: AsyncConnection,
        agent: int,
        readings: Sequence[Reading],
        written: dict[int, _Known],
    ) -> list[Block]:
        known = self._known.get(agent) or await self._head(connection, agent)
        now = known.heads
        blocks: list[Block] = []
        parts: list[Minutes] = []
        for batch in _batches(readings):
            added, now = telescope(now, self._taken(batch))
            blocks += _blocks(batch, added)
            parts.append(added.minutes)
            for path in added.anew:
                log.warning(
                    "%s: counters fell without a restart: taken as begun anew", self._numbers.keys[path]
                )
            for path in added.refused:
                log.warning(
                    "%s: counters fell and have the same start: not counted", self._numbers.keys[path]
                )
        minutes = Minutes.joined(parts).merged()
        if not len(minutes) and not blocks:
            return []
        taken_ns = max(known.taken_ns, *(reading.taken_ns for reading in readings))
        after = _Known(known.revision + 1, taken_ns, now)
        changed = await connection.execute(
            update(heads)
            .where(heads.c.agent == agent, heads.c.revision == known.revision)
            .values(revision=after.revision, taken_ns=taken_ns, body=encode_heads(now))
        )
        if changed.rowcount != 1:
            raise _Overtaken(agent)
        await connection.execute(
            journal.insert().values(
                agent=agent,
                revision=after.revision,
                last_minute=int(minutes.minute.max(initial=0)),
                body=encode(minutes, QUICKLY),
            )
        )
        written[agent] = after
        return blocks

    async def _head(self, connection: AsyncConnection, agent: int) -> _Known:
        """The head of an agent; made where there is none."""
        query = select(heads).where(heads.c.agent == agent)
        row = (await connection.execute(query)).one_or_none()
        if row is None:
            nothing = {"revision": 0, "taken_ns": 0, "body": encode_heads(Heads.empty())}
            await connection.execute(
                self._database.insert(heads).values(agent=agent, **nothing).on_conflict_do_nothing()
            )
            row = (await connection.execute(query)).one()
        return _Known(row.revision, row.taken_ns, decode_heads(row.body))

    def _taken(self, readings: Sequence[Reading]) -> Taken:
        starts = [reading.epoch if reading.since is None else reading.since for reading in readings]
        minima = [
            [
                NO_MINIMUM if (least := reading.minima_ns.get(direction)) is None else least // _US_NS
                for direction in DIRECTIONS
            ]
            for reading in readings
        ]
        return Taken(
            np.array([self._numbers.paths[reading.path] for reading in readings], np.int64),
            np.array([self._numbers.terms[canonical(reading.limits)] for reading in readings], np.int64),
            np.array([round(start * _SECOND_NS) for start in starts], np.int64),
            np.array([reading.since is not None for reading in readings], np.bool_),
            np.array([reading.taken_ns for reading in readings], np.int64),
            np.array(minima, np.int64),
            np.array([counts_vector(reading.sent, reading.directions) for reading in readings], np.int64),
        )

    async def last_taken_ns(self) -> dict[str, int]:
        """When the latest reading of each site's agent was taken (Unix wall time)."""
        sites = {number: site for site, number in self._numbers.agents.items()}
        async with self._database.reading() as connection:
            rows = await connection.execute(select(heads.c.agent, heads.c.taken_ns))
            return {sites[row.agent]: row.taken_ns for row in rows if row.taken_ns}

    async def settle(self, before_minute: int) -> None:
        """Put what the journal has of hours that end by `before_minute` into the blocks of those hours."""
        before_minute -= before_minute % MINUTES_PER_HOUR
        for agent in sorted(self._numbers.agents.values()):
            async with self._database.writing() as connection:
                await self._settle_agent(connection, agent, before_minute)

    async def _settle_agent(self, connection: AsyncConnection, agent: int, before_minute: int) -> None:
        # Who holds the row of the head is the only one who changes the agent's ledger, on either database.
        await connection.execute(select(heads.c.agent).where(heads.c.agent == agent).with_for_update())
        mine = (journal.c.agent == agent) & (journal.c.last_minute < before_minute)
        rows = (await connection.execute(select(journal.c.body).where(mine))).scalars().all()
        fresh = Minutes.joined(map(decode, rows))
        if len(fresh):
            found = await _blocks_of(
                connection,
                np.unique(fresh.path).tolist(),
                int(fresh.minute.min()) // MINUTES_PER_HOUR,
                int(fresh.minute.max()) // MINUTES_PER_HOUR + 1,
            )
            touched = {*zip(*_block_keys(fresh), strict=True)}
            known = [_named(decode(body), key) for key, body in found.items() if key in touched]
            await self._write_blocks(connection, Minutes.joined([*known, fresh]).merged())
        await connection.execute(delete(journal).where(mine))

    async def _write_blocks(self, connection: AsyncConnection, minutes: Minutes) -> None:
        path, hour, terms = _block_keys(minutes)
        keys = np.stack([path, hour, terms], axis=1)
        starts = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
        statement = self._database.insert(hours)
        statement = statement.on_conflict_do_update(
            index_elements=["path", "hour", "terms"], set_={"body": statement.excluded.body}
        )
        ends = [*starts[1:].tolist(), len(minutes)]
        await connection.execute(
            statement,
            [
                {
                    "path": int(path[start]),
                    "hour": int(hour[start]),
                    "terms": int(terms[start]),
                    "body": encode(_unnamed(minutes.take(slice(start, end)))),
                }
                for start, end in zip(starts.tolist(), ends, strict=True)
            ],
        )

    async def forget(self, before_minute: int) -> None:
        """Let go of the minutes of hours that ended before `before_minute`."""
        async with self._database.writing() as connection:
            await connection.execute(delete(hours).where(hours.c.hour < before_minute // MINUTES_PER_HOUR))

    async def minutes(self, from_minute: int, to_minute: int, paths: Iterable[int] | None = None) -> Minutes:
        """All that was counted in [from, to), by path, terms and minute.

        Args:
            from_minute, to_minute: since the Unix epoch.
            paths: numbers of the paths asked for; None: all.
        """
        wanted = None if paths is None else np.unique(np.fromiter(paths, np.int64))
        first, last = from_minute // MINUTES_PER_HOUR, -(-to_minute // MINUTES_PER_HOUR)
        async with self._database.reading() as connection:
            blocks = await _blocks_of(connection, None if wanted is None else wanted.tolist(), first, last)
            recent = (
                await connection.execute(select(journal.c.body).where(journal.c.last_minute >= from_minute))
            ).scalars()
            found = Minutes.joined(
                [*(_named(decode(body), key) for key, body in blocks.items()), *map(decode, recent)]
            )
        chosen = (found.minute >= from_minute) & (found.minute < to_minute)
        if wanted is not None:
            chosen &= np.isin(found.path, wanted)
        return found.take(chosen).merged()


class _Overtaken(Exception):
    """Another collector has changed the head of an agent."""

    def __init__(self, agent: int) -> None:
        super().__init__(agent)
        self.agent = agent


def _batches(readings: Sequence[Reading]) -> Iterable[list[Reading]]:
    """Readings in their order, no path twice in one batch."""
    batch: dict[object, Reading] = {}
    for reading in readings:
        if reading.path in batch:
            yield [*batch.values()]
            batch = {}
        batch[reading.path] = reading
    yield [*batch.values()]


def _blocks(readings: Sequence[Reading], added: Added) -> list[Block]:
    """What each reading has added, as the evaluation takes it."""
    counted: list[list[int]] = added.counts.tolist()
    return [
        Block(
            readings[row].path,
            begun_ns,
            readings[row].taken_ns,
            vector[0],
            direction_counts(vector),
            readings[row].limits,
        )
        for row, begun_ns, vector in zip(added.rows.tolist(), added.begun_ns.tolist(), counted, strict=True)
    ]


async def _blocks_of(
    connection: AsyncConnection, paths: Sequence[int] | None, first_hour: int, end_hour: int
) -> Mapping[tuple[int, int, int], bytes]:
    """Bodies of blocks by (path, hour, terms); of all paths, or of some."""
    query = select(hours).where(hours.c.hour >= first_hour, hours.c.hour < end_hour)
    parts = (
        [query]
        if paths is None
        else [
            query.where(hours.c.path.in_(paths[first : first + _AT_ONCE]))
            for first in range(0, len(paths), _AT_ONCE)
        ]
    )
    return {
        (path, hour, terms): body
        for part in parts
        for path, hour, terms, body in await connection.execute(part)
    }


def _block_keys(minutes: Minutes) -> tuple[list[int], list[int], list[int]]:
    """Which block each row belongs to."""
    return minutes.path.tolist(), (minutes.minute // MINUTES_PER_HOUR).tolist(), minutes.terms.tolist()


def _unnamed(block: Minutes) -> Minutes:
    """Without what the key of the block says."""
    nothing = np.zeros(len(block), np.int64)
    return Minutes(
        nothing,
        nothing,
        block.minute % MINUTES_PER_HOUR,
        block.covered_ms,
        block.reach_s,
        block.minima_us,
        block.counts,
    )


def _named(block: Minutes, key: tuple[int, int, int]) -> Minutes:
    """With what the key of the block says."""
    path, hour, terms = key
    return Minutes(
        np.full(len(block), path),
        np.full(len(block), terms),
        block.minute + hour * MINUTES_PER_HOUR,
        block.covered_ms,
        block.reach_s,
        block.minima_us,
        block.counts,
    )
