"""The layout of an agent's exposition, learned once: where its counts stand, so that only these are read of the next.

An agent that goes on counting the same paths writes the same lines with other values. So of a scrape that begins line
for line like the one before, the values alone are parsed, all at once. That it does is not taken for granted: every
line's name is held against what was learned, and of each line that is needed all that stands before its value. Lines
of one path share its labels and lines of one kind share the rest, which is all that is kept:

    isochrone_probe_outcomes_total{source="…",target="…",…,dscp="0",direction="forward",outcome="within"} 123
    |           head              |          labels of a path     |                tail                 |value

What does not follow a layout, or breaks the conservation law, is for `collector.sources.samples` to judge, which reads
line by line and says what is wrong. What a layout reads, that reads alike; lines that nobody needs may say anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction, Limit, Outcome
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, WIDTH, Integers, by_direction
from collector.ledger.readings import Counted, Readings
from collector.sla.promise import Promise
from collector.sla.verdict import PathKey
from collector.sources.learning import (
    COUNTS,
    FLOATS,
    IN_FLIGHT,
    LONGEST,
    PATH_LINE,
    RESOLVED,
    SINCE,
    UNDER_LOAD,
    Kind,
    Learning,
    path_named,
)
from collector.sources.lines import Line, lines_of
from collector.sources.octets import Floats, Octets, Texts, floats_between, numbers_before, window
from collector.sources.sample import LATEST_S
from collector.sources.samples import NEEDED, AgentReading, told_of
from collector.sources.text_format import parse

_LINES_AT_ONCE: Final = 8192
"""As many as the processor's cache holds all that is compared of."""


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """The lines of an exposition but for the labels of its paths: all agents with as many of them share these.

    Attributes:
        heads, tails: of the templates.
        kinds, places: of the templates.
        template: the number of each line's (lines,).
        row: the path of each line (lines,); anything where it is of none.
        first: the line with which each path comes first (paths,).
        limits, intervals_ns: of each path.
    """

    heads: Texts
    tails: Texts
    kinds: NDArray[np.uint8]
    places: Integers
    template: NDArray[np.uint16]
    row: NDArray[np.uint32]
    first: Sequence[int]
    limits: tuple[dict[Direction, Limit], ...]
    intervals_ns: tuple[int | None, ...]

    @classmethod
    def of(cls, learning: Learning) -> _Lines:
        """What was learned, but for the paths."""
        templates = [*learning.templates]
        return cls(
            Texts.of([one.head for one in templates]),
            Texts.of([one.tail for one in templates], to_the_right=True),
            np.array([one.kind for one in templates], np.uint8),
            np.array([one.place for one in templates], np.int64),
            np.array(learning.template, np.uint16),
            np.array(learning.row, np.uint32),
            learning.first,
            tuple(learning.limits),
            tuple(learning.intervals_ns),
        )


