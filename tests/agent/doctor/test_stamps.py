"""Kernel times, proven by sending."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.doctor.stamps import StampFacts, gather_loopback, judge_stamps
from agent.runtime.doctor.diagnosis import Severity


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_no_time_at_all_is_a_problem(sent: int, transmitted: int, received: int, stamped: int) -> None:
    """In either direction, of what came; what never came may never have left, and is not a fault of the stamps."""
    transmitted, stamped = min(transmitted, sent), min(stamped, received)
    found = judge_stamps(StampFacts("loopback", sent, transmitted, received, stamped))
    assert (found.severity is Severity.PROBLEM) is (received > 0 and not (transmitted and stamped))
    if not received:
        assert found.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("facts", "severity"),
    [
        (StampFacts("x", 20, 20, 20, 20, lag_ns=12_000), Severity.OK),
        (StampFacts("x", 20, 18, 20, 18), Severity.OK),
        (StampFacts("x", 20, 9, 20, 20), Severity.WARNING),
        (StampFacts("x", 20, 2, 2, 2), Severity.OK),
        (StampFacts("x", 2, 0, 0, 0), Severity.NOTE),
        (StampFacts("x", 0, 0, 0, 0, "Network is unreachable"), Severity.PROBLEM),
    ],
)
def test_judgements(facts: StampFacts, severity: Severity) -> None:
    """The first few may be missing, for the kernel turns stamping on when it is first asked."""
    assert judge_stamps(facts).severity is severity


async def test_this_kernel_gives_them_on_loopback() -> None:
    """For what was really sent and received, and a little after the program's own time."""
    over_ipv4, *_ = await gather_loopback()
    assert judge_stamps(over_ipv4).severity is Severity.OK
    assert over_ipv4.lag_ns is not None
    assert over_ipv4.lag_ns >= 0
