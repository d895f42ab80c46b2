"""What a clock vouches for, now and later."""

from __future__ import annotations

import pytest

from agent.net.clock import (
    MAX_BOUND_NS,
    ClockQuality,
    DeclaredClock,
    UnsynchronisedClock,
    vouched,
)


@pytest.mark.parametrize(
    ("age_ns", "bound_ns"),
    [(0, 1000), (1, 1001), (66_666, 1001), (66_667, 1002), (10**9, 16_000), (10 * 10**9, 151_000)],
)
def test_the_bound_grows_with_the_drift_and_is_rounded_up(age_ns: int, bound_ns: int) -> None:
    """At 15 ppm 1 ns is gained every 66,667 ns, and the first of it at once."""
    assert ClockQuality("chrony", 1000, drift_ppb=15_000).bound_ns(age_ns) == bound_ns


def test_a_bound_of_16_seconds_is_none() -> None:
    """What may be off by 16 s is not synchronised, at once or once it has drifted that far."""
    assert vouched("ptp", MAX_BOUND_NS - 1, 1).synchronized
    refused = vouched("ptp", 10**4000, 0)
    assert (refused.source, refused.error_bound_ns) == ("ptp", None)
    almost = vouched("chrony", MAX_BOUND_NS - 1, 10**9)
    assert (almost.bound_ns(0), almost.bound_ns(1)) == (MAX_BOUND_NS - 1, None)
    assert ClockQuality("ptp", None, "no").bound_ns(10) is None


async def test_declared_clocks_say_what_was_declared() -> None:
    """A declared bound neither drifts nor is lost by a step; a clock declared unsynchronised vouches for nothing."""
    declared, unsynchronised = DeclaredClock(50_000), UnsynchronisedClock()
    for _ in range(2):
        assert declared.quality() == ClockQuality("declared", 50_000)
        assert declared.quality().bound_ns(10**12) == 50_000
        assert (unsynchronised.quality().source, unsynchronised.quality().synchronized) == (
            "unsynchronised",
            False,
        )
        for clock in (declared, unsynchronised):
            await clock.ask()
            clock.stepped()
