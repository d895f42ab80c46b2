"""Send times."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.core.schedule import PeriodicStreams, spread_phases


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


streams = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 499)), min_size=1, max_size=8)


@given(streams, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), max_size=20))
def test_no_catch_up(grids: list[tuple[int, int]], steps: list[tuple[int, int]]) -> None:
    """Every send time on a stream's grid is taken once or told as missed, in order, and never a burst of old ones."""
    made = PeriodicStreams([interval for interval, _ in grids], 0, [phase for _, phase in grids])
    handled = [0] * len(grids)
    now = 0
    for pause, ahead in steps:
        now += pause
        due = made.take(now, now + ahead)
        assert due.times_ns.tolist() == sorted(due.times_ns.tolist())
        for row, missed in due.missed.items():
            handled[row] += missed
        for row, time in zip(due.rows.tolist(), due.times_ns.tolist(), strict=True):
            interval, phase = grids[row]
            assert time == phase + handled[row] * interval
            assert now - interval < time < now + ahead
            handled[row] += 1
        for row, (interval, phase) in enumerate(grids):
            assert made.due_ns[row] == phase + handled[row] * interval >= now + ahead
        assert made.next_due_ns == min(made.due_ns)
        now += ahead


@given(streams, st.integers(0, 5), st.integers(1, 400))
def test_limited_streams_end(grids: list[tuple[int, int]], probes: int, step: int) -> None:
    """Each stream is due as often as asked, missed times not counted, and then never again."""
    made = PeriodicStreams([interval for interval, _ in grids], 0, [phase for _, phase in grids], probes)
    taken = [0] * len(grids)
    now = 0
    while (due_ns := made.next_due_ns) is not None:
        now = max(now + step, due_ns)
        for row in made.take(now, now + step).rows.tolist():
            taken[row] += 1
    assert taken == [probes] * len(grids)


def test_stopped_streams_are_never_due() -> None:
    """After stop nothing is due."""
    made = PeriodicStreams([10], 0, [0])
    made.stop()
    assert made.next_due_ns is None
    assert len(made.take(100, 200).rows) == 0
