"""How often the stated 95 % is true of a delay variation, by what the ledger has of it: histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.last_hour import LastHour
from collector.ledger.minutes import WIDTH, Minutes, by_direction
from collector.ledger.promises import Promises
from collector.ledger.sums import PRODUCT_WIDTH, Sums, Totals, totals
from collector.ledger.tails import tails_of_parts
from collector.sla.confidence import lower_bounds, upper_bounds
from collector.sla.effective import block_minutes
from collector.sla.judge import Question, judge
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.observation import Observation
from collector.sla.variation import Beyond, Tails
from collector.sla.window import Window
from tests.support.bursts import CLAIMED, DAY, HOUR, Coverage, Queue, Scenario, numbered
from tests.support.counting import PATH

VARIED: Final = (
    Scenario(Queue(0.01, 10, 0.3), 5, 1000),
    Scenario(Queue(0.01, 1, 10), HOUR, 1000),
    Scenario(Queue(0.01, 1, 10), 4 * HOUR, 1000),
    Scenario(Queue(0.01, 1, 60), HOUR, 300, DAY),
)
SURE, POSSIBLE = Limit(999_000, Operator.AT_MOST), Limit(1_000_000, Operator.AT_MOST)
"""Beyond the one are surely all packets over the limit of `Queue`, beyond the other possibly, and no others."""

QUICKEST_US: Final = 4_000
FREE: Final[Mapping[Direction, Limit]] = {}


def observed(histograms: NDArray[np.int64]) -> Observation:
    """Windows (windows, minutes, buckets), as the ledger gives them, each of a path of its own."""
    windows, minutes, _ = histograms.shape
    rows = windows * minutes
    counts = np.zeros((rows, WIDTH), np.int64)
    by_direction(counts)[:, :, len(Outcome) :] = histograms.reshape(rows, 1, BUCKETS)
    nothing, least = np.zeros(rows, np.int64), np.full((rows, 3), QUICKEST_US)
    path, minute = np.repeat(np.arange(windows), minutes), np.tile(np.arange(minutes), windows)
    lately = LastHour(0)
    lately.add(nothing, Minutes(path, nothing, minute, nothing + 60_000, nothing, least, counts))
    everything = {Beyond(limit): np.ones((windows, 3), np.bool_) for limit in (SURE, POSSIBLE)}
    asked = np.arange(windows), {0: FREE}, Promises([FREE] * windows), block_minutes(minutes)
    seen = lately.window(0, minutes, *asked, beyond=everything)
    return observation_of(seen.totals, seen.tails, minutes)


def read_in_parts(histograms: NDArray[np.int64], apart: bool) -> Observation:
    """Longer ones, as they are read: the last hour in twentieths of the window, and the others whole."""
    windows, minutes, _ = histograms.shape
    lengths = block_minutes(minutes)[1:]
    minute = np.arange(minutes)
    last = minutes - HOUR
    start = np.where(
        minute < last, minute // HOUR * HOUR, np.maximum(last, minute // lengths[0] * lengths[0])
    )
    starts = np.unique(start)
    counted = np.add.reduceat(histograms, starts, axis=1).reshape(-1, 1, BUCKETS)
    counts = np.zeros((len(counted), WIDTH), np.int64)
    by_direction(counts)[:, :, len(Outcome) :] = counted
    path, nothing = np.repeat(np.arange(windows), len(starts)), np.zeros(len(counted), np.int64)
    products = np.zeros((len(counted), PRODUCT_WIDTH), np.int64)
    least = np.full((len(counted), 3), QUICKEST_US)
    parts = Sums(path, nothing, np.tile(starts, windows), nothing, nothing, least, counts, products)
    of = np.arange(windows), {0: FREE}, Promises([FREE] * windows)
    whole = totals(parts.starting(0).merged(), *of)
    beyond = {Beyond(limit, apart): np.ones((windows, 3), np.bool_) for limit in (SURE, POSSIBLE)}
    return observation_of(whole, tails_of_parts(parts, *of, whole.minima_us, beyond, lengths), minutes)


def observation_of(found: Totals, tails: Mapping[Beyond, Tails], minutes: int) -> Observation:
    """All of it covered."""
    nothing = np.zeros(len(found.outcomes), np.int64)
    end_ns = nothing + minutes * 60_000_000_000
    return Observation(
        nothing,
        end_ns,
        np.repeat(end_ns[:, None] // 1_000_000, 3, axis=1),
        found.outcomes,
        found.delays,
        found.minima_us,
        nothing,
        np.zeros_like(found.outcomes),
        {},
        tails=tails,
    )


@pytest.mark.parametrize(("scenario", "seed"), numbered(VARIED, 600))
def test_both_bounds_of_a_delay_variation_cover_and_the_naive_ones_do_not(
    scenario: Scenario, seed: int
) -> None:
    """Of queues that wander, by the histograms in the ledger: of minutes, and where a window is longer than an hour of
    hours; an hour in which hardly an excursion is expected with those of the day before it."""
    process, span = scenario.process, scenario.history + scenario.window
    assert isinstance(process, Queue)
    drawn = process.histograms(np.random.default_rng(seed), scenario.windows * span)
    drawn = drawn.reshape(scenario.windows, span, BUCKETS)
    counted = drawn[:, scenario.history :]
    window = observed(counted) if scenario.window <= HOUR else read_in_parts(counted, apart=False)
    history = read_in_parts(drawn[:, : scenario.history], apart=True) if scenario.history else None
    effective, naive = [], []
    for limit in (SURE, POSSIBLE):
        objective = Objective(
            "steady", Measure.DELAY_VARIATION, Window(scenario.window * 60_000_000_000), 0.01, 0.5, 99, limit
        )
        target = Target(PATH, Direction.FORWARD, objective, limit, 0)
        question = Question.of(objective, [target] * scenario.windows, range(scenario.windows))
        found = judge(question, window, history, np.zeros(scenario.windows, np.bool_))
        of = Coverage.of(process.true_share, found.lower(), found.upper())
        every = found.trials.astype(np.float64)
        without = Coverage.of(
            process.true_share, lower_bounds(found.surely, every), upper_bounds(found.possibly, every)
        )
        effective.append(of.lower if limit is SURE else of.upper)
        naive.append(without.lower if limit is SURE else without.upper)
    assert min(effective) >= CLAIMED
    assert max(naive) < CLAIMED
