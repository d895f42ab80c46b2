"""The local clock's quality, read now and then and kept at hand for every packet."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from agent.core.timestamps import ErrorEstimate
from agent.net.clock import Clock, ClockQuality

_READ_AGAIN_S: Final = 1.0

log = logging.getLogger(__name__)


class LocalClock:
    """The last reading of a clock.

    Attributes:
        quality: what the clock vouched for.
        bound_ns: its error bound, None where it vouches for nothing.
        estimate_wire: the same as the 16 bits of an Error Estimate.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.quality: ClockQuality = clock.quality()
        self._keep()

    def refresh(self) -> None:
        """Read the clock again, and say so where it won or lost its synchronisation."""
        before, self.quality = self.quality, self._clock.quality()
        if before.synchronized is not self.quality.synchronized:
            if self.quality.synchronized:
                log.info("clock is synchronised, source %s", self.quality.source)
            else:
                log.warning("clock is not synchronised: %s", self.quality.explanation)
        self._keep()

    async def keep_fresh(self) -> None:
        """Refresh every second, until cancelled."""
        while True:
            await asyncio.sleep(_READ_AGAIN_S)
            self.refresh()

    def _keep(self) -> None:
        self.bound_ns = self.quality.error_bound_ns
        self.estimate_wire = ErrorEstimate.of_bound(self.bound_ns).wire
