"""A ledger of very many paths with hours and days full of data, in little time.

One agent's minutes are drawn (`tests.support.traffic`) and put into rows by what the ledger itself writes them with;
those are written for each agent, with the numbers of its own paths. So all hours are alike, and all days, and all
agents. The journal is as it stands in life: minutes of the present hour gathered by five, of the latest ones a row for
each scrape. Sums are there of all hours and days, blocks of paths only of hours whose minutes are asked for.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Table, delete, update

from collector.ledger.codec import encode, encode_sums
from collector.ledger.minutes import Integers, Minutes
from collector.ledger.sums import Sums
from collector.store.blocks import DAY, HOUR, day_of, unnamed
from collector.store.database import Database
from collector.store.ledger import GATHERED, journal_row
from collector.store.schema import heads, hours, journal, sums
from collector.store.store import Store
from tests.support.traffic import readings

PATHS: Final = 100
"""Of each agent."""

_PER_MINUTE: Final = 600
_SCRAPES: Final = 6
"""In a minute."""

_SCATTERED: Final = 4
"""How many of the latest minutes the journal has not gathered, in the mean."""

_BLOCKS: Final = 2
"""The latest settled hours, of which blocks are there."""

_TOGETHER: Final = 100


async def fill(file: Path, sites: Sequence[str], stop: int, days: int, begins: Sequence[int]) -> None:
    """Make a state file and fill its ledger.

    Args:
        file: its name.
        sites: whose agents count, `PATHS` each.
        stop: with which minute it ends, since the Unix epoch.
        days: how many are full before that.
        begins: minutes of whose hours there are to be blocks.
    """
    store = await Store.open(file)
    for first in range(0, len(sites), _TOGETHER):
        some = sites[first : first + _TOGETHER]
        await store.ledger.ingest(*(next(readings(site, PATHS, 1, _PER_MINUTE, 60 * stop)) for site in some))
    settled = stop // HOUR * HOUR
    hour, scraped = await _drawn(_PER_MINUTE, settled), await _drawn(_PER_MINUTE // _SCRAPES, settled)
    terms = next(iter(store.numbers.limits))
    of_site: dict[str, list[int]] = defaultdict(list)
    for key, number in store.numbers.paths.items():
        of_site[key.source].append(number)
    agents = [(store.numbers.agents[site], np.array(sorted(of_site[site]), np.int64)) for site in sites]
    await store.close()

    blocks = {settled // HOUR - one for one in range(1, _BLOCKS + 1)} | {one // HOUR for one in begins}
    database = await Database.open(file)
    bodies = [encode(unnamed(hour.take(hour.path == path))) for path in np.unique(hour.path).tolist()]
    await _write(
        database,
        hours,
        (
            {"path": path, "hour": one, "terms": terms, "body": body}
            for _, paths in agents
            for path, body in zip(paths.tolist(), bodies, strict=True)
            for one in sorted(blocks)
        ),
    )
    today = day_of(settled)
    spans = [(HOUR, one) for one in range(settled - DAY, settled, HOUR)]
    spans += [(DAY, today - DAY * one) for one in range(days + 1)]
    of_hour = Sums.of(hour, HOUR)
    of_day = Sums.joined([of_hour] * (DAY // HOUR)).merged()
    await _write(database, sums, _sums(agents, terms, spans, {HOUR: of_hour, DAY: of_day}))
    parts = _parts(stop, hour, scraped)
    async with database.writing() as connection:
        await connection.execute(delete(journal))
        await connection.execute(update(heads).values(revision=len(parts)))
    await _write(database, journal, _journal(agents, terms, settled, parts))
    await database.close()


async def _drawn(per_minute: int, settled: int) -> Minutes:
    """An hour's minutes of one agent's paths, numbered from 0 on, as a ledger of its own has them."""
    begin = settled - HOUR
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(Path(folder) / "state.sqlite")
        await store.ledger.ingest(*readings("site", PATHS, HOUR, per_minute, 60 * begin))
        found = await store.ledger.minutes(begin, settled)
        await store.close()
    assert len(found) == PATHS * HOUR
    return replace(found, path=found.path - found.path.min())


def _sums(
    agents: Sequence[tuple[int, Integers]], terms: int, spans: Sequence[tuple[int, int]], of: dict[int, Sums]
) -> Iterator[dict[str, Any]]:
    for agent, paths in agents:
        bodies = {
            span: encode_sums(replace(one, path=paths[one.path], terms=np.full(len(one), terms)))
            for span, one in of.items()
        }
        for span, minute in spans:
            yield {"agent": agent, "span": span, "minute": minute, "body": bodies[span]}


def _parts(stop: int, hour: Minutes, scraped: Minutes) -> list[Minutes]:
    """What the journal has of the hour that is not over, by row."""
    settled = stop // HOUR * HOUR
    scattered = max(settled, (stop - _SCATTERED) // GATHERED * GATHERED)
    gathered = [
        hour.take((hour.minute % HOUR) // GATHERED == (first % HOUR) // GATHERED)
        for first in range(settled, scattered, GATHERED)
    ]
    of_scrape = replace(scraped, covered_ms=scraped.covered_ms // _SCRAPES)
    return gathered + [
        of_scrape.take(of_scrape.minute % HOUR == minute % HOUR)
        for minute in range(scattered, stop)
        for _ in range(_SCRAPES)
    ]


def _journal(
    agents: Sequence[tuple[int, Integers]], terms: int, settled: int, parts: Sequence[Minutes]
) -> Iterator[dict[str, Any]]:
    for agent, paths in agents:
        for place, part in enumerate(parts):
            yield journal_row(
                agent,
                place + 1,
                replace(
                    part,
                    path=paths[part.path],
                    terms=np.full(len(part), terms),
                    minute=settled + part.minute % HOUR,
                ),
            )


async def _write(database: Database, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    async with database.writing() as connection:
        while some := list(itertools.islice(rows, 5_000)):
            await connection.execute(table.insert(), some)
