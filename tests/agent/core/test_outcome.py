"""Limits and outcomes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Limit, Operator, Outcome, classify, classify_arrived

BELOW_1MS = Limit(1_000_000, Operator.BELOW)
AT_MOST_10MS = Limit(10_000_000, Operator.AT_MOST)


@pytest.mark.parametrize(
    ("limit", "lower", "upper", "outcome"),
    [
        (BELOW_1MS, 0, 999_999, Outcome.WITHIN),
        (BELOW_1MS, 0, 1_000_000, Outcome.UNCERTAIN),
        (BELOW_1MS, 999_999, 1_000_000, Outcome.UNCERTAIN),
        (BELOW_1MS, 1_000_000, 1_000_000, Outcome.OVER),
        (AT_MOST_10MS, 10_000_000, 10_000_000, Outcome.WITHIN),
        (AT_MOST_10MS, 10_000_000, 10_000_001, Outcome.UNCERTAIN),
        (AT_MOST_10MS, 10_000_001, math.inf, Outcome.OVER),
    ],
)
def test_at_the_limit(limit: Limit, lower: int, upper: float, outcome: Outcome) -> None:
    """`<` excludes the limit itself and `<=` includes it, to the nanosecond."""
    assert classify(lower, upper, limit.largest_ns) is outcome


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.sampled_from(Operator), st.integers(1, 10**10))
def test_classification_follows_the_limit(lower: int, width: int, operator: Operator, limit_ns: int) -> None:
    """Within means every delay of the interval meets the limit, over means none does."""
    limit = Limit(limit_ns, operator)
    outcome = classify(lower, lower + width, limit.largest_ns)
    assert (outcome is Outcome.WITHIN) == limit.met_by(lower + width)
    assert (outcome is Outcome.OVER) == (not limit.met_by(lower))


def test_lost_packets_have_infinite_delay() -> None:
    """No limit is met by a lost packet (RFC 7679)."""
    assert not AT_MOST_10MS.met_by(math.inf)


def test_arrived_without_a_time() -> None:
    """Of a packet that arrived at an unknown time only its floor can prove anything."""
    assert classify_arrived(5_000_000, AT_MOST_10MS.largest_ns) is Outcome.UNCERTAIN
    assert classify_arrived(11_000_000, AT_MOST_10MS.largest_ns) is Outcome.OVER


def test_words() -> None:
    """Limits and outcomes print as people and labels need them."""
    assert str(BELOW_1MS) == "< 1 ms"
    assert [outcome.label for outcome in Outcome] == ["within", "over", "uncertain", "lost", "unattributed"]
