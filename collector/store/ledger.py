"""The ledger's tables: what every path counted in every minute, once.

A reading is one transaction. It holds the heads of its agents, so that no other collector changes them meanwhile; what
the reading has above them goes into the journal, and it takes their place, under the next revision. A head that another
collector has moved since it was last seen is read again first, and what is left to add is nothing where the other has
read the same. So a crash at any moment leaves both or neither, and a replay adds nothing. Were two writers ever to
claim the same revision, the journal's key would refuse the second.

Once an hour is over its part of the journal is put into blocks of a path and an hour each. Until then what the journal
has of some minutes is put together once they are over: a start has so many fewer rows to read.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.ledger.codec import QUICKLY, decode, decode_heads, encode, encode_heads
from collector.ledger.minutes import NO_MINIMUM, Integers, Minutes
from collector.ledger.readings import Counted, Readings
from collector.ledger.recent import Slices
from collector.ledger.telescope import Added, Heads, Taken, telescope
from collector.sla.counts import Reading
from collector.sla.verdict import PathKey
from collector.store import blocks
from collector.store.database import Database, pieces
from collector.store.numbers import Counting, Numbers, canonical
from collector.store.reader import LedgerReader
from collector.store.schema import heads, journal

log = logging.getLogger(__name__)

_US_NS: Final = 1_000
GATHERED: Final = 5
"""Minutes whose rows are put into one: a twelfth of what is settled at once, so that each minute is moved twice."""


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
        minutes: what they hold, of which agent, under which revision.
        slices, anew, refused: what all readings have added, and paths as in `Added`.
    """

    known: dict[int, _Known] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    minutes: list[tuple[int, int, Minutes]] = field(default_factory=list)
    slices: list[Slices] = field(default_factory=list)
    anew: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """The numbers of what an agent counts.

    Attributes:
        counted: what that is.
        agent: the agent's number.
        paths, terms: of its paths (n,).
    """

    counted: Counted
    agent: int
    paths: Integers
    terms: Integers


