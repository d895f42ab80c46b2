"""Send times."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.core.schedule import PeriodicStream, spread_phases


@given(st.lists(st.integers(min_value=1, max_value=10**9), max_size=60), st.integers())
def test_phases_lie_within_the_interval(intervals: list[int], seed: int) -> None:
    """Each phase is at least 0 and below its stream's interval."""
    phases = spread_phases(intervals, random.Random(seed))
    assert len(phases) == len(intervals)
    assert all(0 <= phase < interval for phase, interval in zip(phases, intervals, strict=True))


def test_streams_do_not_burst() -> None:
    """Of a thousand streams of one interval no more than two fall into a slot of their fair share."""
    phases = sorted(spread_phases([1_000_000] * 1000, random.Random(1)))
    assert all(later - earlier >= 1000 for earlier, later in zip(phases, phases[2:], strict=False))


def test_phase_is_uniform() -> None:
    """One stream's phase covers its interval evenly over many starts."""
    rng = random.Random(3)
    drawn = [spread_phases([1000, 1000, 1000], rng)[0] for _ in range(3000)]
    assert all(200 < sum(low <= phase < low + 100 for phase in drawn) < 400 for low in range(0, 1000, 100))


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.lists(st.integers(0, 10**10), max_size=30))
def test_no_catch_up(interval: int, first: int, steps: list[int]) -> None:
    """After any pause the next send time lies ahead on the same grid, and the skipped ones are told."""
    stream = PeriodicStream(interval, first)
    now = first
    passed = 0
    for step in steps:
        now = max(stream.due_ns, now + step)
        missed = stream.advance(now)
        passed += missed + 1
        assert now < stream.due_ns <= now + interval
        assert stream.due_ns == first + passed * interval
