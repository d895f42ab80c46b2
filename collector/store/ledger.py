"""The ledger's tables: what every path counted in every minute, once.

A reading is one transaction. It holds the heads of its agents, so that no other collector changes them meanwhile; what
the reading has above them goes into the journal, and it takes their place, under the next revision. A head that another
collector has moved since it was last seen is read again first, and what is left to add is nothing where the other has
read the same. So a crash at any moment leaves both or neither, and a replay adds nothing. Were two writers ever to
claim the same revision, the journal's key would refuse the second.

Once an hour is over its part of the journal is put into blocks of a path and an hour each.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.ledger.codec import QUICKLY, decode, decode_heads, encode, encode_heads
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    Integers,
    Minutes,
    counts_vector,
    direction_counts,
)
from collector.ledger.telescope import Added, Heads, Taken, telescope
from collector.sla.counts import Block, Reading
from collector.store.database import Database
from collector.store.numbers import Numbers, canonical
from collector.store.schema import heads, hours, journal

log = logging.getLogger(__name__)

MINUTES_PER_HOUR: Final = 60
_SECOND_NS: Final = 1_000_000_000
_US_NS: Final = 1_000
_AT_ONCE: Final = 500
"""Numbers in one IN (…)."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The head of an agent as it was last seen."""

    revision: int
    taken_ns: int
    heads: Heads


@dataclass(slots=True)
class _Done:
    """What a transaction has done, once it is committed.

    Attributes:
        known: heads as they are then.
        rows: of the journal.
        blocks, anew, refused: what all readings have added, and paths as in `Added`.
    """

    known: dict[int, _Known] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    anew: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


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
        done = _Done()
        async with self._database.writing() as connection:
            for agent, known in (await self._held(connection, sorted(by_agent))).items():
                self._add(agent, known, by_agent[agent], done)
            if done.known:
                await connection.execute(
                    update(heads).where(heads.c.agent == bindparam("held")),
                    [
                        {
                            "held": agent,
                            "revision": known.revision,
                            "taken_ns": known.taken_ns,
                            "body": encode_heads(known.heads),
                        }
                        for agent, known in done.known.items()
                    ],
                )
                await connection.execute(journal.insert(), done.rows)
        self._known |= done.known
        for path in done.anew:
            log.warning("%s: counters fell without a restart: taken as begun anew", self._numbers.keys[path])
        for path in done.refused:
            log.warning("%s: counters fell, of the same start: not counted", self._numbers.keys[path])
        return done.blocks

    def _add(self, agent: int, known: _Known, readings: Sequence[Reading], done: _Done) -> None:
        """Add what an agent's readings have above its head."""
        now = known.heads
        blocks: list[Block] = []
        parts: list[Minutes] = []
        for batch in _batches(readings):
            added, now = telescope(now, self._taken(batch))
            blocks += _blocks(batch, added)
            parts.append(added.minutes)
            done.anew += added.anew
            done.refused += added.refused
        if not blocks:
            return
        minutes = Minutes.joined(parts).merged()
        taken_ns = max(known.taken_ns, *(reading.taken_ns for reading in readings))
        done.known[agent] = _Known(known.revision + 1, taken_ns, now)
        done.blocks += blocks
        done.rows.append(
            {
                "agent": agent,
                "revision": known.revision + 1,
                "last_minute": int(minutes.minute.max()),
                "body": encode(minutes, QUICKLY),
            }
        )

    async def _held(self, connection: AsyncConnection, agents: Sequence[int]) -> dict[int, _Known]:
        """The heads of agents as they are, which nobody else changes before the transaction ends."""
        new = [
            {"agent": agent, "revision": 0, "taken_ns": 0, "body": encode_heads(Heads.empty())}
            for agent in agents
            if agent not in self._known
        ]
        if new:
            await connection.execute(self._database.insert(heads).on_conflict_do_nothing(), new)
        held: dict[int, _Known] = {}
        for some in _pieces(agents):
            # In one order, so that two collectors never wait for each other in a ring; SQLite has one writer anyway.
            lock = (
                select(heads.c.agent, heads.c.revision)
                .where(heads.c.agent.in_(some))
                .order_by(heads.c.agent)
                .with_for_update()
            )
            revisions = {row.agent: row.revision for row in await connection.execute(lock)}
            stale = [
                agent
                for agent, revision in revisions.items()
                if agent not in self._known or self._known[agent].revision != revision
            ]
            held |= {agent: self._known[agent] for agent in revisions if agent not in stale}
            if stale:
                rows = await connection.execute(select(heads).where(heads.c.agent.in_(stale)))
                held |= {
                    row.agent: _Known(row.revision, row.taken_ns, decode_heads(row.body)) for row in rows
                }
        return held

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
        due = select(journal.c.agent).where(journal.c.last_minute < before_minute).distinct()
        async with self._database.reading() as connection:
            agents = (await connection.execute(due)).scalars().all()
        for agent in agents:
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
            recent = await self._journal(connection, from_minute, wanted)
        found = Minutes.joined(
            [*(_named(decode(body), key) for key, body in blocks.items()), *map(decode, recent)]
        )
        chosen = (found.minute >= from_minute) & (found.minute < to_minute)
        if wanted is not None:
            chosen &= np.isin(found.path, wanted)
        return found.take(chosen).merged()

    async def _journal(
        self, connection: AsyncConnection, from_minute: int, paths: Integers | None
    ) -> list[bytes]:
        """What is not in blocks yet and may be of these paths, from a minute on."""
        query = select(journal.c.body).where(journal.c.last_minute >= from_minute)
        parts = [query]
        if paths is not None:
            sites = {self._numbers.keys[path].source for path in paths.tolist()}
            agents = sorted(self._numbers.agents[site] for site in sites if site in self._numbers.agents)
            parts = [query.where(journal.c.agent.in_(some)) for some in _pieces(agents)]
        return [body for part in parts for body in (await connection.execute(part)).scalars()]


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


def _pieces(numbers: Sequence[int]) -> list[Sequence[int]]:
    """As many at once as one IN (…) takes."""
    return [numbers[first : first + _AT_ONCE] for first in range(0, len(numbers), _AT_ONCE)]


async def _blocks_of(
    connection: AsyncConnection, paths: Sequence[int] | None, first_hour: int, end_hour: int
) -> Mapping[tuple[int, int, int], bytes]:
    """Bodies of blocks by (path, hour, terms); of all paths, or of some."""
    query = select(hours).where(hours.c.hour >= first_hour, hours.c.hour < end_hour)
    parts = [query] if paths is None else [query.where(hours.c.path.in_(some)) for some in _pieces(paths)]
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
