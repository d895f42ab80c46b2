"""Samples of one exposition turned into readings: the same whichever way they came.

An exposition is taken whole or not at all: where a path lacks a count, or its counts break the conservation law, the
agent counts as unread. What is missing would otherwise be taken for zero, and a zero for a restart or for no loss.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from agent.core import metrics
from agent.core.histogram import BUCKETS, LE_LABELS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.sla.counts import DirectionCounts, Reading
from collector.sla.line import LineSaid
from collector.sla.verdict import PathKey
from collector.sources.lines import LINE_METRICS, lines_of
from collector.sources.sample import (
    LATEST_S,
    IncompleteError,
    Sample,
    count_of,
    nanoseconds_of,
    path_of,
    time_of,
)

DELAY_BUCKET: Final = f"{metrics.DELAY}_bucket"
NEEDED: Final = (
    metrics.PROBE_SENT,
    metrics.PROBE_IN_FLIGHT,
    metrics.PROBE_OUTCOMES,
    metrics.PROBE_UNDER_LOAD,
    DELAY_BUCKET,
    metrics.DELAY_LIMIT,
    metrics.DELAY_MIN,
    metrics.PATH_START,
    metrics.PROBE_INTERVAL,
    metrics.TARGET_RESOLVED,
    metrics.CLOCK_ERROR_BOUND,
    metrics.REFLECTOR_PACKETS,
    metrics.PROCESS_START,
    *LINE_METRICS,
)
"""The metrics that readings are made of."""

OUTCOME_OF: Final = {outcome.label: outcome for outcome in Outcome}
_SECOND_NS: Final = 1_000_000_000
BUCKET_OF: Final = {float(le): index for index, le in enumerate(LE_LABELS)}


@dataclass(frozen=True, slots=True)
class AgentReading:
    """One agent, read once.

    Attributes:
        site: its id in the fleet file.
        up: whether it was read.
        reason: why it was not; empty where it was.
        taken_ns: when it was read or tried (Unix wall time).
        readings: its paths' counters, those of lines that it tests among them.
        clock_source: what vouches for its clock; None: not known.
        clock_bound_ns: how far its clock may be off; None: nothing is known of it.
        reflected: packets that its reflector has sent back since the agent's start; None: nothing tells.
        refused: whether its host was there and refused the connection.
        blind: whether it is what should have told of it, a Prometheus, that does not answer.
        lines: what it says of these lines beside their counts.
    """

    site: str
    up: bool
    reason: str
    taken_ns: int
    readings: Sequence[Reading] = field(default=())
    clock_source: str | None = None
    clock_bound_ns: int | None = None
    reflected: int | None = None
    refused: bool = False
    blind: bool = False
    lines: Mapping[PathKey, LineSaid] = field(default_factory=dict)


@dataclass(slots=True)
class _Path:
    """What was found of one path; None: not found.

    Attributes:
        told: what was taken: nothing is taken twice.
    """

    sent: int | None = None
    in_flight: int | None = None
    outcomes: dict[Direction, list[int | None]] = field(default_factory=dict)
    under_load: dict[Direction, list[int]] = field(default_factory=dict)
    buckets: dict[Direction, list[int | None]] = field(default_factory=dict)
    limits: dict[Direction, Limit] = field(default_factory=dict)
    minima_ns: dict[Direction, int] = field(default_factory=dict)
    since: float | None = None
    interval_ns: int | None = None
    resolved: bool = True
    told: set[tuple[str, ...]] = field(default_factory=set)


def agent_reading(site: str, samples: Sequence[Sample], taken_ns: int) -> AgentReading:
    """The reading that the samples of one exposition amount to.

    Args:
        site: whose agent was asked.
        samples: those of `NEEDED`; others are ignored.
        taken_ns: when they were taken (Unix wall time).

    Raises:
        IncompleteError: no start time, a value that no agent exports, or an agent of another site.
    """
    own: list[Sample] = []
    tested: list[Sample] = []
    found: dict[PathKey, _Path] = defaultdict(_Path)
    try:
        for sample in samples:
            match sample.name:
                case metrics.PROCESS_START | metrics.CLOCK_ERROR_BOUND | metrics.REFLECTOR_PACKETS:
                    own.append(sample)
                case name if name in LINE_METRICS:
                    tested.append(sample)
                case name if name in NEEDED:
                    key = path_of(sample.labels)
                    _note(key, sample, found[key].told)
                    _take(found[key], sample)
    except KeyError as error:
        raise IncompleteError(f"{sample.name} with an unknown or missing label {error}") from error
    except (ValueError, OverflowError) as error:
        raise IncompleteError(f"{sample.name}: {error}") from error
    told, lines = told_of(own), lines_of(tested)
    others = sorted({*(key.source for key in found), *(line.path.source for line in lines)} - {site})
    if others:
        raise IncompleteError(f"it is the agent of {others[0]}, not of {site}")
    return AgentReading(
        site,
        up=True,
        reason="",
        taken_ns=taken_ns,
        readings=(
            *(_reading(key, path, told.epoch, taken_ns) for key, path in found.items()),
            *(line.reading(told.epoch, taken_ns) for line in lines),
        ),
        clock_source=told.clock_source,
        clock_bound_ns=told.clock_bound_ns,
        reflected=told.reflected,
        lines={line.path: line.said for line in lines},
    )


class Told(NamedTuple):
    """What an agent says of itself.

    Attributes:
        epoch: when it started, in seconds of its own clock.
        clock_source, clock_bound_ns, reflected: as of `AgentReading`.
    """

    epoch: float
    clock_source: str | None
    clock_bound_ns: int | None
    reflected: int | None


def told_of(own: Sequence[Sample]) -> Told:
    """What the samples of an agent as a whole say.

    Raises:
        IncompleteError: no start time, or something that no agent says.
    """
    epoch: float | None = None
    clock_source: str | None = None
    clock_bound_ns: int | None = None
    reflected: int | None = None
    told: set[tuple[str, str]] = set()
    try:
        for sample in own:
            what = sample.name, sample.labels.get("result", "")
            if what in told:
                raise ValueError("told twice")
            told.add(what)
            match sample.name:
                case metrics.PROCESS_START:
                    epoch = time_of(sample.value)
                case metrics.CLOCK_ERROR_BOUND:
                    clock_source = sample.labels["clock_source"]
                    clock_bound_ns = nanoseconds_of(sample.value) if math.isfinite(sample.value) else None
                case _:
                    if sample.labels["result"] == metrics.REFLECTED:
                        reflected = count_of(sample.value)
    except KeyError as error:
        raise IncompleteError(f"{sample.name} without the label {error}") from error
    except (ValueError, OverflowError) as error:
        raise IncompleteError(f"{sample.name}: {error}") from error
    if epoch is None:
        raise IncompleteError(f"no {metrics.PROCESS_START}: without it a restart cannot be told")
    return Told(epoch, clock_source, clock_bound_ns, reflected)


def _note(key: PathKey, sample: Sample, told: set[tuple[str, ...]]) -> None:
    """Note that a path's sample is told.

    Raises:
        KeyError, ValueError: it is told for the second time, and of two values nobody knows which is true; or it says
            what no agent says.
    """
    labels = sample.labels
    bucket = str(float(labels["le"])) if sample.name == DELAY_BUCKET else ""
    what = sample.name, labels.get("direction", ""), labels.get("outcome", ""), bucket
    if what in told:
        raise ValueError(" ".join(filter(None, ("told twice of", str(key), *what[1:]))))
    told.add(what)


def _take(path: _Path, sample: Sample) -> None:
    labels, value = sample.labels, sample.value
    if sample.name == metrics.PROBE_SENT:
        path.sent = count_of(value)
        return
    if sample.name == metrics.PROBE_IN_FLIGHT:
        path.in_flight = count_of(value)
        return
    if sample.name == metrics.TARGET_RESOLVED:
        path.resolved = value != 0
        return
    if sample.name == metrics.PATH_START:
        path.since = time_of(value)
        return
    if sample.name == metrics.PROBE_INTERVAL:
        path.interval_ns = interval_of(sample)
        return
    direction = Direction(labels["direction"])
    match sample.name:
        case metrics.PROBE_OUTCOMES:
            counts = path.outcomes.setdefault(direction, [None] * len(Outcome))
            counts[OUTCOME_OF[labels["outcome"]]] = count_of(value)
        case metrics.PROBE_UNDER_LOAD:
            loaded = path.under_load.setdefault(direction, [0] * len(Outcome))
            loaded[OUTCOME_OF[labels["outcome"]]] = count_of(value)
        case metrics.DELAY_LIMIT:
            path.limits[direction] = limit_of(sample)
        case metrics.DELAY_MIN:
            if abs(value) > LATEST_S:
                raise ValueError(f"{value} is no delay")
            # below 0 where the clocks differ by more than the delay: kept as it was measured
            path.minima_ns[direction] = round(value * _SECOND_NS)
        case _:
            buckets = path.buckets.setdefault(direction, [None] * BUCKETS)
            buckets[BUCKET_OF[float(labels["le"])]] = count_of(value)


def _reading(key: PathKey, path: _Path, epoch: float, taken_ns: int) -> Reading:
    """The reading of one path.

    Raises:
        IncompleteError: a count is missing, or the counts break the conservation law.
    """
    directions = {
        direction: DirectionCounts(
            _whole(key, f"{metrics.PROBE_OUTCOMES} {direction}", path.outcomes.get(direction, [None])),
            _differences(
                key, _whole(key, f"{DELAY_BUCKET} {direction}", path.buckets.get(direction, [None]))
            ),
        )
        for direction in Direction
    }
    sent, in_flight = _whole(
        key, f"{metrics.PROBE_SENT}, {metrics.PROBE_IN_FLIGHT}", (path.sent, path.in_flight)
    )
    resolved = sent - in_flight
    # of a path that was never under load nothing is said; what is missing otherwise breaks the law
    loaded = {direction: path.under_load.get(direction, [0] * len(Outcome)) for direction in Direction}
    reached = resolved - directions[Direction.FORWARD].outcomes[Outcome.LOST]
    reached -= loaded[Direction.FORWARD][Outcome.LOST]
    expected = {Direction.FORWARD: resolved, Direction.REVERSE: reached, Direction.ROUND_TRIP: resolved}
    for direction, packets in expected.items():
        counted = directions[direction].packets + sum(loaded[direction])
        if counted != packets:
            raise IncompleteError(
                f"{key}: {counted} outcomes {direction}, where sent and in flight "
                f"leave {packets}: not of one moment"
            )
    return Reading(
        key,
        epoch,
        taken_ns,
        sent,
        in_flight,
        directions,
        path.limits,
        path.resolved,
        path.minima_ns,
        path.since,
        path.interval_ns,
    )


def _whole(key: PathKey, what: str, counts: Sequence[int | None]) -> tuple[int, ...]:
    """Counts of which none is missing."""
    found = tuple(count for count in counts if count is not None)
    if len(found) < len(counts):
        raise IncompleteError(f"{key}: {what}: {len(counts) - len(found)} missing")
    return found


def _differences(key: PathKey, cumulative: Sequence[int]) -> tuple[int, ...]:
    """Counts per bucket."""
    counts = tuple(upper - lower for lower, upper in pairwise((0, *cumulative)))
    if min(counts) < 0:
        raise IncompleteError(f"{key}: {DELAY_BUCKET} falls: not of one moment")
    return counts


def limit_of(sample: Sample) -> Limit:
    """The limit that a sample tells.

    Raises:
        KeyError, ValueError: it says what no agent says.
    """
    return Limit(nanoseconds_of(sample.value), Operator(sample.labels["operator"]))


def interval_of(sample: Sample) -> int:
    """The time (ns) from probe to probe that a sample tells.

    Raises:
        ValueError: it says what no agent says.
    """
    interval_ns = nanoseconds_of(sample.value)
    if not interval_ns:
        raise ValueError(f"{sample.value} is no interval")
    return interval_ns
