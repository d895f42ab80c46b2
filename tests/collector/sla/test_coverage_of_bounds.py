"""How often the stated 95 % is true: the bounds of many simulated windows against the share that was put in.

Loss comes in bursts of exponentially distributed length between exponentially distributed pauses (Gilbert 1960, Elliott
1963), delay excess from a queue that wanders (an AR(1) process above a limit). Each scenario is one long stationary
process cut into windows, so that windows begin inside of bursts, too. The seeds are the scenarios' places in the lists,
and were not chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import ndtri

from agent.core.histogram import BUCKETS, EDGES_NS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.last_hour import LastHour
from collector.ledger.minutes import WIDTH, Minutes, by_direction
from collector.ledger.promises import Promises
from collector.ledger.sums import PRODUCT_WIDTH, Sums, Totals, totals
from collector.ledger.tails import tails_of_parts
from collector.sla.confidence import lower_bounds, upper_bounds
from collector.sla.effective import Blocks, EffectiveSamples, Side, block_minutes, effective_samples
from collector.sla.judge import Question, judge
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.observation import Observation
from collector.sla.variation import Beyond, Tails
from collector.sla.verdict import PathKey
from collector.sla.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

HOUR: Final = 60
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
CLAIMED: Final = 0.94


@dataclass(frozen=True)
class Bursts:
    """Loss in bursts.

    Attributes:
        share: of all packets that is lost.
        rate: packets a second.
        seconds: mean length of a burst.
        density: share of the packets of a burst that is lost.
        steady: share of all packets that is lost one by one beside.
    """

    share: float
    rate: int
    seconds: float
    density: float = 1.0
    steady: float = 0.0

    @property
    def true_share(self) -> float:
        """Of packets lost, in the long run."""
        return self.share + self.steady

    def by_minute(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """How many packets are lost in each of so many minutes on end."""
        pause = self.seconds * (self.density / self.share - 1)
        expected = minutes * 60 / (self.seconds + pause)
        number = int(expected + 10 * expected**0.5) + 20
        lengths = generator.exponential(self.seconds, number)
        ends = np.cumsum(generator.exponential(pause, number) + lengths)
        assert ends[-1] > minutes * 60
        first = np.ceil((ends - lengths) * self.rate).astype(np.int64)
        after = np.ceil(ends * self.rate).astype(np.int64)
        edges = np.arange(minutes + 1) * 60 * self.rate
        before = np.concatenate([[0], np.cumsum(after - first)])
        begun = np.searchsorted(first, edges, "right")
        still = np.where(begun > 0, np.maximum(0, after[np.maximum(begun - 1, 0)] - edges), 0)
        bad = np.diff(before[begun] - still)
        lost = generator.binomial(bad, self.density)
        return lost + generator.binomial(60 * self.rate - bad, self.steady / (1 - self.share))


@dataclass(frozen=True)
class Queue:
    """Delay above a limit, for a share of packets, with an autocorrelation of exp(-1) after so many seconds."""

    share: float
    rate: int
    seconds: float

    @property
    def true_share(self) -> float:
        """Of packets over the limit, in the long run."""
        return self.share

    def delays(self, generator: np.random.Generator, minutes: int) -> Iterator[NDArray[np.float64]]:
        """How full the queue is at each packet of so many minutes on end (some of them, packets)."""
        kept = np.exp(-1 / (self.seconds * self.rate))
        state = generator.normal()
        for some in np.array_split(np.arange(minutes), max(1, minutes * self.rate // 20_000)):
            steps = generator.normal(size=60 * self.rate * len(some)) * np.sqrt(1 - kept**2)
            delay, _ = lfilter([1.0], [1.0, -kept], steps, zi=[kept * state])
            state = delay[-1]
            yield delay.reshape(len(some), -1)

    def by_minute(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """How many packets are over the limit in each of so many minutes on end."""
        over = (delay > -ndtri(self.share) for delay in self.delays(generator, minutes))
        return np.concatenate([one.sum(1) for one in over])

    def histograms(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """The delays of each of so many minutes on end by bucket, 4 ms where the queue is empty, 5 ms at the limit."""
        found = []
        for delay in self.delays(generator, minutes):
            delays_ns = 4_000_000 + np.maximum(0, delay) / -ndtri(self.share) * 1_000_000
            cells = np.searchsorted(EDGES_NS, delays_ns) + np.arange(len(delay))[:, None] * BUCKETS
            found.append(np.bincount(cells.ravel(), minlength=len(delay) * BUCKETS).reshape(-1, BUCKETS))
        return np.concatenate(found)


class Scenario(NamedTuple):
    """What happens, and how it is looked at; `history` and `window` in minutes, the window follows its history."""

    process: Bursts | Queue
    window: int
    windows: int = 2000
    history: int = 0


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


class Coverage(NamedTuple):
    """In which share of windows a bound was on the right side of the true share."""

    lower: float
    upper: float

    @classmethod
    def of(cls, truth: float, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Coverage:
        """Of these bounds."""
        return cls(float(np.mean(lower <= truth)), float(np.mean(upper >= truth)))


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


def numbered(scenarios: Sequence[Scenario], first: int) -> list[object]:
    """Parameters, each with its seed."""
    return [
        pytest.param(one, first + i, id=f"{one.process}-{one.window}m") for i, one in enumerate(scenarios)
    ]


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


VARIED: Final = (
    Scenario(Queue(0.01, 10, 0.3), 5, 1000),
    Scenario(Queue(0.01, 1, 10), HOUR, 1000),
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


def remembered(histograms: NDArray[np.int64]) -> Observation:
    """Histories of a day, as they are read hour by hour."""
    windows, minutes, _ = histograms.shape
    hours = minutes // HOUR
    counts = np.zeros((windows * hours, WIDTH), np.int64)
    by_hour = histograms.reshape(windows * hours, HOUR, BUCKETS).sum(axis=1)
    by_direction(counts)[:, :, len(Outcome) :] = by_hour[:, None]
    nothing = np.zeros(len(counts), np.int64)
    path, hour = np.repeat(np.arange(windows), hours), np.tile(np.arange(hours), windows)
    products = np.zeros((len(counts), PRODUCT_WIDTH), np.int64)
    least = np.full((len(counts), 3), QUICKEST_US)
    parts = Sums(path, nothing, hour * HOUR, nothing, nothing, least, counts, products)
    asked = parts, np.arange(windows), {0: FREE}, Promises([FREE] * windows)
    whole = totals(*asked)
    beyond = {Beyond(limit, apart=True): np.ones((windows, 3), np.bool_) for limit in (SURE, POSSIBLE)}
    tails = tails_of_parts(*asked, whole.minima_us, beyond, block_minutes(minutes)[1:])
    return observation_of(whole, tails, minutes)


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
    """Of queues that wander, by the histograms in the ledger; an hour in which hardly an excursion is expected with
    those of the day before it."""
    process, span = scenario.process, scenario.history + scenario.window
    assert isinstance(process, Queue)
    drawn = process.histograms(np.random.default_rng(seed), scenario.windows * span)
    drawn = drawn.reshape(scenario.windows, span, BUCKETS)
    window = observed(drawn[:, scenario.history :])
    history = remembered(drawn[:, : scenario.history]) if scenario.history else None
    path = PathKey("wuhan", "qingyang", "hub", "telecom", "stamp", 0)
    effective, naive = [], []
    for limit in (SURE, POSSIBLE):
        objective = Objective(
            "steady", Measure.DELAY_VARIATION, Window(scenario.window * 60_000_000_000), 0.01, 0.5, 99, limit
        )
        target = Target(path, Direction.FORWARD, objective, limit, 0)
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
