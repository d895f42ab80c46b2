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
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from collector.sla.confidence import exceeds, lower_bounds, meets, upper_bounds
from collector.sla.effective import Blocks, Side, effective_samples
from collector.sla.measure import SHARES
from collector.sla.objective import Objective, Target
from collector.sla.observation import DIRECTIONS, Integers, Observation
from collector.sla.variation import ALL, POSSIBLY, SURELY, Beyond, counted_from, first_beyond
from collector.sla.verdict import BlockSums, Verdict

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
        prior: how many packets were worth one in a longer time, where that was asked for.
    """

    trials: Integers
    surely: Integers
    possibly: Integers
    least: Floats
    most: Floats
    coverage: Floats
    codes: NDArray[np.int8]
    prior: Floats | None = field(default=None, kw_only=True)

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
    objective = question.objective
    coverage = observed.coverage()[question.rows, question.places]
    trials, surely, possibly = _counted(question, observed)
    prior = None if history is None else _prior(question, history)
    # Of what always happens, or never does, the blocks tell nothing.
    varied = np.flatnonzero(np.any([(one > 0) & (one < trials) for one in (surely, possibly)], axis=0))
    sure, may = ([*_blocks(question, observed, which, varied).values()] for which in (SURELY, POSSIBLY))
    # a lower bound errs to the safe side where bursts were missed, and needs no prior
    least = _samples(surely, trials, varied, sure, Side.LOWER, None)
    most = _samples(possibly, trials, varied, may, Side.UPPER, prior)
    codes = np.full(len(trials), Verdict.INDETERMINATE, np.int8)
    codes[meets(_worth(possibly, trials, most), most, objective.threshold)] = Verdict.PASS
    codes[exceeds(_worth(surely, trials, least), least, objective.threshold)] = Verdict.FAIL
    codes[(coverage < objective.min_coverage) | (trials == 0) | other_limit] = Verdict.NO_DATA
    return Evidence(trials, surely, possibly, least, most, coverage, codes, prior=prior)


def block_sums(question: Question, observed: Observation, index: int) -> tuple[BlockSums, ...]:
    """What the blocks of each length tell of one target: with these its effective samples were found."""
    shares = [_blocks(question, observed, which, np.array([index])) for which in (SURELY, POSSIBLY)]
    lower, upper = ({minutes: one.first() for minutes, one in share.items()} for share in shares)
    return tuple(BlockSums(minutes, lower[minutes], upper[minutes]) for minutes in sorted(lower))


def _blocks(question: Question, observed: Observation, which: int, some: Integers) -> dict[int, Blocks]:
    """What the blocks of each length tell of what broke the promise; none where they are not known.

    Args:
        question, observed: as of `judge`.
        which: `SURELY` or `POSSIBLY`.
        some: which of the targets, by their places (m,).
    """
    rows, places, objective = question.rows[some], question.places[some], question.objective
    if objective.variation is not None:
        tails = observed.tails.get(Beyond(objective.variation))
        return {} if tails is None else tails.blocks(which, rows, places)
    share = sorted(SHARES[objective.measure][which])
    return {
        minutes: Blocks.of_products(one[rows, places], share) for minutes, one in observed.products.items()
    }


def _counted(question: Question, observed: Observation) -> tuple[Integers, Integers, Integers]:
    """Packets that were judged, and those that broke the promise surely, or possibly (n,)."""
    rows, places, objective = question.rows, question.places, question.objective
    if objective.variation is not None:
        first = first_beyond(objective.variation, observed.minima_us[rows, places])
        counts = counted_from(observed.delays[rows, places], first)
        return counts[:, ALL], counts[:, SURELY], counts[:, POSSIBLY]
    outcomes = observed.outcomes[rows, places]
    surely, possibly = (outcomes[:, sorted(share)].sum(axis=1) for share in SHARES[objective.measure])
    return outcomes.sum(axis=1), surely, possibly


_PRIORS: Final[WeakKeyDictionary[Observation, dict[Question, Floats]]] = WeakKeyDictionary()
"""What histories have told: they stay the same for many evaluations."""


def _prior(question: Question, history: Observation) -> Floats:
    """How many packets were worth one in a longer time, of those that may have broken the promise (n,)."""
    known = _PRIORS.setdefault(history, {})
    if question not in known:
        known[question] = _design_effects(question, history)
    return known[question]


def _design_effects(question: Question, history: Observation) -> Floats:
    limit = question.objective.variation
    effects = np.ones(len(question.rows))
    if limit is None:
        trials, _, possibly = _counted(question, history)
        varied = np.flatnonzero((possibly > 0) & (possibly < trials))
        blocks = _blocks(question, history, POSSIBLY, varied)
    else:
        tails = history.tails[Beyond(limit, apart=True)]
        counts = tails.counts[question.rows, question.places]
        trials, possibly = counts[:, ALL], counts[:, POSSIBLY]
        varied = np.flatnonzero((possibly > 0) & (possibly < trials))
        blocks = tails.blocks(POSSIBLY, question.rows[varied], question.places[varied])
    found = effective_samples(possibly[varied], trials[varied], [*blocks.values()], Side.UPPER)
    effects[varied] = found.design_effect
    return effects


def _samples(
    events: Integers,
    trials: Integers,
    varied: Integers,
    blocks: Sequence[Blocks],
    side: Side,
    prior: Floats | None,
) -> Floats:
    """How many independent packets all of them are worth for the share of some (n,).

    Args:
        events, trials: of each target (n,).
        varied: of which of them the blocks tell anything (m,).
        blocks: of those.
        side: the bound that the samples are for.
        prior: the least of packets that is worth one.
    """
    least = np.ones(len(trials)) if prior is None else np.maximum(prior, 1.0)
    samples: Floats = trials / least
    samples[varied] = effective_samples(events[varied], trials[varied], blocks, side, least[varied]).samples
    return samples


def _worth(events: Integers, trials: Integers, effective: Floats) -> Floats:
    """Events, as many as the trials are worth."""
    scale: Floats = np.divide(effective, trials, out=np.zeros_like(effective), where=trials > 0)
    return events * scale
