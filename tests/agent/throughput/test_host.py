"""What the host goes through while a test runs."""

from __future__ import annotations

import threading
import time

from agent.throughput.host import HostReading


def test_a_busy_thread_is_seen() -> None:
    """CPU of the process and waiting of the threads that transfer; what the host dropped and had stolen is no less than
    before."""
    own = threading.get_native_id()
    before = HostReading.now([own], time.monotonic_ns(), time.process_time_ns())
    end = time.thread_time_ns() + 20_000_000
    while time.thread_time_ns() < end:
        pass
    load = HostReading.now([own], time.monotonic_ns(), time.process_time_ns()).since(before)
    assert load.cpu_ns >= 20_000_000
    assert load.threads == 1
    assert load.run_delay_ns >= 0
    assert load.steal_ns >= 0
    assert load.arrived >= 0
    assert load.dropped >= 0
    assert load.cores >= 1


def test_a_thread_that_has_ended_counts_for_nothing() -> None:
    """Nor does one that never was."""
    reading = HostReading.now([2**22 + 1], 5, 0)
    assert (reading.cpu_ns, reading.run_delay_ns, reading.threads) == (0, 0, 1)
