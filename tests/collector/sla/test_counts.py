"""Counts of one direction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.sla.counts import NOTHING, DirectionCounts

COUNTS = st.builds(
    lambda outcomes, delays: DirectionCounts(tuple(outcomes), tuple(delays)),
    st.lists(st.integers(0, 1000), min_size=5, max_size=5),
    st.lists(st.integers(0, 1000), min_size=27, max_size=27),
)


@given(COUNTS, COUNTS)
def test_subtraction_undoes_addition(one: DirectionCounts, other: DirectionCounts) -> None:
    """To the last packet."""
    assert one + other - other == one
    assert one + NOTHING == one
    assert (one + other).packets == one.packets + other.packets
