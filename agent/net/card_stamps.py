"""What a network card's times mean for the datagrams of one socket: times by the system clock, each with its bound.

The card's clock is known by the system clock only within a bound, and the two ends of a way are kept outside of the
truth: a datagram is said to have left by so much earlier, and to have come by so much later, than the card's time by
the system clock. So a delay is never made to look shorter, as with the stamps of the kernel and of programs, and how
much longer it may look is the bound twice.

That a card and its driver agree to stamp proves nothing. What counts is what comes: each time is judged by itself, and
where none comes for a second, or what comes has no time by the system clock, the kernel's own stamps are asked for
again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS, Flags, Integers
from agent.net import control_batches
from agent.net.clocks.card import CardClock

_PATIENCE_NS: Final = 1_000_000_000
_ENOUGH_MISSING: Final = 8

log = logging.getLogger(__name__)


_METHODS: Final = ("user", "kernel", "hardware")
"""Who takes times, from the least to the most exact."""


def stamping_method(*, by_kernel: bool, by_card: bool) -> str:
    """Who takes a socket's times: user, kernel or hardware."""
    if not by_kernel:
        return "user"
    return "hardware" if by_card else "kernel"


def least_method(methods: Iterable[str]) -> str:
    """The least exact of these methods; that of no socket is the kernel's."""
    return min(methods, key=_METHODS.index, default="kernel")


class Bounded(NamedTuple):
    """Times by the system clock, (n,) each.

    Attributes:
        times_ns: Unix wall time; 0 where there is none.
        bounds_ns: how far the true time may lie inside: after a time of leaving, before one of coming; above 0 for all
            that are the card's, 0 for the kernel's.
    """

    times_ns: Integers
    bounds_ns: Integers


class CardStamps:
    """The card's times of one socket.

    Args:
        clock: the card's.
        monotonic_ns: monotonic clock.

    Attributes:
        in_use: whether the kernel is to be asked for the card's times.
        transmits, receives: whether the latest datagram that left, or came, had one.
        bound_ns: the widest bound of those of late.
    """

    def __init__(self, clock: CardClock, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.in_use = not clock.fault
        self.transmits = self.receives = False
        self.bound_ns = 0
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._missing_since_ns: int | None = None

    def arrivals(self, control: bytearray, results: NDArray[Any], kernel_ns: Integers) -> Bounded:
        """When datagrams came, by the card where it says so.

        The kernel's own time is later than a packet's arrival whatever the card's clock says, so no time is later than
        that; and a card's time that is surely later is none.

        Args:
            control, results: as for `control_batches.receive_stamps_of`.
            kernel_ns: (n,) what that gave.
        """
        card_ns = control_batches.card_stamps_of(control, results)
        taken = card_ns != 0
        if not taken.any():
            if len(card_ns):
                self.receives = False
            return Bounded(kernel_ns, np.zeros_like(kernel_ns))
        system_ns, bounds_ns = self._clock.system_ns(card_ns)
        believed = taken & (bounds_ns != UNKNOWN_NS)
        earliest_ns = np.where(believed, system_ns - bounds_ns, 0)
        believed &= (kernel_ns == 0) | (earliest_ns <= kernel_ns)
        latest_ns = np.where(believed, system_ns + bounds_ns, kernel_ns)
        latest_ns = np.where(believed & (kernel_ns != 0), np.minimum(latest_ns, kernel_ns), latest_ns)
        self.receives = bool(believed[-1])
        return self._bounded(latest_ns, np.where(believed, latest_ns - earliest_ns, 0), believed)

    def departures(self, stamped_ns: Integers, by_card: Flags) -> Bounded:
        """When datagrams left.

        Args:
            stamped_ns: (n,) times, by the card's clock where `by_card` says so.
            by_card: (n,).
        """
        if not by_card.any():
            if len(by_card):
                self.transmits = False
            return Bounded(stamped_ns, np.zeros_like(stamped_ns))
        system_ns, bounds_ns = self._clock.system_ns(np.where(by_card, stamped_ns, 0))
        known = bounds_ns != UNKNOWN_NS
        self.transmits = bool((by_card & known)[-1])
        earliest_ns = np.where(known, system_ns - bounds_ns, 0)
        return self._bounded(
            np.where(by_card, earliest_ns, stamped_ns), np.where(by_card & known, 2 * bounds_ns, 0), by_card
        )

    def have_stopped(self, missing: int, came: int) -> bool:
        """Whether the card's times are to be done without from now on; told once.

        Args:
            missing: how many datagrams were sent after the last one whose transmit time came.
            came: how many transmit times have just come.
        """
        if not self.in_use:
            return False
        why = self._clock.fault
        now_ns = self._monotonic_ns()
        if came or missing < _ENOUGH_MISSING:
            self._missing_since_ns = None
        elif self._missing_since_ns is None:
            self._missing_since_ns = now_ns
        elif now_ns - self._missing_since_ns > _PATIENCE_NS:
            why = f"no transmit time came of {missing} packets for a second"
        if why:
            log.warning("no times by the card %s any more: %s", self._clock.card.interface, why)
            self.in_use = self.transmits = self.receives = False
            self.bound_ns = 0
        return bool(why)

    def _bounded(self, times_ns: Integers, bounds_ns: Integers, by_card: Flags) -> Bounded:
        # a bound above 0 tells that a time is the card's
        bounds_ns = np.where(by_card & (times_ns != 0), np.maximum(bounds_ns, 1), 0)
        self.bound_ns = int(bounds_ns.max(initial=0))
        return Bounded(times_ns, bounds_ns)
