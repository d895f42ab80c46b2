"""Waking up on time: asyncio's own timers round up to a whole millisecond, the kernel's do not."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.timerfd_create.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.timerfd_create.restype = ctypes.c_int
_libc.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_libc.timerfd_settime.restype = ctypes.c_int
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.prctl.restype = ctypes.c_int

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_ITIMERSPEC: Final = struct.Struct("=qqqq")
_SECOND_NS: Final = 1_000_000_000


def sharpen_timers() -> None:
    """Ask the kernel not to delay this thread's wake-ups (by default it may, by 50 µs, to save power)."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


class WakeUp:
    """A descriptor that becomes readable at a chosen monotonic time.

    Raises:
        OSError: the kernel gave no timer.
    """

    def __init__(self) -> None:
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._descriptor

    def at(self, monotonic_ns: int) -> None:
        """Wake up at this time, at once if it has passed; replaces what was set before."""
        seconds, nanos = divmod(max(monotonic_ns, 1), _SECOND_NS)
        if _libc.timerfd_settime(self._descriptor, _ABSOLUTE, _ITIMERSPEC.pack(0, 0, seconds, nanos), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def acknowledge(self) -> None:
        """Take note of a wake-up, so that the descriptor is quiet again."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
