"""Who may test when: slots in which no two tests share an endpoint or a segment, handed out fairly. Pure.

Tests recur: n times a day, or once in 2, 4, 7, 14 or 28 days. All of it is planned in days of Asia/Shanghai, and after
28 of them it is the same again, so what is planned once holds for ever, whether or not anybody is there to repeat it.
Two slots of periods P and Q meet on some day exactly where their days agree modulo gcd(P, Q), and then by their times.

*Places.* A day is divided into beats of 5 s; what is taken of a resource (an endpoint, a segment, the line itself) is
one integer per period and day of it, a bit a beat, so that a free place for a whole turn is found by a few shifts. The
time of a line that is not quiet is divided into as many parts as it has tests, and each goes to a place of its part
that follows from the line's name: tests do not come in step with what recurs, and a new line moves few others.

*Fairness.* Where more is asked of a resource than a day has time for, or its data a day, all who share it are tested as
many times more rarely. What finds no place nevertheless, for turns of different lengths leave gaps, makes those who
share its resources rarer still. Tests are handed out in rounds, one to each line before a second to any, so that lines
that ask for the same get the same, give or take one.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Final

from agent.core.timestamps import SECOND_NS

DAY_NS: Final = 86_400 * SECOND_NS
DAYS: Final = (1, 2, 4, 7, 14, 28)
"""How many days may lie between two tests of a line that is not tested daily."""

CYCLE: Final = 28
"""Days after which everything is the same again: each of `DAYS` divides it."""

_BEAT_NS: Final = 5 * SECOND_NS
_BEATS: Final = DAY_NS // _BEAT_NS
_WHOLE_DAY: Final = (1 << _BEATS) - 1
_AHEAD_OF_UTC_NS: Final = 8 * 3600 * SECOND_NS
_FULL: Final = 0.9
"""Of the time of each resource this share is handed out: the rest are gaps between turns."""
_EMPTIER_BY: Final = 0.75
_ATTEMPTS: Final = 12


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time of every day of Asia/Shanghai in which nothing is tested: ns of the day; it may pass midnight."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a line asks for.

    Attributes:
        name: of the line, no other's.
        every_ns: from test to test: a day divided by a whole number, or one of `DAYS`.
        turn_ns: what a test takes of all its resources, jitter and retest included.
        octets: that it transfers, the retest included.
        resources: endpoints and segments that nobody else may use meanwhile.
        quiet: when it is not tested.
        per_day: octets that it may transfer in a day, at least one test's.
    """

    name: str
    every_ns: int
    turn_ns: int
    octets: int
    resources: tuple[str, ...]
    quiet: tuple[Quiet, ...] = ()
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """When a line is tested: at each offset after each whole `every_ns` of UTC; without offsets never."""

    every_ns: int
    offsets_ns: tuple[int, ...]

    @property
    def a_day(self) -> float:
        """How many tests, in the mean."""
        return len(self.offsets_ns) * DAY_NS / self.every_ns


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """What everybody got.

    Attributes:
        slots: of each demand, in their order.
        asked: of each resource of which more was asked than a day has: how many times as much, of its time or octets.
    """

    slots: tuple[Slots, ...]
    asked: Mapping[str, float]


def line_resource(name: str) -> str:
    """The resource that is a line itself."""
    return f"line {name}"


def turn_fits(turn_ns: int, quiet: tuple[Quiet, ...]) -> bool:
    """Whether any time of a day that is not quiet is as long as a turn."""
    return bool(_free(_closed(quiet), _beats(turn_ns)))


def hand_out(demands: Sequence[Demand], caps: Mapping[str, int]) -> SlotPlan:
    """Hand out slots.

    Args:
        demands: of all lines.
        caps: octets a day of the resources that have such a bound.
    """
    lines = [_Line.of(demand) for demand in demands]
    limits = dict(caps) | {
        line.own: demand.per_day for line, demand in zip(lines, demands, strict=True) if demand.per_day
    }
    asked = _asked(lines, limits)
    bounds = dict.fromkeys(asked, 1.0)
    for _ in range(_ATTEMPTS):
        wanted = [line.within(asked, bounds) for line in lines]
        places = _place(lines, wanted, limits)
        crowded = {
            resource
            for line, (count, _), found in zip(lines, wanted, places, strict=True)
            if len(found) < min(count, 1)
            for resource in line.resources
            if resource != line.own
        }
        if not crowded:
            break
        bounds |= {resource: _EMPTIER_BY * bounds[resource] for resource in crowded}
        asked |= {resource: max(asked[resource], 1.0) for resource in crowded}
    slots = tuple(_slots(period, found) for (_, period), found in zip(wanted, places, strict=True))
    return SlotPlan(slots, {resource: share for resource, share in asked.items() if share > 1})


