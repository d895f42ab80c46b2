"""Maintenance windows in the database: every change is one transaction with the audit row that tells of it.

The audit replays to the windows as they are: each row has the window before and after. What concerns the past, which
verdicts and reports have been given of, is refused without a justification, and that goes into the row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.sla.maintenance import MaintenanceWindow, Origin
from collector.store.database import Database
from collector.store.exceptions import UnknownWindow, WindowRefused
from collector.store.schema import maintenance, maintenance_audit

FILE: Final = "fleet file"
"""Who changes the windows that the fleet file lists."""

_WINDOW: Final = TypeAdapter(MaintenanceWindow)
_VERSION: Final = "@"
"""Stands between the name of a window in the fleet file and the number of its wording; in no name."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What the fleet file says of a window.

    Attributes:
        window: makes it, given its id and when it was first read in this wording.
        justification: for what the collector has not seen.
    """

    window: Callable[[str, int], MaintenanceWindow]
    justification: str = ""


class Action(StrEnum):
    """What was done."""

    ADDED = "added"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes something.

    Attributes:
        by: their name, as they give it.
        at_ns: when (Unix wall time).
        justification: why the past is changed; empty where it is not.
    """

    by: str
    at_ns: int
    justification: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change that was made.

    Attributes:
        before: the window before it; None: there was none.
        after: the window since.
    """

    window: str
    change: Change
    action: Action
    before: MaintenanceWindow | None
    after: MaintenanceWindow


class MaintenanceTables:
    """The windows and their audit in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def windows(self) -> list[MaintenanceWindow]:
        """All that there ever were, the oldest first."""
        query = select(maintenance.c.document).order_by(maintenance.c.created_ns, maintenance.c.id)
        async with self._database.reading() as connection:
            return [_WINDOW.validate_json(one) for one in (await connection.execute(query)).scalars()]

    async def audit(self) -> list[AuditRow]:
        """All changes, in their order."""
        query = select(maintenance_audit).order_by(maintenance_audit.c.id)
        async with self._database.reading() as connection:
            return [
                AuditRow(
                    row.window_id,
                    Change(row.who, row.at_ns, row.justification),
                    Action(row.action),
                    None if row.before is None else _WINDOW.validate_json(row.before),
                    _WINDOW.validate_json(row.after),
                )
                for row in await connection.execute(query)
            ]

    async def add(self, window: MaintenanceWindow, change: Change) -> None:
        """Write down a new window.

        Raises:
            WindowRefused: its id is taken, it was announced after now, or, without a justification, it begins in the
                past, or is said to have been announced in time although it is written down too late for that.
        """
        if window.announced_ns > change.at_ns:
            raise WindowRefused("announced in the future: give the time when those concerned were told")
        if window.start_ns < change.at_ns:
            _justified(change, f"window {window.id} would begin in the past, of which verdicts were given")
        if window.claims_unseen_notice:
            _justified(
                change, f"window {window.id} is written down too late to show that it was announced before"
            )
        async with self._database.writing() as connection:
            await _insert(connection, self._database, window, change)

    async def end(self, identifier: str, end_ns: int, change: Change) -> MaintenanceWindow:
        """End a window before its time, or call it off where it has not begun; the window as it is then.

        Args:
            identifier: which.
            end_ns: from when it holds no more; before now only with a justification.
            change: who, when and why.

        Raises:
            UnknownWindow: there is none of this id.
            WindowRefused: it is one of the fleet file, the end lies beyond its own, or in the past without a
                justification.
        """
        async with self._database.writing() as connection:
            before = await _locked(connection, identifier)
            if before is None:
                raise UnknownWindow(f"there is no maintenance window {identifier[:80]}")
            if before.origin is Origin.FILE:
                raise WindowRefused(f"window {identifier} stands in the fleet file: change it there")
            over_ns = before.end_ns if before.ended_ns is None else min(before.end_ns, before.ended_ns)
            if min(over_ns, end_ns) < change.at_ns:
                before_this = "" if before.ended_ns is None else "was ended before, and "
                what = f"window {identifier} {before_this}would be changed in the past, of which verdicts were given"
                _justified(change, what)
            if end_ns >= before.end_ns:
                raise WindowRefused(
                    f"window {identifier} ends before that anyway; one that lasts longer is a new one"
                )
            after = replace(before, ended_ns=end_ns)
            await _update(connection, before, after, change)
            return after

    async def adopt(self, configured: Mapping[str, Configured], at_ns: int) -> list[MaintenanceWindow]:
        """Take over the windows that the fleet file lists, by their names; those that are new, or worded anew.

        One that is worded otherwise than before ends now in its old wording and begins now in the new one; one that
        is not listed any more ends now. So what a file once said holds for the time in which it said so.
        """
        added = []
        async with self._database.writing() as connection:
            query = select(maintenance.c.document).with_for_update()
            found = [_WINDOW.validate_json(one) for one in (await connection.execute(query)).scalars()]
            versions: dict[str, list[MaintenanceWindow]] = {name: [] for name in configured}
            for window in found:
                if window.origin is Origin.FILE:
                    versions.setdefault(window.id.rpartition(_VERSION)[0], []).append(window)
            for name, known in versions.items():
                current = next((one for one in known if one.ended_ns is None), None)
                said = configured.get(name)
                if said and current and said.window(current.id, current.created_ns) == current:
                    continue
                if current is not None:
                    await _update(connection, current, replace(current, ended_ns=at_ns), Change(FILE, at_ns))
                if said is not None:
                    window = said.window(f"{name}{_VERSION}{len(known) + 1}", at_ns)
                    await _insert(connection, self._database, window, Change(FILE, at_ns, said.justification))
                    added.append(window)
        return added


