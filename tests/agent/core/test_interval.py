"""What is known of one packet's delay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.interval import (
    UNKNOWN_NS,
    Integers,
    classify,
    least_round_trip_ns,
    one_way_bounds,
    sum_of_uncertainties,
)
from agent.core.outcome import Limit, Operator, Outcome

BELOW_1MS = Limit(1_000_000, Operator.BELOW)
AT_MOST_10MS = Limit(10_000_000, Operator.AT_MOST)

delays = st.integers(min_value=0, max_value=10**10)


def column(*values: int) -> Integers:
    """One packet's values, a row for each."""
    return np.array(values, np.int64)[:, None]


def forward_bounds(
    delay: int, uncertainty: int, floor: int, other_floor: int, round_trip: int
) -> tuple[int, int, bool, bool]:
    """The bounds of one packet on the way there, and what they disprove: the clocks, the floors."""
    found = one_way_bounds(
        column(delay, round_trip - delay),
        np.array([uncertainty]),
        column(floor, other_floor),
        np.array([round_trip]),
    )
    return int(found.lower_ns[0, 0]), int(found.upper_ns[0, 0]), bool(found.clock[0]), bool(found.floor[0])


@given(delays, delays, delays, delays, st.data())
def test_contains_the_truth(forward: int, reverse: int, slack: int, error: int, data: st.DataObject) -> None:
    """Whatever the clocks' error within its bound, the interval contains the true delay, and nothing contradicts."""
    floor = data.draw(st.integers(min_value=0, max_value=forward))
    other = data.draw(st.integers(min_value=0, max_value=reverse))
    wrong = data.draw(st.integers(min_value=-error, max_value=error))
    for uncertainty in (error, error + slack, UNKNOWN_NS):
        found = one_way_bounds(
            column(forward + wrong, reverse - wrong),
            np.array([uncertainty]),
            column(floor, other),
            np.array([forward + reverse]),
        )
        assert not found.clock.any()
        assert not found.floor.any()
        for truth, least, most, lower, upper in zip(
            (forward, reverse),
            (floor, other),
            (forward + reverse - other, forward + reverse - floor),
            found.lower_ns[:, 0].tolist(),
            found.upper_ns[:, 0].tolist(),
            strict=True,
        ):
            assert least <= lower <= truth <= upper <= most


def test_clock_free_bound() -> None:
    """Without any clock the round trip less the other floor bounds the delay: Yichang's numbers."""
    found = forward_bounds(10**12, UNKNOWN_NS, 1_420_000, 1_420_000, 3_900_000)
    assert found == (1_420_000, 2_480_000, False, False)


def test_lying_clock() -> None:
    """A delay that no true clocks could show is a contradiction, and the clock-free bound still holds."""
    for measured in (-5_000_000, 9_000_000):
        assert forward_bounds(measured, 50_000, 100_000, 100_000, 900_000) == (100_000, 800_000, True, False)


def test_negative_delays_are_kept() -> None:
    """A negative difference within the uncertainty is no contradiction."""
    assert forward_bounds(-20_000, 50_000, 0, 0, 10_000) == (0, 10_000, False, False)


def test_impossible_floor() -> None:
    """A round trip shorter than the floors disproves the floors, not the clocks, and nothing is claimed of them."""
    assert forward_bounds(400_000, 50_000, 600_000, 600_000, 900_000) == (0, 900_000, False, True)
    assert forward_bounds(-400_000, 50_000, 600_000, 600_000, -1) == (0, 0, False, True)


@given(delays, st.just(UNKNOWN_NS) | delays, delays)
def test_round_trip(measured: int, stamping: int, floors: int) -> None:
    """The measured round trip is an upper bound; user-space stamps only ever lower the least."""
    (least,) = least_round_trip_ns(np.array([measured]), np.array([stamping]), np.array([floors])).tolist()
    assert least <= measured
    assert least >= min(floors, measured)
    if stamping == 0:
        assert least == measured
    if stamping != UNKNOWN_NS:
        assert least >= measured - stamping


@given(st.lists(st.just(UNKNOWN_NS) | delays, min_size=1, max_size=4))
def test_what_is_not_known_spoils_the_sum(parts: list[int]) -> None:
    """Uncertainties add up, and one that is not known leaves nothing known."""
    (total,) = sum_of_uncertainties(*(np.array([part]) for part in parts)).tolist()
    assert total == (UNKNOWN_NS if UNKNOWN_NS in parts else sum(parts))


@pytest.mark.parametrize(
    ("limit", "lower", "upper", "outcome"),
    [
        (BELOW_1MS, 0, 999_999, Outcome.WITHIN),
        (BELOW_1MS, 0, 1_000_000, Outcome.UNCERTAIN),
        (BELOW_1MS, 999_999, 1_000_000, Outcome.UNCERTAIN),
        (BELOW_1MS, 1_000_000, 1_000_000, Outcome.OVER),
        (AT_MOST_10MS, 10_000_000, 10_000_000, Outcome.WITHIN),
        (AT_MOST_10MS, 10_000_000, 10_000_001, Outcome.UNCERTAIN),
        (AT_MOST_10MS, 10_000_001, UNKNOWN_NS, Outcome.OVER),
    ],
)
def test_at_the_limit(limit: Limit, lower: int, upper: int, outcome: Outcome) -> None:
    """`<` excludes the limit itself and `<=` includes it, to the nanosecond."""
    assert classify(np.array([lower]), np.array([upper]), np.array([limit.largest_ns])).tolist() == [outcome]


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.sampled_from(Operator), st.integers(1, 10**10))
def test_classification_follows_the_limit(lower: int, width: int, operator: Operator, limit_ns: int) -> None:
    """Within means every delay of the interval meets the limit, over means none does."""
    limit = Limit(limit_ns, operator)
    (outcome,) = classify(np.array([lower]), np.array([lower + width]), np.array([limit.largest_ns])).tolist()
    assert (outcome == Outcome.WITHIN) == limit.met_by(lower + width)
    assert (outcome == Outcome.OVER) == (not limit.met_by(lower))
