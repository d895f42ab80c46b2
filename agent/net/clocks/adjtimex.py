"""The kernel's account of the local clock."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Final

from agent.net.clock import MAX_FREQUENCY_PPB, ClockQuality, vouched

_STA_UNSYNC: Final = 0x0040
_STA_NANO: Final = 0x2000
_TIME_ERROR: Final = 5


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

    The bound is `maxerror` plus the offset that is still being slewed away. The kernel lets `maxerror` grow by 500 ppm
    until somebody disciplines the clock again, and so does the bound between two readings.
    """

    def __init__(self, read: Callable[[Timex], int] = read_adjtimex) -> None:
        self._read = read
        self._quality = self._now()

    def quality(self) -> ClockQuality:
        """What the kernel said."""
        return self._quality

    async def ask(self) -> None:
        """Ask the kernel; a system call that does not block."""
        self._quality = self._now()

    def stepped(self) -> None:
        """Ask the kernel: it forgets its synchronisation when the clock is set."""
        self._quality = self._now()

    def _now(self) -> ClockQuality:
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
        return vouched("adjtimex", timex.maxerror * 1000 + offset_ns, MAX_FREQUENCY_PPB)
