"""How far the system clock is from the clock of a network card."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.core.card_time import Comparison

_ATTEMPTS: Final = 5
_CLOCKFD: Final = 3


def card_clock(interface: str, network: Path = Path("/sys/class/net")) -> Path:
    """The device of the clock of a network interface.

    Raises:
        FileNotFoundError: it has none, or what is given is no name.
    """
    if "/" in interface or "\0" in interface:
        raise FileNotFoundError(f"{interface!r} is no name of an interface")
    found = sorted(entry.name for entry in (network / interface / "device" / "ptp").iterdir())
    if not found:
        raise FileNotFoundError(f"{interface} has no clock of its own")
    return Path("/dev", found[0])


class OpenClock:
    """A card's clock, kept open to be read often.

    Args:
        device: such as /dev/ptp0.

    Raises:
        OSError: it is not there, or reading it is not permitted.
    """

    def __init__(self, device: Path) -> None:
        self.device = device
        self._descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)

    def compare(self) -> Comparison:
        """Compare the system clock with it, whatever epoch it counts from.

        Raises:
            OSError: it cannot be read, as that of a card that is gone.
        """
        # FD_TO_CLOCKID of the kernel's testptp.c
        clock = ~self._descriptor << 3 | _CLOCKFD
        return compare(lambda: time.clock_gettime_ns(clock))

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def compare_with_card(interface: str) -> Comparison:
    """Compare the system clock with the clock of a network interface.

    Raises:
        OSError: the interface has no clock, or reading it is not permitted.
    """
    clock = OpenClock(card_clock(interface))
    try:
        return clock.compare()
    finally:
        clock.close()


def compare(read_ns: Callable[[], int]) -> Comparison:
    """Compare the system clock with another; the narrowest of five readings."""
    found = []
    for _ in range(_ATTEMPTS):
        before_ns = time.time_ns()
        other_ns = read_ns()
        width_ns = time.time_ns() - before_ns
        half_ns = (abs(width_ns) + 1) // 2
        found.append(Comparison(before_ns + half_ns - other_ns, half_ns, other_ns))
    return min(found, key=lambda comparison: comparison.uncertainty_ns)
