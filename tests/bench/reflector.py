"""What one core reflects without losing a packet, and what a packet costs it; irtt's server beside it.

The reflector is the whole agent with its metrics, on core 0; the load comes from core 1. A rate counts as carried where
every request of the whole time was answered, in one of a few attempts: others use this host's cores too.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

from agent.core import metrics
from tests.bench.report import Row
from tests.bench.rig import cpu_s, process, ready, until
from tests.support.exposition import value
from tests.support.processes import free_port

BAR_PER_SECOND: Final = 60_000
_RATES: Final = range(40_000, 200_001, 10_000)
_ATTEMPTS: Final = 3
_FAILURES: Final = 2
_PINNED: Final = ("taskset", "-c", "0")
_IRTT_RECEIVED: Final = re.compile(r"packets sent/received[^:]*: *\d+/(\d+)")
_PEER_INTERVAL_S: Final = 0.001
_PEER_CLIENTS: Final = 8
_PEER_RATE: Final = round(_PEER_CLIENTS / _PEER_INTERVAL_S)


def run(seconds: float) -> list[Row]:
    """Measure and give the rows."""
    with tempfile.TemporaryDirectory() as folder:
        carried, costs_us, note = _ours(Path(folder), min(seconds, 5.0))
    peer = _irtt(min(seconds, 5.0))
    at_peer_rate, at_bar, following_up = costs_us
    return [
        Row("reflector: carried without loss", carried, "/s", BAR_PER_SECOND, note=note, at_least=True),
        Row(
            "reflector: CPU per packet",
            at_peer_rate,
            "µs",
            peer="irtt server",
            peer_value=peer,
            note=f"both at {_PEER_RATE} requests/s",
        ),
        Row("reflector: CPU per packet", at_bar, "µs", note=f"at {BAR_PER_SECOND} requests/s"),
        Row(
            "reflector: CPU per packet",
            following_up,
            "µs",
            note=f"at {BAR_PER_SECOND} requests/s, each with a Follow-Up Telemetry TLV",
        ),
    ]


def _ours(folder: Path, seconds: float) -> tuple[float, list[float], str]:
    """The highest rate carried; CPU (µs) of a packet at the peer's rate, at the bar's, and there with TLVs; a note."""
    http, port = free_port(), free_port(socket.SOCK_DGRAM)
    config = folder / "reflector.yaml"
    config.write_text(
        f"""
site: bench
listen: 127.0.0.1:{http}
clock: {{source: declared, error_bound: 50us}}
reflector:
  listen: ["127.0.0.1:{port}"]
  allow: [127.0.0.0/8]
  cpu: 100%
  rate: {{per_source: 1000000/s, burst: 100000, global: 1000000/s, global_burst: 100000}}
"""
    )
    command = [sys.executable, "-m", "agent", "run", "--config", str(config)]
    with process([*_PINNED, *command]) as child:
        until(lambda: ready(http), "the reflector is ready", child)
        pid = child.pid
        _load(port, 20_000, 1)
        costs_us = []
        for rate, *options in ((_PEER_RATE,), (BAR_PER_SECOND,), (BAR_PER_SECOND, "--follow-up")):
            before = cpu_s(pid)
            sent, _ = _load(port, rate, seconds, *options)
            costs_us.append((cpu_s(pid) - before) / sent * 1e6)
        carried, failures = 0.0, 0
        for rate in _RATES:
            if failures == _FAILURES:
                break
            for _ in range(_ATTEMPTS):
                sent, answered = _load(port, rate, seconds)
                if sent == answered:
                    carried, failures = max(carried, sent / seconds), 0
                    break
            else:
                failures += 1
            if sent < 0.95 * rate * seconds:
                break  # the load generator has reached its end
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as response:
            text = response.read().decode()
    overflowed = value(text, metrics.REFLECTOR_PACKETS, result="overflowed")
    return (
        carried,
        costs_us,
        f"{seconds:g} s without a loss, of {_ATTEMPTS} attempts; {overflowed:.0f} lost in all others",
    )


def _load(port: int, rate: float, seconds: float, *options: str) -> tuple[int, int]:
    """How many requests were sent from core 1, and how many were answered."""
    program = [sys.executable, "-m", "tests.support.load", "127.0.0.1", str(port), "--core=1"]
    done = subprocess.run(
        [*program, f"--rate={rate}", f"--seconds={seconds}", *options],
        capture_output=True,
        check=True,
        text=True,
    )
    counted = json.loads(done.stdout)
    return counted["sent"], counted["received"]


def _irtt(seconds: float) -> float | None:
    """CPU per packet (µs) of irtt's server on core 0; None where it is not installed."""
    program = shutil.which("irtt")
    if program is None:
        return None
    port = free_port(socket.SOCK_DGRAM)
    server = [program, "server", "-b", f"127.0.0.1:{port}", "-i", f"{_PEER_INTERVAL_S}s"]
    with process([*_PINNED, *server]) as child:
        pid = child.pid
        time.sleep(0.5)
        before = cpu_s(pid)
        clients = [
            subprocess.Popen(
                [
                    *("taskset", "-c", "1", program),
                    "client",
                    "-q",
                    "-i",
                    f"{_PEER_INTERVAL_S}s",
                    "-d",
                    f"{seconds}s",
                    f"127.0.0.1:{port}",
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(_PEER_CLIENTS)
        ]
        texts = [client.communicate(timeout=seconds + 30)[0] for client in clients]
        spent_s = cpu_s(pid) - before
    answered = sum(int(found[1]) for text in texts if (found := _IRTT_RECEIVED.search(text)))
    return spent_s / answered * 1e6 if answered else None
