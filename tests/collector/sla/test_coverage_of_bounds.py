"""How often the stated 95 % is true: the bounds of many simulated windows against the share that was put in.

The seeds are the scenarios' places in the lists, and were not chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from collector.sla.confidence import lower_bounds, upper_bounds
from collector.sla.effective import Blocks, EffectiveSamples, Side, block_minutes, effective_samples
from tests.support.bursts import CLAIMED, DAY, HOUR, Bursts, Coverage, Queue, Scenario, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

WEEK: Final = 7 * DAY


ENOUGH: Final = (
    Scenario(Bursts(0.01, 10, 0.1), 5),
    Scenario(Bursts(0.01, 10, 0.3), 5),
    Scenario(Bursts(0.01, 1, 1), HOUR),
    Scenario(Bursts(0.01, 1, 5, 0.5), HOUR),
    Scenario(Bursts(0.01, 10, 3), HOUR),
    Scenario(Bursts(0.001, 10, 0.3), HOUR),
    Scenario(Bursts(0.01, 1, 20), 6 * HOUR),
    Scenario(Bursts(0.001, 10, 2, 0.5), 6 * HOUR, 1000),
    Scenario(Bursts(0.01, 1, 60), DAY, 1000),
    Scenario(Bursts(0.01, 1, 180, 0.3), DAY, 1000),
    Scenario(Bursts(0.01, 10, 10), DAY, 1000),
    Scenario(Bursts(0.001, 1, 5), DAY, 1000),
    Scenario(Bursts(0.001, 10, 8), DAY, 1000),
    Scenario(Queue(0.01, 10, 0.3), 5),
    Scenario(Queue(0.01, 1, 10), HOUR),
    Scenario(Queue(0.01, 1, 30), 6 * HOUR, 500),
)
"""Windows in which ten bursts or more are expected."""

FEW: Final = (
    Scenario(Bursts(0.01, 1, 10), 5),
    Scenario(Bursts(0.01, 1, 60), 5),
    Scenario(Bursts(0.01, 10, 180, 0.3), 5),
    Scenario(Bursts(0.01, 1, 120, 0.3), 15),
    Scenario(Bursts(0.01, 1, 120, 0.3), HOUR),
    Scenario(Bursts(0.01, 1, 180), HOUR),
    Scenario(Bursts(0.001, 1, 60), 6 * HOUR),
    Scenario(Bursts(0.01, 10, 1800, 0.3), 6 * HOUR),
    Scenario(Bursts(0.001, 1, 180), DAY, 1000),
    Scenario(Queue(0.01, 1, 60), HOUR, 1000),
)
"""Windows in which hardly a burst is expected, down to a fiftieth of one."""

FORESEEN: Final = (
    Scenario(Bursts(0.01, 1, 10), 5, 1000, DAY),
    Scenario(Bursts(0.01, 1, 60), 5, 1000, DAY),
    Scenario(Bursts(0.01, 10, 60, 0.3), HOUR, 1000, DAY),
    Scenario(Bursts(0.001, 1, 60), 6 * HOUR, 300, WEEK),
    Scenario(Bursts(0.001, 1, 60), DAY, 300, WEEK),
    Scenario(Bursts(0.005, 1, 40, steady=0.005), 5, 1000, DAY),
    Scenario(Bursts(0.005, 1, 40, steady=0.005), HOUR, 1000, DAY),
    Scenario(Queue(0.01, 1, 60), HOUR, 300, DAY),
)
"""Such windows, and some with a steady background, after a history in which ten bursts or more are expected."""


def coverage(truth: float, lower: EffectiveSamples, upper: EffectiveSamples) -> Coverage:
    """Of the bounds taken with these samples."""
    return Coverage.of(
        truth, lower_bounds(lower.events, lower.samples), upper_bounds(upper.events, upper.samples)
    )


def judged(
    counted: NDArray[np.int64],
    rate: int,
    lengths: Sequence[int],
    side: Side,
    prior: ArrayLike = 1.0,
) -> EffectiveSamples:
    """The samples of windows (windows, minutes), divided into blocks of such lengths in minutes."""
    sent = np.full(counted.shape, 60 * rate)
    blocks = []
    for length in lengths:
        starts = np.arange(0, counted.shape[1], length)
        blocks.append(Blocks.of(np.add.reduceat(counted, starts, 1), np.add.reduceat(sent, starts, 1)))
    return effective_samples(counted.sum(1), sent.sum(1), blocks, side, prior)


def simulated(scenario: Scenario, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What was counted in the minutes of the histories and of the windows that follow them."""
    generator = np.random.default_rng(seed)
    span = scenario.history + scenario.window
    counted = scenario.process.by_minute(generator, scenario.windows * span).reshape(-1, span)
    return counted[:, : scenario.history], counted[:, scenario.history :]


