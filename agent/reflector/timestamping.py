"""What the Timestamp Information TLV says of this reflector (RFC 8972, section 4.3)."""

from __future__ import annotations

import functools
from typing import Final

from agent.core.reflection import Timestamping
from agent.core.tlv_values import SyncSource, TimestampInformation, TimestampMethod
from agent.net.clock import ClockQuality

_SOURCES: Final = {"ptp": SyncSource.PTP, "chrony": SyncSource.NTP, "adjtimex": SyncSource.NTP}
"""What keeps a clock that is synchronised. What an operator declares may be kept by anything."""
_CARD: Final = TimestampMethod.HARDWARE
_KERNEL: Final = TimestampMethod.SOFTWARE
_PROGRAM: Final = TimestampMethod.CONTROL_PLANE
"""Of what is not hardware the RFC knows software where packets pass, which is the kernel, and the control plane above
it, which are programs as this one."""


def timestamping_of(quality: ClockQuality) -> Timestamping:
    """How T2 and T3 are taken where the clock is of this quality.

    T3 is this program's; when a reply really left, by the kernel or a card, is told by the next one's Follow-Up
    Telemetry.
    """
    source = _SOURCES.get(quality.source, SyncSource.UNKNOWN) if quality.synchronized else SyncSource.LOCAL
    return _timestamping(source)


@functools.cache
def _timestamping(source: SyncSource) -> Timestamping:
    return Timestamping(
        by_program=TimestampInformation(source, _PROGRAM, source, _PROGRAM),
        by_kernel=TimestampInformation(source, _KERNEL, source, _PROGRAM),
        by_card=TimestampInformation(source, _CARD, source, _PROGRAM),
    )
