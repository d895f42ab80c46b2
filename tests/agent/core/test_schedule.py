"""Send times."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agent.core.interval import Integers
from agent.core.schedule import Due, Schedule, Streams, most_within, spread_phases

MS = 1_000_000
SECOND = 1_000_000_000
PERIODIC, JITTERED, POISSON = Schedule


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


Stream = tuple[Schedule, int, int]
"""Schedule, interval and beginning."""

streams = st.lists(
    st.tuples(st.sampled_from(Schedule), st.integers(1, 500), st.integers(0, 499)), min_size=1, max_size=8
)


def streams_on(given_: Sequence[Stream], probes: int | None = None, seed: int = 1) -> Streams:
    """These streams, in rows of their order."""
    made = Streams(seed)
    schedules, intervals, firsts = zip(*given_, strict=True)
    made.set(range(len(given_)), schedules, intervals, firsts, probes)
    return made


def periodic(*grids: tuple[int, int]) -> list[Stream]:
    """Periodic streams of these intervals and phases."""
    return [(PERIODIC, interval, phase) for interval, phase in grids]


def send_times(made: Streams, until_ns: int, beat_ns: int) -> tuple[Integers, Integers]:
    """Rows and times of all that is due in so long a time, taken from beat to beat and never late."""
    taken = [made.take(now, now + beat_ns) for now in range(0, until_ns, beat_ns)]
    assert not any(due.missed for due in taken)
    return np.concatenate([due.rows for due in taken]), np.concatenate([due.times_ns for due in taken])


def check_nothing_is_caught_up(given_: Sequence[Stream], now: int, until: int, due: Due) -> None:
    """What is taken is in order, due before the end, and late at most once for each stream and by one interval."""
    assert due.times_ns.tolist() == sorted(due.times_ns.tolist())
    late: set[int] = set()
    for row, time in zip(due.rows.tolist(), due.times_ns.tolist(), strict=True):
        _, interval, first = given_[row]
        assert first <= time < until
        if time < now:
            assert row not in late
            assert time > now - interval
            late.add(row)


@given(streams, st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), max_size=20), st.integers(0))
def test_no_catch_up(given_: list[Stream], steps: list[tuple[int, int]], seed: int) -> None:
    """Every interval of a stream on a grid has its time taken once or told as missed, and never a burst of old ones."""
    made = streams_on(given_, seed=seed)
    handled = [0] * len(given_)
    now = 0
    for pause, ahead in steps:
        now += pause
        due = made.take(now, now + ahead)
        check_nothing_is_caught_up(given_, now, now + ahead, due)
        for row, missed in due.missed.items():
            assert missed > 0
            handled[row] += missed
        for row, time in zip(due.rows.tolist(), due.times_ns.tolist(), strict=True):
            schedule, interval, first = given_[row]
            if schedule is PERIODIC:
                assert time == first + handled[row] * interval
            if schedule is JITTERED:
                assert (time - first) // interval == handled[row]
            handled[row] += 1
        for row, (schedule, interval, first) in enumerate(given_):
            if schedule is PERIODIC:
                assert made.due_ns[row] == first + handled[row] * interval
            if schedule is JITTERED:
                assert (made.due_ns[row] - first) // interval == handled[row]
            assert made.due_ns[row] >= now + ahead
        assert made.next_due_ns == min(made.due_ns[: len(given_)])
        now += ahead


@given(streams, st.integers(0, 5), st.integers(1, 400))
def test_limited_streams_end(given_: list[Stream], probes: int, step: int) -> None:
    """Each stream is due as often as asked, missed times not counted, and then never again."""
    made = streams_on(given_, probes)
    taken = [0] * len(given_)
    now = 0
    while (due_ns := made.next_due_ns) is not None:
        now = max(now + step, due_ns)
        for row in made.take(now, now + step).rows.tolist():
            taken[row] += 1
    assert taken == [probes] * len(given_)


@given(streams, st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), max_size=9), st.integers(0))
def test_the_same_seed_gives_the_same_times(
    given_: list[Stream], steps: list[tuple[int, int]], seed: int
) -> None:
    """A schedule can be repeated."""
    one, other = streams_on(given_, seed=seed), streams_on(given_, seed=seed)
    for pause, ahead in steps:
        first, second = one.take(pause, pause + ahead), other.take(pause, pause + ahead)
        assert first.rows.tolist() == second.rows.tolist()
        assert first.times_ns.tolist() == second.times_ns.tolist()
        assert first.missed == second.missed


def test_stopped_streams_are_never_due() -> None:
    """What is stopped is due no more, nor once again for what was taken and not sent; the others go on."""
    made = streams_on(periodic((10, 0), (10, 5)), 3)
    made.stop([0])
    made.give_back(0)
    assert made.next_due_ns == 5
    assert made.take(0, 10).rows.tolist() == [1]
    made.stop()
    assert made.next_due_ns is None
    assert len(made.take(100, 200).rows) == 0


def test_what_was_not_sent_is_due_once_more() -> None:
    """A limited stream that could not send is due as often as it was asked to be."""
    made = streams_on(periodic((10, 0)), 1)
    assert len(made.take(0, 100).rows) == 1
    assert made.next_due_ns is None
    made.give_back(0)
    assert made.take(100, 200).times_ns.tolist() == [100]


def test_for_ever_is_not_exceeded() -> None:
    """A probe of before that is given back after its endless stream was set anew does not end the stream."""
    made = Streams(1)
    made.set([0], [PERIODIC], [10], [0])
    made.take(0, 20)
    made.set([0], [PERIODIC], [10], [100])
    made.give_back(0)
    made.give_back(0)
    assert made.take(100, 130).times_ns.tolist() == [100, 110, 120]


def test_rows_can_be_set_anew() -> None:
    """A row goes on under another interval from another time on; rows in between that were never set are never due."""
    made = Streams(1)
    made.set([2], [PERIODIC], [10], [5])
    assert made.take(0, 20).times_ns.tolist() == [5, 15]
    made.set([2, 0], [PERIODIC, PERIODIC], [100, 7], [30, 40])
    due = made.take(20, 50)
    assert due.rows.tolist() == [2, 0, 0]
    assert due.times_ns.tolist() == [30, 40, 47]


def test_a_row_can_go_on_under_another_schedule() -> None:
    """Periodic after Poisson, it is on its grid; jittered after that, once in each interval."""
    made = streams_on([(POISSON, 10, 0)])
    made.take(0, 100)
    made.set([0], [PERIODIC], [10], [103])
    assert made.take(100, 140).times_ns.tolist() == [103, 113, 123, 133]
    made.set([0], [JITTERED], [10], [200])
    assert [(time - 200) // 10 for time in made.take(140, 300).times_ns.tolist()] == list(range(10))


# How random they are; seeds are fixed, so that what is improbable does not happen one day

RATES = pytest.mark.parametrize(
    ("interval_ns", "beat_ns"),
    [
        pytest.param(SECOND, 400 * MS, id="slower-than-the-beat"),
        pytest.param(MS, 50 * MS, id="faster-than-the-beat"),
    ],
)


@RATES
def test_poisson_gaps_are_exponential(interval_ns: int, beat_ns: int) -> None:
    """And each is independent of the one before, however the time is cut into beats."""
    rows, times_ns = send_times(streams_on([(POISSON, interval_ns, 0)] * 3), 5000 * interval_ns, beat_ns)
    for row in range(3):
        gaps = np.diff(times_ns[rows == row], prepend=0) / interval_ns
        assert gaps.mean() == pytest.approx(1, abs=4 / math.sqrt(len(gaps)))
        assert stats.kstest(gaps, "expon").pvalue > 0.01
        assert abs(stats.spearmanr(gaps[1:], gaps[:-1]).statistic) < 4 / math.sqrt(len(gaps))


def test_what_a_poisson_stream_missed_is_as_much_as_it_would_have_sent() -> None:
    """After a stall the mean rate holds, the number missed varies as a Poisson number, and the next gap begins now."""
    count, stall = 4000, 20
    made = streams_on([(POISSON, SECOND, 0)] * count)
    now = stall * SECOND
    due = made.take(now, now + 1)
    passed = np.bincount(due.rows, minlength=count)
    passed += [due.missed.get(row, 0) for row in range(count)]
    assert passed.mean() == pytest.approx(stall, abs=4 * math.sqrt(stall / count))
    assert passed.var() == pytest.approx(stall, rel=0.1)
    waiting = (made.due_ns[:count] - now) / SECOND
    assert stats.kstest(waiting, "expon").pvalue > 0.01


@RATES
def test_jitter_is_uniform_over_the_interval(interval_ns: int, beat_ns: int) -> None:
    """And independent from probe to probe; the grid does not drift."""
    _, times_ns = send_times(streams_on([(JITTERED, interval_ns, 0)]), 5000 * interval_ns, beat_ns)
    assert (times_ns // interval_ns).tolist() == list(range(5000))
    offsets = times_ns / interval_ns % 1
    assert stats.kstest(offsets, "uniform").pvalue > 0.01
    assert abs(stats.spearmanr(offsets[1:], offsets[:-1]).statistic) < 4 / math.sqrt(len(offsets))


@pytest.mark.parametrize("frequency", [1, 2, 7])
@pytest.mark.parametrize("schedule", Schedule)
def test_what_recurs_in_step_is_met_as_often_as_it_is_there(schedule: Schedule, frequency: int) -> None:
    """A disturbance that takes 30 % of the time is met by 30 % of the probes, save by periodic ones: by none or all."""
    _, times_ns = send_times(streams_on([(schedule, SECOND, 0)]), 5000 * SECOND, SECOND)
    met = np.mean(times_ns * frequency % SECOND < 3 * SECOND // 10)
    if schedule is PERIODIC:
        assert met in (0, 1)
    else:
        assert met == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / len(times_ns)))


@pytest.mark.parametrize("schedule", Schedule)
def test_thousands_of_streams_do_not_bunch(schedule: Schedule) -> None:
    """Of 5,000 streams once a second, no millisecond has many more than its five, least so where phases are spread."""
    phases = spread_phases([SECOND] * 5000, random.Random(5))
    made = streams_on([(schedule, SECOND, phase) for phase in phases])
    _, times_ns = send_times(made, 10 * SECOND, 50 * MS)
    most = np.bincount(times_ns // MS).max()
    # of Poisson numbers of mean 5, one in 10,000 milliseconds above 22 is one in 10^5 tests
    assert most <= (7 if schedule is PERIODIC else 22)


@given(st.sampled_from([PERIODIC, JITTERED]), st.integers(1, 500), st.integers(0, 3000), st.integers(0))
def test_no_more_are_due_within_a_span_than_it_has_room_for(
    schedule: Schedule, interval: int, span: int, seed: int
) -> None:
    """Whenever the span begins."""
    times_ns = streams_on([(schedule, interval, 0)], seed=seed).take(0, span + 1500).times_ns
    within = np.searchsorted(times_ns, times_ns + span, side="right") - np.arange(len(times_ns))
    assert within.max() <= most_within(schedule, interval, span)


@pytest.mark.parametrize("mean", [0.001, 0.1, 1, 4, 42, 1000, 10**6])
def test_more_poisson_probes_than_expected_are_rarer_than_once_in_a_billion(mean: float) -> None:
    """By the distribution itself; and what is allowed for is not much above the least that would do."""
    allowed = most_within(POISSON, SECOND, int(mean * SECOND))
    assert stats.poisson.sf(allowed, mean) < 1e-9
    assert allowed <= 1.5 * stats.poisson.isf(1e-9, mean) + 14
