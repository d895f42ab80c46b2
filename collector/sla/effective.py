"""How many independent packets a share is worth, told from how it varies between blocks of time.

Packets of one burst are lost together, so n packets know less than n independent ones. By how much is seen in blocks
of time, a minute for instance: with x the packets of a block that count and n all packets of it, the variance of the
share p = Σx / Σn as a ratio of sums over m blocks is, over the variance it would have if packets were independent,

    design effect = m / (m - 1) · Σ(x - p n)² / (p (1 - p) Σn)             Σ(x - p n)² = Σx² - 2p Σxn + p² Σn²

Exact binomial bounds are then taken with Σn / design effect trials of the same share, reduced by the square of
(normal quantile / t quantile) because the variance itself is estimated, with few degrees of freedom.

Source: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
from survey data, Survey Methodology 24 (1998); used for official statistics by Parker et al., National Center for
Health Statistics Data Presentation Standards for Proportions, Vital Health Stat 2(175), 2017. The variance of a ratio
between clusters: Cochran, Sampling Techniques (1977), chapter 6.

Three things are done otherwise than there:

- Blocks of several lengths are given (`block_minutes`), and the one that leaves fewest samples counts. Minutes alone
  miss what bursts longer than a minute add; fifths of the window, with the t quantile of four degrees of freedom, leave
  room for bursts of any length.
- m is Kish's (Σn)² / Σn², the number of equal blocks that are worth as much: it needs no count, and is m where the
  blocks are alike.
- Korn and Graubard have m - 1 degrees of freedom. For an upper bound that is too many where few bursts were seen:
  with the bursts that were missed both the share and its variance come out too low. There the degrees of freedom are
  half the effective events, at least 3 (Satterthwaite's for bursts of exponentially distributed length would be two
  thirds; excursions of a queue are more uneven). A lower bound errs to the safe side then, and keeps m - 1.

What is claimed of loss and delay whose statistics do not change with time, judged with the blocks that `block_minutes`
names, and held against simulations in `tests/collector/sla/test_coverage_of_*.py`: in at least 94 % of windows

- a lower bound (FAIL) is below the long-run share: windows of two minutes and more, bursts of any length if at most a
  thirtieth of all time lies in them, and of up to a tenth of the window otherwise. Where bursts take a tenth of the
  time and outlast the window, so many windows see nothing else that only 87 % are covered.
- an upper bound (PASS) is above it: windows in which ten bursts of one kind are expected, or ten effective events
  where they come in clusters as the excursions of a queue do. No method can tell it from the window alone where fewer
  than three are: the chance to see none at all is above 5 % then, and a window without an event looks the same whether
  packets are lost one by one or by the thousand.
- both do their part with a `prior_design_effect` from a longer history of the path in which ten bursts are expected:
  windows of any length. So they do where a few long bursts lie above a steady background of single losses; without
  the prior an upper bound covers about 90 % there if ten of the long bursts are expected, and needs forty.

A delay variation is told by the histograms of blocks (`collector.sla.variation`). That nothing more need be kept, hours
stand for minutes in windows longer than an hour: of a few blocks less is known, and the t quantile makes up for that.

A correction only ever takes samples away, so what every packet for a sample does not prove needs none.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri, stdtrit

from agent.core.outcome import Outcome
from collector.sla.confidence import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Sums = NDArray[np.float64] | NDArray[np.int64]

PRODUCTS: Final = tuple((one, other) for one in Outcome for other in Outcome if one <= other)
"""Which outcomes of a block are multiplied: each pair once."""

FEWEST_BLOCKS: Final = 4
"""Longer blocks than the shortest are looked at where the window holds as many of them."""

FEWEST_DEGREES: Final = 3.0
"""Degrees of freedom of an upper bound with a burst or a few, where the blocks allow as many: a clean window passes, so
a single lost packet must not leave it without a verdict for long."""


def block_minutes(window: int) -> tuple[int, ...]:
    """How long the blocks of a window are to be for the claims above: a minute, a twentieth and a fifth of it.

    Args:
        window: its length in minutes.

    Returns:
        Different lengths in minutes, the shortest first. Lengths near them do as well: whole hours or days.
    """
    return tuple(sorted({1, max(1, round(window / 20)), max(1, round(window / 5))}))


class Side(Enum):
    """Which one-sided bound the samples are for."""

    LOWER = auto()
    UPPER = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Sums over the blocks of one length into which windows are divided; arrays of one shape, an element a window.

    They are whole numbers where they are of packets. Blocks of a window need not be equally long nor hold as many
    packets, and may be missing: the last of an hour's window may hold one minute.

    Attributes:
        events_squared: Σx², x: the packets of a block that count.
        events_by_trials: Σxn, n: all packets of it.
        trials_squared: Σn².
    """

    events_squared: Sums
    events_by_trials: Sums
    trials_squared: Sums

    @classmethod
    def of(cls, events: ArrayLike, trials: ArrayLike) -> Blocks:
        """The sums over the last axis, of counts by block."""
        x, n = np.asarray(events, np.float64), np.asarray(trials, np.float64)
        return cls(np.square(x).sum(-1), (x * n).sum(-1), np.square(n).sum(-1))

    def first(self) -> tuple[int, int, int]:
        """Σx², Σxn and Σn² of the first window, where they are whole numbers."""
        return int(self.events_squared[0]), int(self.events_by_trials[0]), int(self.trials_squared[0])

    @classmethod
    def of_products(cls, products: ArrayLike, chosen: Collection[int]) -> Blocks:
        """The sums for a share of outcomes, of products of outcomes summed over blocks.

        Args:
            products: (..., `PRODUCTS`), as `collector.ledger.sums.Totals` has them of minutes.
            chosen: the outcomes that count.
        """
        # not a product of matrices, for which numpy's BLAS wakes all cores
        found = np.einsum("...p,pk->...k", np.asarray(products), _weights(frozenset(chosen)))
        return cls(*np.moveaxis(found, -1, 0))


