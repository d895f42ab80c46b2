"""The counts of all paths in the Prometheus text format, a piece at a time.

A thousand paths are some 230,000 samples. Rendering them must not keep probes waiting, so the counts of one moment are
copied first, and the text is made of the copy in pieces between which the event loop can do something else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.core import ledger as columns
from agent.core import metrics
from agent.core.histogram import BUCKETS, LE_LABELS
from agent.core.interval import Integers
from agent.core.ledger import DIRECTIONS, PathLabels, PathLedger, column
from agent.core.outcome import Direction, Outcome
from agent.core.recent import NO_MINIMUM
from agent.core.session_report import SessionReport

_SECOND_NS: Final = 1e9
_PATHS_PER_PIECE: Final = 32
_LEAST_PIECE: Final = 1 << 17
"""Characters of a piece, at least: one costs a turn of the event loop and a call to the kernel, whatever its length,
and so many take less than a millisecond to make."""

_SUFFIXES: Final = ("", "_bucket", "_count", "_sum")
"""What a sample's name has after that of its family."""

_LABELS: Final = "\0"
"""Stands for a path's labels in a template: no label can contain it."""


class PathView(Protocol):
    """What is shown of one path."""

    @property
    def ledger(self) -> PathLedger:
        """Its counts."""

    @property
    def resolved(self) -> bool:
        """Whether its target's address is known."""

    @property
    def timeout_ns(self) -> int:
        """After how long a probe without reply is lost."""

    @property
    def interval_ns(self) -> int:
        """From probe to probe, in the mean."""

    @property
    def report(self) -> SessionReport:
        """What its replies tell besides times."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """All paths at one moment.

    Attributes:
        labels: of each path, as text.
        counts: (paths, COLUMNS).
        minima_ns: (paths, directions); `NO_MINIMUM` where there is none.
        not_sent: of each path, by reason.
    """

    labels: Sequence[str]
    counts: Integers
    minima_ns: Integers
    not_sent: Sequence[dict[str, int]]

    @classmethod
    def of(cls, ledgers: Sequence[PathLedger], now_ns: int) -> _Moment:
        """Copy the counts."""
        counts = np.empty((len(ledgers), columns.COLUMNS), np.int64)
        minima_ns = np.empty((len(ledgers), len(DIRECTIONS)), np.int64)
        for table in {ledger.table for ledger in ledgers}:
            places = [place for place, ledger in enumerate(ledgers) if ledger.table is table]
            rows = np.array([ledgers[place].row for place in places])
            counts[places] = table.counts[rows]
            minima_ns[places] = table.minima.values(rows, now_ns).T
        not_sent = [dict(ledger.not_sent) for ledger in ledgers]
        return cls([_label_text(ledger.labels) for ledger in ledgers], counts, minima_ns, not_sent)


def render_paths(
    paths: Sequence[PathView], now_ns: int, wanted: Container[str] | None = None
) -> Iterator[str]:
    """The metrics of all paths as they are when the first piece is asked for, at monotonic time `now_ns`.

    Args:
        paths: all.
        now_ns: by which recent minima are judged.
        wanted: only families that have one of these names, or samples of one; None: all.
    """
    gathered: list[str] = []
    length = 0
    for name, pieces in _families(paths, now_ns):
        if wanted is None or any(f"{name}{suffix}" in wanted for suffix in _SUFFIXES):
            for piece in pieces:
                gathered.append(piece)
                length += len(piece)
                if length >= _LEAST_PIECE:
                    yield "".join(gathered)
                    gathered, length = [], 0
    yield "".join(gathered)


def _families(paths: Sequence[PathView], now_ns: int) -> Iterator[tuple[str, Iterator[str]]]:
    """Each family with its pieces, of which none is made before it is asked for."""
    ledgers = [path.ledger for path in paths]
    moment = _Moment.of(ledgers, now_ns)
    for name, kind, documentation, which in (
        (metrics.PROBE_SENT, "counter", "Probes that the kernel took.", columns.SENT),
        (metrics.PROBE_LATE, "counter", "Replies after the timeout; their probes are lost.", columns.LATE),
        (
            metrics.CLOCK_CONTRADICTIONS,
            "counter",
            "Replies that prove a clock wrong by more than it admits.",
            columns.CLOCK_CONTRADICTIONS,
        ),
        (
            metrics.FLOOR_CONTRADICTIONS,
            "counter",
            "Replies faster than the configured distance allows.",
            columns.FLOOR_CONTRADICTIONS,
        ),
        (
            metrics.CLOCK_STEPPED_REPLIES,
            "counter",
            "Replies of unknown delay, for this clock was set meanwhile.",
            columns.STEPPED,
        ),
        (metrics.PROBE_IN_FLIGHT, "gauge", "Probes neither answered nor given up.", columns.IN_FLIGHT),
    ):
        yield name, _headed(name, kind, documentation, _counts(moment, f"{name}{{{_LABELS}}} %d\n", [which]))

    yield (
        metrics.PROBE_OUTCOMES,
        _by_direction(
            moment,
            metrics.PROBE_OUTCOMES,
            "Probes by what became of them; each counts once per direction.",
            "".join(
                f'{metrics.PROBE_OUTCOMES}{{{_LABELS},direction="%s",outcome="{outcome.label}"}} %%d\n'
                for outcome in Outcome
            ),
            [columns.OUTCOMES + outcome for outcome in Outcome],
        ),
    )
    yield metrics.PROBE_UNDER_LOAD, _under_load(moment)
    for name, documentation, which in (
        (metrics.PROBE_DUPLICATES, "Replies beyond the first to a probe.", columns.DUPLICATES),
        (metrics.PROBE_REORDERED, "Packets that a later one overtook.", columns.REORDERED),
    ):
        yield (
            name,
            _by_direction(moment, name, documentation, f'{name}{{{_LABELS},direction="%s"}} %%d\n', [which]),
        )
    for name, documentation, which in (
        (metrics.DELAY, "Delay as measured.", columns.DELAY),
        (metrics.DELAY_VARIATION, "Delay less the recent minimum (PDV, RFC 5481).", columns.VARIATION),
    ):
        yield name, _histograms(moment, name, documentation, which)

    def of_each(
        kind: str, documentation: str, text_of: Callable[[int], str]
    ) -> Callable[[str], Iterator[str]]:
        return lambda name: _headed(name, kind, documentation, _pieces(moment, text_of))

    for name, family in {
        metrics.INTERPACKET_DELAY_VARIATION: of_each(
            "summary",
            "By how much packets that follow each other differ in delay (IPDV, RFC 3393), without sign.",
            _differences(moment),
        ),
        metrics.DELAY_MIN: of_each(
            "gauge",
            "Least delay of the last one to two minutes.",
            lambda index: _minima(moment.minima_ns[index].tolist()),
        ),
        metrics.DELAY_LIMIT: of_each(
            "gauge", "The limit that outcomes are counted against.", lambda index: _limits(ledgers[index])
        ),
        metrics.DELAY_FLOOR: of_each(
            "gauge", "The least delay that physics allows.", lambda index: _floors(ledgers[index])
        ),
        metrics.TARGET_RESOLVED: of_each(
            "gauge",
            "1 where the target's address is known.",
            lambda index: f"{metrics.TARGET_RESOLVED}{{{_LABELS}}} {int(paths[index].resolved)}\n",
        ),
        metrics.LOSS_THRESHOLD: of_each(
            "gauge",
            "After how long a probe is lost (Tmax of RFC 7680).",
            lambda index: f"{metrics.LOSS_THRESHOLD}{{{_LABELS}}} {paths[index].timeout_ns / _SECOND_NS!r}\n",
        ),
        metrics.PROBE_INTERVAL: of_each(
            "gauge",
            "From probe to probe, in the mean.",
            lambda index: (
                f"{metrics.PROBE_INTERVAL}{{{_LABELS}}} {paths[index].interval_ns / _SECOND_NS!r}\n"
            ),
        ),
        metrics.PATH_START: of_each(
            "gauge",
            "When the counts of the path were last zero (Unix time).",
            lambda index: _start(ledgers[index]),
        ),
        metrics.PROBE_REMARKED: of_each(
            "counter",
            "Packets whose marking was changed on the way.",
            lambda index: _remarked(paths[index].report),
        ),
        metrics.PROBE_NOT_SENT: of_each(
            "counter",
            "Probes due that were not sent: never loss.",
            lambda index: _not_sent(moment.not_sent[index]),
        ),
    }.items():
        yield name, family(name)


def _headed(name: str, kind: str, documentation: str, pieces: Iterator[str]) -> Iterator[str]:
    """A family's pieces after what says of which kind it is."""
    yield _header(name, kind, documentation)
    yield from pieces


