"""The verdicts in the text format of Prometheus. Of 100,000 paths that is close to a gigabyte, five million lines: it
is written line by line, into a file where it is too long for memory, and read from there piece by piece.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Final

from agent.core import metrics
from agent.core.outcome import Direction
from agent.runtime.quantities import format_duration
from collector.sla.breach import BreachKey
from collector.sla.budget import budget_owner
from collector.sla.measure import Measure
from collector.sla.verdict import PathKey
from collector.sla.verdicts import shown
from collector.web.view import StateView

_IN_MEMORY: Final = 8 << 20
_PIECE: Final = 1 << 18
_LINES_AT_ONCE: Final = 1_000
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class _Family:
    """One metric, all of whose samples have whatever the sample of a path, a direction and an objective has."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - `close` does
        self._lines = [f"# HELP {name} {documentation}", f"# TYPE {name} gauge"]

    def add(self, labels: str, value: float) -> None:
        """Write one sample."""
        self._lines.append(f"{self._name}{{{labels}}} {float(value)!r}")
        if len(self._lines) >= _LINES_AT_ONCE:
            self._flush()

    def octets(self) -> int:
        """How long it is."""
        self._flush()
        return self._file.tell()

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._flush()
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def _flush(self) -> None:
        if self._lines:
            self._file.write("\n".join([*self._lines, ""]).encode())
            self._lines.clear()


class VerdictText:
    """The text of the verdicts as they are now; to be closed.

    Args:
        state: the collector's.
    """

    def __init__(self, state: StateView) -> None:
        self._verdicts = _Family(metrics.SLA_VERDICT, "0 PASS, 1 FAIL, 2 INDETERMINATE, 3 NO_DATA.")
        self._ratios = _Family(
            metrics.SLA_VIOLATION_RATIO,
            "One-sided 95 % bounds of the share of packets that broke the promise: the verdict holds them "
            "against the share that may break it; of time or tests the shares themselves.",
        )
        self._coverage = _Family(metrics.SLA_COVERAGE, "Share of the window that was observed.")
        self._budget = _Family(
            metrics.SLA_ERROR_BUDGET,
            "Share of the error budget of the objective's window that is left, below 0 where more was spent.",
        )
        self._burn = _Family(
            metrics.SLA_BURN_RATE,
            "Share of packets that broke the promise lately, over the share that may.",
        )
        self._open = _Family(metrics.SLA_BREACH_OPEN, "1 while a breach stands open.")
        self._families = (
            self._verdicts,
            self._ratios,
            self._coverage,
            self._budget,
            self._burn,
            self._open,
        )
        with contextlib.ExitStack() as undone:
            undone.callback(self.close)
            self._write(state)
            undone.pop_all()

    def octets(self) -> int:
        """How long it is."""
        return sum(family.octets() for family in self._families)

    def pieces(self) -> Iterator[bytes]:
        """All of it, once."""
        for family in self._families:
            yield from family.pieces()

    def close(self) -> None:
        """Let go of it."""
        for family in self._families:
            family.close()

    def _write(self, state: StateView) -> None:
        standing = {
            breach.key
            for breach in state.breaches
            if breach.closed_ns is None and breach.opening.measure is not Measure.BUDGET
        }
        unjudged = set(standing)
        path, of_path = None, ""
        for one in shown(state.judgements):
            if one.path is not path:
                path, of_path = one.path, _path_labels(one.path)
            if one.measure is Measure.BUDGET:
                labels = _labels(of_path, one.direction, budget_owner(one.objective))
                for span_ns, rate in one.burn_rates.items():
                    self._burn.add(f'{labels},window="{format_duration(span_ns)}"', rate)
                continue
            labels = _labels(of_path, one.direction, one.objective)
            self._verdicts.add(labels, one.verdict.value)
            self._coverage.add(labels, one.coverage)
            for bound, value in (("lower", one.bound_lower), ("upper", one.bound_upper)):
                if value is not None:
                    self._ratios.add(f'{labels},bound="{bound}"', value)
            if one.budget_remaining is not None:
                self._budget.add(labels, one.budget_remaining)
            broken = bool(standing) and BreachKey(one.path, one.direction, one.objective) in standing
            self._open.add(labels, broken)
            if broken:
                unjudged.discard(BreachKey(one.path, one.direction, one.objective))
        for key in sorted(unjudged, key=str):
            self._open.add(_labels(_path_labels(key.path), key.direction, key.objective), 1)


def _path_labels(path: PathKey) -> str:
    """A path's labels, as text."""
    values = (path.source, path.target, path.tier, path.provider, path.kind, str(path.dscp))
    named = zip(metrics.PATH_LABELS, values, strict=True)
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in named)


def _labels(of_path: str, direction: Direction, objective: str) -> str:
    """What every sample has, as text."""
    return f'{of_path},direction="{direction.value}",objective="{objective.translate(_ESCAPED)}"'
