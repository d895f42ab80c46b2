"""Resident memory with many targets, and how long from the start of the program to its first packet.

Memory is what the kernel counts as resident (VmRSS, MB of 10^6 octets) after ten seconds of probing every target once a
second and one scrape. The start lasts from before the process is made until a socket of ours has the first packet.
"""

from __future__ import annotations

import select
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench import peers
from tests.bench.report import Row
from tests.bench.rig import Load, memory_mb, paths, process, rig
from tests.support.processes import free_port

BARS_MB: Final = {1_000: 64.0, 10_000: 160.0}
START_BAR_S: Final = 0.6
START_TARGETS: Final = (1, 1_000)
_STARTS: Final = 3
_START_WITHIN_S: Final = 60.0


def run(
    seconds: float,
    bars_mb: Mapping[int, float] = BARS_MB,
    start_targets: Sequence[int] = START_TARGETS,
    starts: int = _STARTS,
) -> list[Row]:
    """Measure and give the rows."""
    return [_memory(seconds, Load(targets, targets), bar_mb) for targets, bar_mb in bars_mb.items()] + [
        _start(targets, starts) for targets in start_targets
    ]


def _memory(seconds: float, load: Load, bar_mb: float) -> Row:
    with rig(load) as running:
        time.sleep(seconds)
        probing_mb = memory_mb(running.sender)
        running.scrape()
        value = memory_mb(running.sender)
        most_mb = memory_mb(running.sender, "VmHWM")
    note = (
        f"after {seconds:g} s and a scrape; {probing_mb:.1f} MB before the scrape, at most {most_mb:.1f} MB"
    )
    peer = peers.fping_memory_mb(load, min(2.0, seconds))
    return Row(f"agent: resident memory, {load.targets} targets", value, "MB", bar_mb, "fping", peer, note)


def _start(targets: int, starts: int) -> Row:
    took_s = [start_s(targets) for _ in range(starts)]
    note = f"median of {starts}, {min(took_s):.2f}..{max(took_s):.2f} s"
    what = f"agent: start to first packet, {targets} target" + ("" if targets == 1 else "s")
    return Row(what, median(took_s), "s", START_BAR_S, note=note)


def start_s(targets: int) -> float:
    """Start an agent and wait for its first packet; 1,000 packets a second are due, so the schedule adds little.

    Raises:
        RuntimeError: none came.
    """
    load = Load(targets, 1000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target, tempfile.TemporaryDirectory() as folder:
        target.bind(("0.0.0.0", 0))
        config = Path(folder) / "agent.yaml"
        config.write_text(
            f"site: bench\nlisten: 127.0.0.1:{free_port()}\nclock: {{source: declared, error_bound: 50us}}\n"
            f"paths:\n{paths(load, target.getsockname()[1])}"
        )
        begun = time.monotonic()
        with process([sys.executable, "-m", "agent", "run", "--config", str(config)]):
            if not select.select([target], [], [], _START_WITHIN_S)[0]:
                raise RuntimeError("the agent sent no packet")
            return time.monotonic() - begun
