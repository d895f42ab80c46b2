"""`make bench`: measures this program beside its peers in one run; prints a table, writes build/bench.json.

Everything runs on loopback or in namespaces of its own, is bounded, and stops by itself.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bench import (
    accuracy,
    agent_cost,
    evaluation,
    exposition,
    false_loss,
    fleet,
    footprint,
    growth,
    ingestion,
    ledger_disk,
    ledger_read,
    reflector,
    throughput,
    throughput_causes,
    windows,
)
from tests.bench.capture import NotPermitted
from tests.bench.report import Row, table

BENCHES: Final[dict[str, Callable[[float], list[Row]]]] = {
    "agent-cost": agent_cost.run,
    "growth": growth.run,
    "accuracy": accuracy.run,
    "false-loss": false_loss.run,
    "footprint": footprint.run,
    "exposition": exposition.run,
    "reflector": reflector.run,
    "ledger-disk": ledger_disk.run,
    "ledger-read": ledger_read.run,
    "ingestion": ingestion.run,
    "evaluation": evaluation.run,
    "windows": windows.run,
    "fleet": fleet.run,
    "throughput": throughput.run,
    "throughput-causes": throughput_causes.run,
}


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _set_ups(text: str) -> range:
    """Some of the set-ups of causes, which are counted from 1: a number, or a first and a last one."""
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not 1 <= found.start < found.stop <= len(throughput_causes.SCENARIOS) + 1:
        raise ValueError(text)
    return found


def main() -> int:
    """Run the chosen benches."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("bench", nargs="*", choices=[[], *BENCHES], default=[], help="default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement (default 10)")
    parser.add_argument(
        "--set-ups",
        type=_set_ups,
        metavar="FIRST-LAST",
        help=f"of throughput-causes, which has {len(throughput_causes.SCENARIOS)}: only these (default all)",
    )
    chosen = parser.parse_args()
    benches = dict(BENCHES)
    if chosen.set_ups is not None:
        scenarios = tuple(throughput_causes.SCENARIOS[number - 1] for number in chosen.set_ups)
        benches["throughput-causes"] = functools.partial(throughput_causes.run, scenarios=scenarios)
    rows: list[Row] = []
    for name in chosen.bench or BENCHES:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            rows += benches[name](chosen.seconds)
        except NotPermitted as error:
            print(f"{name} left out: {error}", file=sys.stderr, flush=True)
    where = machine()
    print(f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, Python {where['python']}")
    print(table(rows))
    target = Path("build/bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({"machine": where, "rows": [row.as_json() for row in rows]}, indent=2) + "\n"
    )
    print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
