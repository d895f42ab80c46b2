"""Extremes and quantiles of the recent past."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.recent import RecentLags, RecentMinimum


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-50, 50)), min_size=1, max_size=80))
def test_minimum_of_two_periods(steps: list[tuple[int, int]]) -> None:
    """The minimum is that of the current and the previous period of 10 ns, no more and no less."""
    recent = RecentMinimum(10)
    now = 100
    seen: list[tuple[int, int]] = []
    for pause, delay in steps:
        now += pause
        seen.append((now, delay))
        oldest = now - now % 10 - 10
        expected = min(value for when, value in seen if when >= oldest)
        assert recent.observe(delay, now) == expected
        assert recent.value(now) == expected


def test_minimum_grows_old() -> None:
    """A minimum is gone two periods after it was seen; before anything is seen there is none."""
    recent = RecentMinimum(10)
    assert recent.value(0) is None
    recent.observe(5, 100)
    assert recent.value(115) == 5
    assert recent.value(120) is None
    recent.observe(9, 110)
    assert recent.value(119) == 5
    assert recent.value(125) == 9


def test_lags_need_evidence() -> None:
    """There is no bound before enough lags were measured."""
    lags = RecentLags(least=3)
    for lag in (5, 7):
        lags.observe(lag)
        assert lags.bound_ns is None
    lags.observe(6)
    assert lags.bound_ns == 7


def test_lags_quantile() -> None:
    """The bound covers the stated share of the last lags and forgets older ones."""
    lags = RecentLags(size=100, quantile=0.99)
    for lag in [10_000, *range(100), 50]:
        lags.observe(lag)
    for _ in range(32):
        lags.observe(1)
    assert lags.bound_ns is not None
    assert lags.bound_ns < 100
