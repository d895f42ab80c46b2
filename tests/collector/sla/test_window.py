"""Windows of time, and where they begin."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from collector.sla.time_zone import SHANGHAI
from collector.sla.window import Calendar, Window

SECOND_NS = 1_000_000_000
DAY_NS = 24 * 3600 * SECOND_NS


def at(text: str) -> int:
    """A time in Shanghai, Unix wall time in ns."""
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp()) * SECOND_NS


def test_a_sliding_window_is_always_as_long() -> None:
    """Whatever the time."""
    window = Window(300 * SECOND_NS)
    assert window.begin_ns(1000 * SECOND_NS) == 700 * SECOND_NS
    assert window.longest_ns == 300 * SECOND_NS


def test_days_and_months_are_those_of_shanghai() -> None:
    """They begin at its midnight, eight hours before that of UTC."""
    now_ns = at("2026-11-23 07:59:59") + 5
    assert Window(Calendar.DAY).begin_ns(now_ns) == at("2026-11-23 00:00:00")
    assert Window(Calendar.MONTH).begin_ns(now_ns) == at("2026-11-01 00:00:00")
    assert Window(Calendar.MONTH).begin_ns(at("2026-11-01 00:00:00")) == at("2026-11-01 00:00:00")
    assert Window(Calendar.MONTH).begin_ns(at("2026-11-01 00:00:00") - 1) == at("2026-10-01 00:00:00")


@given(st.integers(0, 4_000_000_000 * SECOND_NS))
def test_now_is_within_its_calendar_span(now_ns: int) -> None:
    """Which begins at midnight, and is no longer than it can be."""
    for calendar in Calendar:
        begun_ns = calendar.begin_ns(now_ns)
        assert begun_ns <= now_ns < begun_ns + Window(calendar).longest_ns
        begun = datetime.fromtimestamp(begun_ns // SECOND_NS, SHANGHAI)
        assert (begun.hour, begun.minute, begun.second, begun_ns % SECOND_NS) == (0, 0, 0, 0)
        assert calendar is Calendar.DAY or begun.day == 1


def test_a_span_ends_where_the_next_one_begins() -> None:
    """Days have 24 hours, months as many days as they have."""
    for now, month_days in (
        ("2026-02-15 12:00:00", 28),
        ("2028-02-01 00:00:00", 29),
        ("2026-12-31 23:59:59", 31),
    ):
        now_ns = at(now)
        assert Window(Calendar.DAY).length_ns(now_ns) == DAY_NS
        assert Window(Calendar.MONTH).length_ns(now_ns) == month_days * DAY_NS
        assert Calendar.MONTH.end_ns(now_ns) == Calendar.MONTH.begin_ns(Calendar.MONTH.end_ns(now_ns))
    assert Window(5).length_ns(at("2026-02-15 12:00:00")) == 5
