"""The numbers by which the tables name paths, agents and limits.

A number is given in a transaction of its own, before what it is needed for: a path that nothing is known of does no
harm, and what is remembered here has always been committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Table, select

from agent.core.outcome import Direction, Limit
from collector.sla.verdict import PathKey
from collector.store.database import Database, pieces
from collector.store.schema import agents, paths, terms

_LIMITS: Final = TypeAdapter(dict[Direction, Limit])
_PATH_COLUMNS: Final = ("source", "target", "tier", "provider", "kind", "dscp")

Limits = tuple[tuple[Direction, Limit], ...]


class Numbers:
    """Finds numbers, and gives new ones.

    Attributes:
        paths: the number of each path that is known.
        keys: the path of each number.
        terms: the number of each set of limits that is known.
        limits: the limits of each number.
        agents: the number of each site's agent.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.paths: dict[PathKey, int] = {}
        self.keys: dict[int, PathKey] = {}
        self.terms: dict[Limits, int] = {}
        self.limits: dict[int, Mapping[Direction, Limit]] = {}
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
                self._remember_terms(row.id, _LIMITS.validate_json(row.limits))
            for row in await connection.execute(select(agents)):
                self.agents[row.site] = row.id

    async def give(
        self,
        keys: Iterable[PathKey],
        limits: Iterable[Limits] = (),
        sites: Iterable[str] = (),
    ) -> None:
        """See to it that all of these have a number."""
        new_paths = {key for key in keys if key not in self.paths}
        new_terms = {one for one in limits if one not in self.terms}
        new_sites = {site for site in sites if site not in self.agents}
        if not (new_paths or new_terms or new_sites):
            return
        await self._insert(
            paths, [dict(zip(_PATH_COLUMNS, astuple(key), strict=True)) for key in sorted(new_paths)]
        )
        await self._insert(terms, [{"limits": one} for one in sorted(map(_limits_json, new_terms))])
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

    def _remember_terms(self, number: int, limits: dict[Direction, Limit]) -> None:
        self.terms[canonical(limits)] = number
        self.limits[number] = limits


def canonical(limits: Mapping[Direction, Limit]) -> Limits:
    """Limits in the order of the directions: equal where they are equal."""
    return tuple((direction, limits[direction]) for direction in Direction if direction in limits)


def _limits_json(limits: Limits) -> str:
    return _LIMITS.dump_json(dict(limits)).decode()
