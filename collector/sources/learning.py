"""What is learned of an exposition line by line: which values stand where, of which paths."""

from __future__ import annotations

import functools
import re
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from agent.core import metrics
from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Limit, Outcome
from collector.ledger.minutes import DIRECTIONS, SENT, WIDTH
from collector.sla.verdict import PathKey
from collector.sources.lines import LINE_METRICS
from collector.sources.sample import Sample, path_of
from collector.sources.samples import (
    BUCKET_OF,
    DELAY_BUCKET,
    NEEDED,
    OUTCOME_OF,
    interval_of,
    limit_of,
)
from collector.sources.text_format import parse

_NAME: Final = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
PATH_LINE: Final = re.compile(
    rb'([a-zA-Z_:][a-zA-Z0-9_:]*\{)(source=".*?",dscp="[0-9]+")((?:,[^ ]*)?\} )([^ ]+)'
)
"""Head, labels, tail and value."""

_OWN: Final = frozenset(
    name.encode() for name in (metrics.PROCESS_START, metrics.CLOCK_ERROR_BOUND, metrics.REFLECTOR_PACKETS)
)
_TESTED: Final = frozenset(name.encode() for name in LINE_METRICS)
_NEEDED: Final = frozenset(name.encode() for name in NEEDED)
LONGEST: Final = 256
"""Octets of a head, of a path's labels or of a tail; what has longer ones is read line by line."""

IN_FLIGHT: Final = WIDTH
RESOLVED: Final = WIDTH + 1
UNDER_LOAD: Final = WIDTH + 2
"""The first of the outcomes under load, direction by direction; a path that never was under load tells none of them."""
COUNTS: Final = UNDER_LOAD + len(DIRECTIONS) * len(Outcome)
"""Counts of a path: those of the ledger, but delays cumulative, two more, and the outcomes under load."""

SINCE: Final = len(DIRECTIONS)
FLOATS: Final = len(DIRECTIONS) + 1
"""Floats of a path: the least delays, and since when it counts."""


class Kind(IntEnum):
    """What a line is to the reader."""

    OTHER = 0
    """Not needed."""
    COUNT = 1
    """A count of a path, or 0 or 1."""
    SECONDS = 2
    """A float of a path."""
    LIMIT = 3
    """A limit of a path, whose value is a part of the tail: another one is another layout."""
    INTERVAL = 4
    """The interval of a path, likewise a part of the tail."""
    OWN = 5
    """A float of the agent as a whole."""
    TESTED = 6
    """Of a line that is tested: few, and seldom others than before, so that they are read as a whole.

    What belongs to a probed path stands before these two.
    """


class Template(NamedTuple):
    """What lines of one kind share.

    Attributes:
        head, tail: what stands before and after a path's labels.
        kind: what they are.
        place: which column of the path's counts or floats the value belongs into.
    """

    head: bytes
    tail: bytes
    kind: Kind
    place: int


class Learning:
    """What is learned line by line."""

    def __init__(self) -> None:
        self.paths: list[PathKey] = []
        self.labels: dict[bytes, int] = {}
        self.first: list[int] = []
        self.limits: list[dict[Direction, Limit]] = []
        self.intervals_ns: list[int | None] = []
        self.templates: dict[Template, int] = {}
        self.template: list[int] = []
        self.row: list[int] = []
        self.filled: set[tuple[int, int]] = set()
        self._places: set[tuple[int, Kind, int]] = set()

    def line(self, line: bytes) -> bool:
        """Learn a line; whether that can be."""
        name = _NAME.match(line)
        if name is None:
            return line.startswith(b"#") and self._add(Template(b"#", b"", Kind.OTHER, 0), 0)
        for kind, names in ((Kind.OWN, _OWN), (Kind.TESTED, _TESTED)):
            if name[0] in names:
                return self._add(Template(line[: name.end() + 1], b"", kind, 0), 0)
        if name[0] not in _NEEDED:
            return self._add(Template(line[: name.end() + 1][:LONGEST], b"", Kind.OTHER, 0), 0)
        match = PATH_LINE.fullmatch(line)
        if match is None:
            return False
        head, labels, tail, value = match.groups()
        try:
            row = self._row_of(labels)
            template = _template(head, tail, value if head in _CONSTANT_HEADS else b"")
        except (ValueError, KeyError):
            return False
        if template is None or max(len(head), len(labels), len(template.tail)) > LONGEST:
            return False
        if template.kind is Kind.LIMIT:
            direction, limit = _limit(template)
            if direction in self.limits[row]:
                return False
            self.limits[row][direction] = limit
        elif template.kind is Kind.INTERVAL:
            if self.intervals_ns[row] is not None:
                return False
            self.intervals_ns[row] = _interval_ns(template)
        elif (row, template.kind, template.place) in self._places:
            return False
        self._places.add((row, template.kind, template.place))
        if template.kind is Kind.COUNT:
            self.filled.add((row, template.place))
        return self._add(template, row)

    @property
    def whole(self) -> bool:
        """Whether no path lacks a count, or has two texts."""
        filled = {(row, place) for row in range(len(self.paths)) for place in range(UNDER_LOAD)}
        return self.filled >= filled and len(set(self.paths)) == len(self.paths)

    def _add(self, template: Template, row: int) -> bool:
        number = self.templates.setdefault(template, len(self.templates))
        self.template.append(number)
        self.row.append(row)
        return number <= np.iinfo(np.uint16).max

    def _row_of(self, labels: bytes) -> int:
        row = self.labels.get(labels)
        if row is None:
            row = self.labels[labels] = len(self.paths)
            self.paths.append(path_named(labels))
            self.first.append(len(self.template))
            self.limits.append({})
            self.intervals_ns.append(None)
        return row


