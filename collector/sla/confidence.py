"""One-sided confidence bounds of a proportion, exact (Clopper and Pearson, Biometrika 26, 1934).

They hold for independent trials. `trials` and `events` need not be whole: packets of one burst depend on each other,
and whoever knows by how much gives an effective sample size, both numbers scaled alike.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from scipy.special import betaincinv

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


def clean_packets_needed(threshold: float) -> int:
    """How many packets without a single violation prove that violations are at most `threshold` (0 to 1, excluded).

    (1 - threshold)^n <= 5 %: 299 for P99, 2,995 for P99.9.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-threshold))
