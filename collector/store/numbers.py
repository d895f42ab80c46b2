"""The numbers by which the tables name paths, agents and limits.

A number is given in a transaction of its own, before what it is needed for: a path that nothing is known of does no
harm, and what is remembered here has always been committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy import Table, select

from agent.core.outcome import Direction
from collector.sla.promise import Promise
from collector.sla.verdict import PathKey
from collector.store.database import Database, pieces
from collector.store.schema import agents, paths, terms

_LIMITS: Final = TypeAdapter(dict[Direction, Promise])
_INTERVAL: Final = "interval_ns"
_PATH_COLUMNS: Final = ("source", "target", "tier", "provider", "kind", "dscp")

Limits = tuple[tuple[Direction, Promise], ...]


class Counting(NamedTuple):
    """How a path's packets are sent and counted: what has a number in the ledger.

    Attributes:
        limits: what outcomes are counted against.
        interval_ns: from probe to probe, in the mean; None: not known.
    """

    limits: Limits
    interval_ns: int | None = None


class Numbers:
    """Finds numbers, and gives new ones.

    Attributes:
        paths: the number of each path that is known.
        keys: the path of each number.
        terms: the number of each way to count that is known.
        limits: the limits of each number.
        intervals_ns: the interval of each number that has one.
        agents: the number of each site's agent.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.paths: dict[PathKey, int] = {}
        self.keys: dict[int, PathKey] = {}
        self.terms: dict[Counting, int] = {}
        self.limits: dict[int, Mapping[Direction, Promise]] = {}
        self.intervals_ns: dict[int, int] = {}
        self.agents: dict[str, int] = {}

    async def learn(self, sources: Iterable[str] | None = None) -> None:
        """Find all that there are; of paths those from some sites, or all."""
        wanted = select(paths)
        if sources is not None:
            wanted = wanted.where(paths.c.source.in_(sources))
        async with self._database.reading() as connection:
            for row in await connection.execute(wanted):
                self._remember_path(row.id, PathKey(*(getattr(row, name) for name in _PATH_COLUMNS)))
            for row in await connection.execute(select(terms)):
                self._remember_terms(row.id, json.loads(row.limits))
            for row in await connection.execute(select(agents)):
                self.agents[row.site] = row.id

    async def give(
        self,
        keys: Iterable[PathKey],
        countings: Iterable[Counting] = (),
        sites: Iterable[str] = (),
    ) -> None:
        """See to it that all of these have a number."""
        new_paths = {key for key in keys if key not in self.paths}
        new_terms = {one for one in countings if one not in self.terms}
        new_sites = {site for site in sites if site not in self.agents}
        if not (new_paths or new_terms or new_sites):
            return
        await self._insert(
            paths, [dict(zip(_PATH_COLUMNS, astuple(key), strict=True)) for key in sorted(new_paths)]
        )
        await self._insert(terms, [{"limits": one} for one in sorted(map(_written, new_terms))])
        await self._insert(agents, [{"site": site} for site in sorted(new_sites)])
        for some in pieces(sorted({key.source for key in new_paths})) or [()]:
            await self.learn(some)

    async def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            async with self._database.writing() as connection:
                await connection.execute(self._database.insert(table).on_conflict_do_nothing(), rows)

    def _remember_path(self, number: int, key: PathKey) -> None:
        self.paths[key] = number
        self.keys[number] = key

    def _remember_terms(self, number: int, written: dict[str, Any]) -> None:
        interval_ns = written.pop(_INTERVAL, None)
        limits = _LIMITS.validate_python(written)
        self.terms[Counting(canonical(limits), interval_ns)] = number
        self.limits[number] = limits
        if interval_ns is not None:
            self.intervals_ns[number] = interval_ns


def canonical(limits: Mapping[Direction, Promise]) -> Limits:
    """Limits in the order of the directions: equal where they are equal."""
    return tuple((direction, limits[direction]) for direction in Direction if direction in limits)


def _written(counting: Counting) -> str:
    """The limits by direction, and the interval beside them where there is one."""
    written = _LIMITS.dump_python(dict(counting.limits), mode="json")
    if counting.interval_ns is not None:
        written[_INTERVAL] = counting.interval_ns
    return json.dumps(written, separators=(",", ":"))