@functools.cache
def _weights(chosen: frozenset[Outcome]) -> NDArray[np.int64]:
    """How often each product is in Σx², Σxn and Σn² (products, 3): those of two outcomes stand for two."""
    counted = [(one in chosen, other in chosen, 1 if one is other else 2) for one, other in PRODUCTS]
    return np.array([(both * (a and b), both * (a + b) // 2, both) for a, b, both in counted], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveSamples:
    """What a share is worth; arrays of one shape, an element a window.

    Attributes:
        events, samples: with these for events and trials the exact bounds are taken; their ratio is the share.
        design_effect: how many packets are worth one sample, with the reduction for few degrees of freedom; 1 or more.
            It is what a shorter window of the same path takes for its `prior_design_effect`.
        measured: whether the window itself has told it. Where not, it is the prior.
    """

    events: NDArray[np.float64]
    samples: NDArray[np.float64]
    design_effect: NDArray[np.float64]
    measured: NDArray[np.bool_]


def effective_samples(
    events: ArrayLike,
    trials: ArrayLike,
    blocks: Sequence[Blocks],
    side: Side,
    prior_design_effect: ArrayLike = 1.0,
) -> EffectiveSamples:
    """How many independent packets the share `events / trials` of each window is worth.

    A window tells nothing of it where no packet counts, or all do, or where it has a single block: there is no
    variance then. Not to correct is what remains, for the share may well be 0, and a clean window must be able to
    pass; but it is the assumption that packets are independent, so `measured` is false, and whoever knows better says
    so:

    - from a longer history of the path: its `design_effect`, for the same outcomes and side;
    - from nothing but caution: `trials_squared / trials`, the packets of a block. Then a clean block is one sample,
      which holds for bursts up to a block's length, and P99.9 takes 2,995 clean minutes instead of as many packets.

    Args:
        events, trials: Σx and Σn over the whole window.
        blocks: its sums by block, one of each length, in any order. None, or one of zeros, tell nothing.
        side: the bound that the samples are for.
        prior_design_effect: the least that is assumed; below 1 counts as 1.
    """
    parts = [
        part for one in blocks for part in (one.events_squared, one.events_by_trials, one.trials_squared)
    ]
    x, n, prior, *sums = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (events, trials, prior_design_effect, *parts))
    )
    effect = np.array(np.maximum(prior, 1.0))
    measured = np.zeros(x.shape, np.bool_)
    varied = np.asarray((x > 0) & (x < n))
    if sums and varied.any():
        inside = [one[varied] for one in sums]
        found, measured[varied] = _largest(x[varied], n[varied], inside, side)
        effect[varied] = np.maximum(effect[varied], found)
    return EffectiveSamples(np.asarray(x / effect), np.asarray(n / effect), effect, measured)


def _largest(
    x: NDArray[np.float64], n: NDArray[np.float64], sums: Sequence[NDArray[np.float64]], side: Side
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The largest design effect of all lengths of blocks, and whether there is one; 0 < x < n."""
    squares = sums[2::3]
    number = [np.divide(n * n, one, out=np.zeros_like(n), where=one > 0) for one in squares]
    most = np.maximum.reduce(number)
    effect = np.ones_like(n)
    known = np.zeros(n.shape, np.bool_)
    for m, xx, xn, nn in zip(number, sums[0::3], sums[1::3], squares, strict=True):
        # two equal blocks may come out as 1.9999999999999998
        usable = (m > 2 - 1e-9) & ((m >= FEWEST_BLOCKS) | (m == most))
        known |= usable
        x_, n_, m_, xx_, xn_, nn_ = (one[usable] for one in (x, n, m, xx, xn, nn))
        effect[usable] = np.maximum(effect[usable], _design_effect(x_, n_, m_, xx_, xn_, nn_, side))
    return effect, known


def _design_effect(
    x: NDArray[np.float64],
    n: NDArray[np.float64],
    m: NDArray[np.float64],
    xx: NDArray[np.float64],
    xn: NDArray[np.float64],
    nn: NDArray[np.float64],
    side: Side,
) -> NDArray[np.float64]:
    p = x / n
    between = xx - 2 * p * xn + p * p * nn
    effect = np.maximum(1.0, m / (m - 1) * between / (n * p * (1 - p)))
    degrees = m - 1
    if side is Side.UPPER:
        degrees = np.minimum(degrees, np.maximum(FEWEST_DEGREES, x / effect / 2))
    corrected: NDArray[np.float64] = effect * np.square(t_quantile(degrees) / ndtri(CONFIDENCE))
    return corrected


_STEPS: Final = 1 << 15


@functools.cache
def _t_quantiles() -> NDArray[np.float64]:
    """The t quantile at 95 % by the inverse of the degrees of freedom, in steps from 0 to 1 and one beyond."""
    inverses = np.arange(1, _STEPS + 2) / _STEPS
    return np.concatenate([[ndtri(CONFIDENCE)], stdtrit(1 / inverses, CONFIDENCE)])


def t_quantile(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The t quantile at 95 %, for one degree of freedom and more; to eight digits.

    It is smooth in the inverse of the degrees, and taken from the line between two of `_t_quantiles`: to compute it
    costs fifty times as much, which would be most of an evaluation of very many paths.
    """
    place = np.minimum(_STEPS / degrees, _STEPS)
    below = place.astype(np.intp)
    table = _t_quantiles()
    quantile: NDArray[np.float64] = table[below] + (place - below) * (table[below + 1] - table[below])
    return quantile
