"""What is known of one packet's delay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.interval import Contradiction, least_round_trip_ns, one_way_interval

delays = st.integers(min_value=0, max_value=10**10)


@given(delays, delays, delays, delays, st.data())
def test_contains_the_truth(forward: int, reverse: int, slack: int, error: int, data: st.DataObject) -> None:
    """Whatever the clocks' error within its bound, the interval contains the true delay, and nothing contradicts."""
    floor = data.draw(st.integers(min_value=0, max_value=forward))
    other = data.draw(st.integers(min_value=0, max_value=reverse))
    wrong = data.draw(st.integers(min_value=-error, max_value=error))
    for uncertainty in (error, error + slack, None):
        lower, upper, found = one_way_interval(forward + wrong, uncertainty, floor, other, forward + reverse)
        assert found is Contradiction.NONE
        assert lower <= forward <= upper
        assert lower >= floor
        assert upper <= forward + reverse - other


def test_clock_free_bound() -> None:
    """Without any clock the round trip less the other floor bounds the delay: Yichang's numbers."""
    assert one_way_interval(10**12, None, 1_420_000, 1_420_000, 3_900_000) == (
        1_420_000,
        2_480_000,
        Contradiction.NONE,
    )


def test_lying_clock() -> None:
    """A delay that no true clocks could show is a contradiction, and the clock-free bound still holds."""
    for measured in (-5_000_000, 9_000_000):
        assert one_way_interval(measured, 50_000, 100_000, 100_000, 900_000) == (
            100_000,
            800_000,
            Contradiction.CLOCK,
        )


def test_negative_delays_are_kept() -> None:
    """A negative difference within the uncertainty is no contradiction."""
    assert one_way_interval(-20_000, 50_000, 0, 0, 10_000) == (0, 10_000, Contradiction.NONE)


def test_impossible_floor() -> None:
    """A round trip shorter than the floors disproves the floors, not the clocks, and nothing is claimed of them."""
    assert one_way_interval(400_000, 50_000, 600_000, 600_000, 900_000) == (0, 900_000, Contradiction.FLOOR)


@given(delays, st.none() | delays, delays)
def test_round_trip(measured: int, stamping: int | None, floors: int) -> None:
    """The measured round trip is an upper bound; user-space stamps only ever lower the least."""
    least = least_round_trip_ns(measured, stamping, floors)
    assert least <= measured
    if stamping == 0:
        assert least == measured
    if stamping is not None:
        assert least >= measured - stamping
