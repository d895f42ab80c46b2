"""The local clock as the agent keeps it."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
import pytest

from agent.core.steps import ClockPair
from agent.core.timestamps import ErrorEstimate
from agent.net.clock import ClockQuality, DeclaredClock
from agent.net.local_clock import LocalClock

SECOND = 1_000_000_000
EPOCH = 1_800_000_000 * SECOND


class Witness:
    """A clock that says what it is told to."""

    def __init__(self, known: ClockQuality) -> None:
        self.known = known
        self.asked = 0
        self.steps = 0
        self.takes = 0

    def quality(self) -> ClockQuality:
        return self.known

    async def ask(self) -> None:
        self.asked += 1
        time_.monotonic_ns += self.takes

    def stepped(self) -> None:
        self.steps += 1
        self.known = ClockQuality(self.known.source, None, "stepped")


class Time:
    """The clocks of a host."""

    monotonic_ns = 1000 * SECOND
    offset_ns = EPOCH

    def pair(self) -> ClockPair:
        return ClockPair(self.monotonic_ns + self.offset_ns, self.monotonic_ns)

    def monotonic(self) -> int:
        return self.monotonic_ns


time_ = Time()


@pytest.fixture(autouse=True)
def _fresh_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_, "monotonic_ns", Time.monotonic_ns)
    monkeypatch.setattr(time_, "offset_ns", Time.offset_ns)


def local(witness: Witness) -> LocalClock:
    return LocalClock(witness, read=time_.pair, monotonic_ns=time_.monotonic)


def chrony(bound_ns: int | None, why: str = "") -> ClockQuality:
    return ClockQuality("chrony", bound_ns, why, drift_ppb=15_000)


async def test_the_bound_grows_from_the_moment_of_asking() -> None:
    """Also by what the asking took: the answer may be as old as the question."""
    witness = Witness(chrony(1000))
    clock = local(witness)
    assert clock.bound_ns == 1000
    time_.monotonic_ns += SECOND
    assert clock.bound_ns == 16_000
    witness.takes = SECOND // 5
    await clock.refresh()
    assert clock.bound_ns == 4000
    assert (ErrorEstimate.from_wire(clock.estimate_wire).bound_ns or 0) >= 4000
    time_.monotonic_ns += 10 * SECOND
    assert (ErrorEstimate.from_wire(clock.estimate_wire).bound_ns or 0) >= 154_000


async def test_gain_and_loss_and_change_of_source_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Bound and Error Estimate follow, too."""
    caplog.set_level(logging.INFO)
    witness = Witness(chrony(1000))
    clock = local(witness)
    told = [
        chrony(2000),
        chrony(None, "no idea"),
        chrony(None, "no idea"),
        chrony(1000),
        ClockQuality("adjtimex", 5000),
    ]
    wires = []
    for witness.known in told:
        await clock.refresh()
        wires.append(ErrorEstimate.from_wire(clock.estimate_wire).synchronized)
        assert clock.bound_ns == witness.known.error_bound_ns
    assert wires == [True, False, False, True, True]
    assert caplog.messages == [
        "clock is not synchronised: no idea",
        "clock is synchronised, source chrony",
        "clock is synchronised, source adjtimex",
    ]


async def test_a_step_makes_void_what_was_known() -> None:
    """Until the clock is asked again, and the samples across it are told from the others."""
    witness = Witness(chrony(1000))
    clock = local(witness)
    assert not clock.watch()
    before_ns = time_.monotonic_ns + time_.offset_ns
    time_.monotonic_ns += 10_000_000
    time_.offset_ns -= SECOND
    assert clock.watch()
    assert (clock.bound_ns, clock.steps.count, witness.steps) == (None, 1, 1)
    assert not clock.watch()
    now_ns = time_.monotonic_ns + time_.offset_ns
    crossed = clock.steps.crossed(
        np.array([before_ns, now_ns + 2 * SECOND]), np.array([now_ns, now_ns + 2 * SECOND])
    )
    assert crossed.tolist() == [True, False]


async def test_an_answer_that_a_step_overtook_is_not_trusted() -> None:
    """Whether the step is seen by the refresh itself or by somebody else while the clock was being asked."""

    class Overtaken(Witness):
        watched = False

        async def ask(self) -> None:
            time_.offset_ns += SECOND
            if self.watched:
                clock.watch()
            self.known = chrony(1000)

    witness = Overtaken(chrony(1000))
    clock = local(witness)
    for witness.watched in (False, True):
        await clock.refresh()
        assert clock.bound_ns is None
    assert clock.steps.count == 2


async def test_a_declared_clock_keeps_its_word_across_steps() -> None:
    """The operator vouches, whoever sets the clock."""
    clock = LocalClock(DeclaredClock(50_000), read=time_.pair)
    time_.offset_ns += SECOND
    assert clock.watch()
    assert clock.bound_ns == 50_000


async def test_the_clock_is_asked_every_second_and_at_once_after_a_step() -> None:
    """A step does not wait for its turn."""
    witness = Witness(chrony(1000))
    clock = local(witness)
    keeping = asyncio.create_task(clock.keep_fresh())
    began = time.monotonic()

    async def until(asked: int) -> float:
        while witness.asked < asked:
            assert time.monotonic() - began < 20
            await asyncio.sleep(0.005)
        return time.monotonic()

    first = await until(1)
    assert first - began > 0.9
    time_.offset_ns += SECOND
    clock.watch()
    assert await until(2) - first < 0.9
    keeping.cancel()


def test_the_real_clock_makes_no_steps() -> None:
    """On a quiet host a thousand looks find none."""
    clock = LocalClock(DeclaredClock(50_000))
    assert not any(clock.watch() for _ in range(1000))
    assert clock.steps.count == 0