def effective_coverage(scenario: Scenario, seed: int) -> Coverage:
    """With the blocks that are recommended, and the design effect of the history where there is one."""
    history, window = simulated(scenario, seed)
    rate = scenario.process.rate
    found = {}
    for side in Side:
        prior = (
            judged(history, rate, block_minutes(scenario.history), side).design_effect
            if scenario.history
            else 1.0
        )
        found[side] = judged(window, rate, block_minutes(scenario.window), side, prior)
    return coverage(scenario.process.true_share, found[Side.LOWER], found[Side.UPPER])


def naive_coverage(scenario: Scenario, seed: int) -> Coverage:
    """With every packet for a sample."""
    _, window = simulated(scenario, seed)
    every = judged(window, scenario.process.rate, (), Side.LOWER)
    return coverage(scenario.process.true_share, every, every)


@pytest.mark.parametrize(("scenario", "seed"), numbered(ENOUGH, 100))
def test_both_bounds_cover_where_ten_bursts_are_expected_and_the_naive_ones_do_not(
    scenario: Scenario, seed: int
) -> None:
    """From bursts of a tenth of a second in five minutes to bursts of three minutes in a day."""
    effective, naive = effective_coverage(scenario, seed), naive_coverage(scenario, seed)
    assert min(effective) >= CLAIMED
    assert max(naive) < CLAIMED


@pytest.mark.parametrize(("scenario", "seed"), numbered(FEW, 200))
def test_a_lower_bound_covers_with_bursts_of_any_length_and_an_upper_one_cannot_know(
    scenario: Scenario, seed: int
) -> None:
    """A path is not convicted for a burst that it has once a day; to have seen none proves nothing."""
    effective = effective_coverage(scenario, seed)
    assert effective.lower >= CLAIMED
    assert effective.upper < CLAIMED


def test_naive_lower_bounds_convict_up_to_a_quarter_of_windows() -> None:
    """Of paths that are exactly as good as their limit."""
    found = [naive_coverage(scenario, 200 + i).lower for i, scenario in enumerate(FEW)]
    assert min(found) < 0.75


@pytest.mark.parametrize(("scenario", "seed"), numbered(FORESEEN, 300))
def test_with_the_design_effect_of_a_history_both_bounds_cover(scenario: Scenario, seed: int) -> None:
    """Windows in which no burst may be expected, after a day or a week with ten of them."""
    assert min(effective_coverage(scenario, seed)) >= CLAIMED
    assert effective_coverage(scenario._replace(history=0), seed).upper < CLAIMED


def test_minutes_alone_miss_what_longer_bursts_add() -> None:
    """Bursts of eighty seconds in a day: fifths and twentieths of the window are needed."""
    scenario = Scenario(Bursts(0.01, 1, 80), DAY, 1000)
    _, window = simulated(scenario, 400)
    found = {
        lengths: coverage(0.01, *(judged(window, 1, lengths, side) for side in (Side.LOWER, Side.UPPER)))
        for lengths in ((1,), block_minutes(DAY))
    }
    assert max(found[1,]) < 0.9
    assert min(found[block_minutes(DAY)]) >= CLAIMED


def test_singly_lost_packets_are_judged_nearly_as_sharply_as_without_correction() -> None:
    """A day's upper bound is twice as far from the share at most, and never 15 % above it, at the median."""
    generator = np.random.default_rng(500)
    window = generator.binomial(60, 0.005, (500, DAY))
    found = judged(window, 1, block_minutes(DAY), Side.UPPER)
    corrected = upper_bounds(found.events, found.samples)
    plain = upper_bounds(window.sum(1), np.full(500, 60 * DAY))
    assert np.median((corrected - 0.005) / (plain - 0.005)) < 2
    assert np.median(corrected) < 0.005 * 1.15
