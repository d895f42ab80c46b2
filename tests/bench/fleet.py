"""Whether one core holds a whole city: very many agents that are scraped every ten seconds, by the real collector.

The agents are simulated by a process of their own (`tests.support.fleet_simulator`): true expositions over HTTP, with
delays, losses and restarts, of ten packets a second on each path. The collector, that is `collector.program` with its
ledger in SQLite and objectives over five minutes, an hour and the month, runs in this process, which is pinned to one
core, and the simulator to another where there is one. At the end the agents stop counting, are read once more, and the
ledger's sums must be what each of them has counted, or this is an error.

The CPU share is what a turn, all agents read once, takes of the processor's time in the mean, for everything, of the
ten seconds that there are for it; the lag is by how much more than ten seconds lie between two readings of an agent,
once all have been read for the first time, which takes longer, for there is everything to learn (the note tells);
the stall is for how long the collector's event loop, and with it the page, had to wait. On a machine that has other
work lag and stall tell of that too: the note says how long the collector waited for its core.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from collector.fleet.settings import FleetSettings
from collector.ledger.minutes import Integers
from collector.ledger.sums import Floats
from collector.program import Collector
from collector.store.store import Store
from tests.bench.report import Row
from tests.bench.rig import Waiting
from tests.support.fleet_simulator import site_of
from tests.support.processes import free_port

SIZES: Final = ((10, 100), (100, 100), (1000, 100))
_INTERVAL_S: Final = 10.0
_ROUNDS: Final = 2
_PER_S: Final = 10.0
_SHARE_BAR: Final = 100.0
_TICK_S: Final = 0.02
_SECOND_NS: Final = 1_000_000_000
_FOREVER: Final = 1 << 36


def run(
    seconds: float, sizes: tuple[tuple[int, int], ...] = SIZES, interval_s: float = _INTERVAL_S
) -> list[Row]:
    """Measure and give three rows for each size; how long it takes is given by the rounds, not by `seconds`."""
    del seconds
    rows: list[Row] = []
    for agents, paths in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            _pinned() as (own, other),
            _simulated(agents, paths, other) as ports,
        ):
            watched = asyncio.run(_Watched(ports, paths, interval_s, Path(folder)).run())
        rows += watched.rows(own != other)
    return rows


@contextlib.contextmanager
def _pinned() -> Iterator[tuple[int, int]]:
    """One core for this process while this lasts, and another, where there is one, for who is not measured."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    try:
        yield cores[-1], cores[0]
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def _simulated(agents: int, paths: int, core: int) -> Iterator[list[int]]:
    """The agents' ports."""
    command = [sys.executable, "-m", "tests.support.fleet_simulator", str(agents), str(paths), str(_PER_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            os.sched_setaffinity(process.pid, [core])
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


class _Watched:
    """A collector that is watched while it works."""

    def __init__(self, ports: list[int], paths: int, interval_s: float, folder: Path) -> None:
        self._ports = ports
        self._paths = paths
        self._interval_s = interval_s
        self._folder = folder
        self._seen: list[list[int]] = [[] for _ in ports]
        self._stalls_s: list[float] = []
        self._cpu_s = self._turns = 0.0
        self._learnt = [0] * len(ports)
        self._octets = 0
        self._told: dict[str, Any] = {}

    async def run(self) -> _Watched:
        """Let it read some rounds, and hold its ledger against what was counted."""
        fleet = _fleet(self._ports, self._paths, self._interval_s)
        collector = Collector(fleet, self._folder / "fleet.yaml")
        # as collector.cli does
        gc.collect()
        gc.freeze()
        stop = asyncio.Event()
        task = asyncio.create_task(collector.run(stop))
        await self._read_since(collector, task, time.time_ns())  # which has everything to learn
        ticking = asyncio.create_task(self._tick())
        waiting, begun = Waiting.of(os.getpid()), time.monotonic()
        cpu, self._learnt = time.process_time(), list(map(len, self._seen))
        for _ in range(_ROUNDS):
            await self._read_since(collector, task, time.time_ns())
        self._turns = (sum(map(len, self._seen)) - sum(self._learnt)) / len(self._seen)
        self._cpu_s = time.process_time() - cpu
        self._waited, self._took_s = Waiting.of(os.getpid()).since(waiting), time.monotonic() - begun
        ticking.cancel()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self._ports[0]}/sums") as response,
        ):
            self._told = await response.json()
        await self._read_since(collector, task, time.time_ns())
        self._octets = resident()
        stop.set()
        await task
        await self._assert_sums()
        return self

    def rows(self, apart: bool) -> list[Row]:
        """What was found."""
        lag_s = self._lag_s([one[known:] for one, known in zip(self._seen, self._learnt, strict=True)])
        begin_lag_s = self._lag_s(self._seen)
        agents = len(self._ports)
        name = f"collector: {agents} agents × {self._paths} paths"
        told = self._told
        note = (
            f"every {self._interval_s:g} s, {self._turns:.1f} turns; "
            f"{told['scrapes']} scrapes, {told['restarts']} restarts; ledger equal to what was counted; "
            f"the simulator, {'on another core' if apart else 'on the same core'}, took {told['seconds']:.0f} s"
        )
        lag_note = (
            f"p50 {np.percentile(lag_s, 50):.2f} s, p99 {np.percentile(lag_s, 99):.2f} s of {len(lag_s)}; "
            f"from the beginning on at most {begin_lag_s.max():.1f} s"
        )
        stall_note = f"p99 {1000 * float(np.percentile(self._stalls_s, 99)):.0f} ms of {len(self._stalls_s)}"
        return [
            Row(
                f"{name}: share of a core",
                100 * self._cpu_s / self._turns / self._interval_s,
                "%",
                _SHARE_BAR,
                note=note,
            ),
            Row(f"{name}: largest lag of a scrape", float(lag_s.max()), "s", self._interval_s, note=lag_note),
            Row(
                f"{name}: longest stall of the event loop", 1000 * max(self._stalls_s), "ms", note=stall_note
            ),
            Row(f"{name}: memory", self._octets / 1e6, "MB", note="resident, of the whole process"),
        ]

    def _lag_s(self, seen: list[list[int]]) -> Floats:
        """By how much more than they should, successive times of each agent lie apart."""
        gaps_s = np.concatenate([np.diff(one) for one in seen if len(one) > 1]) / _SECOND_NS
        lag_s: Floats = np.maximum(0, gaps_s - self._interval_s)
        return lag_s

    async def _read_since(self, collector: Collector, task: asyncio.Task[None], begun_ns: int) -> None:
        """Wait until every agent has been read since, and judged."""
        while True:
            await asyncio.sleep(self._interval_s / 40)
            if task.done():
                task.result()
                raise AssertionError("the collector has ended")
            sources, evaluated_ns = collector.state.sources, collector.state.evaluated_ns or 0
            for number, seen in enumerate(self._seen):
                now_ns = sources[site_of(number)].seen_ns
                if now_ns is not None and (not seen or seen[-1] != now_ns):
                    seen.append(now_ns)
            first_ns = min((seen[-1] if seen else 0) for seen in self._seen)
            if first_ns > begun_ns and evaluated_ns > first_ns:
                return

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._stalls_s.append(time.monotonic() - due)

    async def _assert_sums(self) -> None:
        store = await Store.open(self._folder / "state.sqlite")
        sums = await store.ledger.sums(0, _FOREVER)
        await store.close()
        site = np.array(
            [int(store.numbers.keys[path].source.removeprefix("site")) for path in sums.path.tolist()]
        )
        counted: Integers = np.zeros((len(self._ports), sums.counts.shape[1]), np.int64)
        np.add.at(counted, site, sums.counts)
        expected = np.array([self._told["sums"][site_of(number)] for number in range(len(self._ports))])
        np.testing.assert_array_equal(counted, expected)
        assert counted.sum() > 0