def _header(name: str, kind: str, documentation: str) -> str:
    return f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n"


@functools.lru_cache(maxsize=1 << 16)
def _label_text(named: PathLabels) -> str:
    values = {
        "source": named.source,
        "target": named.target,
        "tier": named.tier,
        "provider": named.provider,
        "kind": named.kind,
        "dscp": str(named.dscp),
    }
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _pieces(moment: _Moment, text_of: Callable[[int], str]) -> Iterator[str]:
    """The text of each path, some paths together, with their labels put in."""
    for first in range(0, len(moment.labels), _PATHS_PER_PIECE):
        indices = range(first, min(first + _PATHS_PER_PIECE, len(moment.labels)))
        yield "".join([text_of(index).replace(_LABELS, moment.labels[index]) for index in indices])


def _counts(moment: _Moment, template: str, which: Sequence[int]) -> Iterator[str]:
    """A template for each path, filled with some of its counts."""
    chosen = moment.counts[:, which].tolist()
    return _pieces(moment, lambda index: template % tuple(chosen[index]))


def _by_direction(
    moment: _Moment, name: str, documentation: str, template: str, within: Sequence[int]
) -> Iterator[str]:
    """A counter with a template for each direction, which is to be put in first and the counts after it."""
    yield _header(name, "counter", documentation)
    holes = template.count("%s")
    everything = "".join(template % ((direction.value,) * holes) for direction in Direction)
    yield from _counts(
        moment, everything, [column(direction, which) for direction in DIRECTIONS for which in within]
    )


