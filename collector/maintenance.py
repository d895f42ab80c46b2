"""Maintenance while the collector runs: the windows that the judge asks for, and how they come and go.

Windows are in the store, those of the fleet file too; what is held here is what is there. Writing is for few people and
rare, so it is one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from agent.runtime.moments import TimeNs
from agent.runtime.settings import Settings
from collector.documents import local_time
from collector.fleet.maintenance import FleetNames, Justification, Line, MaintenanceSettings, WindowSettings
from collector.fleet.names import Identifier
from collector.sla.maintenance import (
    Interval,
    MaintenanceCalendar,
    MaintenanceWindow,
    Origin,
    WindowState,
)
from collector.sla.selector import PathFacts
from collector.sla.time_zone import SHANGHAI
from collector.store.maintenance import FILE, AuditRow, Change, Configured, MaintenanceTables

log = logging.getLogger(__name__)


class NewWindow(WindowSettings):
    """A window that somebody asks for.

    Attributes:
        id: what it shall be called; default: a name is made up.
        by: who asks; it goes into the audit as it is given.
        justification: why it begins in the past, where it does.
    """

    id: Identifier | None = None
    by: Line
    justification: Justification = ""


class WindowEnd(Settings):
    """That a window shall end early, or be called off.

    Attributes:
        by: who asks; it goes into the audit as it is given.
        at: from when it holds no more; default: now.
        justification: why the past is changed, where it is.
    """

    by: Line
    at: TimeNs | None = None
    justification: Justification = ""


class Maintenance:
    """All windows as they are now; `open` before use.

    Args:
        tables: where they are kept.
        settings: what the fleet file says of maintenance.
        names: what a selector can name.
        now_ns: the clock (Unix wall time).

    Attributes:
        names: what a selector can name.
        now_ns: the clock.
        calendar: the windows.
    """

    def __init__(
        self,
        tables: MaintenanceTables,
        settings: MaintenanceSettings,
        names: FleetNames,
        now_ns: Callable[[], int],
    ) -> None:
        self.names = names
        self.now_ns = now_ns
        self.calendar = MaintenanceCalendar()
        self._tables = tables
        self._settings = settings
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Take over what the fleet file lists, and learn what there is."""
        now_ns = self.now_ns()
        rule = self._settings.rule()
        configured = {
            one.id: Configured(one.written(FILE, rule), one.justification) for one in self._settings.windows
        }
        async with self._writing:
            for window in await self._tables.adopt(configured, now_ns):
                log.info("maintenance %s: new in the fleet file", window.id)
                if window.state(now_ns) is WindowState.OVER:
                    log.warning(
                        "maintenance %s was over before it was first read: it drops nothing; what is past is added "
                        "with `isochrone-collector maintenance add --justification`",
                        window.id,
                    )
                elif (upcoming := window.around(now_ns)) and not upcoming.excluded:
                    log.warning(
                        "maintenance %s comes too soon after it was announced: its next time, %s, counts; one that was "
                        "announced before the collector knew of it needs `announced` and a justification",
                        window.id,
                        local_time(upcoming.planned_ns),
                    )
            await self._learn()

    def intervals(self, facts: PathFacts, start_ns: int, end_ns: int) -> list[Interval]:
        """What is dropped of a path from `start_ns` until before `end_ns`: apart from each other, in order."""
        return self.calendar.intervals(facts, start_ns, end_ns)

    async def add(self, asked: NewWindow, now_ns: int) -> MaintenanceWindow:
        """Add a window that has no problems.

        Raises:
            WindowRefused: it cannot be added like that.
        """
        name = asked.id or _name(asked.start)
        window = asked.window(name, now_ns, asked.by, Origin.API, self._settings.rule())
        async with self._writing:
            await self._tables.add(window, Change(asked.by, now_ns, asked.justification))
            await self._learn()
        log.info("maintenance %s: added by %s", window.id, asked.by)
        return window

    async def end(self, identifier: str, asked: WindowEnd, now_ns: int) -> MaintenanceWindow:
        """End a window early, or call it off.

        Raises:
            UnknownWindow: there is none of this id.
            WindowRefused: it cannot be ended like that.
        """
        end_ns = now_ns if asked.at is None else asked.at
        async with self._writing:
            change = Change(asked.by, now_ns, asked.justification)
            window = await self._tables.end(identifier, end_ns, change)
            await self._learn()
        log.info("maintenance %s: ended by %s", window.id, asked.by)
        return window

    async def audit(self) -> Sequence[AuditRow]:
        """All changes that there were, in their order."""
        return await self._tables.audit()

    async def _learn(self) -> None:
        self.calendar = MaintenanceCalendar(await self._tables.windows())


def _name(start_ns: int) -> str:
    """A name for a window that was given none: its day, and something that no other has."""
    return f"{datetime.fromtimestamp(start_ns // 10**9, SHANGHAI):%Y%m%d}-{secrets.token_hex(4)}"
