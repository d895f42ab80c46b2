"""Maintenance windows: when they hold, what they drop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sla.maintenance import (
    DAY_NS,
    LATEST_NS,
    MINUTE_NS,
    Category,
    MaintenanceCalendar,
    NoticeRule,
    Origin,
    WindowState,
    merged,
    touched_minutes,
)
from collector.sla.selector import PathFacts, Selector
from collector.sla.verdict import PathKey
from tests.support.maintenance import BASE_NS, HOUR_NS, window

FACTS = PathFacts(PathKey("wuhan", "qingyang", "hub", "telecom", "stamp", 0))
spans = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda one: (one[0], sum(one))))


@given(spans)
def test_merged_intervals_are_the_same_time_apart_from_each_other(intervals: list[tuple[int, int]]) -> None:
    """Every instant is in both or in neither."""
    found = merged(intervals)
    assert {t for start, end in found for t in range(start, end)} == {
        t for start, end in intervals for t in range(start, end)
    }
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))


@given(spans)
def test_a_minute_is_touched_by_any_part_of_it(intervals: list[tuple[int, int]]) -> None:
    """Whole: counts are per minute, and nobody knows which packets were sent in the part."""
    unit = MINUTE_NS // 7
    found = touched_minutes((start * unit, end * unit) for start, end in intervals)
    expected = {t * unit // MINUTE_NS for start, end in intervals for t in range(start, end)}
    assert {minute for start, end in found for minute in range(start, end)} >= expected
    for start, end in found:
        assert all(
            any(
                one[0] * unit < (minute + 1) * MINUTE_NS and one[1] * unit > minute * MINUTE_NS
                for one in intervals
            )
            for minute in range(start, end)
        )


def test_a_window_takes_its_minutes_at_both_edges() -> None:
    """One nanosecond is enough; the end itself is not in it."""
    assert touched_minutes([(2 * MINUTE_NS - 1, 3 * MINUTE_NS)]) == [(1, 3)]
    assert touched_minutes([(2 * MINUTE_NS, 3 * MINUTE_NS + 1)]) == [(2, 4)]


def test_a_window_holds_from_its_start_until_before_its_end() -> None:
    """Neither at the instant before nor at its end."""
    one = window()

    def held(start_ns: int, end_ns: int) -> list[tuple[int, int]]:
        return [(each.start_ns, each.end_ns) for each in one.occurrences(start_ns, end_ns)]

    assert held(0, BASE_NS) == []
    assert held(0, BASE_NS + 1) == [(one.start_ns, one.end_ns)]
    assert held(one.end_ns - 1, LATEST_NS) == [(one.start_ns, one.end_ns)]
    assert held(one.end_ns, LATEST_NS) == []


def test_what_is_ended_early_holds_until_then() -> None:
    """A row of times too, and what was ended before its start does not hold at all."""
    half = BASE_NS + HOUR_NS
    calendar = MaintenanceCalendar([window(ended_ns=half)])
    assert calendar.intervals(FACTS, 0, LATEST_NS) == [(BASE_NS, half)]
    assert MaintenanceCalendar([window(ended_ns=BASE_NS)]).intervals(FACTS, 0, LATEST_NS) == []
    daily = window(rrule="FREQ=DAILY", ended_ns=half + DAY_NS)
    assert MaintenanceCalendar([daily]).intervals(FACTS, 0, BASE_NS + 9 * DAY_NS) == [
        (BASE_NS, BASE_NS + 2 * HOUR_NS),
        (BASE_NS + DAY_NS, half + DAY_NS),
    ]


def test_a_window_of_the_file_says_nothing_of_the_time_before_it_was_read() -> None:
    """Otherwise the past would change with a line in a file, and nobody would know."""
    read_ns = BASE_NS + DAY_NS + HOUR_NS
    one = window(origin=Origin.FILE, created_ns=read_ns, rrule="FREQ=DAILY;COUNT=3")
    assert MaintenanceCalendar([one]).intervals(FACTS, 0, LATEST_NS) == [
        (read_ns, read_ns + HOUR_NS),
        (BASE_NS + 2 * DAY_NS, BASE_NS + 2 * DAY_NS + 2 * HOUR_NS),
    ]
    by_hand = window(created_ns=read_ns)
    assert MaintenanceCalendar([by_hand]).intervals(FACTS, 0, LATEST_NS) == [(BASE_NS, BASE_NS + 2 * HOUR_NS)]


def test_each_time_of_a_row_has_its_own_notice() -> None:
    """The first nights come too soon after the announcement, the later ones do not."""
    one = window(rrule="FREQ=DAILY;COUNT=6", announced_ns=BASE_NS - 3 * DAY_NS, rule=NoticeRule(5 * DAY_NS))
    calendar = MaintenanceCalendar([one])
    marks = [each.short_notice for each in calendar.occurrences(0, LATEST_NS)]
    assert marks == [True, True, False, False, False, False]
    assert [start for start, _ in calendar.intervals(FACTS, 0, LATEST_NS)] == [
        BASE_NS + day * DAY_NS for day in range(2, 6)
    ]


@pytest.mark.parametrize(
    ("category", "announced_ns", "emergency_excluded", "dropped"),
    [
        (Category.PLANNED, BASE_NS - 5 * DAY_NS, False, True),
        (Category.PLANNED, BASE_NS - 5 * DAY_NS + 1, False, False),
        (Category.PLANNED, BASE_NS - 5 * DAY_NS + 1, True, False),
        (Category.EMERGENCY, BASE_NS - 5 * DAY_NS, False, True),
        (Category.EMERGENCY, BASE_NS, False, False),
        (Category.EMERGENCY, BASE_NS, True, True),
    ],
)
def test_short_notice_counts_unless_it_is_an_emergency_and_those_are_excluded(
    category: Category, announced_ns: int, emergency_excluded: bool, dropped: bool
) -> None:
    """Planned work that was announced too late is no emergency."""
    rule = NoticeRule(5 * DAY_NS, emergency_excluded)
    calendar = MaintenanceCalendar([window(category=category, announced_ns=announced_ns, rule=rule)])
    assert bool(calendar.intervals(FACTS, 0, LATEST_NS)) == dropped
    assert len(calendar.occurrences(0, LATEST_NS)) == 1


def test_windows_are_for_the_paths_they_select() -> None:
    """Those of several windows are put together, clipped to what was asked for."""
    calendar = MaintenanceCalendar(
        [
            window(id="a", selector=Selector(tiers=frozenset({"hub"}))),
            window(id="b", selector=Selector(tiers=frozenset({"city"})), end_ns=BASE_NS + 9 * HOUR_NS),
            window(id="c", start_ns=BASE_NS + HOUR_NS, end_ns=BASE_NS + 3 * HOUR_NS),
        ]
    )
    assert calendar.intervals(FACTS, 0, LATEST_NS) == [(BASE_NS, BASE_NS + 3 * HOUR_NS)]
    inside = BASE_NS + HOUR_NS // 2, BASE_NS + HOUR_NS
    assert calendar.intervals(FACTS, *inside) == [inside]
    assert MaintenanceCalendar().intervals(FACTS, 0, LATEST_NS) == []


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50), st.booleans()), max_size=5),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=4),
)
def test_what_is_dropped_does_not_depend_on_what_was_asked_before(
    made: list[tuple[int, int, bool]], asked: list[tuple[int, int]]
) -> None:
    """Every hour is dropped if and only if a window holds in it, whether or not its expansion was kept."""
    windows = [
        window(
            id=str(index),
            start_ns=BASE_NS + start * HOUR_NS,
            end_ns=BASE_NS + (start + length) * HOUR_NS,
            rrule="FREQ=DAILY;COUNT=4" if daily else "",
        )
        for index, (start, length, daily) in enumerate(made)
    ]
    held = {
        hour
        for start, length, daily in made
        for day in range(4 if daily else 1)
        for hour in range(start + 24 * day, start + 24 * day + length)
    }
    calendar = MaintenanceCalendar(windows)
    for start, length in asked:
        begin, end = BASE_NS + start * HOUR_NS, BASE_NS + (start + length) * HOUR_NS
        found = calendar.intervals(FACTS, begin, end)
        hours = {
            hour
            for one in found
            for hour in range((one[0] - BASE_NS) // HOUR_NS, (one[1] - BASE_NS) // HOUR_NS)
        }
        assert hours == held & set(range(start, start + length))


@pytest.mark.parametrize(
    ("changed", "now_ns", "state"),
    [
        ({}, BASE_NS - 1, WindowState.UPCOMING),
        ({}, BASE_NS, WindowState.RUNNING),
        ({}, BASE_NS + 2 * HOUR_NS, WindowState.OVER),
        ({"ended_ns": BASE_NS + HOUR_NS}, BASE_NS + HOUR_NS, WindowState.OVER),
        ({"ended_ns": BASE_NS}, BASE_NS - 1, WindowState.CANCELLED),
        ({"rrule": "FREQ=DAILY"}, BASE_NS + DAY_NS - 1, WindowState.UPCOMING),
        ({"rrule": "FREQ=DAILY"}, BASE_NS + DAY_NS, WindowState.RUNNING),
        ({"rrule": "FREQ=DAILY;COUNT=2"}, BASE_NS + 2 * DAY_NS, WindowState.OVER),
        ({"origin": Origin.FILE, "created_ns": BASE_NS + DAY_NS}, BASE_NS + DAY_NS, WindowState.OVER),
    ],
)
def test_a_window_is_upcoming_running_over_or_cancelled(
    changed: dict[str, object], now_ns: int, state: WindowState
) -> None:
    """As of some time."""
    assert window(**changed).state(now_ns) is state


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "said"),
    [
        (BASE_NS, BASE_NS, "after its start"),
        (BASE_NS, BASE_NS + 400 * DAY_NS + 1, "400d"),
        (-1, 1, "1970"),
        (LATEST_NS, LATEST_NS + 1, "2116"),
    ],
)
def test_a_window_without_a_sensible_time_is_none(start_ns: int, end_ns: int, said: str) -> None:
    """It could not be kept, or would drop everything."""
    with pytest.raises(ValueError, match=said):
        window(start_ns=start_ns, end_ns=end_ns)