class Layout:
    """The layout of one agent's exposition; use `Layout.learned`.

    Args:
        site: whose agent it is.
        lines: what it has in common with others.
        labels: of each path, as text.
        paths: what these name, in the same order.
    """

    def __init__(self, site: str, lines: _Lines, labels: Sequence[bytes], paths: Sequence[PathKey]) -> None:
        self._site = site
        self._lines = lines
        self._labels = Texts.of(labels)
        self._paths = tuple(paths)
        self._counted = Counted((), (), (), (), ())
        self._tested: tuple[bytes, Sequence[Line]] = (b"", ())

    @classmethod
    def learned(cls, site: str, body: bytes | bytearray) -> Layout | None:
        """The layout of an exposition; None: it has none, or lacks something, or is another site's."""
        try:
            bytes(body).decode()
        except UnicodeDecodeError:
            return None
        learning = Learning()
        if not body.endswith(b"\n") or not all(map(learning.line, bytes(body[:-1]).split(b"\n"))):
            return None
        if not learning.whole or any(path.source != site for path in learning.paths):
            return None
        return cls(site, _Lines.of(learning), [*learning.labels], learning.paths)

    def of_another(self, site: str, body: bytes | bytearray) -> Layout | None:
        """The layout of another site's agent, should it be the same but for the labels of its paths."""
        lines = bytes(body).split(b"\n", max(self._lines.first, default=0) + 1)
        if len(lines) <= max(self._lines.first, default=0):
            return None
        labels: dict[bytes, PathKey] = {}
        for first in self._lines.first:
            match = PATH_LINE.fullmatch(lines[first])
            if match is None:
                return None
            try:
                labels[match[2]] = path_named(match[2])
            except (ValueError, KeyError):
                return None
        found = set(labels.values())
        if len(found) < len(self._lines.first) or any(path.source != site for path in found):
            return None
        return Layout(site, self._lines, [*labels], [*labels.values()])

    def read(self, body: bytes | bytearray, taken_ns: int) -> AgentReading | None:
        """The reading of an exposition that follows the layout; None: it does not, or has counts of no moment."""
        if not body.endswith(b"\n"):
            return None
        octets = np.frombuffer(body, np.uint8)
        ends = np.flatnonzero(octets == ord("\n"))
        if len(ends) != len(self._lines.template):
            return None
        octets = np.concatenate([np.zeros(LONGEST, np.uint8), octets, np.zeros(LONGEST, np.uint8)])
        ends += LONGEST
        starts = np.concatenate([[LONGEST], ends[:-1] + 1])
        counts = np.zeros((len(self._paths), COUNTS), np.int64)
        floats = np.full((len(self._paths), FLOATS), np.nan)
        told: dict[Kind, list[bytes]] = {Kind.OWN: [], Kind.TESTED: []}
        for first in range(0, len(ends), _LINES_AT_ONCE):
            lines = slice(first, first + _LINES_AT_ONCE)
            if not self._take(octets, starts[lines], ends[lines], lines, counts, floats, told):
                return None
        return self._reading(counts, floats, told, taken_ns)

    def _take(
        self,
        octets: Octets,
        starts: Integers,
        ends: Integers,
        lines: slice,
        counts: Integers,
        floats: Floats,
        told: dict[Kind, list[bytes]],
    ) -> bool:
        """Take the values of some lines; whether these follow the layout."""
        known = self._lines
        template, row = known.template[lines], known.row[lines]
        if not known.heads.found(window(octets, known.heads.width), starts, template):
            return False
        kinds = known.kinds[template]
        for kind, texts in told.items():
            texts += [
                octets[starts[line] : ends[line]].tobytes() for line in np.flatnonzero(kinds == kind).tolist()
            ]
        of_path = np.flatnonzero((kinds != Kind.OTHER) & (kinds < min(told)))
        starts, ends = starts[of_path], ends[of_path]
        template, row, kinds = template[of_path], row[of_path], kinds[of_path]
        labels = starts + known.heads.lengths[template]
        values = labels + self._labels.lengths[row] + known.tails.lengths[template]
        lengths = ends - values
        tails = values - known.tails.width
        if (
            not self._labels.found(window(octets, self._labels.width), labels, row)
            or not known.tails.found(window(octets, known.tails.width), tails, template)
            or not np.array_equal(lengths > 0, (kinds != Kind.LIMIT) & (kinds != Kind.INTERVAL))
            or (lengths < 0).any()
        ):
            return False
        places = known.places[template]
        seconds = np.flatnonzero(kinds == Kind.SECONDS)
        if len(seconds):
            found = floats_between(octets, values[seconds], ends[seconds])
            if found is None:
                return False
            floats[row[seconds], places[seconds]] = found
        whole = np.flatnonzero(kinds == Kind.COUNT)
        numbers = numbers_before(octets, lengths[whole], ends[whole])
        if numbers is None:
            return False
        counts[row[whole], places[whole]] = numbers
        return True

    def _reading(
        self, counts: Integers, floats: Floats, texts: Mapping[Kind, Sequence[bytes]], taken_ns: int
    ) -> AgentReading | None:
        vectors = counts[:, :WIDTH].copy()
        delays = by_direction(vectors)[:, :, len(Outcome) :]
        delays[:, :, 1:] -= delays[:, :, :-1].copy()
        minima = floats[:, : len(DIRECTIONS)]
        known = ~np.isnan(minima)
        since = floats[:, SINCE]
        if (
            not _lawful(vectors, counts[:, IN_FLIGHT], counts[:, UNDER_LOAD:])
            or (np.abs(floats) > LATEST_S).any()
            or (since < 0).any()
        ):
            return None
        try:
            told = told_of(parse(b"\n".join(texts[Kind.OWN]).decode(), NEEDED))
            lines = self._lines_of(b"\n".join(texts[Kind.TESTED]))
        except ValueError:
            return None
        if any(line.path.source != self._site for line in lines):
            return None
        minima_ns = np.where(known, np.rint(np.where(known, minima, 0) * 1e9), 0).astype(np.int64)
        tested = Readings.table([line.reading(told.epoch, taken_ns) for line in lines])
        readings = Readings(
            self._counted_since(told.epoch, since, lines),
            np.full(len(self._paths) + len(lines), taken_ns),
            np.concatenate([counts[:, IN_FLIGHT], tested.in_flight]),
            np.concatenate([counts[:, RESOLVED] != 0, tested.resolved]),
            np.concatenate([np.where(known, minima_ns, NO_MINIMUM), tested.minima_ns]),
            np.concatenate([vectors, tested.counts.reshape(-1, WIDTH)]),
        )
        return AgentReading(
            self._site,
            True,
            "",
            taken_ns,
            readings,
            told.clock_source,
            told.clock_bound_ns,
            told.reflected,
            lines={line.path: line.said for line in lines},
        )

    def _lines_of(self, text: bytes) -> Sequence[Line]:
        """The lines that a text tells of; the same object as long as it is the same text.

        Raises:
            ValueError: it says what no agent says.
        """
        if self._tested[0] != text:
            self._tested = text, lines_of(parse(text.decode(), NEEDED))
        return self._tested[1]

    def _counted_since(self, epoch: float, since: Floats, lines: Sequence[Line]) -> Counted:
        """The same object as long as nothing has begun anew, and the same lines are held against the same."""
        epochs = (epoch,) * (len(self._paths) + len(lines))
        starts = (*(None if math.isnan(one) else one for one in since.tolist()), *([None] * len(lines)))
        paths = (*self._paths, *(line.path for line in lines))
        limits: tuple[Mapping[Direction, Promise], ...] = (
            *self._lines.limits,
            *(line.floors for line in lines),
        )
        intervals_ns = (*self._lines.intervals_ns, *([None] * len(lines)))
        known = self._counted
        if (known.epochs, known.since, known.paths, known.limits) != (epochs, starts, paths, limits):
            self._counted = Counted(paths, limits, epochs, starts, intervals_ns)
        return self._counted


def _lawful(vectors: Integers, in_flight: Integers, under_load: Integers) -> bool:
    """Whether counts are of one moment: delays of no bucket below 0, and the conservation law."""
    directions = by_direction(vectors)
    outcomes = directions[:, :, : len(Outcome)] + under_load.reshape(-1, len(DIRECTIONS), len(Outcome))
    packets = outcomes.sum(axis=2)
    resolved = vectors[:, SENT] - in_flight
    reached = resolved - outcomes[:, DIRECTIONS.index(Direction.FORWARD), Outcome.LOST]
    expected = {Direction.FORWARD: resolved, Direction.REVERSE: reached, Direction.ROUND_TRIP: resolved}
    return bool(vectors.min(initial=0) >= 0) and all(
        np.array_equal(packets[:, DIRECTIONS.index(direction)], one) for direction, one in expected.items()
    )
