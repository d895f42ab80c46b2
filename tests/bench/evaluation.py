"""How long one evaluation takes of very many paths, two directions each, against three objectives.

A ledger is filled with readings of all paths over some minutes, drawn at random with losses and late packets. The
objectives are those of the README: a delay over five minutes, another over an hour, and losses over the month, of which
follows an error budget. The first evaluation has to read all windows from the ledger. Those that are timed are ten
seconds apart and make the window of five minutes anew each time, that of an hour every fourth time, and find the others
held, as it is in life; nothing is read in between.

Then the same of fewer paths with a whole hour of minutes, of which a delay variation over that hour is asked besides:
its blocks are put together anew whenever the hour is, from the histograms of those paths that have packets beyond it,
here nearly all.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from collector.evaluation import evaluate
from collector.fleet.plan import Plan, compile_plan
from collector.fleet.settings import FleetSettings
from collector.ledger.recent import RecentSlices
from collector.sla.breach import advance
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.verdict import Verdict
from collector.state import CollectorState, SourceStatus
from collector.store.store import Store
from collector.windows import Windows
from tests.bench.report import Row
from tests.support.traffic import readings

SIZES: Final = (1_000, 10_000, 100_000)
VARIED: Final = 10_000
PATHS_OF_AGENT: Final = 100
OBJECTIVES: Final[list[dict[str, Any]]] = [
    {"id": "detection", "percentile": 99, "window": "5m", "min_coverage": 0.1},
    {"id": "hourly", "percentile": 99.9, "window": "1h", "min_coverage": 0.01},
    {"id": "monthly", "measure": "loss", "loss_ratio": 0.002, "window": "month", "min_coverage": 1e-5},
]
_VARIATION: Final[dict[str, Any]] = {
    "id": "steady",
    "measure": "delay_variation",
    "percentile": 99,
    "variation": "<= 2ms",
    "window": "1h",
    "min_coverage": 0.01,
}
_BAR_S: Final = 1.0
_MINUTES: Final = 3
_HOUR: Final = 62
_TIMES: Final = 5
_SECOND_NS: Final = 1_000_000_000
_INTERVAL_NS: Final = 10 * _SECOND_NS
_BEGIN_S: Final = 1_788_000_000
_TOGETHER: Final = 100


def run(seconds: float, sizes: tuple[int, ...] = SIZES, varied: int = VARIED, hour: int = _HOUR) -> list[Row]:
    """Measure and give the rows; how long it takes is given by the number of paths, not by `seconds`."""
    del seconds
    rows = []
    for paths in sizes:
        with tempfile.TemporaryDirectory() as folder:
            took = asyncio.run(_evaluated(Path(folder) / "state.sqlite", paths, _MINUTES, OBJECTIVES))
            name, bar = f"collector: evaluation of {paths} paths", _BAR_S if paths == max(sizes) else None
            rows.append(Row(name, median(took.cpu_s), "s", bar, note=took.note))
    with tempfile.TemporaryDirectory() as folder:
        objectives = [*OBJECTIVES, _VARIATION]
        took = asyncio.run(_evaluated(Path(folder) / "state.sqlite", varied, hour, objectives))
        name = f"collector: the dearest of {varied} paths with a delay variation over an hour"
        rows.append(Row(name, max(took.cpu_s), "s", note=took.note))
    return rows


class _Took(NamedTuple):
    """How long evaluations took, and what they found."""

    cpu_s: list[float]
    note: str


async def _evaluated(file: Path, paths: int, minutes: int, objectives: Sequence[dict[str, Any]]) -> _Took:
    agents, of_agent = -(-paths // PATHS_OF_AGENT), min(paths, PATHS_OF_AGENT)
    plan = compile_plan(fleet_of(agents, of_agent, objectives))
    store = await Store.open(file)
    recent = RecentSlices()
    await _filled(store, recent, plan, minutes)
    state = CollectorState()
    now_ns = (_BEGIN_S + 60 * minutes) * _SECOND_NS
    state.sources = {site: SourceStatus(True, "", now_ns, "ptp", 1_000) for site in plan.sources}
    calendar = MaintenanceCalendar()
    windows = Windows.of_plan(plan, store, recent, lambda: calendar)
    # as collector.cli does once the plan is there
    gc.collect()
    gc.freeze()
    begun = time.perf_counter()
    verdicts = await evaluate(plan, windows, state, now_ns)
    first_s = time.perf_counter() - begun
    watches, _ = advance({}, verdicts, plan.keys, plan.places, plan.hysteresis, now_ns)
    took_s: list[float] = []
    for _ in range(_TIMES):
        now_ns += _INTERVAL_NS
        cpu = time.process_time()
        verdicts = await evaluate(plan, windows, state, now_ns)
        watches, _ = advance(watches, verdicts, plan.keys, plan.places, plan.hysteresis, now_ns)
        took_s.append(time.process_time() - cpu)
    await store.close()
    assert set(np.unique(verdicts.codes).tolist()) >= {Verdict.PASS, Verdict.FAIL}
    assert len(watches) >= np.count_nonzero(verdicts.codes == Verdict.FAIL)
    named = {verdict.name: int((verdicts.codes == verdict).sum()) for verdict in Verdict}
    told = ", ".join(f"{count} {name}" for name, count in named.items())
    return _Took(
        took_s,
        f"CPU time of {_TIMES}, {min(took_s):.3f}..{max(took_s):.3f} s; 2 directions, {len(plan.questions)} "
        f"questions: {told}; the first one, which reads the windows, {first_s:.1f} s",
    )


def fleet_of(agents: int, paths: int, objectives: Sequence[dict[str, Any]]) -> FleetSettings:
    """As many agents, each of which probes as many targets."""
    name = {"zh": "站点", "en": "site"}
    place = {"name": name, "lat": 30.6, "lon": 114.3}
    return FleetSettings.model_validate(
        {
            "listen": "127.0.0.1:9460",
            "sites": [
                *({"id": f"site{one}", "agent": f"127.0.0.1:{one + 1}", **place} for one in range(agents)),
                *({"id": f"target{one}", "reflector": "127.0.0.1", **place} for one in range(paths)),
            ],
            "tiers": {"hub": {"name": name, "limit": "<= 10ms"}},
            "paths": [
                {"source": f"site{agent}", "target": f"target{path}", "tier": "hub", "provider": "telecom"}
                for agent in range(agents)
                for path in range(paths)
            ],
            "objectives": objectives,
        }
    )


async def _filled(store: Store, recent: RecentSlices, plan: Plan, minutes: int) -> None:
    """Take in readings of all agents, a minute apart."""
    paths = len(plan.paths) // len(plan.sources)
    agents = [readings(site, paths, minutes, 600, _BEGIN_S, seed) for seed, site in enumerate(plan.sources)]
    for _ in range(minutes):
        for first in range(0, len(agents), _TOGETHER):
            recent.add(await store.ledger.ingest(*(next(one) for one in agents[first : first + _TOGETHER])))
