"""The choice among those who know the local clock."""

from __future__ import annotations

from collections.abc import Sequence

from agent.net.clock import Clock, ClockQuality
from agent.net.clocks.adjtimex import AdjtimexClock
from agent.net.clocks.chrony import ChronyClock
from agent.net.clocks.ptp import PtpClock


class AutomaticClock:
    """The first clock that vouches for anything, chosen anew each time.

    Args:
        clocks: the better one first.
    """

    def __init__(self, clocks: Sequence[Clock]) -> None:
        self._clocks = clocks

    @classmethod
    def usual(cls, ptp_domain: int = 0) -> AutomaticClock:
        """PTP, chrony, kernel: from the closest to the farthest.

        PTP is asked first, for where ptp4l runs it is what holds the clock. chronyd knows more than the kernel's
        `maxerror`, which it renews only at its updates and which grows by 500 ppm in between: 32 ms between two polls
        of 64 s.
        """
        return cls((PtpClock(ptp_domain), ChronyClock(), AdjtimexClock()))

    def quality(self) -> ClockQuality:
        """Of the first that vouches; else why none does."""
        known = [clock.quality() for clock in self._clocks]
        for quality in known:
            if quality.synchronized:
                return quality
        reasons = "; ".join(f"{quality.source}: {quality.explanation}" for quality in known)
        return ClockQuality("unsynchronised", None, reasons)

    async def ask(self) -> None:
        """Ask one after the other until one vouches."""
        for clock in self._clocks:
            await clock.ask()
            if clock.quality().synchronized:
                return

    def stepped(self) -> None:
        """All of them lose what they knew."""
        for clock in self._clocks:
            clock.stepped()
