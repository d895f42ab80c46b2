"""One-sided confidence bounds of a proportion, exact (Clopper and Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from scipy.stats import beta

CONFIDENCE: Final = 0.95


@lru_cache(maxsize=65_536)
def upper_bound(events: int, trials: int) -> float:
    """The largest proportion that is not refuted at 95 %, one-sided, by `events` in `trials`; 1 without trials."""
    if events >= trials:
        return 1.0
    return float(beta.ppf(CONFIDENCE, events + 1, trials - events))


@lru_cache(maxsize=65_536)
def lower_bound(events: int, trials: int) -> float:
    """The smallest proportion that is not refuted at 95 %, one-sided, by `events` in `trials`; 0 without trials."""
    if events <= 0 or trials <= 0:
        return 0.0
    return float(beta.ppf(1 - CONFIDENCE, events, trials - events + 1))


def clean_packets_needed(threshold: float) -> int:
    """How many packets without a single violation prove that violations are at most `threshold` (0 to 1, excluded).

    (1 - threshold)^n <= 5 %: 299 for P99, 2,995 for P99.9.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-threshold))
