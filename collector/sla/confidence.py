"""One-sided confidence bounds of a proportion, exact (Clopper and Pearson, Biometrika 26, 1934).

They hold for independent trials. `trials` and `events` need not be whole: packets of one burst depend on each other,
and whoever knows by how much gives an effective sample size, both numbers scaled alike (`collector.sla.effective`).

For many paths at once `upper_bounds` and `lower_bounds` take arrays of any shapes that broadcast. An inversion costs
about six times what a decision does: `meets` and `exceeds` tell without inverting on which side of a threshold a bound
lies, and are true for just the same numbers, because a distribution function is monotone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import betainc, betaincinv

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE: Final = 0.95


@lru_cache(maxsize=65_536)
def upper_bound(events: float, trials: float) -> float:
    """The largest proportion that is not refuted at 95 %, one-sided, by `events` in `trials`; 1 without trials."""
    if events >= trials:
        return 1.0
    return float(betaincinv(events + 1, trials - events, CONFIDENCE))


@lru_cache(maxsize=65_536)
def lower_bound(events: float, trials: float) -> float:
    """The smallest proportion that is not refuted at 95 %, one-sided, by `events` in `trials`; 0 without trials."""
    if events <= 0 or trials <= 0:
        return 0.0
    return float(betaincinv(events, trials - events + 1, 1 - CONFIDENCE))


def upper_bounds(events: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """`upper_bound` of each element."""
    counted, of = _floats(events, trials)
    bounds = np.ones(counted.shape)
    none = (counted <= 0) & (of > 0)
    bounds[none] = _clean_bounds(of[none])
    some = (counted > 0) & (counted < of)
    bounds[some] = betaincinv(counted[some] + 1, of[some] - counted[some], CONFIDENCE)
    return bounds


def lower_bounds(events: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """`lower_bound` of each element."""
    counted, of = _floats(events, trials)
    bounds = np.zeros(counted.shape)
    some = (counted > 0) & (of > 0)
    bounds[some] = betaincinv(counted[some], of[some] - counted[some] + 1, 1 - CONFIDENCE)
    return bounds


def meets(events: ArrayLike, trials: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Whether the upper bound of each element is at most the threshold (0 to 1): `upper_bounds(...) <= threshold`."""
    counted, of, most = _floats(events, trials, threshold)
    proven = np.ones(counted.shape, np.bool_)
    proven[most < 1] = False
    open_ = (counted < of) & (most < 1)
    none = open_ & (counted <= 0)
    proven[none] = _clean_bounds(of[none]) <= most[none]
    # An upper bound is above the share itself, a lower one below it: of the two that are asked one is always clear.
    some = open_ & (counted > 0) & (counted <= most * of)
    proven[open_ & (counted > most * of)] = False
    proven[some] = betainc(counted[some] + 1, of[some] - counted[some], most[some]) >= CONFIDENCE
    return proven


def exceeds(events: ArrayLike, trials: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Whether the lower bound of each element is above the threshold (0 to 1): `lower_bounds(...) > threshold`."""
    counted, of, most = _floats(events, trials, threshold)
    some = (counted > 0) & (of > 0) & (counted > most * of)
    proven = np.zeros(counted.shape, np.bool_)
    proven[some] = betainc(counted[some], of[some] - counted[some] + 1, most[some]) < 1 - CONFIDENCE
    return proven


def _clean_bounds(trials: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upper bounds where there is no event: an inversion in closed form."""
    bounds: NDArray[np.float64] = -np.expm1(math.log(1 - CONFIDENCE) / trials)
    return bounds


def _floats(*values: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    return np.broadcast_arrays(*(np.asarray(value, np.float64) for value in values))


def clean_packets_needed(threshold: float) -> int:
    """How many packets without a single violation prove that violations are at most `threshold` (0 to 1, excluded).

    (1 - threshold)^n <= 5 %: 299 for P99, 2,995 for P99.9.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-threshold))
