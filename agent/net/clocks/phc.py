"""How far the system clock is from the clock of a network card."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_ATTEMPTS: Final = 5
_CLOCKFD: Final = 3


class Comparison(NamedTuple):
    """Two clocks compared.

    Attributes:
        offset_ns: system clock less the other.
        uncertainty_ns: by how much that may be wrong, for the two cannot be read at the same instant.
    """

    offset_ns: int
    uncertainty_ns: int


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


def compare_with_card(interface: str) -> Comparison:
    """Compare the system clock with the clock of a network interface, whatever epoch that counts from.

    Raises:
        OSError: the interface has no clock, or reading it is not permitted.
    """
    descriptor = os.open(card_clock(interface), os.O_RDONLY | os.O_CLOEXEC)
    try:
        # FD_TO_CLOCKID of the kernel's testptp.c
        clock = ~descriptor << 3 | _CLOCKFD
        return compare(lambda: time.clock_gettime_ns(clock))
    finally:
        os.close(descriptor)


def compare(read_ns: Callable[[], int]) -> Comparison:
    """Compare the system clock with another; the narrowest of five readings."""
    found = []
    for _ in range(_ATTEMPTS):
        before_ns = time.time_ns()
        other_ns = read_ns()
        width_ns = time.time_ns() - before_ns
        half_ns = (abs(width_ns) + 1) // 2
        found.append(Comparison(before_ns + half_ns - other_ns, half_ns))
    return min(found, key=lambda comparison: comparison.uncertainty_ns)
