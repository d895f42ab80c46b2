"""The search for the highest rate that arrives undisturbed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.rate_search import RATES, RateSearch

MEGABIT = 10**6
MS_NS = 1_000_000


def test_the_table() -> None:
    """Rates grow, by a megabit up to 1 Gbit/s, by a hundred up to 10, by a thousand beyond."""
    assert list(RATES) == sorted(set(RATES))
    assert RATES[:3] == (500_000, MEGABIT, 2 * MEGABIT)
    assert {999 * MEGABIT, 1_100 * MEGABIT, 9_900 * MEGABIT, 11_000 * MEGABIT} <= set(RATES)


def test_it_goes_up_while_nothing_is_lost() -> None:
    """By ten steps below 1 Gbit/s, by one above, and never beyond the most."""
    search = RateSearch(100 * MEGABIT, 1_250 * MEGABIT)
    assert search.rate == 100 * MEGABIT
    assert search.heard(0, 0) == 110 * MEGABIT
    rates = [search.heard(0, 0) for _ in range(95)]
    assert rates[88:92] == [rate * MEGABIT for rate in (1_000, 1_100, 1_250, 1_250)]


def test_it_comes_down_where_something_is_lost() -> None:
    """By one step, by thirty the third time in a row; afterwards it goes up by one, as RFC 9097 has it."""
    search = RateSearch(500 * MEGABIT, 10_000 * MEGABIT)
    assert [search.heard(11, 0) for _ in range(4)] == [rate * MEGABIT for rate in (499, 498, 468, 467)]
    assert search.heard(0, 0) == 468 * MEGABIT


def test_a_queue_is_as_bad_as_loss() -> None:
    """More than 90 ms of it; between 30 and 90 ms the rate stays."""
    search = RateSearch(500 * MEGABIT, 10_000 * MEGABIT)
    assert search.heard(0, 50 * MS_NS) == 500 * MEGABIT
    assert search.heard(0, 91 * MS_NS) == 499 * MEGABIT


@given(
    st.integers(1, 10**12),
    st.integers(1, 10**12),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 200 * MS_NS))),
)
def test_it_keeps_within_bounds(first: int, most: int, heard: list[tuple[int, int]]) -> None:
    """Whatever is heard, the rate is at most the most, and more than nothing."""
    search = RateSearch(first, most)
    for lost, queueing_ns in heard:
        assert 0 < search.heard(lost, queueing_ns) <= most


@given(st.integers(50, 5_000))
def test_it_finds_a_rate(capacity: int) -> None:
    """On a line that loses what is beyond its capacity it arrives there and stays near."""
    search = RateSearch(50 * MEGABIT, 10_000 * MEGABIT)
    rates = []
    for _ in range(400):
        lost = 100 if search.rate > capacity * MEGABIT else 0
        rates.append(search.heard(lost, 0))
    found = max(rate for rate in rates[-20:] if rate <= capacity * MEGABIT)
    assert found >= 0.9 * capacity * MEGABIT - MEGABIT
