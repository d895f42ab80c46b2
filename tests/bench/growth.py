"""Whether a probe costs more CPU where there are more targets: the same 10,000 probes a second to ever more of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tests.bench.report import Row
from tests.bench.rig import Load, ProbeCost, probe_cost, rig

PROBES_PER_SECOND: Final = 10_000
TARGETS: Final = (10, 100, 1_000, 10_000)
BAR: Final = 1.3
_SHARE: Final = 0.4


def run(
    seconds: float,
    targets: Sequence[int] = TARGETS,
    probes_per_second: int = PROBES_PER_SECOND,
    settle_s: float = 2.0,
) -> list[Row]:
    """Measure and give a row for each number of targets, and one for the greatest cost over the least."""
    costs: dict[int, ProbeCost] = {}
    for number in targets:
        with rig(Load(number, probes_per_second)) as running:
            time.sleep(settle_s)
            costs[number] = probe_cost(running, _SHARE * seconds)
    rows = [
        Row(
            f"agent: CPU per probe, {number} targets",
            cost.median_us,
            "µs",
            note=str(cost),
        )
        for number, cost in costs.items()
    ]
    least = min(costs, key=lambda number: costs[number].median_us)
    most = max(costs, key=lambda number: costs[number].median_us)
    ratio = costs[most].median_us / costs[least].median_us
    note = f"dearest with {most} targets, cheapest with {least}"
    return [*rows, Row("agent: CPU per probe, dearest over cheapest", ratio, "×", BAR, note=note)]
