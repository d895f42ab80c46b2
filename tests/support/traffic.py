"""Readings of many paths with counts as a city's have them, drawn quickly: for benches of what keeps them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.minutes import WIDTH, Integers, by_direction
from collector.ledger.readings import Counted, Readings
from collector.sla.verdict import PathKey

_SPREAD = (0.75, 0.2, 0.04, 0.01)
"""Shares of packets in neighbouring buckets: most delays alike, with a tail."""

_LOSS, _LATE = 0.001, 0.0005
_WORN, _LOSS_OF_WORN = 20, 0.02
"""One path of so many loses so much more."""
_LIMITS = dict.fromkeys(Direction, Limit(10_000_000, Operator.AT_MOST))


def readings(
    site: str, paths: int, minutes: int, per_minute: int, begin_s: int, seed: int = 1
) -> Iterator[Readings]:
    """One reading of all paths a minute, of so many packets each."""
    rng = np.random.default_rng(seed)
    keys = tuple(PathKey(site, f"target{number}", "hub", "telecom", "stamp", 0) for number in range(paths))
    counted = Counted(keys, (_LIMITS,) * paths, (begin_s,) * paths, (begin_s,) * paths, (None,) * paths)
    first = rng.integers(4, BUCKETS - len(_SPREAD), (paths, len(Direction)))
    counts = np.zeros((paths, WIDTH), np.int64)
    for minute in range(1, minutes + 1):
        counts = counts + _minute(rng, first, per_minute)
        taken_ns = np.full(paths, (begin_s + 60 * minute) * 1_000_000_000)
        minima_ns = 1_000 * rng.integers(4_000, 4_010, (paths, len(Direction)))
        nothing = np.zeros(paths, np.int64)
        yield Readings(counted, taken_ns, nothing, np.ones(paths, np.bool_), minima_ns, counts)


def _minute(rng: np.random.Generator, first: Integers, per_minute: int) -> Integers:
    """What every path counts in a minute."""
    counts = np.zeros((len(first), WIDTH), np.int64)
    counts[:, 0] = per_minute + rng.integers(-1, 2, len(first))
    directions = by_direction(counts)
    losses = np.where(np.arange(len(first)) % _WORN, _LOSS, _LOSS_OF_WORN)
    for place in range(len(Direction)):
        lost = rng.binomial(counts[:, 0], losses)
        arrived = counts[:, 0] - lost
        late = rng.binomial(arrived, _LATE)
        directions[:, place, Outcome.WITHIN] = arrived - late
        directions[:, place, Outcome.OVER] = late
        directions[:, place, Outcome.LOST] = lost
        drawn = rng.multinomial(arrived, _SPREAD)
        for bucket in range(len(_SPREAD)):
            rows = np.arange(len(first))
            directions[rows, place, len(Outcome) + first[:, place] + bucket] = drawn[:, bucket]
    return counts
