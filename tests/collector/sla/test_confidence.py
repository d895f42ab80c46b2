"""Exact one-sided bounds of a proportion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from collector.sla.confidence import CONFIDENCE, clean_packets_needed, lower_bound, upper_bound

TRIALS = st.integers(1, 100_000)


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
