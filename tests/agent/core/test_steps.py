"""Steps of the wall clock."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from agent.core.steps import TOLERANCE_NS, ClockPair, ClockSteps

MS = 1_000_000
SECOND = 1_000_000_000
EPOCH = 1_800_000_000 * SECOND
LONGEST = 4 * SECOND


class Host:
    """Two clocks whose true relation is known."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.monotonic_ns = 1000 * SECOND
        self.offset_ns = EPOCH
        self.set_at: list[int] = []

    def pass_time(self, ns: int) -> None:
        self.monotonic_ns += ns

    def step(self, ns: int) -> None:
        self.offset_ns += ns
        self.set_at.append(self.monotonic_ns)

    @property
    def wall_ns(self) -> int:
        return self.monotonic_ns + self.offset_ns

    def pair(self) -> ClockPair:
        """A reading that is off by no more than it admits, and is at times very uncertain."""
        uncertainty_ns = self.rng.choice([0, 50, 200, 200, 5 * MS])
        off_ns = self.rng.randint(-uncertainty_ns, uncertainty_ns)
        return ClockPair(self.wall_ns, self.monotonic_ns + off_ns, uncertainty_ns)

    def crosses(self, first_ns: int, last_ns: int) -> bool:
        """Whether the clock was set between two monotonic times."""
        return any(first_ns < at <= last_ns for at in self.set_at)


def crossed(steps: ClockSteps, *samples: tuple[int, int]) -> list[bool]:
    """Which samples, of wall times, crossed a step."""
    first_ns, last_ns = np.array(samples, np.int64).reshape(-1, 2).T
    return [bool(flag) for flag in steps.crossed(first_ns, last_ns)]


def test_nothing_is_crossed_where_nothing_was_seen() -> None:
    """Before the first reading, after one, and after many without a step no sample is flagged."""
    steps = ClockSteps(LONGEST)
    assert crossed(steps, (EPOCH, EPOCH + MS)) == [False]
    for number in range(5):
        assert steps.observe(ClockPair(EPOCH + number, number)) is None
        assert crossed(steps, (EPOCH, EPOCH + MS)) == [False]
    assert steps.count == 0
    assert crossed(steps) == []


@pytest.mark.parametrize("size", [-3600 * SECOND, -SECOND, -2 * TOLERANCE_NS, 2 * TOLERANCE_NS, SECOND])
def test_a_step_is_told_with_its_size_and_its_time(size: int) -> None:
    """The step lies between the reading before and the reading after it, and its size is exact."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0))
    steps.observe(ClockPair(EPOCH + 10 * MS, 10 * MS))
    found = steps.observe(ClockPair(EPOCH + 20 * MS + size, 20 * MS))
    assert found == (size, 10 * MS, 20 * MS)
    assert steps.count == 1
    assert steps.observe(ClockPair(EPOCH + 30 * MS + size, 30 * MS)) is None


def test_samples_are_told_apart_around_a_step() -> None:
    """Those before and those after a step of 1 s are kept, those across it are not."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0))
    steps.observe(ClockPair(EPOCH + 20 * MS + SECOND, 20 * MS))
    across = (EPOCH - 5 * MS, EPOCH + SECOND + 15 * MS)
    within_two_readings = (EPOCH + MS, EPOCH + SECOND + 2 * MS)
    before = (EPOCH - 5 * MS, EPOCH - MS)
    after = (EPOCH + SECOND + 25 * MS, EPOCH + SECOND + 26 * MS)
    assert crossed(steps, across, within_two_readings, before, after) == [True, True, False, False]


def test_an_uncertain_reading_finds_no_step() -> None:
    """A reading that was interrupted for 5 ms is wide, so that a step of 1 ms is seen only by the next good one."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0))
    assert steps.observe(ClockPair(EPOCH + 10 * MS + MS, 10 * MS, 5 * MS)) is None
    found = steps.observe(ClockPair(EPOCH + 20 * MS + MS, 20 * MS))
    assert found is not None
    assert found.size_ns == MS
    # the wide one says nothing of when it happened
    assert (found.after_ns, found.before_ns) == (0, 20 * MS)


def test_an_uncertain_reading_spoils_no_old_offset() -> None:
    """A wide reading after the step overlaps the wide one before it: what it leaves in common is not the old offset."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0, 5 * MS))
    assert steps.observe(ClockPair(EPOCH + 20 * MS + 8 * MS, 20 * MS, 5 * MS)) is None
    found = steps.observe(ClockPair(EPOCH + 40 * MS + 8 * MS, 40 * MS))
    assert found == (8 * MS, -5 * MS, 40 * MS)


