"""What the collector knows at this moment: written by the program, read by the page, the API and the alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.ledger.readings import Counted, Readings
from collector.sla.breach import Breach, BreachKey, Watch
from collector.sla.counts import Reading
from collector.sla.fault_watch import Standing
from collector.sla.line import LineSaid
from collector.sla.promise import Promise
from collector.sla.verdict import Judgement, PathKey
from collector.sla.verdicts import Verdicts
from collector.sources.samples import AgentReading


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One agent, as it was last read.

    Attributes:
        up: whether the last reading succeeded.
        reason: why it did not; empty where it did.
        seen_ns: when a reading last succeeded (Unix wall time); None: never.
        clock_source, clock_bound_ns: what is known of its clock, from the last reading that succeeded.
        refused, blind: how the last reading failed, as of `AgentReading`.
    """

    up: bool
    reason: str
    seen_ns: int | None
    clock_source: str | None
    clock_bound_ns: int | None
    refused: bool = False
    blind: bool = False

    def after(self, reading: AgentReading) -> SourceStatus:
        """The status once this reading is known."""
        if not reading.up:
            return replace(
                self, up=False, reason=reading.reason, refused=reading.refused, blind=reading.blind
            )
        return SourceStatus(True, "", reading.taken_ns, reading.clock_source, reading.clock_bound_ns)


NEVER_READ = SourceStatus(False, "not read yet", None, None, None)


@dataclass(slots=True)
class CollectorState:
    """The state.

    Attributes:
        judgements: of the last evaluation.
        watches: open breaches and the runs that lead to the next change.
        breaches: all that are open, and those that closed lately.
        sources: agents by site.
        unresolved: paths whose agents do not know the target's address.
        other_limits: what is counted against another limit than the promised one, as far as it was read; None: against
            an unknown one.
        lines: what agents say of the lines that they test beside their counts, as it was read last.
        told: of which paths the agents told when they were read last, by site.
        untold: planned paths that are not among these, though their agents were read: nothing new is known of them.
        noted: what the agents counted when they were read last, by site.
        standing: what is known to be broken.
        said: the `Verdict` of everything that is judged, as it was said last, by objective.
        evaluated_ns: when the last evaluation ended (Unix wall time); None: none has.
        evaluations, evaluation_seconds: how many there were, and how long they took in sum.
    """

    judgements: Sequence[Judgement] = Verdicts()
    watches: dict[BreachKey, Watch] = field(default_factory=dict)
    breaches: Sequence[Breach] = ()
    sources: dict[str, SourceStatus] = field(default_factory=dict)
    unresolved: set[PathKey] = field(default_factory=set)
    other_limits: dict[tuple[PathKey, Direction], Promise | None] = field(default_factory=dict)
    lines: dict[PathKey, LineSaid] = field(default_factory=dict)
    told: dict[str, Sequence[PathKey]] = field(default_factory=dict)
    untold: set[PathKey] = field(default_factory=set)
    noted: dict[str, Counted] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    said: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    evaluated_ns: int | None = None
    evaluations: int = 0
    evaluation_seconds: float = 0.0

    def hear(self, reading: AgentReading, planned: frozenset[PathKey]) -> None:
        """Take in of which of its planned paths an agent tells, where it was read."""
        if not reading.up:
            return
        self.lines.update(reading.lines)
        paths = Readings.table(reading.readings).of.paths
        if self.told.get(reading.site) != paths:
            self.told[reading.site] = paths
            self.untold.difference_update(planned)
            self.untold.update(planned.difference(paths))

    def note(
        self, readings: Sequence[Reading], promised: Mapping[PathKey, Mapping[Direction, Promise]]
    ) -> None:
        """Take in what agents say of themselves; `promised` is what is held against their paths."""
        if not readings:
            return
        table = Readings.table(readings)
        if self.unresolved:
            self.unresolved.difference_update(table.of.paths)
        self.unresolved.update(table.of.paths[row] for row in np.flatnonzero(~table.resolved).tolist())
        if self.noted.get(table.of.site) is table.of:
            return
        self.noted[table.of.site] = table.of
        for path, limits in zip(table.of.paths, table.of.limits, strict=True):
            for direction, limit in promised.get(path, {}).items():
                if limits.get(direction) != limit:
                    self.other_limits[path, direction] = limits.get(direction)
                elif self.other_limits:
                    self.other_limits.pop((path, direction), None)
