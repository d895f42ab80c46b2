"""Points in time as they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.runtime.moments import TimeNs, parse_time


@given(st.integers(86_400, 4_102_444_800), st.integers(-14 * 60, 14 * 60))
def test_times_are_read_to_the_nanosecond(seconds: int, minutes: int) -> None:
    """RFC 3339 in any zone, with any fraction, or the number itself."""
    whole = datetime.fromtimestamp(seconds, UTC)
    expected = seconds * 10**9 + 123_456_789
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    local = (whole + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat()
    assert parse_time(f"{local}.123456789{zone}") == expected
    assert parse_time(f"{whole.replace(tzinfo=None).isoformat()}Z") == expected - 123_456_789
    assert parse_time(str(expected)) == expected


@pytest.mark.parametrize(
    "written",
    ["2026-12-01T01:00:00", "2026-12-01", "1796058000000000000", 1796058000, "2026-13-01T01:00:00Z", None],
)
def test_what_is_written_down_has_its_offset(written: object) -> None:
    """A bare number or a time of nobody knows where is refused, and a day that the calendar does not have."""
    with pytest.raises(ValidationError, match="is no time"):
        TypeAdapter(TimeNs).validate_python(written)
    assert TypeAdapter(TimeNs).validate_python("2026-12-01T01:00:00+08:00") == 1_796_058_000 * 10**9
