"""What was beyond in the parts of a window, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.minutes import NO_MINIMUM, WIDTH, Minutes, by_direction
from collector.ledger.promises import Promises
from collector.ledger.sums import Sums, totals
from collector.ledger.tails import tails_of_parts
from collector.sla.variation import PAIRS, Beyond, counted_from, first_beyond
from tests.support.counting import CITY_LIMIT, HUB_LIMIT

TERMS = {1: dict.fromkeys(Direction, HUB_LIMIT), 2: dict.fromkeys(Direction, CITY_LIMIT)}


@pytest.mark.parametrize("apart", [False, True])
def test_each_part_is_held_against_the_least_delay_asked_for(apart: bool) -> None:
    """That of the window, or its own, where it is known; of the paths asked for, and of what was counted against what
    is promised; in blocks into which parts are put together, or that are the parts."""
    rng = np.random.default_rng(7)
    number, paths = 40, np.array([3, 1, 9, 2])
    minutes = Minutes(
        rng.integers(1, 5, number),
        rng.integers(1, 3, number),
        100 + rng.integers(0, 12, number) * 60,
        np.full(number, 60_000),
        np.zeros(number, np.int64),
        np.where(rng.random((number, 3)) < 0.2, NO_MINIMUM, rng.integers(1_000, 9_000, (number, 3))),
        rng.integers(0, 100, (number, WIDTH)),
    ).merged()
    parts = Sums.of(minutes, 1)
    promised = Promises([dict.fromkeys(Direction, HUB_LIMIT)] * 3 + [{}])
    window = totals(parts, paths, TERMS, promised)
    beyond = Beyond(Limit(2_000_000, Operator.AT_MOST), apart)
    wanted = np.array([[True] * 3, [False, True, False], [True] * 3, [False] * 3])
    asked = parts, paths, TERMS, promised, window.minima_us, {beyond: wanted}
    found = tails_of_parts(*asked, (1, 180))[beyond]
    for place, path in enumerate(paths.tolist()):
        mine = minutes.take((minutes.path == path) & ((minutes.terms == 1) | (path == 2)))
        if place == 3:
            mine = mine.take(slice(0))
        least = mine.minima_us if apart else np.repeat(window.minima_us[[place]], len(mine), axis=0)
        delays = by_direction(mine.counts)[:, :, len(Outcome) :]
        counted = counted_from(delays, first_beyond(beyond.limit, least))
        if apart:
            counted[least == NO_MINIMUM] = 0
        np.testing.assert_array_equal(found.counts[place], counted.sum(axis=0))
        for length, products in found.products.items():
            blocks = mine.minute // length
            each = [counted[blocks == block].sum(axis=0) for block in sorted(set(blocks.tolist()))]
            for pair, (one, other) in enumerate(PAIRS):
                expected = sum((block[:, one] * block[:, other] for block in each), np.zeros(3, np.int64))
                np.testing.assert_array_equal(products[place, :, pair], expected)
    if not apart:
        delays_beyond = counted_from(window.delays, first_beyond(beyond.limit, window.minima_us))
        np.testing.assert_array_equal(found.counts[:3], delays_beyond[:3])
