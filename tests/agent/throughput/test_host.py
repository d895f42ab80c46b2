"""What the host goes through while a test runs."""

from __future__ import annotations

import threading
import time

from agent.throughput.host import HostReading


def test_a_busy_thread_is_seen() -> None:
    """CPU and waiting of the threads that transfer, and no others'; what the host dropped and had stolen is no less
    than before."""
    own = threading.get_native_id()
    before = HostReading.now([own], time.monotonic_ns())
    end = time.thread_time_ns() + 20_000_000
    while time.thread_time_ns() < end:
        pass
    load = HostReading.now([own], time.monotonic_ns()).since(before)
    assert 15_000_000 < load.cpu_ns <= load.elapsed_ns
    assert load.threads == 1
    assert load.run_delay_ns >= 0
    assert load.steal_ns >= 0
    assert load.arrived >= 0
    assert load.dropped >= 0
    assert load.cores >= 1


def test_a_thread_that_has_ended_counts_for_nothing() -> None:
    """Nor does one that never was."""
    reading = HostReading.now([2**22 + 1], 5)
    assert (reading.cpu_ns, reading.run_delay_ns, reading.threads) == (0, 0, 1)
