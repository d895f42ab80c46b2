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


def streams_on(grids: list[tuple[int, int]], probes: int | None = None) -> PeriodicStreams:
    """Streams of these intervals and phases."""
    made = PeriodicStreams()
    made.set(range(len(grids)), [interval for interval, _ in grids], [phase for _, phase in grids], probes)
    return made


@given(streams, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), max_size=20))
def test_no_catch_up(grids: list[tuple[int, int]], steps: list[tuple[int, int]]) -> None:
    """Every send time on a stream's grid is taken once or told as missed, in order, and never a burst of old ones."""
    made = streams_on(grids)
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
    made = streams_on(grids, probes)
    taken = [0] * len(grids)
    now = 0
    while (due_ns := made.next_due_ns) is not None:
        now = max(now + step, due_ns)
        for row in made.take(now, now + step).rows.tolist():
            taken[row] += 1
    assert taken == [probes] * len(grids)


def test_stopped_streams_are_never_due() -> None:
    """What is stopped is due no more, nor once again for what was taken and not sent; the others go on."""
    made = streams_on([(10, 0), (10, 5)], 3)
    made.stop([0])
    made.give_back(0)
    assert made.next_due_ns == 5
    assert made.take(0, 10).rows.tolist() == [1]
    made.stop()
    assert made.next_due_ns is None
    assert len(made.take(100, 200).rows) == 0


def test_what_was_not_sent_is_due_once_more() -> None:
    """A limited stream that could not send is due as often as it was asked to be."""
    made = streams_on([(10, 0)], 1)
    assert len(made.take(0, 100).rows) == 1
    assert made.next_due_ns is None
    made.give_back(0)
    assert made.take(100, 200).times_ns.tolist() == [100]


def test_rows_can_be_set_anew() -> None:
    """A row goes on under another interval from another time on; rows in between that were never set are never due."""
    made = PeriodicStreams()
    made.set([2], [10], [5])
    assert made.take(0, 20).times_ns.tolist() == [5, 15]
    made.set([2, 0], [100, 7], [30, 40])
    due = made.take(20, 50)
    assert due.rows.tolist() == [2, 0, 0]
    assert due.times_ns.tolist() == [30, 40, 47]
