"""The local clock's quality, asked now and then and kept at hand for every packet, and the steps it makes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from agent.core.steps import ClockPair, ClockSteps
from agent.core.timestamps import ErrorEstimate
from agent.net.clock import Clock, ClockQuality
from agent.net.clocks.card import CardClock
from agent.net.clocks.pair import read_pair

_ASK_AGAIN_S: Final = 1.0
_LONGEST_SAMPLE_NS: Final = 10_000_000_000

log = logging.getLogger(__name__)


class LocalClock:
    """What a clock vouched for when it was last asked, and how much of that is left.

    Args:
        clock: who is asked.
        longest_sample_ns: how long a sample may take whose crossing of a step matters: the longest timeout.
        read: reads wall and monotonic clock together.
        monotonic_ns: monotonic clock.
        card: the clock of the network card that stamps; None: none does, or none is to be used.

    Attributes:
        card: the same.
        quality: what the clock vouched for.
        steps: the steps of the wall clock; up to date after `watch`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        longest_sample_ns: int = _LONGEST_SAMPLE_NS,
        read: Callable[[], ClockPair] = read_pair,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        card: CardClock | None = None,
    ) -> None:
        self.card = card
        self._clock = clock
        self._read = read
        self._monotonic_ns = monotonic_ns
        self._ask_again = asyncio.Event()
        self.steps = ClockSteps(longest_sample_ns)
        self.steps.observe(read())
        self.quality: ClockQuality = clock.quality()
        self._asked_ns = monotonic_ns()

    @property
    def bound_ns(self) -> int | None:
        """How far the clock may be off now, with what it may have drifted since it was asked; None: not known."""
        return self.quality.bound_ns(self._monotonic_ns() - self._asked_ns)

    @property
    def estimate_wire(self) -> int:
        """The same as the 16 bits of an Error Estimate, rounded up."""
        return ErrorEstimate.of_bound(self.bound_ns).wire

    def watch(self) -> bool:
        """Look for a step of the wall clock; call it before what was timed since the last time is judged.

        After a step the clock's quality is that of before only where it holds across steps.

        Returns:
            Whether there was one.
        """
        if self.card is not None:
            self.card.keep_compared()
        step = self.steps.observe(self._read())
        if step is None:
            return False
        log.warning("the wall clock was stepped by %+.6f s", step.size_ns / 1e9)
        self._clock.stepped()
        self._take(self._monotonic_ns())
        self._ask_again.set()
        return True

    async def refresh(self) -> None:
        """Ask the clock again, and say so where it won or lost its synchronisation, or another source is chosen."""
        steps, asked_ns = self.steps.count, self._monotonic_ns()
        await self._clock.ask()
        self.watch()
        if self.steps.count != steps:
            # the answer may be from before the step
            self._clock.stepped()
        self._take(asked_ns)

    async def keep_fresh(self) -> None:
        """Refresh every second, and right after a step, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_S):
                    await self._ask_again.wait()
            self._ask_again.clear()
            await self.refresh()

    def _take(self, asked_ns: int) -> None:
        before, self.quality = self.quality, self._clock.quality()
        self._asked_ns = asked_ns
        if not self.quality.synchronized:
            if before.synchronized:
                log.warning("clock is not synchronised: %s", self.quality.explanation)
        elif not before.synchronized or before.source != self.quality.source:
            log.info("clock is synchronised, source %s", self.quality.source)
