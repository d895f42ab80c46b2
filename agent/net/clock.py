"""What can be known of the local clock, and the two clocks that need not be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

PHI_PPB: Final = 15_000
"""What a disciplined clock may drift, in parts per billion: the frequency tolerance of RFC 5905, section 7.1."""

MAX_FREQUENCY_PPB: Final = 500_000
"""What a clock may drift that nobody disciplines: the most that the kernel corrects (MAXFREQ), and by which it lets
`maxerror` grow."""

MAX_BOUND_NS: Final = 16_000_000_000
"""A clock that may be off by this much is not synchronised: MAXDISP of RFC 5905, NTP_PHASE_LIMIT of the kernel."""


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """What a clock vouches for.

    Attributes:
        source: ptp, chrony, adjtimex, declared or unsynchronised.
        error_bound_ns: how far it was off UTC at most when it was asked; None: not synchronised.
        explanation: why it vouches for nothing; empty where it does.
        drift_ppb: by how much the bound grows until it is asked again, in parts per billion.
    """

    source: str
    error_bound_ns: int | None
    explanation: str = ""
    drift_ppb: int = 0

    @property
    def synchronized(self) -> bool:
        """Whether the clock vouches for anything."""
        return self.error_bound_ns is not None

    def bound_ns(self, age_ns: int) -> int | None:
        """How far the clock may be off UTC so long after it was asked, rounded up; None: not synchronised."""
        if self.error_bound_ns is None:
            return None
        bound_ns = self.error_bound_ns - (-age_ns * self.drift_ppb // 1_000_000_000)
        return bound_ns if bound_ns < MAX_BOUND_NS else None


def vouched(source: str, error_bound_ns: int, drift_ppb: int) -> ClockQuality:
    """The quality of a clock that is synchronised, unless its bound is worth nothing."""
    if error_bound_ns >= MAX_BOUND_NS:
        return ClockQuality(source, None, f"may be off by {error_bound_ns // 1_000_000_000} s")
    return ClockQuality(source, error_bound_ns, drift_ppb=drift_ppb)


class Clock(Protocol):
    """Something that knows the quality of the local clock."""

    def quality(self) -> ClockQuality:
        """What is known since it was last asked; cheap, never blocks, never raises."""

    async def ask(self) -> None:
        """Find out anew. Ends within a second or two; what goes wrong is told by the quality, never raised."""

    def stepped(self) -> None:
        """Learn that the wall clock was stepped: what was found out before no longer holds."""


@dataclass(frozen=True, slots=True)
class DeclaredClock:
    """The operator vouches for the bound: GNSS with a receiver of its own, or hosts that share one clock."""

    error_bound_ns: int

    def quality(self) -> ClockQuality:
        """As declared."""
        return ClockQuality("declared", self.error_bound_ns)

    async def ask(self) -> None:
        """Nobody is asked."""

    def stepped(self) -> None:
        """The operator vouches across steps too."""


class UnsynchronisedClock:
    """The clock is declared to vouch for nothing."""

    def quality(self) -> ClockQuality:
        """Nothing."""
        return ClockQuality("unsynchronised", None, "declared as not synchronised")

    async def ask(self) -> None:
        """Nobody is asked."""

    def stepped(self) -> None:
        """Nothing is lost by it."""
