"""The clock that the configuration names."""

from __future__ import annotations

from agent.clock_settings import (
    AdjtimexClockSettings,
    AutomaticClockSettings,
    ChronyClockSettings,
    ClockSettings,
    DeclaredClockSettings,
    PtpClockSettings,
)
from agent.net.clock import Clock, DeclaredClock, UnsynchronisedClock
from agent.net.clocks.adjtimex import AdjtimexClock
from agent.net.clocks.automatic import AutomaticClock
from agent.net.clocks.chrony import ChronyClock
from agent.net.clocks.ptp import PtpClock


def clock_of(settings: ClockSettings) -> Clock:
    """The clock that the settings name."""
    match settings:
        case AutomaticClockSettings(ptp_domain=domain):
            return AutomaticClock.usual(domain)
        case PtpClockSettings(ptp_domain=domain):
            return PtpClock(domain)
        case ChronyClockSettings():
            return ChronyClock()
        case AdjtimexClockSettings():
            return AdjtimexClock()
        case DeclaredClockSettings(error_bound=bound_ns):
            return DeclaredClock(bound_ns)
        case _:
            return UnsynchronisedClock()
