"""The two 64-bit timestamp formats of STAMP and its Error Estimate.

Z=0, NTP 32.32 (RFC 5905 section 6): seconds since 1900-01-01 and a binary fraction; unfolded around a time that is
known to be near, for the seconds wrap in 2036.

Z=1, truncated PTP (RFC 8877 section 4.3): seconds since 1970-01-01 and nanoseconds. The PTP epoch counts TAI, which
has been 37 s ahead of UTC since 2017.

     0                   1
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |S|Z|   Scale   |   Multiplier  |     error in seconds = multiplier * 2^(scale - 32)
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+     RFC 4656 section 4.1.2, Z from RFC 8762 section 4.2.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags, Integers

SECOND_NS = 1_000_000_000
NTP_UNIX_OFFSET_S = 2_208_988_800
TAI_MINUS_UTC_S = 37

_ERA = 1 << 64
_HALF_ERA_S = 1 << 31
_LOW = 0xFFFF_FFFF

Time = TypeVar("Time", int, Integers)


def ntp_from_ns(wall_ns: int) -> int:
    """Encode Unix wall time (ns) as a 64-bit NTP timestamp, rounded to the nearest 2^-32 s."""
    seconds, nanos = divmod(wall_ns, SECOND_NS)
    return (((seconds + NTP_UNIX_OFFSET_S) << 32) + ((nanos << 32) + SECOND_NS // 2) // SECOND_NS) % _ERA


def ntp_from_ns_of(wall_ns: Integers) -> NDArray[np.uint64]:
    """Encode many times as `ntp_from_ns` does."""
    seconds, nanos = np.divmod(wall_ns, SECOND_NS)
    fractions = ((nanos << 32) + SECOND_NS // 2) // SECOND_NS
    return ((seconds + NTP_UNIX_OFFSET_S).astype(np.uint64) << np.uint64(32)) + fractions.astype(np.uint64)


def ns_from_ntp(stamp: int, near_ns: int) -> int:
    """Decode a 64-bit NTP timestamp to Unix wall time (ns).

    Args:
        stamp: the 64 bits on the wire.
        near_ns: a wall time within 68 years of the stamp; it chooses the NTP era.

    Source: RFC 5905, section 6; RFC 4330, section 3 for the era.
    """
    return _from_ntp(stamp >> 32, stamp & _LOW, near_ns)


def ptp_from_ns(wall_ns: int) -> int:
    """Encode Unix wall time (ns) as a truncated 64-bit PTP timestamp (TAI)."""
    seconds, nanos = divmod(wall_ns, SECOND_NS)
    return ((seconds + TAI_MINUS_UTC_S) & 0xFFFF_FFFF) << 32 | nanos


def ns_from_ptp(stamp: int, near_ns: int) -> int:
    """Decode a truncated 64-bit PTP timestamp (TAI) to Unix wall time (ns), unfolded around `near_ns`."""
    return _from_ptp(stamp >> 32, stamp & _LOW, near_ns)


def ns_from_wire(stamps: NDArray[np.uint64], ptp: Flags, near_ns: Integers) -> Integers:
    """Decode 64-bit timestamps, each in the format that its `ptp` says, as `ns_from_ptp` and `ns_from_ntp` do.

    Args:
        stamps, ptp, near_ns: (n,) each.
    """
    seconds, low = (stamps >> np.uint64(32)).astype(np.int64), (stamps & np.uint64(_LOW)).astype(np.int64)
    decoded: Integers
    if not ptp.any():
        decoded = _from_ntp(seconds, low, near_ns)
        return decoded
    decoded = np.where(ptp, _from_ptp(seconds, low, near_ns), _from_ntp(seconds, low, near_ns))
    return decoded


def _from_ntp(seconds: Time, fraction: Time, near_ns: Time) -> Time:
    near_s = near_ns // SECOND_NS
    ahead_s = ((seconds - NTP_UNIX_OFFSET_S - near_s + _HALF_ERA_S) & _LOW) - _HALF_ERA_S
    wall_ns: Time = (near_s + ahead_s) * SECOND_NS + ((fraction * SECOND_NS + _HALF_ERA_S) >> 32)
    return wall_ns


def _from_ptp(seconds: Time, nanos: Time, near_ns: Time) -> Time:
    near_tai_s = near_ns // SECOND_NS + TAI_MINUS_UTC_S
    ahead_s = ((seconds - near_tai_s + _HALF_ERA_S) & _LOW) - _HALF_ERA_S
    return (near_tai_s + ahead_s - TAI_MINUS_UTC_S) * SECOND_NS + nanos


@dataclass(frozen=True, slots=True)
class ErrorEstimate:
    """How wrong a peer says its timestamps may be, and in which format they are.

    Attributes:
        synchronized: S bit; the clock follows an external source of UTC.
        ptp: Z bit; the timestamps of this packet are truncated PTP, otherwise NTP.
        scale, multiplier: error in seconds = multiplier * 2^(scale - 32). Multiplier 0 is invalid on the wire.
    """

    synchronized: bool
    ptp: bool
    scale: int
    multiplier: int

    @classmethod
    def of_bound(cls, bound_ns: int | None, *, ptp: bool = False) -> Self:
        """The smallest estimate that is not below `bound_ns`; `None` means not synchronised: S=0, largest error."""
        if bound_ns is None:
            return cls(synchronized=False, ptp=ptp, scale=63, multiplier=255)
        units = max(1, -(-(bound_ns << 32) // SECOND_NS))
        scale = max(0, units.bit_length() - 8)
        multiplier = -(-units >> scale)
        if multiplier > 0xFF:
            scale, multiplier = scale + 1, (multiplier + 1) >> 1
        if scale > 63:
            return cls(synchronized=False, ptp=ptp, scale=63, multiplier=255)
        return cls(synchronized=True, ptp=ptp, scale=scale, multiplier=multiplier)

    @classmethod
    def from_wire(cls, word: int) -> Self:
        """Read the 16 bits on the wire; every value is readable."""
        return cls(bool(word & 0x8000), bool(word & 0x4000), word >> 8 & 0x3F, word & 0xFF)

    @property
    def wire(self) -> int:
        """The 16 bits on the wire."""
        return self.synchronized << 15 | self.ptp << 14 | self.scale << 8 | self.multiplier

    @property
    def bound_ns(self) -> int | None:
        """The error bound (ns, rounded up), or None where the packet vouches for nothing (S=0 or multiplier 0)."""
        if not self.synchronized or self.multiplier == 0:
            return None
        return -(-(self.multiplier << self.scale) * SECOND_NS >> 32)
