"""What is known of one packet's delay: an interval that contains it.

A measured one-way delay `d` is off by at most the clock uncertainty `U`. Whatever the clocks say, the packet cannot
beat light in fibre (the floor `F`), and in one direction it cannot have taken longer than the whole round trip less
the other direction's floor, for the offset between the clocks cancels in the round trip. So the delay lies in

    [max(d - U, F), min(d + U, round_trip - F_other)]

An empty interval proves that a clock is lying; the clock-free part of the bounds still holds.

All functions take whole arrays of packets, int64 in ns, one element or column per packet.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Outcome

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

UNKNOWN_NS: Final = 1 << 62
"""An uncertainty that vouches for nothing: wider than any difference of two timestamps, and safe to add once."""

_WITHIN, _OVER, _UNCERTAIN = np.int64(Outcome.WITHIN), np.int64(Outcome.OVER), np.int64(Outcome.UNCERTAIN)


class Bounds(NamedTuple):
    """What is proven of the one-way delays of n packets; both ends included.

    Attributes:
        lower_ns, upper_ns: (2, n), forward and reverse.
        clock: (n,), the two clocks disagree by more than they admit.
        floor: (n,), the round trip is shorter than the floors allow: the distance is configured too long.
    """

    lower_ns: Integers
    upper_ns: Integers
    clock: Flags
    floor: Flags


def sum_of_uncertainties(*parts_ns: Integers) -> Integers:
    """The sum, `UNKNOWN_NS` where any part is."""
    total = parts_ns[0]
    for part in parts_ns[1:]:
        total = np.where((total == UNKNOWN_NS) | (part == UNKNOWN_NS), UNKNOWN_NS, total + part)
    return total


def one_way_bounds(
    delays_ns: Integers,
    uncertainty_ns: Integers,
    floors_ns: Integers,
    round_trip_ns: Integers,
    copied: Flags | None = None,
) -> Bounds:
    """Bound the one-way delays of n packets.

    Args:
        delays_ns: (2, n), forward and reverse as measured between two clocks; may be negative.
        uncertainty_ns: (n,), how far the two clocks and their stamps may be off in sum; `UNKNOWN_NS`: not known.
        floors_ns: (2, n), the least physically possible delays.
        round_trip_ns: (n,), upper bound of the round trip without the reflector's residence time.
        copied: (n,), T2 came as T3 too: how long answering took is not known, and all of the reverse delay may be that.

    Returns:
        The bounds. Where the floors exceed the round trip they are wrong, and the bounds fall back to zero and the
        whole round trip.
    """
    ceilings = round_trip_ns - floors_ns[::-1]
    lower, upper = delays_ns - uncertainty_ns, delays_ns + uncertainty_ns
    impossible = ceilings[0] < floors_ns[0]
    lying = ((lower > ceilings) | (upper < floors_ns)) & ~impossible
    lower, upper = np.maximum(floors_ns, lower), np.minimum(ceilings, upper)
    if lying.any():
        lower, upper = np.where(lying, floors_ns, lower), np.where(lying, ceilings, upper)
    if impossible.any():
        lower = np.where(impossible, 0, lower)
        upper = np.where(impossible, np.maximum(round_trip_ns, 0), upper)
    if copied is not None and copied.any():
        lower[1] = np.where(copied, np.minimum(lower[1], floors_ns[1]), lower[1])
    return Bounds(lower, upper, lying[0] | lying[1], impossible)


def least_round_trip_ns(round_trip_ns: Integers, stamping_ns: Integers, floors_ns: Integers) -> Integers:
    """The least that round trips can have taken; the most is what was measured, for no clock offset touches it.

    Args:
        round_trip_ns: (n,), `(T4 - T1) - (T3 - T2)`. User-space stamps lie outside the kernel's: the truth is never
            longer.
        stamping_ns: (n,), how much shorter the truth may be on account of user-space stamps; `UNKNOWN_NS`: not known.
        floors_ns: (n,), the sum of both directions' floors; ignored where the measurement disproves it.
    """
    least: Integers = np.maximum(np.minimum(floors_ns, round_trip_ns), round_trip_ns - stamping_ns)
    return least


def classify(lower_ns: Integers, upper_ns: Integers, largest_ns: Integers) -> Integers:
    """Hold what is known of delays against their limits.

    Args:
        lower_ns, upper_ns: the bounds of each delay, ns, both ends included.
        largest_ns: `Limit.largest_ns` of each.

    Returns:
        The `Outcome` of each, as its number; arrays of any one shape.
    """
    met: Integers = np.where(upper_ns <= largest_ns, _WITHIN, _UNCERTAIN)
    met[lower_ns > largest_ns] = _OVER
    return met
