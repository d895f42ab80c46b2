"""Hours that are over: the minutes of each path in a block, and sums of hours and days of each agent.

All of it follows from the journal, and is changed in the transaction that takes the journal's rows away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.ledger.codec import decode, decode_sums, encode, encode_sums
from collector.ledger.minutes import Minutes
from collector.ledger.sums import Sums
from collector.store.database import Database, pieces
from collector.store.schema import agents, hours, paths, sums

HOUR: Final = 60
DAY: Final = 24 * HOUR
_SHANGHAI: Final = 8 * HOUR
"""Days are those of the plan's calendar, Asia/Shanghai: UTC+8 all year."""


def day_of(minute: int) -> int:
    """The minute with which the day of a minute begins."""
    return (minute + _SHANGHAI) // DAY * DAY - _SHANGHAI


@dataclass(frozen=True, slots=True)
class Tiles:
    """What a window is put together from.

    Attributes:
        days, hours: first minutes of those that lie within it.
        edges: what is left of hours: [from, to) each.
    """

    days: range
    hours: tuple[range, ...]
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, from_minute: int, to_minute: int) -> Tiles:
        """The fewest that make up [from, to)."""
        first_hour, end_hour = -(-from_minute // HOUR) * HOUR, to_minute // HOUR * HOUR
        if first_hour > end_hour:
            return cls(range(0), (), ((from_minute, to_minute),))
        first_day, end_day = day_of(first_hour + DAY - 1), day_of(end_hour)
        days = range(first_day, end_day, DAY)
        whole = (
            (range(first_hour, first_day, HOUR), range(end_day, end_hour, HOUR))
            if days
            else (range(first_hour, end_hour, HOUR),)
        )
        edges = ((from_minute, first_hour), (end_hour, to_minute))
        return cls(days, whole, tuple(edge for edge in edges if edge[0] < edge[1]))

    def part_of(self, minute: int, span: int) -> int:
        """With which minute the sum begins that this minute of the window is in, where what is left is cut in spans."""
        if minute in range(self.days.start, self.days.stop):
            return day_of(minute)
        if any(minute in range(hours.start, hours.stop) for hours in self.hours):
            return minute - minute % HOUR
        return minute - minute % span


async def settle(connection: AsyncConnection, database: Database, agent: int, fresh: Minutes) -> None:
    """Put what an agent's paths have counted into its blocks and sums."""
    counted = np.unique(fresh.path).tolist()
    first, end = int(fresh.minute.min()), int(fresh.minute.max()) + 1
    touched = set(_keys(fresh))
    known = [row for row in await rows_of(connection, counted, first, end) if _key_of(row) in touched]
    minutes = Minutes.joined([*named(known), fresh]).merged()
    await _write_blocks(connection, database, minutes)
    more = (await _settle_hours(connection, database, agent, Sums.of(minutes, HOUR))).within(day_of)
    days = await _sums_of(connection, agent, DAY, more)
    await _write_sums(connection, database, agent, DAY, Sums.joined([days, more]).merged())


async def minutes_of(
    connection: AsyncConnection, chosen: Sequence[int] | None, from_minute: int, to_minute: int
) -> Minutes:
    """What blocks hold of [from, to); of some paths, or of all."""
    rows = await rows_of(connection, chosen, from_minute, to_minute)

    def within() -> Minutes:
        return Minutes.joined(found.within(from_minute, to_minute) for found in named(rows))

    return await asyncio.to_thread(within)


async def sums_of(
    connection: AsyncConnection, chosen: Sequence[int], span: int, starts: range
) -> list[tuple[bytes, int]]:
    """The sums of spans of some agents' paths, as `decode_sums` takes them."""
    if not starts:
        return []
    query = select(sums.c.body, sums.c.minute).where(
        sums.c.agent.in_(chosen),
        sums.c.span == span,
        sums.c.minute >= starts.start,
        sums.c.minute < starts.stop,
    )
    return [(body, minute) for body, minute in await connection.execute(query)]


async def forget(connection: AsyncConnection, before_minute: int) -> None:
    """Let go of blocks and hourly sums of hours that ended by then; days stay."""
    # each path and agent by itself: whoever asked for hours alone would have all keys looked through
    old = hours.c.path.in_(select(paths.c.id)) & (hours.c.hour < before_minute // HOUR)
    await connection.execute(delete(hours).where(old))
    of_agents = sums.c.agent.in_(select(agents.c.id)) & (sums.c.span == HOUR)
    await connection.execute(delete(sums).where(of_agents, sums.c.minute < before_minute // HOUR * HOUR))


async def _settle_hours(connection: AsyncConnection, database: Database, agent: int, now: Sums) -> Sums:
    """Replace the sums of hours by these; gives what they have above the former ones."""
    former = await _sums_of(connection, agent, HOUR, now)
    replaced = set(_sum_keys(now))
    gone = np.array([key in replaced for key in _sum_keys(former)], np.bool_)
    await _write_sums(connection, database, agent, HOUR, Sums.joined([former.take(~gone), now]))
    return Sums.joined([now, former.take(gone).negated()])


async def _sums_of(connection: AsyncConnection, agent: int, span: int, like: Sums) -> Sums:
    """The sums of the spans that these are of."""
    query = select(sums.c.minute, sums.c.body).where(
        sums.c.agent == agent, sums.c.span == span, sums.c.minute.in_(set(like.minute.tolist()))
    )
    rows = (await connection.execute(query)).all()
    return decode_sums([row.body for row in rows], [row.minute for row in rows])


async def _write_sums(
    connection: AsyncConnection, database: Database, agent: int, span: int, of_spans: Sums
) -> None:
    statement = database.insert(sums)
    rows = [
        {
            "agent": agent,
            "span": span,
            "minute": minute,
            "body": encode_sums(of_spans.take(of_spans.minute == minute)),
        }
        for minute in sorted(set(of_spans.minute.tolist()))
    ]
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["agent", "span", "minute"], set_={"body": statement.excluded.body}
        ),
        rows,
    )


async def _write_blocks(connection: AsyncConnection, database: Database, minutes: Minutes) -> None:
    """Write merged minutes, a block for each path, hour and terms."""
    keys = _keys(minutes)
    starts = [place for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
    statement = database.insert(hours)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["path", "hour", "terms"], set_={"body": statement.excluded.body}
        ),
        [
            {
                "path": keys[start][0],
                "hour": keys[start][1],
                "terms": keys[start][2],
                "body": encode(unnamed(minutes.take(slice(start, end)))),
            }
            for start, end in zip(starts, [*starts[1:], len(keys)], strict=True)
        ],
    )


async def rows_of(
    connection: AsyncConnection, chosen: Sequence[int] | None, from_minute: int, to_minute: int
) -> list[Row[int, int, int, bytes]]:
    """Blocks of hours that have minutes of [from, to)."""
    query = select(hours.c.path, hours.c.hour, hours.c.terms, hours.c.body).where(
        hours.c.hour >= from_minute // HOUR, hours.c.hour < -(-to_minute // HOUR)
    )
    of_all = query.where(hours.c.path.in_(select(paths.c.id)))
    parts = [of_all] if chosen is None else [query.where(hours.c.path.in_(some)) for some in pieces(chosen)]
    return [row for part in parts for row in await connection.execute(part)]


def _keys(minutes: Minutes) -> list[tuple[int, int, int]]:
    """Which block each row belongs to."""
    hour = (minutes.minute // HOUR).tolist()
    return [*zip(minutes.path.tolist(), hour, minutes.terms.tolist(), strict=True)]


def _key_of(row: Row[int, int, int, bytes]) -> tuple[int, int, int]:
    path, hour, terms, _ = row
    return path, hour, terms


def _sum_keys(of: Sums) -> Iterable[tuple[int, int, int]]:
    return zip(of.path.tolist(), of.terms.tolist(), of.minute.tolist(), strict=True)


def unnamed(block: Minutes) -> Minutes:
    """Without what the key of the block says."""
    nothing = np.zeros(len(block), np.int64)
    return Minutes(
        nothing,
        nothing,
        block.minute % HOUR,
        block.covered_ms,
        block.reach_s,
        block.minima_us,
        block.counts,
    )


def named(rows: Sequence[Row[int, int, int, bytes]]) -> Iterator[Minutes]:
    """The minutes of blocks, with what their keys say; some after the others."""
    keys = np.array([_key_of(row) for row in rows], np.int64).reshape(-1, 3)
    for found, source in decode([body for *_, body in rows]):
        path, hour, terms = np.ascontiguousarray(keys[source].T)
        yield replace(found, path=path, terms=terms, minute=found.minute + hour * HOUR)
