"""Latency while a line is tested: before, during and after, each a series of its own.

The probes are those of `probe stamp`, with the kernel's times, sent by the parent; what transfers is another process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from agent.core.measurement import Measurement, Measurements
from agent.core.outcome import Direction
from agent.net.clock import Clock
from agent.net.local_clock import LocalClock
from agent.oneshot import OneShot, delay_statistics
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.runtime.quantities import Endpoint
from agent.runtime.session_settings import SessionSettings

QUIET_S: Final = 1.0
"""How long the line is looked at before and after."""
_INTERVAL_NS: Final = 10_000_000
_TIMEOUT_NS: Final = 1_000_000_000


class Phase(StrEnum):
    """When a probe was sent."""

    IDLE = "idle"
    UNDER_LOAD = "under_load"
    AFTER = "after"


class LatencyWatch:
    """Probes a target from `start` to `stop`.

    Args:
        target: a STAMP reflector.
        clock: whose quality says what one-way delays are worth.
    """

    def __init__(self, target: Endpoint, clock: Clock) -> None:
        self._clock = LocalClock(clock)
        shot = OneShot(
            kind="stamp",
            target=target,
            count=0,
            interval_ns=_INTERVAL_NS,
            timeout_ns=_TIMEOUT_NS,
            session=SessionSettings(),
            keys=None,
            limit=None,
            floor_ns=None,
            clock_error_ns=None,
            as_json=True,
        )
        self._measured: list[Measurement] = []
        self._prober = Prober(
            StampProbes(None), "probe", [shot.path()], self._clock, random.Random(), record=self._record
        )

    async def start(self) -> None:
        """Begin, and look at the line while it is idle."""
        await self._clock.refresh()
        await self._prober.start()
        await asyncio.sleep(QUIET_S)

    async def stop(self) -> None:
        """Look at the line when it is idle again, and end."""
        await asyncio.sleep(QUIET_S)
        try:
            await self._prober.stop()
        finally:
            await self._prober.close()

    async def close(self) -> None:
        """End at once."""
        await self._prober.close()

    def document(self, loads: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The series.

        Args:
            loads: when data flowed, each from and to, Unix wall time in ns.

        Returns:
            For each phase how many probes were sent and lost, and for each direction the delays in seconds; null where
            there are none. One-way delays are there where both clocks vouch for themselves.
        """
        by_phase: dict[Phase, list[Measurement]] = {phase: [] for phase in Phase}
        for measured in self._measured:
            phase = phase_of(measured.t1_ns, loads)
            if phase is not None:
                by_phase[phase].append(measured)
        ledger = self._prober.paths[0].ledger
        return {
            "interval_seconds": _INTERVAL_NS / 1e9,
            "law": ledger.broken_laws() or "holds",
            **{phase.value: _series(probes) for phase, probes in by_phase.items()},
        }

    def _record(self, measured: Measurements) -> None:
        self._measured += measured.each()


def phase_of(sent_ns: int, loads: Sequence[tuple[int, int]]) -> Phase | None:
    """In which phase a probe was sent; None: between two tests, or there was none."""
    if not loads:
        return None
    if any(begin_ns <= sent_ns <= end_ns for begin_ns, end_ns in loads):
        return Phase.UNDER_LOAD
    if sent_ns < min(begin_ns for begin_ns, _ in loads):
        return Phase.IDLE
    return Phase.AFTER if sent_ns > max(end_ns for _, end_ns in loads) else None


def _series(probes: Sequence[Measurement]) -> dict[str, Any]:
    answered = [measured for measured in probes if measured.round_trip_ns is not None]
    trusted = [measured for measured in answered if measured.uncertainty_ns is not None]
    series: dict[str, Any] = {"sent": len(probes), "lost": len(probes) - len(answered)}
    for direction in Direction:
        counting = answered if direction is Direction.ROUND_TRIP else trusted
        delays = [getattr(measured, f"{direction.value}_ns") for measured in counting]
        series[direction.value] = delay_statistics(delays)
    return series
