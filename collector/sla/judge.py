"""Verdicts: the counts of a window held against what is promised (DESIGN: three verdicts of ILAC-G8, and NO_DATA).

p_lo is the share of packets that surely broke the promise, p_hi the share that may have. A packet that was lost
somewhere (unattributed) may have been lost in this direction; of one that is uncertain the clocks cannot tell.

    PASS            the upper bound of p_hi is at most the threshold
    FAIL            the lower bound of p_lo is above it
    INDETERMINATE   neither is proven
    NO_DATA         too little of the window was observed, or nothing that this objective could be judged by

All targets of an objective are judged at once, as arrays. What a verdict says in words is put together for those that
somebody looks at (`collector.sla.reasons`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import EDGES_NS
from agent.core.outcome import Operator, Outcome
from collector.sla.confidence import exceeds, lower_bounds, meets, upper_bounds
from collector.sla.effective import Blocks, Side, effective_samples
from collector.sla.measure import SHARES, Measure
from collector.sla.objective import Objective, Target
from collector.sla.observation import DIRECTIONS, NOT_MEASURED, Integers, Observation
from collector.sla.verdict import Verdict

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_US_NS: Final = 1_000
_BELOW: Final = np.array([-(1 << 62), *EDGES_NS], np.int64)
"""What the delays of each bucket are above."""
_AT_MOST: Final = np.array([*EDGES_NS, 1 << 62], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An objective and all that it is asked of.

    Attributes:
        objective: the same for all of them.
        targets: (n,).
        rows: of their paths in an `Observation` (n,).
        places: of their directions (n,).
    """

    objective: Objective
    targets: Sequence[Target]
    rows: Integers
    places: Integers

    @classmethod
    def of(cls, objective: Objective, targets: Sequence[Target], rows: Sequence[int]) -> Question:
        """Ask an objective of targets, whose paths stand in these rows."""
        places = [DIRECTIONS.index(target.direction) for target in targets]
        return cls(objective, targets, np.array(rows, np.int64), np.array(places, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The figures of verdicts, (n,) each.

    Attributes:
        trials: packets that were judged.
        surely, possibly: how many of them broke the promise.
        least, most: how many independent packets the trials are worth for the lower bound of p_lo, and for the upper
            bound of p_hi.
        coverage: share of the window that was observed.
        codes: the `Verdict`.
    """

    trials: Integers
    surely: Integers
    possibly: Integers
    least: Floats
    most: Floats
    coverage: Floats
    codes: NDArray[np.int8]

    def lower(self) -> Floats:
        """The one-sided 95 % lower bound of p_lo; 0 where there are no trials."""
        return lower_bounds(_worth(self.surely, self.trials, self.least), self.least)

    def upper(self) -> Floats:
        """The one-sided 95 % upper bound of p_hi; 1 where there are no trials."""
        return upper_bounds(_worth(self.possibly, self.trials, self.most), self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Exact(Evidence):
    """Evidence that is no sample of a window but all there is of it: bounds are the shares themselves."""

    def lower(self) -> Floats:
        """p_lo; 0 where there are no trials."""
        return self.surely / np.maximum(self.trials, 1)

    def upper(self) -> Floats:
        """p_hi; 1 where there are no trials."""
        return np.where(self.trials > 0, self.possibly / np.maximum(self.trials, 1), 1.0)


def judge(
    question: Question, observed: Observation, history: Observation | None, other_limit: Flags
) -> Evidence:
    """Judge all targets of an objective.

    Args:
        question: the objective and its targets.
        observed: all paths over its window.
        history: the same over a longer time, which tells how much packets depend on each other; None: the window is
            long enough to tell it itself.
        other_limit: of which targets the agent counts against another limit than the promised one (n,).
    """
    rows, places = question.rows, question.places
    objective = question.objective
    coverage = observed.coverage()[rows, places]
    if objective.measure is Measure.DELAY_VARIATION:
        # blocks have products of outcomes, and this is none: packets are taken as independent, and reasons say so
        trials, surely, possibly = _variation(objective, observed, rows, places)
        least = most = trials.astype(np.float64)
    else:
        trials = observed.outcomes[rows, places].sum(axis=1)
        shares = SHARES[objective.measure]
        prior: Floats | float = 1.0 if history is None else _prior(shares.possibly, question, history)
        # a lower bound errs to the safe side where bursts were missed
        asked = ((shares.surely, Side.LOWER, 1.0), (shares.possibly, Side.UPPER, prior))
        (surely, least), (possibly, most) = _effective(asked, question, observed)
    codes = np.full(len(rows), Verdict.INDETERMINATE, np.int8)
    codes[meets(_worth(possibly, trials, most), most, objective.threshold)] = Verdict.PASS
    codes[exceeds(_worth(surely, trials, least), least, objective.threshold)] = Verdict.FAIL
    codes[(coverage < objective.min_coverage) | (trials == 0) | other_limit] = Verdict.NO_DATA
    return Evidence(trials, surely, possibly, least, most, coverage, codes)


_PRIORS: Final[WeakKeyDictionary[Observation, dict[Question, Floats]]] = WeakKeyDictionary()
"""What histories have told: they stay the same for many evaluations."""


def _prior(which: frozenset[Outcome], question: Question, history: Observation) -> Floats:
    """How many packets were worth one in a longer time (n,)."""
    known = _PRIORS.setdefault(history, {})
    if question not in known:
        outcomes = history.outcomes[question.rows, question.places]
        ((_, samples),) = _effective([(which, Side.UPPER, 1.0)], question, history)
        trials = outcomes.sum(axis=1)
        known[question] = np.divide(trials, samples, out=np.ones(len(trials)), where=samples > 0)
    return known[question]


def _effective(
    asked: Sequence[tuple[frozenset[Outcome], Side, Floats | float]],
    question: Question,
    observed: Observation,
) -> list[tuple[Integers, Floats]]:
    """For each share that is asked for, how many packets have one of its outcomes, and how many independent ones all of
    them are worth for that."""
    outcomes = observed.outcomes[question.rows, question.places]
    trials = outcomes.sum(axis=1)
    events = [outcomes[:, sorted(which)].sum(axis=1) for which, _, _ in asked]
    # Of what always happens, or never does, the blocks tell nothing.
    varied = np.flatnonzero(np.any([(one > 0) & (one < trials) for one in events], axis=0))
    products = [one[question.rows[varied], question.places[varied]] for one in observed.products]
    found = []
    for (which, side, prior), happened in zip(asked, events, strict=True):
        samples = trials / np.maximum(prior, 1.0)
        blocks = [Blocks.of_products(one, sorted(which)) for one in products]
        assumed = prior[varied] if isinstance(prior, np.ndarray) else prior
        samples[varied] = effective_samples(happened[varied], trials[varied], blocks, side, assumed).samples
        found.append((happened, samples))
    return found


def _worth(events: Integers, trials: Integers, effective: Floats) -> Floats:
    """Events, as many as the trials are worth."""
    scale: Floats = np.divide(effective, trials, out=np.zeros_like(effective), where=trials > 0)
    return events * scale


def _variation(
    objective: Objective, observed: Observation, rows: Integers, places: Integers
) -> tuple[Integers, Integers, Integers]:
    """Packets that were measured, and those that took longer than the quickest one and the variation promised.

    The histogram tells between which edges a packet's delay lies, and the least delay is known to the microsecond: so
    some are surely beyond, some surely not, and of those in the bucket between nothing is known.
    """
    assert objective.variation is not None
    delays = observed.delays[rows, places]
    least_ns = observed.minima_us[rows, places] * _US_NS
    known = observed.minima_us[rows, places] != NOT_MEASURED
    bound_ns = np.where(known, least_ns, 0) + objective.variation.limit_ns
    surely = (delays * (bound_ns[:, None] + _US_NS <= _BELOW)).sum(axis=1)
    at_bound = bound_ns[:, None] <= _AT_MOST
    beyond = bound_ns[:, None] < _AT_MOST
    possibly = (delays * (at_bound if objective.variation.operator is Operator.BELOW else beyond)).sum(axis=1)
    trials = delays.sum(axis=1)
    return trials, np.where(known, surely, 0), np.where(known, possibly, trials)
