"""Maintenance windows as they are written: in the fleet file, and, with a few keys more, in what the API is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from agent.runtime.exceptions import UnreadError
from agent.runtime.label_text import NameText
from agent.runtime.moments import TimeNs
from agent.runtime.quantities import DurationNs, format_duration
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location
from collector.fleet.names import Identifier, listed
from collector.sla.maintenance import (
    DAY_NS,
    Category,
    MaintenanceWindow,
    NoticeRule,
    Origin,
    span_problem,
)
from collector.sla.recurrence import rule_problem
from collector.sla.selector import Selector

Line = Annotated[
    str,
    Field(max_length=500, pattern=r"^[^\p{Cc}\p{Zl}\p{Zp}]*[^\p{C}\s][^\p{Cc}\p{Zl}\p{Zp}]*$"),
    Accepts("one line of text, at most 500 characters"),
]
"""What a person has to say; it is shown on terminals and in logs."""

Justification = Annotated[str, Field(max_length=2000)]

_NOUNS: Final = {
    "tiers": "tier",
    "providers": "provider",
    "districts": "district",
    "sites": "site",
    "sources": "site",
    "targets": "site",
    "tags": "tag",
}


class FleetNames:
    """All that a selector can name, by its fields.

    Args:
        tiers, providers, districts, sites, tags: in any order, again and again, empty where something has none.
    """

    def __init__(
        self,
        tiers: Iterable[str],
        providers: Iterable[str],
        districts: Iterable[str],
        sites: Iterable[str],
        tags: Iterable[str],
    ) -> None:
        of_sites = _distinct(sites)
        self.known: Final[Mapping[str, Mapping[str, None]]] = {
            "tiers": _distinct(tiers),
            "providers": _distinct(providers),
            "districts": _distinct(districts),
            "sites": of_sites,
            "sources": of_sites,
            "targets": of_sites,
            "tags": _distinct(tags),
        }


def _distinct(names: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(name for name in names if name)


class SelectorSettings(Settings):
    """Which paths; see `collector.sla.selector.Selector`. `{}` is all of them."""

    tiers: tuple[Identifier, ...] = ()
    providers: tuple[str, ...] = ()
    districts: tuple[str, ...] = ()
    sites: tuple[Identifier, ...] = ()
    sources: tuple[Identifier, ...] = ()
    targets: tuple[Identifier, ...] = ()
    tags: tuple[NameText, ...] = ()

    def selector(self) -> Selector:
        """The same, to be asked."""
        return Selector(**{field: frozenset(getattr(self, field)) for field in _NOUNS})

    def unknown(self, names: FleetNames) -> Iterator[tuple[Location, str]]:
        """Names of what is not there: nothing would ever be selected by them."""
        for field, noun in _NOUNS.items():
            with contextlib.suppress(UnreadError):
                for index, name in enumerate(getattr(self, field)):
                    known = names.known[field]
                    if name not in known:
                        yield (field, index), f"{name} is no {noun}; {noun}s: {listed(known) or 'none'}"


class WindowSettings(Settings):
    """What is said of a window, wherever it is written down.

    Attributes:
        start: when it begins.
        end, duration: when it ends, or how long it lasts; one of the two.
        category: planned or emergency.
        approver: who has allowed it.
        selector: which paths; it is never left out, for what is meant by nothing would be everything.
        announced: when those concerned were told; default: when the collector first knows of it, in this wording.
    """

    start: TimeNs
    end: TimeNs | None = None
    duration: DurationNs | None = None
    category: Category
    approver: Line
    reason: Line
    selector: SelectorSettings
    announced: TimeNs | None = None

    def end_ns(self) -> int:
        """When it ends, ns (Unix wall time)."""
        if self.end is not None:
            return self.end
        assert self.duration is not None
        return self.start + self.duration

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together."""
        if (self.end is None) == (self.duration is None):
            yield (), "one of end and duration is needed"
            return
        problem = span_problem(self.start, self.end_ns())
        if problem is not None:
            yield ("duration" if self.end is None else "end",), problem

    def unknown(self, names: FleetNames) -> Iterator[tuple[Location, str]]:
        """Names of what is not there."""
        for at, message in self.selector.unknown(names):
            yield ("selector", *at), message

    def window(
        self,
        identifier: str,
        created_ns: int,
        created_by: str,
        origin: Origin,
        rule: NoticeRule,
        rrule: str = "",
    ) -> MaintenanceWindow:
        """The window that is meant, under the rule of now; its settings have no problems."""
        return MaintenanceWindow(
            id=identifier,
            start_ns=self.start,
            end_ns=self.end_ns(),
            category=self.category,
            approver=self.approver,
            reason=self.reason,
            selector=self.selector.selector(),
            announced_ns=created_ns if self.announced is None else self.announced,
            created_ns=created_ns,
            created_by=created_by,
            origin=origin,
            rrule=rrule,
            rule=rule,
        )