class Ledger(LedgerReader):
    """The ledger in a database.

    Args:
        database: where it is.
        numbers: of its paths and agents.
    """

    def __init__(self, database: Database, numbers: Numbers) -> None:
        super().__init__(database, numbers)
        self._known: dict[int, _Known] = {}
        self._forgotten = 0
        self._due: list[int] = []
        self._scattered: list[int] = []
        self._numbered_before: dict[str, _Numbered] = {}
        self._planned_ns: Mapping[PathKey, int] = {}

    def expect(self, planned_ns: Mapping[PathKey, int]) -> None:
        """From now on paths are planned to have these intervals (ns) from probe to probe, in the mean."""
        self._planned_ns = planned_ns
        self._numbered_before.clear()

    async def ingest(self, *read: Sequence[Reading]) -> Slices:
        """Take readings into the ledger, in their order, in one transaction.

        Args:
            read: readings of any agents; those of one agent with the older ones first. None of them is counted twice,
                whatever was read before; what comes out of order is counted in the minute in which it was read only as
                far as nothing newer of the same counters is known.

        Returns:
            What each reading has added.
        """
        tables = [table for readings in read if readings for table in _by_agent(Readings.table(readings))]
        if not tables:
            return Slices.empty()
        await self._number([table.of for table in tables])
        by_agent: dict[int, list[Taken]] = defaultdict(list)
        for table in tables:
            numbered = self._numbered(table.of)
            by_agent[numbered.agent] += _batches(_taken(table, numbered))
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
        self._remember(done.minutes)
        for path in done.anew:
            log.warning("%s: counters fell without a restart: taken as begun anew", self._numbers.keys[path])
        for path in done.refused:
            log.warning("%s: counters fell, of the same start: not counted", self._numbers.keys[path])
        return Slices.joined(done.slices)

    async def _number(self, counted: Sequence[Counted]) -> None:
        """See to it that all of these have numbers; what is as at the last time has."""
        new = [one for one in counted if not self._is_numbered(one)]
        if new:
            await self._numbers.give(
                {path for one in new for path in one.paths},
                {counting for one in new for counting in self._countings(one)},
                {one.site for one in new},
            )

    def _is_numbered(self, counted: Counted) -> bool:
        before = self._numbered_before.get(counted.site)
        return before is not None and before.counted is counted

    def _numbered(self, counted: Counted) -> _Numbered:
        """The numbers of an agent's paths."""
        if not self._is_numbered(counted):
            numbers = self._numbers
            self._numbered_before[counted.site] = _Numbered(
                counted,
                numbers.agents[counted.site],
                np.array([numbers.paths[path] for path in counted.paths], np.int64),
                np.array([numbers.terms[one] for one in self._countings(counted)], np.int64),
            )
        return self._numbered_before[counted.site]

    def _countings(self, counted: Counted) -> list[Counting]:
        """How each path is counted: at the shorter of the intervals that it is planned and told to have."""
        found = []
        for path, limits, told_ns in zip(counted.paths, counted.limits, counted.intervals_ns, strict=True):
            known = [one for one in (told_ns, self._planned_ns.get(path)) if one is not None]
            found.append(Counting(canonical(limits), min(known, default=None)))
        return found

    def _add(self, agent: int, known: _Known, readings: Sequence[Taken], done: _Done) -> None:
        """Add what an agent's readings have above its head."""
        now = known.heads
        told: list[Slices] = []
        parts: list[Minutes] = []
        for taken in readings:
            added, now = telescope(now, taken)
            if len(added.rows):
                told.append(_slices(taken, added))
            parts.append(added.minutes)
            done.anew += added.anew
            done.refused += added.refused
        if not told:
            return
        minutes = Minutes.joined(parts).merged()
        taken_ns = max(known.taken_ns, *(int(taken.taken_ns.max()) for taken in readings))
        done.known[agent] = _Known(known.revision + 1, taken_ns, now)
        done.slices += told
        done.minutes.append((agent, known.revision + 1, minutes))
        done.rows.append(journal_row(agent, known.revision + 1, minutes))

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
        for some in pieces(agents):
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

    async def last_taken_ns(self) -> dict[str, int]:
        """When the latest reading of each site's agent was taken (Unix wall time)."""
        sites = {number: site for site, number in self._numbers.agents.items()}
        async with self._database.reading() as connection:
            rows = await connection.execute(select(heads.c.agent, heads.c.taken_ns))
            return {sites[row.agent]: row.taken_ns for row in rows if row.taken_ns}

    async def settle(self, before_minute: int, at_most: int | None = None) -> bool:
        """Put what the journal has of hours that end by `before_minute` into the blocks and sums of those hours.

        Args:
            before_minute: since the Unix epoch.
            at_most: of how many agents; None: of all.

        Returns:
            Whether more agents wait for it: the next call goes on with them.
        """
        before_minute -= before_minute % blocks.HOUR
        if not self._due:
            due = select(journal.c.agent).where(journal.c.last_minute < before_minute).distinct()
            async with self._database.reading() as connection:
                self._due = [*(await connection.execute(due)).scalars()]
        agents, self._due = (self._due, []) if at_most is None else (self._due[:at_most], self._due[at_most:])
        for agent in agents:
            async with self._database.writing() as connection:
                # Who holds the row of the head is the only one who changes the agent's ledger, on either database.
                await connection.execute(
                    select(heads.c.agent).where(heads.c.agent == agent).with_for_update()
                )
                mine = (journal.c.agent == agent) & (journal.c.last_minute < before_minute)
                bodies = (await connection.execute(select(journal.c.body).where(mine))).scalars()
                fresh = Minutes.joined(found for found, _ in decode([*bodies])).merged()
                if len(fresh):
                    await blocks.settle(connection, self._database, agent, fresh)
                    await connection.execute(delete(journal).where(mine))
        return bool(self._due)

    async def gather(self, before_minute: int, at_most: int | None = None) -> bool:
        """Put what the journal has of five minutes that end by `before_minute` into one row of an agent each.

        Args:
            before_minute: since the Unix epoch.
            at_most: of how many agents; None: of all.

        Returns:
            Whether more agents wait for it: the next call goes on with them.
        """
        before_minute -= before_minute % GATHERED
        if not self._scattered:
            part = journal.c.last_minute // GATHERED
            scattered = (
                select(journal.c.agent)
                .where(journal.c.last_minute < before_minute)
                .group_by(journal.c.agent, part)
                .having(func.count() > 1)
                .distinct()
            )
            async with self._database.reading() as connection:
                self._scattered = [*(await connection.execute(scattered)).scalars()]
        some = len(self._scattered) if at_most is None else at_most
        agents, self._scattered = self._scattered[:some], self._scattered[some:]
        for agent in agents:
            async with self._database.writing() as connection:
                await self._gather(connection, agent, before_minute)
        return bool(self._scattered)

    @staticmethod
    async def _gather(connection: AsyncConnection, agent: int, before_minute: int) -> None:
        # Who holds the row of the head is the only one who changes the agent's ledger, on either database.
        await connection.execute(select(heads.c.agent).where(heads.c.agent == agent).with_for_update())
        mine = (journal.c.agent == agent) & (journal.c.last_minute < before_minute)
        parts: dict[int, list[int]] = defaultdict(list)
        for row in await connection.execute(select(journal.c.revision, journal.c.last_minute).where(mine)):
            parts[row.last_minute // GATHERED].append(row.revision)
        gathered: list[dict[str, Any]] = []
        for revisions in [some for some in parts.values() if len(some) > 1]:
            these = (journal.c.agent == agent) & journal.c.revision.in_(revisions)
            bodies = (await connection.execute(select(journal.c.body).where(these))).scalars()
            minutes = Minutes.joined(found for found, _ in decode([*bodies])).merged()
            await connection.execute(delete(journal).where(these))
            gathered.append(journal_row(agent, max(revisions), minutes))
        if gathered:
            await connection.execute(journal.insert(), gathered)

    async def forget(self, before_minute: int) -> None:
        """Let go of the minutes and hourly sums of hours that ended by `before_minute`; sums of days stay."""
        hour = before_minute // blocks.HOUR
        if hour > self._forgotten:
            async with self._database.writing() as connection:
                await blocks.forget(connection, before_minute)
            self._forgotten = hour


def journal_row(agent: int, revision: int, minutes: Minutes) -> dict[str, Any]:
    """A row of the journal; some minutes."""
    return {
        "agent": agent,
        "revision": revision,
        "first_minute": int(minutes.minute.min()),
        "last_minute": int(minutes.minute.max()),
        "body": encode(minutes, QUICKLY),
    }


def _by_agent(readings: Readings) -> Iterable[Readings]:
    """Readings in their order, those of each agent together."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(readings.of.paths):
        rows[path.source].append(row)
    return [readings] if len(rows) == 1 else [readings.take(some) for some in rows.values()]


def _taken(readings: Readings, numbered: _Numbered) -> Taken:
    known = readings.minima_ns != NO_MINIMUM
    return Taken(
        numbered.paths,
        numbered.terms,
        readings.of.start_ns,
        readings.of.own_start,
        readings.taken_ns,
        np.where(known, readings.minima_ns // _US_NS, NO_MINIMUM),
        readings.counts,
    )


def _batches(taken: Taken) -> list[Taken]:
    """Readings in their order, no path twice in one batch."""
    order = np.argsort(taken.path, kind="stable")
    first = np.flatnonzero(np.diff(taken.path[order], prepend=-1))
    if len(first) == len(taken):
        return [taken]
    time = np.empty(len(taken), np.int64)
    time[order] = np.arange(len(taken)) - np.repeat(first, np.diff(first, append=len(taken)))
    return [taken.take(time == one) for one in range(int(time.max()) + 1)]


def _slices(taken: Taken, added: Added) -> Slices:
    """What each reading has added, as the evaluation takes it."""
    rows = added.rows
    return Slices(taken.path[rows], taken.terms[rows], added.begun_ns, taken.taken_ns[rows], added.counts)
