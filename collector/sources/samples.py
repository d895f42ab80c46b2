"""Samples of one exposition turned into readings: the same whichever way they came."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.core import metrics
from agent.core.histogram import LE_LABELS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.sla.counts import BUCKETS, DirectionCounts, Reading
from collector.sla.verdict import PathKey

DELAY_BUCKET: Final = f"{metrics.DELAY}_bucket"
NEEDED: Final = (
    metrics.PROBE_SENT,
    metrics.PROBE_IN_FLIGHT,
    metrics.PROBE_OUTCOMES,
    DELAY_BUCKET,
    metrics.DELAY_LIMIT,
    metrics.DELAY_FLOOR,
    metrics.CLOCK_ERROR_BOUND,
    metrics.PROCESS_START,
)
"""The metrics that readings are made of."""

_OUTCOMES: Final = {outcome.label: outcome for outcome in Outcome}
_BUCKETS: Final = {float(le): index for index, le in enumerate(LE_LABELS)}
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class AgentReading:
    """One agent, read once.

    Attributes:
        site: its id in the fleet file.
        up: whether it was read.
        reason: why it was not; empty where it was.
        taken_ns: when it was read or tried (Unix wall time).
        readings: its paths' counters.
        clock_source: what vouches for its clock; None: not known.
        clock_bound_ns: how far its clock may be off; None: nothing is known of it.
    """

    site: str
    up: bool
    reason: str
    taken_ns: int
    readings: tuple[Reading, ...] = field(default=())
    clock_source: str | None = None
    clock_bound_ns: int | None = None


class IncompleteError(ValueError):
    """An exposition lacks what every agent's has, or says what cannot be."""


@dataclass(slots=True)
class _Path:
    sent: int = 0
    in_flight: int = 0
    outcomes: dict[Direction, list[int]] = field(default_factory=dict)
    buckets: dict[Direction, list[int]] = field(default_factory=dict)
    limits: dict[Direction, Limit] = field(default_factory=dict)
    floors_ns: dict[Direction, int] = field(default_factory=dict)


def agent_reading(site: str, samples: Iterable[Sample], taken_ns: int) -> AgentReading:
    """The reading that the samples of one exposition amount to.

    Raises:
        IncompleteError: no start time, or a value that no agent exports.
    """
    epoch: float | None = None
    clock_source: str | None = None
    clock_bound_ns: int | None = None
    found: dict[PathKey, _Path] = defaultdict(_Path)
    try:
        for sample in samples:
            match sample.name:
                case metrics.PROCESS_START:
                    epoch = sample.value
                case metrics.CLOCK_ERROR_BOUND:
                    clock_source = sample.labels["clock_source"]
                    clock_bound_ns = _nanoseconds(sample.value) if math.isfinite(sample.value) else None
                case name if name in NEEDED:
                    _take(found[_key(sample.labels)], sample)
    except (KeyError, ValueError) as error:
        raise IncompleteError(f"a sample that no agent exports: {error}") from error
    if epoch is None:
        raise IncompleteError(f"no {metrics.PROCESS_START}: without it a restart cannot be told")
    return AgentReading(
        site,
        up=True,
        reason="",
        taken_ns=taken_ns,
        readings=tuple(_reading(key, path, epoch, taken_ns) for key, path in found.items()),
        clock_source=clock_source,
        clock_bound_ns=clock_bound_ns,
    )


def _take(path: _Path, sample: Sample) -> None:
    labels, value = sample.labels, sample.value
    if sample.name == metrics.PROBE_SENT:
        path.sent = _count(value)
        return
    if sample.name == metrics.PROBE_IN_FLIGHT:
        path.in_flight = _count(value)
        return
    direction = Direction(labels["direction"])
    match sample.name:
        case metrics.PROBE_OUTCOMES:
            counts = path.outcomes.setdefault(direction, [0] * len(Outcome))
            counts[_OUTCOMES[labels["outcome"]]] = _count(value)
        case metrics.DELAY_LIMIT:
            path.limits[direction] = Limit(_nanoseconds(value), Operator(labels["operator"]))
        case metrics.DELAY_FLOOR:
            path.floors_ns[direction] = _nanoseconds(value)
        case _:
            buckets = path.buckets.setdefault(direction, [0] * BUCKETS)
            buckets[_BUCKETS[float(labels["le"])]] = _count(value)


def _reading(key: PathKey, path: _Path, epoch: float, taken_ns: int) -> Reading:
    empty = [0] * BUCKETS
    return Reading(
        key,
        epoch,
        taken_ns,
        path.sent,
        path.in_flight,
        {
            direction: DirectionCounts(
                tuple(outcomes), tuple(_differences(path.buckets.get(direction, empty)))
            )
            for direction, outcomes in path.outcomes.items()
        },
        path.limits,
        path.floors_ns,
    )


def _differences(cumulative: list[int]) -> list[int]:
    return [upper - lower for lower, upper in zip([0, *cumulative], cumulative, strict=False)]


def _key(labels: Mapping[str, str]) -> PathKey:
    return PathKey(
        labels["source"],
        labels["target"],
        labels.get("tier", ""),
        labels.get("provider", ""),
        labels["kind"],
        int(labels["dscp"]),
    )


def _count(value: float) -> int:
    if value != int(value) or value < 0:
        raise ValueError(f"{value} is no count")
    return int(value)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _SECOND_NS)
