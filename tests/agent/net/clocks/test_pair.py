"""Both clocks read together."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.steps import ClockPair
from agent.net.clocks.pair import read_pair


def test_the_real_clocks_agree_with_each_other() -> None:
    """Successive pairs give one offset, to what they admit and a nanosecond of rounding."""
    pairs = [read_pair() for _ in range(200)]
    lower = max(one.realtime_ns - one.monotonic_ns - one.uncertainty_ns for one in pairs)
    upper = min(one.realtime_ns - one.monotonic_ns + one.uncertainty_ns for one in pairs)
    assert lower <= upper + 2
    assert min(one.uncertainty_ns for one in pairs) < 50_000


def test_the_narrowest_of_three_is_taken() -> None:
    """Where the first attempts were interrupted, the best one is given, with its uncertainty."""
    monotonic: Iterator[int] = iter([0, 9_000, 10_000, 15_001, 20_000, 28_000])
    assert read_pair(lambda: 77, lambda: next(monotonic)) == ClockPair(77, 12_501, 2_501)


def test_an_undisturbed_reading_is_taken_at_once() -> None:
    """There is no second attempt."""
    monotonic: Iterator[int] = iter([100, 200])
    assert read_pair(lambda: 77, lambda: next(monotonic)) == ClockPair(77, 150, 50)
