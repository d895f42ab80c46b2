"""Extremes and quantiles of the recent past."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.recent import NO_MINIMUM, RecentLags, RecentMinima

observations = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 50)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=40,
)


@given(observations)
def test_minimum_of_two_periods(batches: list[tuple[int, bool, list[tuple[int, int]]]]) -> None:
    """Each row's minimum is that of the current and the previous period of 10 ns, since trust was won or lost."""
    recent = RecentMinima(10, 3, 2)
    now = 100
    seen: list[tuple[int, int, int]] = []
    one_way: list[tuple[int, int, int]] = []
    trust: dict[int, bool] = {}
    for pause, trusted, batch in batches:
        now += pause
        batch.sort(key=lambda packet: packet[0])
        for row, delay in batch:
            if trust.setdefault(row, False) is not trusted:
                one_way = [one for one in one_way if one[1] != row]
                trust[row] = trusted
            seen.append((now, row, delay))
            one_way.append((now, row, delay + 1))
        rows = np.array([row for row, _ in batch])
        delays = np.array([[delay + 1 for _, delay in batch], [delay for _, delay in batch]])
        least, comparable = recent.observe(rows, delays, np.full(len(batch), trusted), now)
        assert comparable.all()
        oldest = now - now % 10 - 10
        for index, row in enumerate(rows.tolist()):
            for direction, measured in enumerate((one_way, seen)):
                expected = min(value for when, of, value in measured if of == row and when >= oldest)
                assert least[direction, index] == expected
                known = recent.values(np.array([row]), now)[direction, 0]
                assert known == (expected if trusted or direction == 1 else NO_MINIMUM)


def test_what_is_not_comparable_is_said() -> None:
    """Where trust changes within a batch only the delays after the change count for the one-way minimum."""
    recent = RecentMinima(10, 1, 2)
    rows, delays = np.zeros(3, np.int64), np.array([[1, 7, 5], [1, 7, 5]])
    least, comparable = recent.observe(rows, delays, np.array([False, True, True]), 100)
    assert comparable.tolist() == [False, True, True]
    assert least.tolist() == [[5, 5, 5], [1, 1, 1]]


def test_minimum_grows_old() -> None:
    """A minimum is gone two periods after it was seen; before anything is seen there is none."""
    recent = RecentMinima(10, 1, 1)

    def observe(delay: int, now: int) -> None:
        recent.observe(np.array([0]), np.array([[delay]]), np.array([True]), now)

    def least(now: int) -> int:
        return int(recent.values(np.array([0]), now)[0, 0])

    assert least(0) == NO_MINIMUM
    observe(5, 100)
    assert least(115) == 5
    assert least(120) == NO_MINIMUM
    observe(9, 110)
    assert least(119) == 5
    assert least(125) == 9


def test_rows_can_be_added() -> None:
    """Growing forgets nothing, and new rows have seen nothing."""
    recent = RecentMinima(10, 1, 1)
    recent.observe(np.array([0]), np.array([[5]]), np.array([True]), 100)
    recent.grow()
    assert recent.values(np.array([0, 1]), 101).tolist() == [[5, NO_MINIMUM]]


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
