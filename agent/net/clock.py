"""How good the local clock is: where that is known from, and the bound of its error against UTC."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
_TIME_ERROR: Final = 5


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """What a clock vouches for.

    Attributes:
        source: adjtimex, declared or unsynchronised.
        error_bound_ns: how far it may be off UTC; None: not synchronised.
        explanation: why it vouches for nothing; empty where it does.
    """

    source: str
    error_bound_ns: int | None
    explanation: str = ""

    @property
    def synchronized(self) -> bool:
        """Whether the clock vouches for anything."""
        return self.error_bound_ns is not None


class Clock(Protocol):
    """Something that knows the quality of the local clock now."""

    def quality(self) -> ClockQuality:
        """The quality at this moment; cheap, never blocks, never raises."""


class Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>; the times in it are in µs, `offset` in ns under STA_NANO."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_sec", ctypes.c_long),
        ("time_usec", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.adjtimex.argtypes = (ctypes.POINTER(Timex),)
_libc.adjtimex.restype = ctypes.c_int


def read_adjtimex(timex: Timex) -> int:
    """Fill in the kernel's clock state; the clock's state, or minus the errno of the refusal."""
    state: int = _libc.adjtimex(ctypes.byref(timex))
    return state if state >= 0 else -ctypes.get_errno()


class AdjtimexClock:
    """The kernel's own account, kept by chrony, ntpd, timesyncd and the like.

    The bound is `maxerror`, which grows by 500 ppm while nobody disciplines the clock, plus the offset that is still
    being slewed away.
    """

    def __init__(self, read: Callable[[Timex], int] = read_adjtimex) -> None:
        self._read = read

    def quality(self) -> ClockQuality:
        """What the kernel says now."""
        timex = Timex()
        state = self._read(timex)
        if state < 0:
            why = f"adjtimex refused: {os.strerror(-state)}"
            if -state == errno.EPERM:
                why += " (systemd's ProtectClock= forbids reading the clock's state)"
            return ClockQuality("adjtimex", None, why)
        if timex.status & _STA_UNSYNC or state == _TIME_ERROR:
            return ClockQuality("adjtimex", None, "the kernel says that the clock is not synchronised")
        offset_ns = abs(timex.offset) if timex.status & _STA_NANO else abs(timex.offset) * 1000
        return ClockQuality("adjtimex", timex.maxerror * 1000 + offset_ns)


@dataclass(frozen=True, slots=True)
class DeclaredClock:
    """The operator vouches for the bound: GNSS with a receiver of its own, or hosts that share one clock."""

    error_bound_ns: int

    def quality(self) -> ClockQuality:
        """As declared."""
        return ClockQuality("declared", self.error_bound_ns)


class UnsynchronisedClock:
    """The clock is declared to vouch for nothing."""

    def quality(self) -> ClockQuality:
        """Nothing."""
        return ClockQuality("unsynchronised", None, "declared as not synchronised")