def path_named(labels: bytes) -> PathKey:
    """The path that labels name.

    Raises:
        ValueError, KeyError: they name none.
    """
    (sample,) = parse(f"{metrics.PROBE_SENT}{{{labels.decode()}}} 0", NEEDED)
    return path_of(sample.labels)


_CONSTANT_HEADS: Final = tuple(f"{name}{{".encode() for name in (metrics.DELAY_LIMIT, metrics.PROBE_INTERVAL))
"""Of lines whose value is a part of the layout."""

_SOME_PATH: Final = 'source="",target="",kind="",dscp="0"'


@functools.lru_cache(maxsize=1024)
def _template(head: bytes, tail: bytes, value: bytes) -> Template | None:
    """The template of a path's line; None: its metric is none of a path.

    Raises:
        ValueError, KeyError: it says something that no agent says.
    """
    (sample,) = parse(f"{head.decode()}{_SOME_PATH}{tail.decode()}{value.decode() or 0}", NEEDED)
    match sample.name:
        case metrics.PROBE_SENT:
            return Template(head, tail, Kind.COUNT, SENT)
        case metrics.PROBE_IN_FLIGHT:
            return Template(head, tail, Kind.COUNT, IN_FLIGHT)
        case metrics.TARGET_RESOLVED:
            return Template(head, tail, Kind.COUNT, RESOLVED)
        case metrics.PATH_START:
            return Template(head, tail, Kind.SECONDS, SINCE)
        case metrics.PROBE_INTERVAL:
            interval_of(sample)
            return Template(head, tail + value, Kind.INTERVAL, 0)
    direction = Direction(sample.labels["direction"])
    first = 1 + DIRECTIONS.index(direction) * (len(Outcome) + BUCKETS)
    match sample.name:
        case metrics.DELAY_LIMIT:
            return Template(head, tail + value, Kind.LIMIT, 0)
        case metrics.DELAY_MIN:
            return Template(head, tail, Kind.SECONDS, DIRECTIONS.index(direction))
        case metrics.PROBE_UNDER_LOAD:
            loaded = UNDER_LOAD + DIRECTIONS.index(direction) * len(Outcome)
            return Template(head, tail, Kind.COUNT, loaded + OUTCOME_OF[sample.labels["outcome"]])
        case metrics.PROBE_OUTCOMES:
            return Template(head, tail, Kind.COUNT, first + OUTCOME_OF[sample.labels["outcome"]])
        case name if name == DELAY_BUCKET:
            bucket = BUCKET_OF[float(sample.labels["le"])]
            return Template(head, tail, Kind.COUNT, first + len(Outcome) + bucket)
    return None


@functools.lru_cache(maxsize=1024)
def _limit(template: Template) -> tuple[Direction, Limit]:
    """What a line of a limit says."""
    sample = _said(template)
    return Direction(sample.labels["direction"]), limit_of(sample)


@functools.lru_cache(maxsize=1024)
def _interval_ns(template: Template) -> int:
    """What a line of an interval says."""
    return interval_of(_said(template))


def _said(template: Template) -> Sample:
    (sample,) = parse(f"{template.head.decode()}{_SOME_PATH}{template.tail.decode()}", NEEDED)
    return sample