def _justified(change: Change, what: str) -> None:
    if not change.justification.strip():
        raise WindowRefused(f"{what}: a justification is needed")


async def _locked(connection: AsyncConnection, identifier: str) -> MaintenanceWindow | None:
    """A window that nobody else changes meanwhile."""
    query = select(maintenance.c.document).where(maintenance.c.id == identifier).with_for_update()
    document = (await connection.execute(query)).scalar_one_or_none()
    return None if document is None else _WINDOW.validate_json(document)


async def _insert(
    connection: AsyncConnection, database: Database, window: MaintenanceWindow, change: Change
) -> None:
    row = {"id": window.id, "created_ns": window.created_ns, "document": _json(window)}
    added = await connection.execute(
        database.insert(maintenance).values(**row).on_conflict_do_nothing(index_elements=["id"])
    )
    if added.rowcount == 0:
        raise WindowRefused(f"there is a maintenance window {window.id} already")
    await connection.execute(
        maintenance_audit.insert().values(_audit_row(Action.ADDED, None, window, change))
    )


async def _update(
    connection: AsyncConnection, before: MaintenanceWindow, after: MaintenanceWindow, change: Change
) -> None:
    await connection.execute(
        update(maintenance).where(maintenance.c.id == after.id).values(document=_json(after))
    )
    await connection.execute(
        maintenance_audit.insert().values(_audit_row(Action.ENDED, before, after, change))
    )


def _audit_row(
    action: Action, before: MaintenanceWindow | None, after: MaintenanceWindow, change: Change
) -> dict[str, Any]:
    return {
        "window_id": after.id,
        "at_ns": change.at_ns,
        "who": change.by,
        "action": action.value,
        "before": None if before is None else _json(before),
        "after": _json(after),
        "justification": change.justification,
    }


def _json(window: MaintenanceWindow) -> str:
    """The same text for the same window: names in order."""
    document = _WINDOW.dump_python(window, mode="json")
    document["selector"] = {field: sorted(names) for field, names in document["selector"].items()}
    return json.dumps(document, ensure_ascii=False, sort_keys=True)