def begins_ns(slots: Slots) -> Iterator[int]:
    """All beginnings of the 28 days from the epoch on, in days of Asia/Shanghai; ns since the first of them began."""
    for cycle in range(CYCLE * DAY_NS // slots.every_ns):
        for offset_ns in slots.offsets_ns:
            yield (offset_ns + _AHEAD_OF_UTC_NS) % slots.every_ns + cycle * slots.every_ns


@dataclass(frozen=True, slots=True)
class _Line:
    """A demand, in beats.

    Attributes:
        own: the resource that is the line itself.
        width: of a turn.
        free: the beats at which a turn may begin, a bit each.
        open: the same, in order.
    """

    demand: Demand
    own: str
    resources: tuple[str, ...]
    width: int
    free: int
    open: Sequence[int]

    @classmethod
    def of(cls, demand: Demand) -> _Line:
        width = _beats(demand.turn_ns)
        own = line_resource(demand.name)
        free = _free(_closed(demand.quiet), width)
        resources = tuple(dict.fromkeys((*demand.resources, own)))
        return cls(demand, own, resources, width, free, _set_bits(free))

    @property
    def a_day(self) -> float:
        """How many tests are asked for."""
        return DAY_NS / self.demand.every_ns

    def within(self, asked: Mapping[str, float], bounds: Mapping[str, float]) -> tuple[int, int]:
        """How many tests it gets in how many days, where every resource is used no more than its bound."""
        scale = min(min(1.0, bounds[one] / asked[one]) if asked[one] else 1.0 for one in self.resources)
        a_day = self.a_day * scale
        if not self.open:
            return 0, 1
        # a whole number of tests may come out a rounding error short
        if a_day * (1 + 1e-9) >= 1:
            return int(a_day * (1 + 1e-9)), 1
        return 1, next((days for days in DAYS if days * a_day * (1 + 1e-9) >= 1), CYCLE)

    def preferred(self, nth: int, count: int) -> tuple[int, int, int]:
        """Where the nth test of so many belongs: (begin, end) of its part of the day, and the beat within."""
        size = len(self.open)
        first, last = nth * size // count, max(nth * size // count + 1, (nth + 1) * size // count)
        begin, end = self.open[min(first, size - 1)], self.open[min(last, size) - 1] + 1
        drawn = self.open[min(first + int(self.drawn(nth) * (last - first)), size - 1)]
        # turns of one length lie side by side then, and leave no gaps
        return begin, end, max(begin, drawn // self.width * self.width)

    def drawn(self, nth: int) -> float:
        """0 to 1, as if drawn, and the same each time."""
        digest = hashlib.sha256(f"{self.demand.name} {nth}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2.0**48


@dataclass(slots=True)
class _Resource:
    """What is taken of a resource: beats by period and day of it, and octets by day of the cycle."""

    taken: dict[tuple[int, int], int] = field(default_factory=dict)
    octets: list[int] = field(default_factory=lambda: [0] * CYCLE)
    turns: list[int] = field(default_factory=lambda: [0] * CYCLE)

    def busy(self, period: int, day: int) -> int:
        """Beats that are taken on any of these days."""
        found = 0
        for (other, its_day), bits in self.taken.items():
            if (day - its_day) % gcd(period, other) == 0:
                found |= bits
        return found

    def take(self, period: int, day: int, bits: int, octets: int) -> None:
        self.taken[period, day] = self.taken.get((period, day), 0) | bits
        for one in range(day, CYCLE, period):
            self.octets[one] += octets
            self.turns[one] += 1


_Found = list[tuple[int, int]]
"""Day of the period and beat of each slot."""


def _place(
    lines: Sequence[_Line], wanted: Sequence[tuple[int, int]], caps: Mapping[str, int]
) -> list[_Found]:
    """Find places for as many tests as are wanted, in rounds."""
    resources: dict[str, _Resource] = defaultdict(_Resource)
    found: list[_Found] = [[] for _ in lines]
    for nth in range(max((count for count, _ in wanted), default=0)):
        for line, (count, period), places in zip(lines, wanted, found, strict=True):
            if nth < count:
                place = _find(line, nth, count, period, resources, caps)
                if place is not None:
                    places.append(place)
    return found


def _find(
    line: _Line,
    nth: int,
    count: int,
    period: int,
    resources: Mapping[str, _Resource],
    caps: Mapping[str, int],
) -> tuple[int, int] | None:
    """Take the best place that is left for a test; None: there is none."""
    used = [resources[name] for name in line.resources]
    octets = line.demand.octets
    begin, end, preferred = line.preferred(nth, count)
    for day in _days(line, period, used):
        if any(
            resource.octets[one] + octets > caps[name]
            for name, resource in zip(line.resources, used, strict=True)
            if name in caps
            for one in range(day, CYCLE, period)
        ):
            continue
        busy = 0
        for resource in used:
            busy |= resource.busy(period, day)
        free = line.free & _free(busy, line.width)
        beat = _first(free, preferred, begin, end)
        if beat is not None:
            for resource in used:
                resource.take(period, day, ((1 << line.width) - 1) << beat, octets)
            return day, beat
    return None


def _days(line: _Line, period: int, used: Sequence[_Resource]) -> list[int]:
    """Days of a period, those first on which least is tested; of equal ones it depends on the line's name."""
    shift = int(line.drawn(-1) * period)
    return sorted(
        range(period),
        key=lambda day: (
            sum(sum(resource.turns[day::period]) for resource in used),
            (day - shift) % period,
        ),
    )


def _first(free: int, preferred: int, begin: int, end: int) -> int | None:
    """The free beat that is next after the preferred one of its part, else any of the part, else any."""
    part = free & ((1 << end) - (1 << begin))
    for candidates in (part >> preferred << preferred, part, free >> preferred << preferred, free):
        if candidates:
            return (candidates & -candidates).bit_length() - 1
    return None


def _free(busy: int, width: int) -> int:
    """Beats at which so many free ones begin, before the day ends."""
    if width > _BEATS:
        return 0
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        busy |= busy >> step
        covered += step
    return ~busy & ((1 << (_BEATS - width + 1)) - 1)


@functools.lru_cache(maxsize=256)
def _closed(quiet: tuple[Quiet, ...]) -> int:
    """Beats that are at least partly quiet."""
    closed = 0
    for one in quiet:
        begin, end = one.begin_ns // _BEAT_NS, _beats(one.end_ns)
        if one.begin_ns < one.end_ns:
            closed |= (1 << end) - (1 << begin)
        else:
            closed |= ((1 << end) - 1) | (_WHOLE_DAY & ~((1 << begin) - 1))
    return closed


@functools.lru_cache(maxsize=256)
def _set_bits(bits: int) -> Sequence[int]:
    return [place for place, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]


def _asked(lines: Sequence[_Line], caps: Mapping[str, int]) -> dict[str, float]:
    """How many times what a day has, of time or octets, is asked of each resource."""
    times: dict[str, float] = defaultdict(float)
    octets: dict[str, float] = defaultdict(float)
    for line in lines:
        available = max(len(line.open) + line.width - 1, 1)
        for resource in line.resources:
            times[resource] += line.a_day * line.width / available
            octets[resource] += line.a_day * line.demand.octets
    return {
        resource: max(share / _FULL, octets[resource] / caps[resource] if resource in caps else 0.0)
        for resource, share in times.items()
    }


def _slots(period: int, found: _Found) -> Slots:
    every_ns = period * DAY_NS
    offsets_ns = [(day * DAY_NS + beat * _BEAT_NS - _AHEAD_OF_UTC_NS) % every_ns for day, beat in found]
    return Slots(every_ns, tuple(sorted(offsets_ns)))


def _beats(duration_ns: int) -> int:
    """Whole beats that a duration takes."""
    return -(-duration_ns // _BEAT_NS)
