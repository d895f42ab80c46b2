"""Maintenance windows: announced time in which nothing is proven, neither good nor bad.

What is counted in a window is dropped, good and bad alike. Counts are kept by the minute, so a minute that a window
touches is dropped whole (`touched_minutes`): of its packets nobody knows which were sent within the window, and to
keep them would let a window's losses count, or its clean part shine. It is never counted as good instead: it lowers
what is left to judge, and reports give the figures with and without.

A window drops something only where it was announced in time: at least the period of notice before its start. One that
was not (`short_notice`) is listed and marked, and its minutes count like any other; otherwise an outage could be
declared maintenance while it happens. Where the operator's contract says that emergency repairs are excluded too
(`NoticeRule.emergency_excluded`), windows of the category emergency drop whatever their notice; a planned one never.

What has happened is not changed silently: a window keeps the rule that was in force when it was written down; one of
the fleet file holds from when the collector has first read it in that form, and until it has read another (`since_ns`,
`ended_ns`); what is entered by hand for the past needs a justification, which `collector.store.maintenance` keeps with
every change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.sla.recurrence import times
from collector.sla.selector import PathFacts, Selector

MINUTE_NS: Final = 60_000_000_000
DAY_NS: Final = 86_400_000_000_000
LONGEST_NS: Final = 400 * DAY_NS
LATEST_NS: Final = 1 << 62
"""In the year 2116: beyond it a time is a mistake, and no database could hold it."""

Interval = tuple[int, int]
"""From the first ns (Unix wall time) until before the second."""


class Category(StrEnum):
    """Why the network is worked on."""

    PLANNED = "planned"
    EMERGENCY = "emergency"


class Origin(StrEnum):
    """Where a window was written down."""

    FILE = "file"
    API = "api"


class WindowState(StrEnum):
    """What has become of a window; a recurring one is upcoming between two of its times."""

    UPCOMING = "upcoming"
    RUNNING = "running"
    OVER = "over"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """Which windows drop their minutes.

    Attributes:
        notice_ns: how long before its start a window must have been announced.
        emergency_excluded: whether windows of the category emergency drop theirs without that.
    """

    notice_ns: int = 5 * DAY_NS
    emergency_excluded: bool = False


_USUAL: Final = NoticeRule()


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time of a window.

    Attributes:
        start_ns, end_ns: when it holds.
        planned_ns: when it was to start; its notice counts up to then.
    """

    window: MaintenanceWindow
    start_ns: int
    end_ns: int
    planned_ns: int

    @property
    def short_notice(self) -> bool:
        """Whether it was announced too late."""
        return self.planned_ns - self.window.announced_ns < self.window.rule.notice_ns

    @property
    def excluded(self) -> bool:
        """Whether its minutes are dropped."""
        return self.window.is_excluded_emergency or not self.short_notice


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A time, or a row of times, in which some paths are worked on. All times are Unix wall time.

    Attributes:
        id: unique among all windows that there ever were.
        start_ns, end_ns: the time; of a row the first.
        rrule: by which rule it recurs (`collector.sla.recurrence`); empty: it does not.
        approver: who has allowed it.
        selector: which paths.
        announced_ns: when those concerned were told.
        created_ns, created_by: when the collector first knew of it, and from whom.
        rule: by which it drops; the one that was in force then.
        ended_ns: from when it holds no more, where that was before its end; before its start: it was cancelled.

    Raises:
        ValueError: it has no length, is longer than 400 days, or lies beyond the times that can be kept.
    """

    id: str
    start_ns: int
    end_ns: int
    category: Category
    approver: str
    reason: str
    selector: Selector
    announced_ns: int
    created_ns: int
    created_by: str
    origin: Origin = Origin.API
    rrule: str = ""
    rule: NoticeRule = _USUAL
    ended_ns: int | None = None

    def __post_init__(self) -> None:
        problem = span_problem(self.start_ns, self.end_ns)
        if problem is not None:
            raise ValueError(problem)

    @property
    def since_ns(self) -> int:
        """From when it holds: what a file says is no word on the time before it was read."""
        return self.created_ns if self.origin is Origin.FILE else 0

    @property
    def claims_unseen_notice(self) -> bool:
        """Whether it was announced in time only if it is believed to have been announced before it was written down."""
        upcoming = self.around(self.created_ns)
        return (
            self.announced_ns < self.created_ns
            and upcoming is not None
            and upcoming.planned_ns - self.created_ns < self.rule.notice_ns
        )

    @property
    def is_excluded_emergency(self) -> bool:
        """Whether it drops whatever its notice."""
        return self.category is Category.EMERGENCY and self.rule.emergency_excluded

    def occurrences(self, start_ns: int, end_ns: int) -> Iterator[Occurrence]:
        """Its times that hold anywhere from `start_ns` until before `end_ns`, whole, in the order of their starts."""
        length_ns = self.end_ns - self.start_ns
        until_ns = LATEST_NS if self.ended_ns is None else self.ended_ns
        for planned_ns in self._starts(start_ns - length_ns, min(end_ns, until_ns)):
            begin_ns = max(planned_ns, self.since_ns)
            stop_ns = min(planned_ns + length_ns, until_ns)
            if begin_ns < stop_ns and begin_ns < end_ns and stop_ns > start_ns:
                yield Occurrence(self, begin_ns, stop_ns, planned_ns)

    def around(self, now_ns: int) -> Occurrence | None:
        """The time that holds now, or else the next one; None: there is none any more."""
        return next(self.occurrences(now_ns, LATEST_NS), None)

    def state(self, now_ns: int) -> WindowState:
        """What has become of it."""
        occurrence = self.around(now_ns)
        if occurrence is not None:
            return WindowState.RUNNING if occurrence.start_ns <= now_ns else WindowState.UPCOMING
        happened = next(self.occurrences(0, now_ns), None) is not None
        return WindowState.OVER if happened or self.ended_ns is None else WindowState.CANCELLED

    def _starts(self, from_ns: int, to_ns: int) -> Iterator[int]:
        if self.rrule:
            yield from times(self.rrule, self.start_ns, from_ns, to_ns)
        elif from_ns <= self.start_ns < to_ns:
            yield self.start_ns


@dataclass(frozen=True, slots=True)
class Dropped:
    """What windows drop of some time, for whichever paths they are: found once, then asked for each path.

    Attributes:
        parts: intervals by selector; of one selector apart from each other and in order.
    """

    parts: Mapping[Selector, Sequence[Interval]]

    def of(self, facts: PathFacts) -> list[Interval]:
        """What is dropped of a path: intervals apart from each other, in order."""
        return merged(
            interval
            for selector, intervals in self.parts.items()
            if selector.matches(facts)
            for interval in intervals
        )


class MaintenanceCalendar:
    """All windows, asked for what they drop.

    The expansion of recurring windows is kept until times are asked for that lie beyond: evaluations move on by
    seconds.

    Args:
        windows: all.
    """

    def __init__(self, windows: Iterable[MaintenanceWindow] = ()) -> None:
        self.windows: Final = tuple(windows)
        self._known_until_ns = 0
        self._occurrences: Sequence[Occurrence] = ()

    def occurrences(self, start_ns: int, end_ns: int) -> list[Occurrence]:
        """All that hold anywhere from `start_ns` until before `end_ns`, whether they drop anything or not."""
        if end_ns > self._known_until_ns:
            self._known_until_ns = end_ns + DAY_NS
            self._occurrences = tuple(
                occurrence
                for window in self.windows
                for occurrence in window.occurrences(0, self._known_until_ns)
            )
        return [one for one in self._occurrences if one.start_ns < end_ns and one.end_ns > start_ns]

    def dropped(self, start_ns: int, end_ns: int) -> Dropped:
        """What is dropped from `start_ns` until before `end_ns`."""
        parts: dict[Selector, list[Interval]] = defaultdict(list)
        for one in self.occurrences(start_ns, end_ns):
            if one.excluded:
                parts[one.window.selector].append((max(one.start_ns, start_ns), min(one.end_ns, end_ns)))
        return Dropped({selector: merged(intervals) for selector, intervals in parts.items()})

    def intervals(self, facts: PathFacts, start_ns: int, end_ns: int) -> list[Interval]:
        """What is dropped of one path from `start_ns` until before `end_ns`; of many paths `dropped` is faster."""
        return self.dropped(start_ns, end_ns).of(facts)


def span_problem(start_ns: int, end_ns: int) -> str | None:
    """What is wrong with a window of this time; None where nothing is."""
    if end_ns <= start_ns:
        return "a window must end after its start"
    if end_ns - start_ns > LONGEST_NS:
        return "longer than 400d, which is no maintenance"
    if start_ns < 0 or end_ns > LATEST_NS:
        return "a window must lie after 1970 and before 2116"
    return None


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as intervals that neither overlap nor touch, in order."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def touched_minutes(intervals: Iterable[Interval]) -> list[Interval]:
    """The minutes (since the Unix epoch; from the first until before the second) that intervals of ns touch.

    Counts are per minute, so these are dropped whole, good and bad alike, even those of which a window takes only a
    second: how many of a minute's packets were sent in that second is not known.
    """
    return merged((start // MINUTE_NS, -(-end // MINUTE_NS)) for start, end in intervals)
