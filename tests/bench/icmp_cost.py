"""CPU of the whole agent per ICMP echo: 1,000 targets on loopback, ten probes a second each, fping beside it.

The whole process counts, threads, kernel and all: sending, both kernel stamps, matching, classifying, counting, and
the kernel's own echo, which is made while a request is sent, as it is for fping.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from agent.core import metrics
from tests.bench.report import Row
from tests.support.exposition import assert_law, total
from tests.support.processes import free_port

TARGETS: Final = 1_000
INTERVAL_MS: Final = 100
BAR_US: Final = 10.0
_ADDRESSES: Final = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(TARGETS)]
_WINDOWS: Final = 4
_CPU_CLOCK: Final = 2
_READY_WITHIN_S: Final = 30.0


def run(seconds: float) -> list[Row]:
    """Measure and give the row."""
    value, note = _agent(seconds)
    return [Row("agent: CPU per ICMP echo", value, "µs", BAR_US, "fping", _fping(seconds), note)]


def _agent(seconds: float) -> tuple[float, str]:
    """CPU per echo (µs) of the window in the middle, and what happened."""
    http = free_port()
    paths = "".join(
        f"- {{target: t{n}, kind: icmp, tier: city, provider: telecom, address: {address}, "
        f"interval: {INTERVAL_MS}ms, timeout: 1s, limits: {{round_trip: '< 1ms'}}}}\n"
        for n, address in enumerate(_ADDRESSES)
    )
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "agent.yaml"
        config.write_text(f"site: bench\nlisten: 127.0.0.1:{http}\npaths:\n{paths}")
        with _running(config, http) as pid:
            time.sleep(2)
            begun, before = time.monotonic(), _scrape(http)
            readings = [(time.monotonic(), _cpu_s(pid))]
            for _ in range(_WINDOWS):
                time.sleep(seconds / _WINDOWS)
                readings.append((time.monotonic(), _cpu_s(pid)))
            # a scrape counts at its beginning and costs CPU after that
            lasted_s, after = time.monotonic() - begun, _scrape(http)
    assert_law(after)
    rate = (total(after, metrics.PROBE_SENT) - total(before, metrics.PROBE_SENT)) / lasted_s
    costs = [
        (cpu_to - cpu_from) / (rate * (to - since)) * 1e6
        for (since, cpu_from), (to, cpu_to) in pairwise(readings)
    ]
    lost = total(after, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="lost")
    left_out = total(after, metrics.PROBE_NOT_SENT)
    note = (
        f"{TARGETS} targets, {rate:.0f} probes/s, {lost:.0f} lost, {left_out:.0f} not sent, "
        f"{_WINDOWS} windows {min(costs):.1f}..{max(costs):.1f} µs"
    )
    return median(costs), note


@contextlib.contextmanager
def _running(config: Path, http: int) -> Iterator[int]:
    command = [sys.executable, "-m", "agent", "run", "--config", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _READY_WITHIN_S
        while not _ready(http):
            if child.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the agent did not become ready")
            time.sleep(0.05)
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


def _ready(http: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{http}/-/ready", timeout=1).status == 200)
    return False


def _scrape(http: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=30) as response:
        text: str = response.read().decode()
        return text


def _cpu_s(pid: int) -> float:
    """CPU time of a process, all its threads: the clock that clock_getcpuclockid(3) gives."""
    return time.clock_gettime_ns(~pid << 3 | _CPU_CLOCK) / 1e9


def _fping(seconds: float) -> float | None:
    """CPU per echo (µs) of fping at the same load; None where it is not installed."""
    program = shutil.which("fping")
    if program is None:
        return None
    rounds = max(1, int(seconds * 1000 / INTERVAL_MS))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        # -i: the shortest pause between any two packets, in ms; the rest is the period's
        [program, "-q", "-c", str(rounds), "-p", str(INTERVAL_MS), "-i", "0.01"],
        input="\n".join(_ADDRESSES),
        text=True,
        capture_output=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent_s / (rounds * TARGETS) * 1e6
