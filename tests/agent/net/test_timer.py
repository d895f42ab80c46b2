"""The kernel's timer in the event loop."""

from __future__ import annotations

import asyncio
import ctypes
import select
import threading
import time
from collections.abc import Iterator

import pytest

from agent.net.timer import WakeUp, sharpen_timers

_PR_GET_TIMERSLACK = 30


@pytest.fixture
def timer() -> Iterator[WakeUp]:
    """A timer of this test's own."""
    made = WakeUp()
    yield made
    made.close()


def readable(timer: WakeUp, within_s: float) -> bool:
    """Whether a timer fires within so many seconds."""
    return bool(select.select([timer], [], [], within_s)[0])


def test_a_timer_fires_at_its_time(timer: WakeUp) -> None:
    """It fires at its time, not before, and is quiet again once acknowledged."""
    due_ns = time.monotonic_ns() + 5_000_000
    timer.at(due_ns)
    assert readable(timer, 10)
    assert time.monotonic_ns() >= due_ns
    timer.acknowledge()
    assert not readable(timer, 0)


def test_a_time_that_has_passed_fires_at_once(timer: WakeUp) -> None:
    """A time in the past, even the very first, fires at once instead of never."""
    for past_ns in (time.monotonic_ns() - 1, 0, -5):
        timer.at(past_ns)
        assert readable(timer, 10)
        timer.acknowledge()


def test_a_new_time_replaces_the_old(timer: WakeUp) -> None:
    """Only the last time set counts, be it sooner or later."""
    timer.at(time.monotonic_ns() - 1)
    timer.at(time.monotonic_ns() + 3_600_000_000_000)
    assert not readable(timer, 0)
    timer.at(time.monotonic_ns() + 1_000_000)
    assert readable(timer, 10)


def test_acknowledging_nothing_does_not_wait(timer: WakeUp) -> None:
    """Acknowledging a timer that has not fired returns at once."""
    timer.acknowledge()
    assert not readable(timer, 0)


async def test_the_event_loop_wakes_finer_than_a_millisecond(timer: WakeUp) -> None:
    """In an event loop, times within one millisecond are told apart: the best of twenty is late by less than half."""
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()

    def wake() -> None:
        timer.acknowledge()
        fired.set()

    loop.add_reader(timer.fileno(), wake)
    late_ns = []
    for _ in range(20):
        due_ns = time.monotonic_ns() + 300_000
        timer.at(due_ns)
        await asyncio.wait_for(fired.wait(), 10)
        late_ns.append(time.monotonic_ns() - due_ns)
        fired.clear()
    loop.remove_reader(timer.fileno())
    assert min(late_ns) >= 0
    assert min(late_ns) < 500_000


def test_timers_are_sharpened_for_this_thread() -> None:
    """The kernel is asked for a slack of 1 ns, and says so."""
    libc = ctypes.CDLL(None)
    slack: list[int] = []

    def sharpened() -> None:
        sharpen_timers()
        slack.append(libc.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))

    thread = threading.Thread(target=sharpened)
    thread.start()
    thread.join()
    assert slack == [1]
