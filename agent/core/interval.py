"""What is known of one packet's delay: an interval that contains it.

A measured one-way delay `d` is off by at most the clock uncertainty `U`. Whatever the clocks say, the packet cannot
beat light in fibre (the floor `F`), and in one direction it cannot have taken longer than the whole round trip less
the other direction's floor, for the offset between the clocks cancels in the round trip. So the delay lies in

    [max(d - U, F), min(d + U, round_trip - F_other)]

An empty interval proves that a clock is lying; the clock-free part of the bounds still holds.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Interval(NamedTuple):
    """Bounds of a delay in ns, both ends included. `upper_ns` may be infinite."""

    lower_ns: int
    upper_ns: float


class Contradiction(IntEnum):
    """What the bounds of one packet disprove."""

    NONE = 0
    CLOCK = 1
    """The two clocks disagree by more than they admit."""
    FLOOR = 2
    """The round trip is shorter than the configured floors allow: the distance is configured too long."""


_NONE, _CLOCK, _FLOOR = Contradiction.NONE, Contradiction.CLOCK, Contradiction.FLOOR


def one_way_interval(
    delay_ns: int, uncertainty_ns: int | None, floor_ns: int, other_floor_ns: int, round_trip_ns: int
) -> tuple[int, int, Contradiction]:
    """Bound a one-way delay.

    Args:
        delay_ns: the measured difference of two clocks; may be negative.
        uncertainty_ns: how far the two clocks and their stamps may be off in sum; None: not known at all.
        floor_ns: least physically possible delay of this direction.
        other_floor_ns: the same of the other direction.
        round_trip_ns: upper bound of the round trip without the reflector's residence time.

    Returns:
        Lower and upper end of the interval, and what was found to be contradictory. Where the floors exceed the round
        trip they are wrong, and the interval falls back to zero and the whole round trip.
    """
    ceiling = round_trip_ns - other_floor_ns
    if ceiling < floor_ns:
        return 0, max(round_trip_ns, 0), _FLOOR
    if uncertainty_ns is None:
        return floor_ns, ceiling, _NONE
    lower = delay_ns - uncertainty_ns
    upper = delay_ns + uncertainty_ns
    if lower > ceiling or upper < floor_ns:
        return floor_ns, ceiling, _CLOCK
    return (
        max(floor_ns, lower),
        min(ceiling, upper),
        _NONE,
    )


def least_round_trip_ns(round_trip_ns: int, stamping_ns: int | None, floors_ns: int) -> int:
    """The least that a round trip can have taken; the most is what was measured, for no clock offset touches it.

    Args:
        round_trip_ns: `(T4 - T1) - (T3 - T2)`. User-space stamps lie outside the kernel's: the truth is never longer.
        stamping_ns: how much shorter the truth may be on account of user-space stamps; None: not known.
        floors_ns: the sum of both directions' floors; ignored where the measurement disproves it.
    """
    floor = min(floors_ns, round_trip_ns)
    if stamping_ns is None or round_trip_ns - stamping_ns < floor:
        return floor
    return round_trip_ns - stamping_ns
