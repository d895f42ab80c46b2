"""CPU of the whole agent per probe: 1,000 targets on loopback, 10,000 probes a second, by STAMP and by ICMP,
fping beside it.

The whole process counts, threads, kernel and all: sending, both kernel stamps, matching, classifying, counting. What
the kernel does for a packet on loopback, down to waking the reflector, is the sender's too, as it is for fping.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from tests.bench import peers
from tests.bench.report import Row
from tests.bench.rig import Load, probe_cost, rig

LOAD: Final = Load(1_000, 10_000)
BAR_US: Final = 10.0
_KINDS: Final = ("stamp", "icmp")


def run(seconds: float, load: Load = LOAD, settle_s: float = 2.0) -> list[Row]:
    """Measure and give a row for each kind of probe."""
    peer = peers.fping_cost_us(load, seconds)
    rows = []
    for kind in _KINDS:
        with rig(replace(load, kind=kind)) as running:
            time.sleep(settle_s)
            cost = probe_cost(running, seconds)
        note = f"{load.targets} targets, {cost}"
        rows.append(Row(f"agent: CPU per {kind} probe", cost.median_us, "µs", BAR_US, "fping", peer, note))
    return rows