def test_a_step_is_found_however_long_ago_its_era_was_sharp() -> None:
    """The one sharp reading is forgotten, the era it gave is not: the step is then anywhere within a sample's life."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0))
    for number in range(1, 4):
        steps.observe(ClockPair(EPOCH + number * LONGEST, number * LONGEST, 50 * MS))
    found = steps.observe(ClockPair(EPOCH + 4 * LONGEST + MS, 4 * LONGEST))
    assert found is not None
    assert found.size_ns == MS
    assert found.after_ns <= 3 * LONGEST


def test_only_so_many_readings_are_remembered() -> None:
    """However often the clocks are read; the step after them is then told a thousandth of a sample's life wider."""
    steps = ClockSteps(LONGEST)
    for number in range(10_000):
        steps.observe(ClockPair(EPOCH + number * MS, number * MS, number % 3))
    assert len(steps._readings) <= 3000
    found = steps.observe(ClockPair(EPOCH + 10_000 * MS + SECOND, 10_000 * MS))
    assert found is not None
    assert 9990 * MS <= found.after_ns < 10_000 * MS


def test_small_steps_add_up() -> None:
    """Steps below the tolerance are not told one by one, but not for ever."""
    steps = ClockSteps(LONGEST)
    sizes = []
    for number in range(10):
        found = steps.observe(ClockPair(EPOCH + number * MS + number * (TOLERANCE_NS // 2), number * MS))
        sizes.append(found.size_ns if found else 0)
    assert sizes[:4] == [0, 0, 0, 3 * TOLERANCE_NS // 2]
    assert steps.count == 3


def test_a_step_is_forgotten_after_the_longest_sample() -> None:
    """What may still be under way decides how long a step is remembered; the count stays."""
    steps = ClockSteps(LONGEST)
    steps.observe(ClockPair(EPOCH, 0))
    steps.observe(ClockPair(EPOCH + MS - SECOND, MS))
    across = (EPOCH, EPOCH + MS - SECOND)
    assert crossed(steps, across) == [True]
    steps.observe(ClockPair(EPOCH + LONGEST - SECOND, LONGEST))
    assert crossed(steps, across) == [True]
    steps.observe(ClockPair(EPOCH + 2 * LONGEST - SECOND, 2 * LONGEST))
    assert crossed(steps, across) == [False]
    assert steps.count == 1


def test_a_clock_that_steps_all_the_time_times_nothing() -> None:
    """Beyond eight eras within the life of a sample every sample is rejected, until the clock has calmed down."""
    steps = ClockSteps(LONGEST)
    for number in range(9):
        steps.observe(ClockPair(EPOCH + number * SECOND, number * MS))
    calm = (EPOCH + 9 * SECOND, EPOCH + 9 * SECOND + MS)
    assert steps.count == 8
    assert crossed(steps, calm, calm) == [True, True]
    steps.observe(ClockPair(EPOCH + 8 * SECOND - 8 * MS + 3 * LONGEST, 3 * LONGEST))
    assert crossed(steps, calm) == [False]


def stories(seed: int) -> Iterator[tuple[Host, ClockSteps, list[tuple[int, int, int, int]]]]:
    """A host in beats, with samples that come and go and a clock that is set at most once in a beat; beat by beat.

    The samples are of that beat: monotonic and wall time of their start, then of their end.
    """
    rng = random.Random(seed)
    host, steps = Host(rng), ClockSteps(LONGEST)
    under_way: list[tuple[int, int, int]] = []
    steps.observe(host.pair())
    for _ in range(300):
        ended: list[tuple[int, int, int, int]] = []
        steps_at = rng.randrange(100)
        for turn in range(10):
            host.pass_time(rng.randint(1, 2 * MS))
            if turn == steps_at:
                host.step(
                    rng.choice([-1, 1])
                    * rng.choice([3 * TOLERANCE_NS, MS, 3 * MS, 20 * MS, SECOND, 7200 * SECOND])
                )
            lasts_ns = rng.choice([100_000, 5 * MS, 50 * MS])
            under_way.append((host.monotonic_ns, host.wall_ns, host.monotonic_ns + lasts_ns))
            for one in [one for one in under_way if one[2] <= host.monotonic_ns]:
                under_way.remove(one)
                ended.append((one[0], one[1], host.monotonic_ns, host.wall_ns))
        host.pass_time(rng.randint(1, MS))
        steps.observe(host.pair())
        yield host, steps, ended


@pytest.mark.parametrize("seed", range(12))
def test_no_sample_across_an_observed_step_is_missed(seed: int) -> None:
    """Whatever the readings' uncertainty admits: a sample that crosses is flagged once its step has been seen."""
    checked = 0
    rng = random.Random(seed)
    for host, steps, ended in stories(seed):
        if not ended:
            continue
        # a sharp reading sees every step that has happened
        steps.observe(ClockPair(host.wall_ns, host.monotonic_ns, rng.choice([0, 100])))
        flags = crossed(steps, *((wall, end_wall) for _, wall, _, end_wall in ended))
        for (start, _, end, _), flag in zip(ended, flags, strict=True):
            if host.crosses(start, end):
                assert flag
                checked += 1
    assert checked > 5


@pytest.mark.parametrize("seed", range(12))
def test_few_samples_are_rejected_without_need(seed: int) -> None:
    """Nothing is flagged while the clock was not set within the life of a sample."""
    for host, steps, ended in stories(seed):
        flags = crossed(steps, *((wall, end_wall) for _, wall, _, end_wall in ended))
        for (_, _, end, _), flag in zip(ended, flags, strict=True):
            if not any(end - 2 * LONGEST <= at for at in host.set_at):
                assert not flag