class FileWindowSettings(WindowSettings):
    """A window of the fleet file.

    Attributes:
        id: its name in the file, for as long as it stands there.
        rrule: how it recurs, after RFC 5545 in Asia/Shanghai, such as `FREQ=WEEKLY;BYDAY=TU`; first at `start`.
        justification: why it is to be believed that it was announced before the collector has first read it in this
            wording; without it, times that come sooner than the period of notice count.
    """

    id: Identifier
    rrule: str | None = None
    justification: Justification = ""

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together."""
        yield from as_far_as_read(super().problems())
        if self.rrule is not None:
            problem = rule_problem(self.rrule, self.start)
            if problem is not None:
                yield ("rrule",), problem

    def written(self, created_by: str, rule: NoticeRule) -> Callable[[str, int], MaintenanceWindow]:
        """What makes the window of an id and the time at which it was first read in this wording."""

        def made(identifier: str, created_ns: int) -> MaintenanceWindow:
            window = self.window(identifier, created_ns, created_by, Origin.FILE, rule, self.rrule or "")
            if window.claims_unseen_notice and not self.justification.strip():
                return replace(window, announced_ns=created_ns)
            return window

        return made


class MaintenanceSettings(Settings):
    """Maintenance: which windows there are, and which of them drop what is counted in them.

    Attributes:
        notice: how long before its start a window must have been announced; one that was not is listed and counts.
        emergency: counted, unless announced in time like any other; or excluded: windows of the category emergency
            drop what is counted in them however late they were announced.
        windows: known ahead; others are added while the collector runs.
    """

    notice: DurationNs = 5 * DAY_NS
    emergency: Literal["counted", "excluded"] = "counted"
    windows: tuple[FileWindowSettings, ...] = ()

    def rule(self) -> NoticeRule:
        """Which windows drop, of those that are written down from now on."""
        return NoticeRule(self.notice, self.emergency == "excluded")

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What is wrong with a window by itself, and names that stand twice."""
        first: dict[str, int] = {}
        for index, window in enumerate(self.windows):
            for at, message in as_far_as_read(window.problems()):
                yield ("windows", index, *at), message
            with contextlib.suppress(UnreadError):
                if first.setdefault(window.id, index) != index:
                    yield ("windows", index, "id"), f"{window.id} is already windows[{first[window.id]}]"

    def warnings(self) -> Iterator[str]:
        """Windows that were announced too late to drop anything."""
        for window in self.windows:
            emergency = window.category is Category.EMERGENCY and self.emergency == "excluded"
            if (
                window.announced is not None
                and window.start - window.announced < self.notice
                and not emergency
            ):
                needed = format_duration(self.notice)
                yield f"maintenance {window.id}: announced less than {needed} before its start: what it holds counts"

    def unknown(self, names: FleetNames) -> Iterator[tuple[Location, str]]:
        """Selectors with names of what is not there."""
        for index, window in enumerate(self.windows):
            for at, message in as_far_as_read(window.unknown(names)):
                yield ("windows", index, *at), message