def resident() -> int:
    """Octets of this process in memory."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no VmRSS")


def _fleet(ports: list[int], paths: int, interval_s: float) -> FleetSettings:
    name = {"zh": "站点", "en": "site"}
    place = {"name": name, "lat": 30.6, "lon": 114.3}
    interval = f"{round(1000 * interval_s)}ms"
    return FleetSettings.model_validate(
        {
            "listen": f"127.0.0.1:{free_port()}",
            "source": {"kind": "agents", "interval": interval},
            "evaluation_interval": interval,
            "sites": [
                *(
                    {"id": site_of(number), "agent": f"127.0.0.1:{port}", **place}
                    for number, port in enumerate(ports)
                ),
                *({"id": f"target{one}", "reflector": "127.0.0.1", **place} for one in range(paths)),
            ],
            "tiers": {"hub": {"name": name, "limit": "<= 10ms"}},
            "paths": [
                {"source": site_of(agent), "target": f"target{path}", "tier": "hub", "provider": "telecom"}
                for agent in range(len(ports))
                for path in range(paths)
            ],
            "objectives": [
                {"id": "detection", "percentile": 99, "window": "5m", "min_coverage": 0.01},
                {"id": "hourly", "percentile": 99.9, "window": "1h", "min_coverage": 0.001},
                {
                    "id": "monthly",
                    "measure": "loss",
                    "loss_ratio": 0.01,
                    "window": "month",
                    "min_coverage": 1e-6,
                },
            ],
        }
    )
