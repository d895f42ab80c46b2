"""Readings of many paths with counts as a city's have them, drawn quickly: for benches of what keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.minutes import WIDTH, Integers, by_direction, direction_counts
from collector.sla.counts import Reading
from collector.sla.verdict import PathKey

_SPREAD = (0.75, 0.2, 0.04, 0.01)
"""Shares of packets in neighbouring buckets: most delays alike, with a tail."""

_LOSS, _LATE = 0.001, 0.0005
_LIMITS = dict.fromkeys(Direction, Limit(10_000_000, Operator.AT_MOST))


def readings(
    site: str, paths: int, minutes: int, per_minute: int, begin_s: int, seed: int = 1
) -> Iterator[list[Reading]]:
    """One reading of all paths a minute, of so many packets each."""
    rng = np.random.default_rng(seed)
    keys = [PathKey(site, f"target{number}", "hub", "telecom", "stamp", 0) for number in range(paths)]
    first = rng.integers(4, BUCKETS - len(_SPREAD), (paths, len(Direction)))
    counts = np.zeros((paths, WIDTH), np.int64)
    for minute in range(1, minutes + 1):
        counts += _minute(rng, first, per_minute)
        taken_ns = (begin_s + 60 * minute) * 1_000_000_000
        minima = 1_000 * rng.integers(4_000, 4_010, (paths, len(Direction)))
        yield [
            _reading(key, begin_s, taken_ns, vector, least)
            for key, vector, least in zip(keys, counts.tolist(), minima.tolist(), strict=True)
        ]


def _minute(rng: np.random.Generator, first: Integers, per_minute: int) -> Integers:
    """What every path counts in a minute."""
    counts = np.zeros((len(first), WIDTH), np.int64)
    counts[:, 0] = per_minute + rng.integers(-1, 2, len(first))
    directions = by_direction(counts)
    for place in range(len(Direction)):
        lost = rng.binomial(counts[:, 0], _LOSS)
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


def _reading(key: PathKey, begin_s: int, taken_ns: int, vector: list[int], least: Sequence[int]) -> Reading:
    minima_ns = dict(zip(Direction, least, strict=True))
    return Reading(
        key,
        begin_s,
        taken_ns,
        vector[0],
        0,
        direction_counts(vector),
        _LIMITS,
        minima_ns=minima_ns,
        since=begin_s,
    )
