"""What became of a packet, and the limits it is held against.

    within         the upper end of what is known of its delay meets the limit
    over           the lower end violates the limit
    uncertain      neither is proven
    lost           no reply before the timeout, and this direction is where it went missing
    unattributed   no reply before the timeout, and nothing proves which direction lost it

A send that failed or was skipped is *not sent*: it is no outcome, and never loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Direction(StrEnum):
    """Which way the packet went; the value is the `direction` label."""

    FORWARD = "forward"
    REVERSE = "reverse"
    ROUND_TRIP = "round_trip"


ONE_WAY: Final = (Direction.FORWARD, Direction.REVERSE)


class Outcome(IntEnum):
    """What became of one packet in one direction; the number indexes a ledger's counts."""

    WITHIN = 0
    OVER = 1
    UNCERTAIN = 2
    LOST = 3
    UNATTRIBUTED = 4

    @property
    def label(self) -> str:
        """The `outcome` label."""
        return self.name.lower()


class Operator(StrEnum):
    """How a delay is compared with its limit."""

    BELOW = "<"
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise: the delay is below, or at most, `limit_ns`."""

    limit_ns: int
    operator: Operator

    def met_by(self, delay_ns: float) -> bool:
        """Whether a delay (ns; infinity for a lost packet) keeps the promise."""
        return delay_ns < self.limit_ns or (self.operator is Operator.AT_MOST and delay_ns == self.limit_ns)

    @property
    def largest_ns(self) -> int:
        """The largest whole nanosecond that keeps the promise."""
        return self.limit_ns if self.operator is Operator.AT_MOST else self.limit_ns - 1

    def __str__(self) -> str:
        return f"{self.operator} {self.limit_ns / 1e6:g} ms"


def classify_arrived(floor_ns: int, largest_ns: int) -> Outcome:
    """The outcome of a packet that is known to have arrived, after a delay of which only the floor is known."""
    return Outcome.OVER if floor_ns > largest_ns else Outcome.UNCERTAIN
