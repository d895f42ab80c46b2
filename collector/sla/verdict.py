"""The result of holding counts against an objective, with everything that is needed to recompute it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from agent.core.outcome import Direction, Limit, Outcome
from collector.sla.faults import FaultKind
from collector.sla.line import LastTest
from collector.sla.measure import Measure
from collector.sla.promise import Promise


class Verdict(IntEnum):
    """The three verdicts of ILAC-G8 and the absence of one; the number is the value of `isochrone_sla_verdict`."""

    PASS = 0
    FAIL = 1
    INDETERMINATE = 2
    NO_DATA = 3


@dataclass(frozen=True, slots=True, order=True)
class PathKey:
    """What names a path: the labels of its metrics."""

    source: str
    target: str
    tier: str
    provider: str
    kind: str
    dscp: int

    def __str__(self) -> str:
        return f"{self.source} → {self.target} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Reason:
    """Which rule decided, in words.

    Attributes:
        code: stable name of the rule, e.g. `upper_bound_meets`, `below_coverage`, `clock_cannot_prove`.
        zh, en: the sentence a person reads, with the numbers in it.
    """

    code: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is broken, and explains why packets or agents are not heard of.

    Attributes:
        id: the same for as long as it stands.
        since_ns: when it was found (Unix wall time).
        site: what is concerned; None where that is a single path, or the collector itself.
        path: the single path.
        direction: that is down, where it is known to be one.
        paths: how many paths it explains.
        witnesses: how many other sites say so; of the collector's own source, how many agents it leaves out, 0: all.
    """

    id: str
    kind: FaultKind
    since_ns: int
    site: str | None = None
    path: PathKey | None = None
    direction: Direction | None = None
    paths: int = 0
    witnesses: int = 0


class Burn(NamedTuple):
    """What the burn rate of an error budget is made of, in one window.

    Attributes:
        judged, broken, possibly: packets, and how many of them broke the promise for sure, or may have.
        observed: share of the window that was seen and judged, 0 to 1.
    """

    judged: int
    broken: int
    possibly: int
    observed: float


class BlockSums(NamedTuple):
    """How what was judged varies between blocks of time: by it packets are worth fewer independent ones.

    Attributes:
        minutes: how long a block is; hours and days that are summed up are not divided, and may be longer.
        lower: Σx², Σxn and Σn², x: what surely broke the promise in a block, n: all that was judged in it.
        upper: the same of what may have broken it.
    """

    minutes: int
    lower: tuple[int, int, int]
    upper: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict: a path in one direction against one objective over one window.

    Attributes:
        objective: id of the objective in the fleet file.
        limit: the promise the agent's outcomes were counted against: of a line that is tested a floor.
        percentile: share of packets, in percent, that must keep the promise; None where it is not told by one.
        window_start_ns, window_end_ns: the window (Unix wall time).
        counts: packets, or turns of a line, by outcome within the window.
        violation_lower, violation_upper: p_lo and p_hi, the share that surely / possibly broke the promise;
            None where there were no packets.
        bound_lower, bound_upper: the one-sided 95 % lower bound of p_lo and upper bound of p_hi.
        threshold: the share that may break the promise.
        coverage: share of the window for which counts exist, 0 to 1.
        delay_p50_ns, delay_p99_ns: (edge below, edge above) of the histogram bucket that holds the percentile of the
            measured delays; the edge above is None in the overflow bucket; None where nothing was measured.
        measure: what was asked of the packets.
        trials: packets, intervals of time, or turns of a line, that were judged.
        effective: how many independent ones they are worth: what happens in bursts proves less; None where there
            were none.
        effective_lower, effective_upper: the same for each bound; `effective` is the lesser.
        blocks: what tells how many they are worth, of blocks of each length; empty where the window has none, or where
            nothing broke the promise or everything, so that they tell nothing; None: it is not told by blocks.
        prior_design_effect: how many packets were worth one in the longer history that was asked, for the upper bound;
            None: none was.
        min_coverage: below which coverage nothing is judged.
        calendar: whether the window is a day or a month of the calendar.
        window_length_ns: how long the window is, or a day or month will have been.
        budget_window_ns: of the objective whose budget it is, where that is the measure.
        delays, least_delay_ns: measured delays by bucket of `agent.core.histogram`, and the least of them, where the
            measure is a delay variation; None: it is not known.
        variation: what is promised of the delay variation, where that is the measure.
        budget_remaining: the share of the error budget that is left, below 0 where more was spent.
        maintenance_ns, maintenance_counts: how much of the window is maintenance, and the packets of that time: all
            other figures are without them.
        burn_rates: how fast an error budget is being spent, by length of window (ns), where that is the measure.
        burns: what these are made of, by the same lengths.
        fault: what is known to be broken of this path, where something is.
        unavailable_ns: how much of the window was unavailable, and is judged by an objective of its own: all other
            figures are without it.
        unobserved_ns: how much of the rest of the window nobody saw, or no packet stands for: it is in no figure.
        last_test: what the line was last measured to carry, where throughput is the measure.
        planned: how many of its turns were planned: these are covered that brought a result.
    """

    path: PathKey
    direction: Direction
    objective: str
    verdict: Verdict
    reason: Reason
    limit: Promise
    floor_ns: int
    percentile: float | None
    window_start_ns: int
    window_end_ns: int
    counts: Mapping[Outcome, int]
    violation_lower: float | None
    violation_upper: float | None
    bound_lower: float | None
    bound_upper: float | None
    threshold: float
    coverage: float
    delay_p50_ns: tuple[int, int | None] | None
    delay_p99_ns: tuple[int, int | None] | None
    measure: Measure = Measure.DELAY
    trials: int | None = None
    effective: float | None = None
    effective_lower: float | None = None
    effective_upper: float | None = None
    blocks: tuple[BlockSums, ...] | None = None
    prior_design_effect: float | None = None
    min_coverage: float = 0.0
    calendar: bool = False
    window_length_ns: int | None = None
    budget_window_ns: int | None = None
    delays: tuple[int, ...] = ()
    least_delay_ns: int | None = None
    variation: Limit | None = None
    budget_remaining: float | None = None
    burn_rates: Mapping[int, float] = field(default_factory=dict)
    burns: Mapping[int, Burn] = field(default_factory=dict)
    maintenance_ns: int = 0
    maintenance_counts: Mapping[Outcome, int] = field(default_factory=dict)
    fault: Fault | None = None
    unavailable_ns: int = 0
    unobserved_ns: int = 0
    last_test: LastTest | None = None
    planned: int | None = None

    @property
    def packets(self) -> int:
        """How many packets were counted."""
        return sum(self.counts.values())