def _under_load(moment: _Moment) -> Iterator[str]:
    """Of the paths that had such probes; of the others it would say 15 times 0."""
    yield _header(
        metrics.PROBE_UNDER_LOAD,
        "counter",
        "Probes sent while a throughput test filled the line, by what became of them; in no other count of outcomes.",
    )
    which = [
        column(direction, columns.UNDER_LOAD + outcome) for direction in DIRECTIONS for outcome in Outcome
    ]
    counted = moment.counts[:, which].tolist()
    template = "".join(
        f'{metrics.PROBE_UNDER_LOAD}{{{_LABELS},direction="{direction.value}",outcome="{outcome.label}"}} %d\n'
        for direction in DIRECTIONS
        for outcome in Outcome
    )
    yield from _pieces(moment, lambda index: template % tuple(counted[index]) if any(counted[index]) else "")


def _histograms(moment: _Moment, name: str, documentation: str, first: int) -> Iterator[str]:
    yield _header(name, "histogram", documentation)
    for direction in DIRECTIONS:
        labels = f'{_LABELS},direction="{direction.value}"'
        buckets = "".join(f'{name}_bucket{{{labels},le="{le}"}} %d\n' for le in LE_LABELS)
        template = f"{buckets}{name}_count{{{labels}}} %d\n{name}_sum{{{labels}}} %r\n"
        start = column(direction, first)
        cumulative = moment.counts[:, start : start + BUCKETS].cumsum(axis=1)
        sums_s = moment.counts[:, start + BUCKETS] / _SECOND_NS
        yield from _pieces(moment, functools.partial(_histogram, template, cumulative, sums_s))


def _histogram(template: str, cumulative: Integers, sums_s: NDArray[np.float64], index: int) -> str:
    counts = cumulative[index].tolist()
    return template % (*counts, counts[-1], float(sums_s[index]))


def _differences(moment: _Moment) -> Callable[[int], str]:
    """The text of a path of that family."""
    name = metrics.INTERPACKET_DELAY_VARIATION
    template = "".join(
        f"{name}_count{{{labels}}} %d\n{name}_sum{{{labels}}} %r\n"
        for labels in (f'{_LABELS},direction="{direction.value}"' for direction in DIRECTIONS)
    )
    which = [column(direction, columns.IPDV) + more for direction in DIRECTIONS for more in range(2)]
    counted = moment.counts[:, which]

    def text_of(index: int) -> str:
        values = counted[index].tolist()
        values[1::2] = [sum_ns / _SECOND_NS for sum_ns in values[1::2]]
        return template % tuple(values)

    return text_of


def _minima(minima_ns: Sequence[int]) -> str:
    return "".join(
        f'{metrics.DELAY_MIN}{{{_LABELS},direction="{direction.value}"}} {minimum_ns / _SECOND_NS!r}\n'
        for direction, minimum_ns in zip(DIRECTIONS, minima_ns, strict=True)
        if minimum_ns != NO_MINIMUM
    )


def _limits(ledger: PathLedger) -> str:
    return "".join(
        f'{metrics.DELAY_LIMIT}{{{_LABELS},direction="{direction.value}",operator="{limit.operator.value}"}} '
        f"{limit.limit_ns / _SECOND_NS!r}\n"
        for direction, counted in ledger.directions()
        for limit in (counted.promise.limit,)
    )


def _floors(ledger: PathLedger) -> str:
    return "".join(
        f'{metrics.DELAY_FLOOR}{{{_LABELS},direction="{direction.value}"}} {counted.promise.floor_ns / _SECOND_NS!r}\n'
        for direction, counted in ledger.directions()
    )


def _start(ledger: PathLedger) -> str:
    if ledger.begun_ns is None:
        return ""
    # In milliseconds: as the name of a run it must come back the same from a store that keeps 15 digits.
    return f"{metrics.PATH_START}{{{_LABELS}}} {ledger.begun_ns // 1_000_000 / 1000!r}\n"


def _remarked(report: SessionReport) -> str:
    return "".join(
        f'{metrics.PROBE_REMARKED}{{{_LABELS},direction="{direction.value}",marking="{marking.value}"}} {count}\n'
        for (direction, marking), count in report.remarked.items()
    )


def _not_sent(reasons: dict[str, int]) -> str:
    return "".join(
        f'{metrics.PROBE_NOT_SENT}{{{_LABELS},reason="{_escaped(reason)}"}} {count}\n'
        for reason, count in reasons.items()
    )
