"""Limits and outcomes."""

from __future__ import annotations

import math

from agent.core.outcome import Limit, Operator, Outcome, classify_arrived

BELOW_1MS = Limit(1_000_000, Operator.BELOW)
AT_MOST_10MS = Limit(10_000_000, Operator.AT_MOST)


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
