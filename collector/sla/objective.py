"""What is promised of one direction of a path, and over which window it is held to be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.core.outcome import Direction, Limit
from collector.sla.measure import Measure
from collector.sla.promise import Promise
from collector.sla.verdict import PathKey
from collector.sla.window import Window

FEWEST_INTERVALS: Final = 10
"""So many intervals a window must hold for its availability to be asked for."""

_MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class AvailabilityRule:
    """When a path is unavailable; see `collector.sla.availability`.

    Attributes:
        interval_minutes: how long a small interval is; it divides an hour.
        loss: one that lost a larger share than this is a high-loss interval, 0 to 1.
        consecutive: so many of those in a row make the path unavailable, and so many of the others available again.
    """

    interval_minutes: int
    loss: float
    consecutive: int

    def told_by(self, window_ns: int) -> bool:
        """Whether a window (ns) is long enough to tell unavailable time from available one."""
        return window_ns >= FEWEST_INTERVALS * self.interval_minutes * _MINUTE_NS


@dataclass(frozen=True, slots=True)
class Objective:
    """What is asked.

    Attributes:
        id: as in the fleet file.
        measure: of what.
        window: over which time.
        threshold: the share of packets, of time or of tests that may break the promise.
        min_coverage: share of the window that must have been observed, 0 to 1.
        percentile: 100 % less the threshold, for measures that are told by it.
        variation: how much longer than the quickest a packet may take, of `DELAY_VARIATION`.
        availability: when a path is unavailable, of `AVAILABILITY`.
        budget_of: the measure of the objective whose budget it is, of `BUDGET`.
    """

    id: str
    measure: Measure
    window: Window
    threshold: float
    min_coverage: float
    percentile: float | None = None
    variation: Limit | None = None
    availability: AvailabilityRule | None = None
    budget_of: Measure = Measure.DELAY


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is judged in each evaluation: a direction of a path against an objective.

    Attributes:
        limit: the promise of the path's tier, or what a line that is tested has to carry.
        floor_ns: the least delay that physics allows in this direction.
    """

    path: PathKey
    direction: Direction
    objective: Objective
    limit: Promise
    floor_ns: int
