"""Counters of an agent, as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Outcome
from collector.sla.promise import Promise
from collector.sla.verdict import PathKey


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
        interval_ns: from probe to probe, in the mean, as the agent was told; None: it does not say.
    """

    path: PathKey
    epoch: float
    taken_ns: int
    sent: int
    in_flight: int
    directions: Mapping[Direction, DirectionCounts]
    limits: Mapping[Direction, Promise] = field(default_factory=dict)
    resolved: bool = True
    minima_ns: Mapping[Direction, int] = field(default_factory=dict)
    since: float | None = None
    interval_ns: int | None = None
