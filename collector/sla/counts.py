"""Counters of an agent and the exact differences between two readings of them.

A counter only ever grows while its agent runs; when the agent starts anew it begins again at zero, and its start time
(the epoch) says so. The difference of two readings of one epoch is what happened between them; across a restart it is
all that the new epoch has counted so far. So the differences always sum to what was read of the agents, with nothing
interpolated; what an agent counted between its last reading and its end was never read by anyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Limit, Outcome
from collector.sla.verdict import PathKey

_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DirectionCounts:
    """Packets of one direction of a path.

    Attributes:
        outcomes: by `Outcome`, indexed by it.
        delays: measured delays per bucket of `agent.core.histogram`, not cumulative.
    """

    outcomes: tuple[int, ...] = (0,) * len(Outcome)
    delays: tuple[int, ...] = (0,) * BUCKETS

    def __add__(self, other: DirectionCounts) -> DirectionCounts:
        return DirectionCounts(
            tuple(map(int.__add__, self.outcomes, other.outcomes)),
            tuple(map(int.__add__, self.delays, other.delays)),
        )

    def __sub__(self, other: DirectionCounts) -> DirectionCounts:
        return DirectionCounts(
            tuple(map(int.__sub__, self.outcomes, other.outcomes)),
            tuple(map(int.__sub__, self.delays, other.delays)),
        )

    @property
    def packets(self) -> int:
        """How many packets were counted."""
        return sum(self.outcomes)

    def falls_below(self, other: DirectionCounts) -> bool:
        """Whether any count is smaller than the other's."""
        return any(
            mine < theirs
            for mine, theirs in zip(self.outcomes + self.delays, other.outcomes + other.delays, strict=True)
        )


NOTHING = DirectionCounts()


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one path at one moment.

    Attributes:
        epoch: when the agent started, in seconds of its own clock; identifies the run of the agent.
        taken_ns: when they were read, by the collector's clock (Unix wall time).
        sent, in_flight: probes.
        directions: counts by direction.
        limits: what the agent counts the outcomes against.
        resolved: whether the agent knows the target's address.
        minima_ns: the least delays of the last one to two minutes; a direction without one is not in it.
        since: when this path's counters were last zero, in seconds of the agent's own clock; None: the agent tells its
            own start alone.
    """

    path: PathKey
    epoch: float
    taken_ns: int
    sent: int
    in_flight: int
    directions: Mapping[Direction, DirectionCounts]
    limits: Mapping[Direction, Limit] = field(default_factory=dict)
    resolved: bool = True
    minima_ns: Mapping[Direction, int] = field(default_factory=dict)
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """What a path counted between two readings.

    Attributes:
        start_ns, end_ns: the counts belong to (start, end]: from the previous reading, or the start of the agent if
            that was later, to this reading.
        sent: probes sent.
        limits: what the outcomes were counted against.
    """

    path: PathKey
    start_ns: int
    end_ns: int
    sent: int
    directions: Mapping[Direction, DirectionCounts]
    limits: Mapping[Direction, Limit] = field(default_factory=dict)


def difference(previous: Reading | None, current: Reading) -> Block | None:
    """What was counted since the previous reading.

    Returns:
        The block; None where the reading is not newer than the previous one: it tells nothing new, and counting it
        would count twice.
    """
    if previous is not None and current.taken_ns <= previous.taken_ns:
        return None
    if previous is None or current.epoch != previous.epoch or counters_fell(previous, current):
        began_ns = min(int(current.epoch * _SECOND_NS), current.taken_ns)
        start_ns = began_ns if previous is None else max(began_ns, previous.taken_ns)
        return Block(
            current.path, start_ns, current.taken_ns, current.sent, dict(current.directions), current.limits
        )
    return Block(
        current.path,
        previous.taken_ns,
        current.taken_ns,
        current.sent - previous.sent,
        {
            direction: counts - previous.directions.get(direction, NOTHING)
            for direction, counts in current.directions.items()
        },
        current.limits,
    )


def counters_fell(previous: Reading, current: Reading) -> bool:
    """Whether a counter fell although the agent says that it is still the same run.

    It cannot be; where it is, the counters are taken to have begun anew, as nothing else is known of them.
    """
    return current.epoch == previous.epoch and (
        current.sent < previous.sent
        or any(
            counts.falls_below(previous.directions.get(direction, NOTHING))
            for direction, counts in current.directions.items()
        )
    )
