"""Exact one-sided bounds of a proportion."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import beta, binom

from collector.sla.confidence import (
    CONFIDENCE,
    clean_packets_needed,
    exceeds,
    lower_bound,
    lower_bounds,
    meets,
    upper_bound,
    upper_bounds,
)

TRIALS = st.integers(1, 100_000)
SHARES = st.sampled_from([0.0, 1.0]) | st.floats(1e-9, 1) | st.floats(1e-6, 0.02)
"""Shares of events as they are near a promise, and at the ends."""
FRACTIONS = st.sampled_from([0.0, 1.0]) | st.floats(0.01, 1e6)
"""Effective numbers of trials: none, and any fraction."""


def test_without_an_event_the_upper_bound_is_the_rule_of_three() -> None:
    """No event in 3,000 packets: at most about 3/3000, at 95 %."""
    assert upper_bound(0, 3000) == pytest.approx(1 - 0.05 ** (1 / 3000), rel=1e-12)
    assert upper_bound(0, 3000) == pytest.approx(3 / 3000, rel=0.01)


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (1, 2), (3, 400), (50, 51), (999, 100_000)])
def test_the_bounds_are_quantiles_of_the_beta_distribution(events: int, trials: int) -> None:
    """Clopper and Pearson's bounds, as scipy.stats computes them."""
    assert upper_bound(events, trials) == pytest.approx(beta.ppf(0.95, events + 1, trials - events), rel=1e-9)
    if events:
        assert lower_bound(events, trials) == pytest.approx(
            beta.ppf(0.05, events, trials - events + 1), rel=1e-9
        )


@given(st.data())
def test_each_bound_leaves_five_percent_beyond_it(data: st.DataObject) -> None:
    """At the upper bound so few events have a chance of 5 %, at the lower bound so many have."""
    trials = data.draw(TRIALS)
    events = data.draw(st.integers(1, trials - 1)) if trials > 1 else 0
    assert binom.cdf(events, trials, upper_bound(events, trials)) == pytest.approx(1 - CONFIDENCE, rel=1e-6)
    if events:
        assert binom.sf(events - 1, trials, lower_bound(events, trials)) == pytest.approx(
            1 - CONFIDENCE, rel=1e-6
        )


@given(st.data())
def test_the_observed_share_lies_between_the_bounds(data: st.DataObject) -> None:
    """Whatever was counted."""
    trials = data.draw(TRIALS)
    events = data.draw(st.integers(0, trials))
    assert 0 <= lower_bound(events, trials) <= events / trials <= upper_bound(events, trials) <= 1


def test_nothing_counted_proves_nothing() -> None:
    """Without a packet the share may be anything."""
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)


def test_all_events_leave_nothing_above() -> None:
    """Where every packet broke the promise the upper bound is 1 and the lower one below it."""
    assert upper_bound(10, 10) == 1.0
    assert lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10))


def test_an_effective_sample_size_may_be_a_fraction_and_widens_the_bounds() -> None:
    """Half as many independent packets with the same share know less."""
    assert upper_bound(1.5, 500.5) > upper_bound(3, 1001)
    assert lower_bound(1.5, 500.5) < lower_bound(3, 1001)


@pytest.mark.parametrize(("percentile", "needed"), [(95, 59), (99, 299), (99.9, 2995), (99.99, 29_956)])
def test_as_many_clean_packets_as_named_are_needed_and_enough(percentile: float, needed: int) -> None:
    """One packet fewer does not prove the percentile."""
    threshold = 1 - percentile / 100
    assert clean_packets_needed(threshold) == needed
    assert upper_bound(0, needed) <= threshold < upper_bound(0, needed - 1)


@given(st.data())
def test_the_bounds_of_an_array_are_the_bounds_of_its_elements(data: st.DataObject) -> None:
    """Of any shape; with no trials, no events, nothing but events, and fractions of both."""
    shape = data.draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    trials = data.draw(arrays(np.float64, shape, elements=FRACTIONS))
    events = trials * data.draw(arrays(np.float64, shape, elements=SHARES))
    lower, upper = lower_bounds(events, trials), upper_bounds(events, trials)
    assert lower.shape == upper.shape == shape
    for i in np.ndindex(shape):
        assert upper[i] == pytest.approx(upper_bound(float(events[i]), float(trials[i])), rel=1e-9)
        assert lower[i] == pytest.approx(lower_bound(float(events[i]), float(trials[i])), rel=1e-9)


@given(FRACTIONS, SHARES, st.just(0.0) | st.floats(1e-12, 1) | st.floats(1e-5, 0.02))
def test_a_verdict_is_the_same_with_and_without_the_bound_itself(
    trials: float, share: float, threshold: float
) -> None:
    """`meets` and `exceeds` are comparisons of the bounds, wherever the last digits of a float do not decide."""
    events = trials * share
    upper, lower = upper_bounds(events, trials), lower_bounds(events, trials)
    if abs(upper - threshold) > 1e-9 * threshold:
        assert meets(events, trials, threshold) == (upper <= threshold)
    if abs(lower - threshold) > 1e-9 * threshold:
        assert exceeds(events, trials, threshold) == (lower > threshold)


@given(FRACTIONS.filter(bool), SHARES)
def test_a_threshold_beside_the_bound_is_told_from_the_bound(trials: float, share: float) -> None:
    """A billionth to either side turns the verdict: the decision is as exact as the bound."""
    events = trials * share
    upper, lower = float(upper_bounds(events, trials)), float(lower_bounds(events, trials))
    if upper < 1 - 1e-6:
        assert meets(events, trials, upper * (1 + 1e-9))
        assert not meets(events, trials, upper * (1 - 1e-9))
    if 1e-300 < lower < 1 - 1e-6:
        assert exceeds(events, trials, lower * (1 - 1e-9))
        assert not exceeds(events, trials, lower * (1 + 1e-9))


def test_a_threshold_of_one_is_always_met_and_of_zero_exceeded_by_any_event() -> None:
    """All packets may break such a promise, or none."""
    assert meets([0, 5, 5], [0, 5, 10], 1).all()
    assert not meets([0, 1], [1e6, 1e6], 0).any()
    assert exceeds([0, 1], [10, 10], 0).tolist() == [False, True]
    assert not exceeds([10, 0], [10, 0], 1).any()


@pytest.mark.parametrize("percentile", [95, 99, 99.9, 99.99])
def test_clean_packets_are_decided_as_they_are_counted(percentile: float) -> None:
    """As many clean packets as are needed meet the threshold, and one fewer does not."""
    threshold = 1 - percentile / 100
    needed = clean_packets_needed(threshold)
    assert meets([0, 0], [needed, needed - 1], threshold).tolist() == [True, False]


def test_a_city_of_paths_is_decided_without_a_loop() -> None:
    """600,000 decisions with a different effective sample take less than a second of one core."""
    generator = np.random.default_rng(20_241)
    trials = 10 ** generator.uniform(2, 6, 600_000)
    events = trials * 10 ** generator.uniform(-5, -1.5, 600_000)
    began = process_time()
    passed, failed = meets(events, trials, 0.001), exceeds(events, trials, 0.001)
    took = process_time() - began
    assert not (passed & failed).any()
    assert took < 1.0
