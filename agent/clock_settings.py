"""What the configuration says of the clock: who is asked how wrong it may be, or who vouches for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.runtime.quantities import (
    DurationNs,
)
from agent.runtime.settings import Settings

PtpDomain = Annotated[int, Field(ge=0, le=127)]


class AutomaticClockSettings(Settings):
    """The first that vouches for the clock: ptp4l, chronyd, the kernel."""

    source: Literal["auto"] = "auto"
    ptp_domain: PtpDomain = 0


class PtpClockSettings(Settings):
    """linuxptp's account of the clock."""

    source: Literal["ptp"]
    ptp_domain: PtpDomain = 0


class ChronyClockSettings(Settings):
    """chronyd's account of the clock."""

    source: Literal["chrony"]


class AdjtimexClockSettings(Settings):
    """The kernel's own account of the clock, as chrony, ntpd or timesyncd keep it."""

    source: Literal["adjtimex"]


class DeclaredClockSettings(Settings):
    """The operator vouches for the clock: GNSS, or hosts that share one."""

    source: Literal["declared"]
    error_bound: DurationNs


class UnsynchronisedClockSettings(Settings):
    """The clock vouches for nothing: S=0 in every packet."""

    source: Literal["unsynchronised"]


ClockSettings = Annotated[
    AutomaticClockSettings
    | PtpClockSettings
    | ChronyClockSettings
    | AdjtimexClockSettings
    | DeclaredClockSettings
    | UnsynchronisedClockSettings,
    Field(discriminator="source"),
]
