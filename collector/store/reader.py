"""The ledger as it is read: windows out of blocks, sums, the journal, and the latest minutes in memory.

A window of an hour or less is read from memory alone (`window`), once somebody has asked to have it there (`recall`),
and of a longer one its end is: what the journal holds is then read once, whoever has written it, and not for each
window again. Of every agent the revision of its head says whether memory has all that was written; where another
collector has added something, the agent is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.ledger.by_minute import LeftOut
from collector.ledger.codec import decode, decode_sums
from collector.ledger.last_hour import LastHour, needed_since, whole_hours_end
from collector.ledger.minutes import Integers, Minutes
from collector.ledger.sums import Sums
from collector.store import blocks, schema
from collector.store.database import Database, pieces
from collector.store.numbers import Numbers
from collector.store.schema import heads, journal

_AGENTS_AT_ONCE = 20
"""Whose minutes are read into memory at once."""

_FOREVER = 1 << 36


class LedgerReader:
    """Reads the ledger in a database.

    Attributes:
        last_hour: the latest minutes in memory; None: nobody has asked for them.

    Args:
        database: where it is.
        numbers: of its paths and agents.
    """

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers
        self.last_hour: LastHour | None = None

    async def recall(self, stop: int) -> LastHour:
        """Have the minutes in memory that windows need which end with `stop`, as the database has them now."""
        if self.last_hour is None:
            self.last_hour = LastHour(needed_since(stop))
        lately = self.last_hour
        lately.forget(needed_since(stop))
        await self._keep_up(lately)
        return lately

    def tiles(self, from_minute: int, to_minute: int) -> blocks.Tiles:
        """What `parts` puts a window together from; what is after the last of them is divided in spans."""
        return blocks.Tiles.of(from_minute, self._remembered_since(from_minute, to_minute))

    async def _keep_up(self, lately: LastHour) -> None:
        for changed in pieces(await self._changed(lately), _AGENTS_AT_ONCE):
            await self._read_again(lately, changed)

    def _remember(self, added: Iterable[tuple[int, int, Minutes]]) -> None:
        if self.last_hour is not None:
            self.last_hour.take(added)

    async def _changed(self, lately: LastHour) -> list[int]:
        """The agents of which memory has not all that was written."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(heads.c.agent, heads.c.revision).order_by(heads.c.agent))
            return [agent for agent, revision in rows if lately.revisions.get(agent, 0) != revision]

    async def _read_again(self, lately: LastHour, changed: Sequence[int]) -> None:
        async with self._database.reading() as connection:
            query = select(heads.c.agent, heads.c.revision).where(heads.c.agent.in_(changed))
            revisions = {row.agent: row.revision for row in await connection.execute(query)}
            # not by the numbers that are known here: another collector may have given some since
            mine = (
                select(schema.paths.c.id.label("path"), schema.agents.c.id.label("agent"))
                .join(schema.agents, schema.agents.c.site == schema.paths.c.source)
                .where(schema.agents.c.id.in_(changed))
                .order_by(schema.paths.c.id)
            )
            paths, agents = np.array((await connection.execute(mine)).all(), np.int64).reshape(-1, 2).T
            settled = await blocks.rows_of(connection, paths.tolist(), lately.since, _FOREVER)
            bodies = await self._bodies(connection, lately.since, _FOREVER, [changed])

        def put() -> None:
            lately.drop(changed)
            for minutes in chain(blocks.named(settled), (minutes for minutes, _ in decode(bodies))):
                lately.add(agents[np.searchsorted(paths, minutes.path)], minutes)
            lately.revisions |= revisions

        await asyncio.to_thread(put)

    async def minutes(self, from_minute: int, to_minute: int, paths: Iterable[int] | None = None) -> Minutes:
        """All that was counted in [from, to), one row for each path, terms and minute, in that order.

        Args:
            from_minute, to_minute: since the Unix epoch.
            paths: numbers of the paths asked for; None: all.
        """
        wanted = None if paths is None else np.unique(np.fromiter(paths, np.int64))
        async with self._database.reading() as connection:
            settled = await blocks.minutes_of(
                connection, None if wanted is None else wanted.tolist(), from_minute, to_minute
            )
            recent = await self._journal(connection, from_minute, to_minute, self._agents_of(wanted))
        if wanted is not None:
            recent = recent.take(np.isin(recent.path, wanted))
        return Minutes.joined([settled, recent]).merged()

    async def sums(self, from_minute: int, to_minute: int, paths: Iterable[int] | None = None) -> Sums:
        """The sums of [from, to), one row for each path and terms."""
        parts, _ = await self.parts(from_minute, to_minute, to_minute - from_minute, paths)
        return parts.starting(from_minute).merged()

    async def parts(
        self,
        from_minute: int,
        to_minute: int,
        span: int,
        paths: Iterable[int] | None = None,
        without: Sequence[LeftOut] = (),
    ) -> tuple[Sums, Sums]:
        """The sums of parts of [from, to), one row for each path, terms and part.

        Days and hours that lie within the window are read as sums; only what is left of hours at its edges, and what
        is not settled yet, is read by the minute. Of times whose minutes were let go, whole days are still known.

        Args:
            from_minute, to_minute: since the Unix epoch.
            span: how many minutes a part has, that begins where the Unix time is a multiple of it; but hours and days
                that are read as sums are not divided.
            paths: numbers of the paths asked for; None: all.
            without: minutes of paths that are left out.

        Returns:
            Those parts, and what was left out of them.
        """
        wanted = None if paths is None else np.unique(np.fromiter(paths, np.int64))
        if self.last_hour is not None:
            await self._keep_up(self.last_hour)
        remembered, tiles = self._remembered_since(from_minute, to_minute), self.tiles(from_minute, to_minute)
        of_sums: list[tuple[bytes, int]] = []
        async with self._database.reading() as connection:
            for agents in self._agents_of(wanted):
                for whole, starts in ((blocks.DAY, tiles.days), *((blocks.HOUR, one) for one in tiles.hours)):
                    of_sums += await blocks.sums_of(connection, agents, whole, starts)
            numbers = None if wanted is None else wanted.tolist()
            of_edges = [
                row for edge in tiles.edges for row in await blocks.rows_of(connection, numbers, *edge)
            ]
            bodies = await self._bodies(connection, from_minute, remembered, self._agents_of(wanted))

        def summed() -> Sums:
            edges = LastHour(from_minute)
            for minutes in chain(blocks.named(of_edges), (minutes for minutes, _ in decode(bodies))):
                within = minutes.take(minutes.minute < remembered)
                edges.add(np.zeros(len(within), np.int64), within)
            found = [
                decode_sums([body for body, _ in of_sums], [minute for _, minute in of_sums]),
                edges.sums(from_minute, remembered, max(1, span)),
            ]
            if self.last_hour is not None and remembered < to_minute:
                found.append(self.last_hour.sums(remembered, to_minute, max(1, span)))
            if wanted is not None:
                found = [one.take(np.isin(one.path, wanted)) for one in found]
            return Sums.joined(found).merged()

        # Of very many paths it takes seconds: beside the event loop.
        sums = await asyncio.to_thread(summed)
        left_out = await self.left_out(from_minute, to_minute, span, without)
        if not len(left_out):
            return sums, left_out
        return Sums.joined([sums, left_out.negated()]).merged(), left_out

    async def left_out(self, from_minute: int, to_minute: int, span: int, without: Sequence[LeftOut]) -> Sums:
        """The sums of minutes that are left out, as parts of the sums that `parts` would have them in."""
        tiles = self.tiles(from_minute, to_minute)
        found: list[Minutes] = []
        for first, stop in sorted({(one.from_minute, one.to_minute) for one in without}):
            paths = [one.path for one in without if (one.from_minute, one.to_minute) == (first, stop)]
            found.append(await self.minutes(first, stop, paths))
        return Sums.of(Minutes.joined(found).merged(), 1).within(
            lambda minute: tiles.part_of(minute, max(1, span))
        )

    def _remembered_since(self, from_minute: int, to_minute: int) -> int:
        """From which minute on of a window memory is read; its end where memory has nothing of it."""
        lately = self.last_hour
        if lately is None:
            return to_minute
        begin = lately.since if from_minute >= lately.since else max(lately.since, whole_hours_end(to_minute))
        return min(to_minute, max(from_minute, begin))

    def _agents_of(self, paths: Integers | None) -> list[Sequence[int]]:
        """The agents that may have counted these paths, some at a time."""
        numbers = self._numbers
        if paths is None:
            return pieces(sorted(numbers.agents.values()))
        sites = {numbers.keys[path].source for path in paths.tolist()}
        return pieces(sorted(numbers.agents[site] for site in sites if site in numbers.agents))

    async def _journal(
        self, connection: AsyncConnection, from_minute: int, to_minute: int, agents: Iterable[Sequence[int]]
    ) -> Minutes:
        """What is not in blocks yet of [from, to)."""
        bodies = await self._bodies(connection, from_minute, to_minute, agents)

        def within() -> Minutes:
            return Minutes.joined(found.within(from_minute, to_minute) for found, _ in decode(bodies))

        return await asyncio.to_thread(within)

    @staticmethod
    async def _bodies(
        connection: AsyncConnection, from_minute: int, to_minute: int, agents: Iterable[Sequence[int]]
    ) -> list[bytes]:
        """The rows of the journal that have minutes of [from, to)."""
        query = select(journal.c.body).where(
            journal.c.last_minute >= from_minute, journal.c.first_minute < to_minute
        )
        parts = [query.where(journal.c.agent.in_(some)) for some in agents]
        return [body for part in parts for body in (await connection.execute(part)).scalars()]
