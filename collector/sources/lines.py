"""What an agent tells of the lines that it tests: its turns as outcomes, what these are held against, and rates.

pass                        within
fail                        over
unconfirmed, inconclusive   uncertain
spoiled                     none: a host was in the way, so it was no test of the line
error                       none: it was no test
measured                    none: nothing is promised
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.core import metrics
from agent.core.outcome import Direction, Outcome
from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from agent.core.throughput.turn import Result
from collector.sla.counts import NOTHING, DirectionCounts, Reading
from collector.sla.line import LastTest, LineSaid
from collector.sla.promise import DIRECTION_OF
from collector.sla.verdict import PathKey
from collector.sources.sample import IncompleteError, Sample, count_of, line_of, nanoseconds_of

LINE_METRICS: Final = (
    metrics.THROUGHPUT_TESTS,
    metrics.THROUGHPUT_FLOOR,
    metrics.THROUGHPUT,
    metrics.THROUGHPUT_LIMITED_BY,
    metrics.THROUGHPUT_LAST_TEST,
    metrics.THROUGHPUT_ERRORS,
    metrics.THROUGHPUT_UNTESTED,
)
_TELLING: Final = ("direction", "layer", "result", "reason", "cause")
"""Labels that tell the samples of a line from each other; others a Prometheus has added."""

_LATER: Final = frozenset((Result.SPOILED,))
"""What agents of before count elsewhere, and do not tell: a fleet is not upgraded at once."""

_OUTCOME_OF: Final = {
    Result.PASS: Outcome.WITHIN,
    Result.FAIL: Outcome.OVER,
    Result.UNCONFIRMED: Outcome.UNCERTAIN,
    Result.INCONCLUSIVE: Outcome.UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line, as its agent tells of it.

    Attributes:
        turns: of each way, by what they came to.
        floors: what each way is held against.
    """

    path: PathKey
    turns: Mapping[Direction, Mapping[Result, int]]
    floors: Mapping[Direction, Floor]
    said: LineSaid

    def reading(self, epoch: float, taken_ns: int) -> Reading:
        """Its counters, as those of a path; what was sent are all turns, those that were no test too."""
        sent = max((sum(turns.values()) for turns in self.turns.values()), default=0)
        directions = dict.fromkeys(Direction, NOTHING)
        directions |= {
            direction: DirectionCounts(_outcomes(turns)) for direction, turns in self.turns.items()
        }
        return Reading(self.path, epoch, taken_ns, sent, 0, directions, self.floors)


@dataclass(slots=True)
class _Found:
    """What was found of a line."""

    turns: dict[Direction, dict[Result, int]] = field(default_factory=lambda: defaultdict(dict))
    floors: dict[Direction, Floor] = field(default_factory=dict)
    rates: dict[Direction, dict[Layer, float]] = field(default_factory=lambda: defaultdict(dict))
    causes: dict[Direction, Cause] = field(default_factory=dict)
    ended_ns: dict[Direction, int] = field(default_factory=dict)
    errors: dict[Direction, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    untested: dict[str, int] = field(default_factory=dict)


def lines_of(samples: Sequence[Sample]) -> Sequence[Line]:
    """The lines that samples of `LINE_METRICS` tell of.

    Raises:
        IncompleteError: a count is missing, is told twice, or says what no agent says.
    """
    found: dict[PathKey, _Found] = defaultdict(_Found)
    told: set[tuple[object, ...]] = set()
    try:
        for sample in samples:
            path, labels = line_of(sample.labels), sample.labels
            what = path, sample.name, *(labels.get(one, "") for one in _TELLING)
            if what in told:
                raise ValueError(f"told twice of {path}")
            told.add(what)
            _take(found[path], sample)
    except KeyError as error:
        raise IncompleteError(f"{sample.name} with an unknown or missing label {error}") from error
    except (ValueError, OverflowError) as error:
        raise IncompleteError(f"{sample.name}: {error}") from error
    return [_line(path, one) for path, one in found.items()]


def _take(line: _Found, sample: Sample) -> None:
    labels, value = sample.labels, sample.value
    if sample.name == metrics.THROUGHPUT_UNTESTED:
        line.untested[labels["reason"]] = count_of(value)
        return
    direction = DIRECTION_OF[Way(labels["direction"])]
    match sample.name:
        case metrics.THROUGHPUT_TESTS:
            line.turns[direction][Result(labels["result"])] = count_of(value)
        case metrics.THROUGHPUT_FLOOR:
            line.floors[direction] = Floor(_rate(value), Layer(labels["layer"]))
        case metrics.THROUGHPUT:
            line.rates[direction][Layer(labels["layer"])] = _rate(value)
        case metrics.THROUGHPUT_LIMITED_BY:
            if value:
                line.causes[direction] = Cause(labels["cause"])
        case metrics.THROUGHPUT_LAST_TEST:
            line.ended_ns[direction] = nanoseconds_of(value)
        case _:
            line.errors[direction][labels["reason"]] = count_of(value)


def _line(path: PathKey, found: _Found) -> Line:
    """A line of which nothing is missing.

    Raises:
        IncompleteError: not all results of a way are there; they would be taken for 0, and that for a restart.
    """
    missing = [
        result
        for turns in found.turns.values()
        for result in Result
        if result not in turns and result not in _LATER
    ]
    if missing or not found.turns:
        raise IncompleteError(f"{path}: {metrics.THROUGHPUT_TESTS}: {len(missing) or 'all'} missing")
    last = {
        direction: LastTest(rates, found.causes.get(direction), found.ended_ns.get(direction))
        for direction, rates in found.rates.items()
    }
    errors = {
        direction: _happened(counts | _spoiled(found.turns.get(direction, {})))
        for direction, counts in found.errors.items()
    }
    return Line(path, found.turns, found.floors, LineSaid(last, errors, _happened(found.untested)))


def _spoiled(turns: Mapping[Result, int]) -> dict[str, int]:
    return {Result.SPOILED.value: turns.get(Result.SPOILED, 0)}


def _happened(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def _outcomes(turns: Mapping[Result, int]) -> tuple[int, ...]:
    counts = [0] * len(Outcome)
    for result, outcome in _OUTCOME_OF.items():
        counts[outcome] += turns[result]
    return tuple(counts)


def _rate(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is no rate")
    return value
