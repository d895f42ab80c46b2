"""CPU of the whole agent per probe: 1,000 targets on loopback, 10,000 probes a second, fping beside it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from agent.core import metrics
from tests.bench.report import Row
from tests.support.exposition import assert_law, total
from tests.support.processes import free_port

TARGETS = 1_000
PROBES_PER_SECOND = 10_000
BAR_US = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


def run(seconds: float) -> list[Row]:
    """Measure and give the rows."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _agent(Path(folder), seconds)
    peer = _fping(seconds)
    first, *rest = rows
    return [
        Row(first.name, first.value, first.unit, BAR_US, "fping", peer, first.note),
        *rest,
    ]


def _agent(folder: Path, seconds: float) -> list[Row]:
    reflector_http, reflector_port, http = free_port(), free_port(), free_port()
    (folder / "reflector.yaml").write_text(
        f"""
site: targets
listen: 127.0.0.1:{reflector_http}
clock: {{source: declared, error_bound: 50us}}
reflector:
  listen: ["0.0.0.0:{reflector_port}"]
  allow: [127.0.0.0/8]
  cpu: 100%
  rate: {{per_source: {2 * PROBES_PER_SECOND}/s, burst: {PROBES_PER_SECOND}}}
"""
    )
    interval_ms = 1000 * TARGETS / PROBES_PER_SECOND
    paths = "".join(
        f"- {{target: t{n}, tier: city, provider: telecom, address: '127.1.{n // 250}.{n % 250 + 1}:{reflector_port}', "
        f"interval: {interval_ms:g}ms, timeout: 1s, limits: {{forward: '< 1ms'}}}}\n"
        for n in range(TARGETS)
    )
    (folder / "sender.yaml").write_text(
        f"site: bench\nlisten: 127.0.0.1:{http}\nclock: {{source: declared, error_bound: 50us}}\npaths:\n{paths}"
    )
    with (
        _running(folder / "reflector.yaml", reflector_http),
        _running(folder / "sender.yaml", http) as sender,
    ):
        time.sleep(2)
        counted_from = time.monotonic()
        before = _scrape(http)
        cpu_from, measured_from = _cpu_s(sender), time.monotonic()
        time.sleep(seconds)
        cpu_s, wall_s = _cpu_s(sender) - cpu_from, time.monotonic() - measured_from
        counted_s = time.monotonic() - counted_from
        after = _scrape(http)
        rss_mb = _rss_mb(sender)
    assert_law(after)
    sent = total(after, metrics.PROBE_SENT) - total(before, metrics.PROBE_SENT)
    lost = total(after, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="lost")
    # a scrape counts at its beginning and costs CPU after that: the rate, not the count, belongs to the CPU
    rate = sent / counted_s
    note = (
        f"{rate:.0f} probes/s, {TARGETS} targets, {lost:.0f} lost, both stamps, matched, classified, counted"
    )
    return [
        Row("agent: CPU per probe", cpu_s / (rate * wall_s) * 1e6, "µs", note=note),
        Row("agent: resident memory", rss_mb, "MB", note=f"{TARGETS} paths"),
    ]


@contextlib.contextmanager
def _running(config: Path, http: int) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "run", "--config", config], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{http}/-/ready", timeout=1).status == 200:
                    break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{config.name}: the agent did not become ready")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _scrape(http: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=30) as response:
        text: str = response.read().decode()
        return text


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def _fping(seconds: float) -> float | None:
    """CPU per probe (µs) of fping at the same load; None where it is not installed."""
    program = shutil.which("fping")
    if program is None:
        return None
    targets = "\n".join(f"127.1.{n // 250}.{n % 250 + 1}" for n in range(TARGETS))
    period_ms = 1000 * TARGETS // PROBES_PER_SECOND
    rounds = int(seconds * PROBES_PER_SECOND / TARGETS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [program, "-q", "-c", str(rounds), "-p", str(period_ms), "-i", "0.1"],
        input=targets,
        text=True,
        capture_output=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s / (rounds * TARGETS) * 1e6
