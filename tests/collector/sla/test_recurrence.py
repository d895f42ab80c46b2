"""Recurring times."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sla.recurrence import rule_problem, times
from collector.sla.time_zone import SHANGHAI
from tests.support.maintenance import BASE_NS, HOUR_NS

DAY_NS = 24 * HOUR_NS


def shanghai(*parts: int) -> int:
    """A time of the clock on the wall, in ns."""
    return int(datetime(*parts, tzinfo=SHANGHAI).timestamp()) * 10**9  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=WEEKLY;BYDAY=TU", [(2026, 12, 1, 1), (2026, 12, 8, 1), (2026, 12, 15, 1)]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH", [(2026, 12, 1, 1), (2026, 12, 3, 1), (2026, 12, 15, 1)]),
        ("FREQ=MONTHLY;BYDAY=1TU", [(2026, 12, 1, 1), (2027, 1, 5, 1), (2027, 2, 2, 1)]),
        ("FREQ=DAILY;COUNT=2", [(2026, 12, 1, 1), (2026, 12, 2, 1)]),
        ("freq=daily;until=20261202T170000Z", [(2026, 12, 1, 1), (2026, 12, 2, 1), (2026, 12, 3, 1)]),
        ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=1,31", [(2026, 12, 1, 1), (2026, 12, 31, 1), (2027, 12, 1, 1)]),
        ("FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=1,13", [(2026, 12, 1, 1), (2026, 12, 1, 13), (2027, 1, 1, 1)]),
    ],
)
def test_rules_are_those_of_the_calendar_in_shanghai(rule: str, expected: list[tuple[int, ...]]) -> None:
    """Days and hours of its clock, although 01:00 there is still the day before in UTC."""
    assert rule_problem(rule, BASE_NS) is None
    found = times(rule, BASE_NS, 0, BASE_NS + 400 * DAY_NS)
    assert [time for time, _ in zip(found, expected, strict=False)] == [shanghai(*one) for one in expected]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "such as FREQ=WEEKLY"),
        ("every tuesday", "such as FREQ=WEEKLY"),
        ("RRULE:FREQ=DAILY", "such as FREQ=WEEKLY"),
        ("FREQ=DAILY\nEXDATE:20261203T010000", "such as FREQ=WEEKLY"),
        ("FREQ=DAILY;", "such as FREQ=WEEKLY"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ stands in it twice"),
        ("BYDAY=TU", "FREQ must be one of YEARLY"),
        ("FREQ=HOURLY", "FREQ must be one of YEARLY"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be a whole number from 1"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL must be a whole number from 1"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be a whole number from 1"),
        ("FREQ=DAILY;COUNT=99999", "COUNT must be a whole number from 1"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101T000000Z", "one of COUNT and UNTIL"),
        ("FREQ=DAILY;UNTIL=20270101", "UNTIL values must be specified in UTC"),
        ("FREQ=WEEKLY;BYDAY=XX", "'BYDAY'"),
        ("FREQ=DAILY;BYHOUR=25", "hour must be in 0..23"),
        ("FREQ=DAILY;BYMINUTE=0,30", "BYMINUTE takes one value"),
        ("FREQ=DAILY;BYSECOND=" + ",".join(map(str, range(60))), "BYSECOND takes one value"),
        ("FREQ=DAILY;DTSTART=20261201T010000", "unknown parameter"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "no time follows"),
        ("FREQ=DAILY;UNTIL=20200101T000000Z", "no time follows"),
        ("FREQ=WEEKLY;BYDAY=WE", "the rule's first time, which is 2026-12-02T01:00:00+08:00"),
        ("FREQ=DAILY;BYMONTH=" + ",".join(["12"] * 200), "longer than 500 characters"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: str, said: str) -> None:
    """With what would be accepted."""
    problem = rule_problem(rule, BASE_NS)
    assert problem is not None
    assert said in problem


@given(st.text("FREQ=DAILYWKMONTH;:BYSPUNU-+0123456789,\n ", max_size=60), st.integers(0, 4 * 10**18))
def test_whatever_is_written_is_judged(text: str, first_ns: int) -> None:
    """Never with an exception, and never for long."""
    rule_problem(text, first_ns)


@given(st.integers(1, 30), st.integers(-100, 100), st.integers(0, 200), st.integers(0, 999_999_999))
def test_every_nth_day_is_what_arithmetic_says(every: int, first: int, length: int, rest: int) -> None:
    """Half-open at both ends, and exact below the second."""
    start = BASE_NS + rest
    begin, end = start + first * DAY_NS, start + (first + length) * DAY_NS
    expected = [start + day * DAY_NS for day in range(0, 400, every) if first <= day < first + length]
    assert list(times(f"FREQ=DAILY;INTERVAL={every}", start, begin, end)) == expected


@given(
    st.sampled_from(["DAILY", "WEEKLY"]),
    st.integers(1, 5),
    st.sampled_from(["", ";BYDAY=MO,TU,SU", ";BYDAY=MO,TU,SU;WKST=SU", ";BYMONTH=2,12", ";BYHOUR=1,23", ";COUNT=40",
                     ";BYDAY=TU,FR;BYSETPOS=-1", ";UNTIL=20280101T000000Z"]),
    st.integers(-10, 1200),
    st.integers(0, 60),
)  # fmt: skip
def test_what_is_far_from_the_first_time_is_found_as_if_all_before_it_was(
    frequency: str, every: int, more: str, first: int, length: int
) -> None:
    """Whether the expansion begins at the first time or near what is asked for."""
    rule = f"FREQ={frequency};INTERVAL={every}{more}"
    begin, end = BASE_NS + first * DAY_NS + HOUR_NS, BASE_NS + (first + length) * DAY_NS + HOUR_NS
    whole = [time_ns for time_ns in times(rule, BASE_NS, 0, end) if time_ns >= begin]
    assert list(times(rule, BASE_NS, begin, end)) == whole


def test_a_year_of_nights_is_in_order() -> None:
    """Without a gap or a repetition."""
    found = list(times("FREQ=DAILY", BASE_NS, BASE_NS, BASE_NS + 365 * DAY_NS))
    first = datetime.fromtimestamp(BASE_NS / 1e9, SHANGHAI)
    assert found == [int((first + timedelta(days=day)).timestamp()) * 10**9 for day in range(365)]
