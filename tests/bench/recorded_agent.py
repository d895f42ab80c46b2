"""The whole agent, as `python -m agent run`, that also writes down what it finds of every probe, and may be kept busy.

python -m tests.bench.recorded_agent RECORD BUSY_THREADS CONFIG
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np

from agent.core.flight import FlightRecorder
from agent.core.measurement import Measurements
from agent.program import Agent
from agent.runtime.lifecycle import stop_requested
from agent.runtime.settings import load
from agent.settings import AgentSettings

FIELDS: Final = ("row", "sequence", "forward", "reverse", "uncertainty")
"""Columns of the record; ns where they are times."""


def main(record: Path, threads: int, config: Path) -> int:
    """Run until SIGTERM, then write the record of all answered probes, (n, fields)."""
    batches: list[np.ndarray[tuple[int, int], np.dtype[np.int64]]] = []

    def note(measured: Measurements) -> None:
        if measured.answered:
            batches.append(
                np.column_stack((*measured.probes, *measured.delays_ns[:2], measured.uncertainty_ns))
            )

    settings = load(config, AgentSettings)
    ended = threading.Event()
    busy = [threading.Thread(target=_keep_busy, args=(ended,), daemon=True) for _ in range(threads)]
    for thread in busy:
        thread.start()

    async def run() -> bool:
        return await Agent(settings).run(stop_requested())

    with mock.patch.object(FlightRecorder, "add", lambda _, measured, first_path: note(measured)):
        law_held = asyncio.run(run())
    ended.set()
    np.save(record, np.concatenate(batches) if batches else np.empty((0, len(FIELDS)), np.int64))
    return 0 if law_held else 1


def _keep_busy(ended: threading.Event) -> None:
    """Python code that never waits and never lets the interpreter's lock go by itself."""
    turns = 0
    while not ended.is_set():
        for _ in range(100):
            turns += 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
