"""Spans of minutes that others are taken out of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.outages import without

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=6).map(
    lambda spans: [(first, first + length) for first, length in spans]
)


def minutes(spans: list[tuple[int, int]]) -> list[int]:
    """All of them, as often as they are in a span."""
    return sorted(minute for first, stop in spans for minute in range(first, stop))


@given(SPANS, SPANS)
def test_what_is_left_is_what_was_not_taken(
    spans: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> None:
    """Minute by minute; no empty span is left."""
    left = without(spans, taken)
    gone = set(minutes(taken))
    assert minutes(left) == [minute for minute in minutes(spans) if minute not in gone]
    assert all(first < stop for first, stop in left)
