"""What is known of one packet's delay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.interval import (
    CLOCK_LIES,
    CONSISTENT,
    FLOOR_LIES,
    Interval,
    one_way_interval,
    round_trip_interval,
)

delays = st.integers(min_value=0, max_value=10**10)


@given(delays, delays, delays, delays, st.data())
def test_contains_the_truth(forward: int, reverse: int, slack: int, error: int, data: st.DataObject) -> None:
    """Whatever the clocks' error within its bound, the interval contains the true delay, and nothing contradicts."""
    floor = data.draw(st.integers(min_value=0, max_value=forward))
    other = data.draw(st.integers(min_value=0, max_value=reverse))
    wrong = data.draw(st.integers(min_value=-error, max_value=error))
    for uncertainty in (error, error + slack, None):
        bounds, found = one_way_interval(forward + wrong, uncertainty, floor, other, forward + reverse)
        assert found == CONSISTENT
        assert bounds.lower_ns <= forward <= bounds.upper_ns
        assert bounds.lower_ns >= floor
        assert bounds.upper_ns <= forward + reverse - other


def test_clock_free_bound() -> None:
    """Without any clock the round trip less the other floor bounds the delay: Yichang's numbers."""
    assert one_way_interval(10**12, None, 1_420_000, 1_420_000, 3_900_000) == (
        Interval(1_420_000, 2_480_000),
        CONSISTENT,
    )


def test_lying_clock() -> None:
    """A delay that no true clocks could show is a contradiction, and the clock-free bound still holds."""
    for measured in (-5_000_000, 9_000_000):
        assert one_way_interval(measured, 50_000, 100_000, 100_000, 900_000) == (
            Interval(100_000, 800_000),
            CLOCK_LIES,
        )


def test_negative_delays_are_kept() -> None:
    """A negative difference within the uncertainty is no contradiction."""
    assert one_way_interval(-20_000, 50_000, 0, 0, 10_000) == (Interval(0, 10_000), CONSISTENT)


def test_impossible_floor() -> None:
    """A round trip shorter than the floors disproves the floors, not the clocks, and nothing is claimed of them."""
    assert one_way_interval(400_000, 50_000, 600_000, 600_000, 900_000) == (Interval(0, 900_000), FLOOR_LIES)


@given(delays, st.none() | delays, delays)
def test_round_trip(measured: int, stamping: int | None, floors: int) -> None:
    """The measured round trip is an upper bound; user-space stamps only ever widen the interval downwards."""
    bounds = round_trip_interval(measured, stamping, floors)
    assert bounds.lower_ns <= bounds.upper_ns == measured
    if stamping == 0:
        assert bounds.lower_ns == measured
