"""What was counted of one path, and the law that the counts obey.

    sent = Σ outcomes(round_trip) + in flight
    sent = Σ outcomes(forward)    + in flight
    Σ outcomes(reverse) = what was reflected or may have been = sent - in flight - outcomes(forward, lost)

Every probe is counted once, at its reply or at its timeout. Late replies, duplicates and reordering are counted
beside the law, not in it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from agent.core.histogram import Histogram
from agent.core.outcome import Direction, Limit, Outcome
from agent.core.recent import RecentMinimum


@dataclass(frozen=True, slots=True)
class PathLabels:
    """What names a path in the metrics."""

    source: str
    target: str
    tier: str
    provider: str
    kind: str
    dscp: int


@dataclass(frozen=True, slots=True)
class Promise:
    """What one direction of a path is held against.

    Attributes:
        limit: the promised delay.
        floor_ns: the least delay that physics allows.
    """

    limit: Limit
    floor_ns: int


MINIMUM_PERIOD_NS = 60_000_000_000


class DirectionLedger:
    """The counts of one direction of a path.

    Attributes:
        floor_ns, largest_ns: the promise's, at hand for every packet.
        outcomes: packets by `Outcome`, indexed by it.
        delay: measured delays; one-way delays only while both clocks vouch for themselves.
        variation: delay less the recent minimum (PDV, RFC 5481 section 4.2), which no steady clock offset touches.
    """

    __slots__ = (
        "_trusted",
        "delay",
        "duplicates",
        "floor_ns",
        "largest_ns",
        "minimum",
        "outcomes",
        "promise",
        "reordered",
        "variation",
    )

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.floor_ns = promise.floor_ns
        self.largest_ns = promise.limit.largest_ns
        self.outcomes = [0] * len(Outcome)
        self.delay = Histogram()
        self.variation = Histogram()
        self.minimum = RecentMinimum(MINIMUM_PERIOD_NS)
        self._trusted = False
        self.duplicates = 0
        self.reordered = 0

    def observe(self, delay_ns: int, now_ns: int, *, trusted: bool) -> None:
        """Record a measured delay (ns) at monotonic time `now_ns`.

        An untrusted delay, one between clocks that do not vouch for themselves, counts for the variation only. Where
        trust is won or lost the minimum starts anew: the offset before and after has nothing in common.
        """
        if trusted is not self._trusted:
            self._trusted = trusted
            self.minimum = RecentMinimum(MINIMUM_PERIOD_NS)
        self.variation.observe(delay_ns - self.minimum.observe(delay_ns, now_ns))
        if trusted:
            self.delay.observe(delay_ns)

    def minimum_ns(self, now_ns: int) -> int | None:
        """The least trusted delay of the last one to two minutes, or None where there is none."""
        return self.minimum.value(now_ns) if self._trusted else None


class PathLedger:
    """All counts of one path; only `agent.core.session` writes to it."""

    __slots__ = (
        "clock_contradictions",
        "floor_contradictions",
        "forward",
        "in_flight",
        "labels",
        "late",
        "not_sent",
        "reverse",
        "round_trip",
        "sent",
    )

    def __init__(self, labels: PathLabels, forward: Promise, reverse: Promise, round_trip: Limit) -> None:
        self.labels = labels
        self.forward = DirectionLedger(forward)
        self.reverse = DirectionLedger(reverse)
        self.round_trip = DirectionLedger(Promise(round_trip, forward.floor_ns + reverse.floor_ns))
        self.sent = 0
        self.not_sent: Counter[str] = Counter()
        self.in_flight = 0
        self.late = 0
        self.clock_contradictions = 0
        self.floor_contradictions = 0

    def directions(self) -> tuple[tuple[Direction, DirectionLedger], ...]:
        """The three directions with their counts."""
        return (
            (Direction.FORWARD, self.forward),
            (Direction.REVERSE, self.reverse),
            (Direction.ROUND_TRIP, self.round_trip),
        )

    def broken_laws(self) -> list[str]:
        """The equations of the conservation law that do not hold; empty is what it must always be."""
        resolved = self.sent - self.in_flight
        sides = {
            "sent - in flight = round trips": sum(self.round_trip.outcomes),
            "sent - in flight = forward": sum(self.forward.outcomes),
            "sent - in flight = reverse + lost on the way there": (
                sum(self.reverse.outcomes) + self.forward.outcomes[Outcome.LOST]
            ),
        }
        return [
            f"{equation}: {resolved} is not {counted}"
            for equation, counted in sides.items()
            if counted != resolved
        ]
