"""How many independent packets a share is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import stdtrit
from scipy.stats import norm, t

from agent.core.outcome import Outcome
from collector.sla.confidence import exceeds, lower_bounds, meets, upper_bound, upper_bounds
from collector.sla.effective import (
    FEWEST_BLOCKS,
    PRODUCTS,
    Blocks,
    EffectiveSamples,
    Side,
    block_minutes,
    effective_samples,
    t_quantile,
)

COUNTS = (
    st.integers(2, 30)
    .flatmap(
        lambda m: st.tuples(
            arrays(np.int64, m, elements=st.integers(0, 60)), arrays(np.int64, m, elements=st.integers(0, 60))
        )
    )
    .map(lambda pair: (pair[0], pair[0] + pair[1]))
)
"""Of a window: packets that count and all packets, by block."""
SIDES = st.sampled_from(Side)


def told(found: EffectiveSamples) -> tuple[float, float, float, bool]:
    """Events, samples, design effect and whether it is measured, of a single window."""
    return (
        float(found.events),
        float(found.samples),
        float(found.design_effect),
        bool(found.measured),
    )


def t_ratio(degrees: float) -> float:
    """By how much few degrees of freedom widen, squared."""
    return float((t.ppf(0.95, degrees) / norm.ppf(0.95)) ** 2)


def test_packets_lost_together_count_once() -> None:
    """60 of 3,600 packets lost in one minute of sixty are one event; one of each minute leave what they are."""
    events = np.zeros((2, 60))
    events[0, 7] = 60
    events[1] = 1
    trials = np.full((2, 60), 60.0)
    found = effective_samples([60, 60], [3600, 3600], [Blocks.of(events, trials)], Side.LOWER)
    assert found.measured.all()
    assert found.events * t_ratio(59) == pytest.approx([1 - 60 / 3600, 60])
    assert found.design_effect[1] == pytest.approx(t_ratio(59))


@given(COUNTS)
def test_the_design_effect_is_the_variance_between_blocks_over_the_binomial_one(
    counts: tuple[np.ndarray, np.ndarray],
) -> None:
    """As the textbook computes it from the blocks themselves, for equal blocks."""
    events, _ = counts
    trials = np.full_like(events, 120)
    share, n, m = events.sum() / trials.sum(), trials.sum(), len(events)
    found = effective_samples(events.sum(), n, [Blocks.of(events, trials)], Side.LOWER)
    if not 0 < share < 1:
        assert not found.measured
        return
    between = np.var(events / 120, ddof=1) / m
    assert found.measured
    assert found.design_effect == pytest.approx(max(1, between / (share * (1 - share) / n)) * t_ratio(m - 1))


@given(COUNTS, SIDES)
def test_no_more_samples_than_packets_and_the_same_share(
    counts: tuple[np.ndarray, np.ndarray], side: Side
) -> None:
    """Whatever the blocks hold; never a number that is not one."""
    events, trials = counts
    found = effective_samples(events.sum(), trials.sum(), [Blocks.of(events, trials)], side)
    assert found.design_effect >= 1
    assert 0 <= found.events <= found.samples <= trials.sum()
    assert found.events * trials.sum() == pytest.approx(found.samples * events.sum())
    assert found.samples * found.design_effect == pytest.approx(trials.sum())


@given(COUNTS, SIDES)
def test_longer_blocks_and_a_prior_only_ever_take_samples_away(
    counts: tuple[np.ndarray, np.ndarray], side: Side
) -> None:
    """What counts is the most cautious of all that is known."""
    events, trials = (np.tile(one, 4) for one in counts)
    short = Blocks.of(events, trials)
    longer = Blocks.of(events.reshape(-1, 4).sum(1), trials.reshape(-1, 4).sum(1))
    x, n = events.sum(), trials.sum()
    alone = effective_samples(x, n, [short], side)
    both = effective_samples(x, n, [short, longer], side)
    assert both.design_effect >= alone.design_effect
    assert both.design_effect == effective_samples(x, n, [longer, short], side).design_effect
    informed = effective_samples(x, n, [short, longer], side, 7.5)
    assert informed.design_effect == pytest.approx(max(7.5, both.design_effect))
    assert informed.measured == both.measured


@given(COUNTS)
def test_an_upper_bound_is_given_no_more_samples_than_a_lower_one(
    counts: tuple[np.ndarray, np.ndarray],
) -> None:
    """Its degrees of freedom are at most m - 1, too."""
    events, trials = counts
    blocks = [Blocks.of(events, trials)]
    lower = effective_samples(events.sum(), trials.sum(), blocks, Side.LOWER)
    upper = effective_samples(events.sum(), trials.sum(), blocks, Side.UPPER)
    assert upper.samples <= lower.samples * (1 + 1e-12)


def test_few_bursts_leave_few_degrees_of_freedom() -> None:
    """Three equal bursts in an hour: three degrees for the upper bound, the floor; 59 for the lower."""
    events, trials = np.zeros(60), np.full(60, 600.0)
    events[[3, 20, 41]] = 100
    blocks = [Blocks.of(events, trials)]
    lower = effective_samples(300, 36_000, blocks, Side.LOWER)
    upper = effective_samples(300, 36_000, blocks, Side.UPPER)
    assert upper.design_effect / lower.design_effect == pytest.approx(t_ratio(3) / t_ratio(59))


def test_many_bursts_have_half_a_degree_of_freedom_each() -> None:
    """Forty equal bursts in a day."""
    events, trials = np.zeros(1440), np.full(1440, 600.0)
    events[::36] = 100
    blocks = [Blocks.of(events, trials)]
    lower = effective_samples(4000, 864_000, blocks, Side.LOWER)
    upper = effective_samples(4000, 864_000, blocks, Side.UPPER)
    effective_events = 4000 / (float(lower.design_effect) / t_ratio(1439))
    assert upper.design_effect / lower.design_effect == pytest.approx(
        t_ratio(effective_events / 2) / t_ratio(1439)
    )


def test_longer_blocks_are_looked_at_only_where_there_are_enough() -> None:
    """The t quantile of two degrees of freedom would cost every window samples for nothing."""
    generator = np.random.default_rng(4)
    for number, looked_at in ((FEWEST_BLOCKS - 1, False), (FEWEST_BLOCKS, True)):
        events = np.repeat(generator.permutation(np.arange(number) % 2 * 30.0), 5)
        trials = np.full(5 * number, 60.0)
        five = Blocks.of(events.reshape(-1, 5).sum(1), trials.reshape(-1, 5).sum(1))
        alone = effective_samples(events.sum(), trials.sum(), [Blocks.of(events, trials)], Side.LOWER)
        both = effective_samples(events.sum(), trials.sum(), [Blocks.of(events, trials), five], Side.LOWER)
        assert (both.design_effect > alone.design_effect) == looked_at


@pytest.mark.parametrize("events", [0, 300])
def test_a_window_without_variance_is_worth_its_packets_or_what_the_prior_leaves(events: int) -> None:
    """No event, or nothing else: nothing is known of clustering, and it is not said to be."""
    blocks = [Blocks.of(np.full(5, events / 5), np.full(5, 60))]
    found = effective_samples(events, 300, blocks, Side.UPPER)
    assert told(found) == (events, 300, 1, False)
    informed = effective_samples(events, 300, blocks, Side.UPPER, 20)
    assert told(informed) == (events / 20, 15, 20, False)


def test_a_single_block_tells_nothing_of_variance() -> None:
    """A window of one minute, and one whose blocks are not known at all."""
    for blocks in ([Blocks.of([6], [60])], [], [Blocks.of([0], [0])]):
        found = effective_samples(6, 60, blocks, Side.LOWER, 2)
        assert told(found) == (3, 30, 2, False)


def test_two_blocks_have_one_degree_of_freedom() -> None:
    """The fewest that tell anything, for either bound."""
    for side in Side:
        found = effective_samples(10, 120, [Blocks.of([5, 5], [60, 60])], side)
        assert found.measured
        assert found.design_effect == pytest.approx(t_ratio(1))


def test_nothing_counted_is_worth_nothing() -> None:
    """Without packets the bounds are 0 and 1."""
    found = effective_samples(0, 0, [Blocks.of([0, 0], [0, 0])], Side.UPPER)
    assert told(found) == (0, 0, 1, False)
    assert lower_bounds(found.events, found.samples) == 0
    assert upper_bounds(found.events, found.samples) == 1


def test_blocks_without_packets_are_no_blocks() -> None:
    """Minutes in which nobody probed change nothing."""
    generator = np.random.default_rng(8)
    events, trials = generator.binomial(60, 0.1, 20), np.full(20, 60)
    gaps = np.zeros(15)
    dense = Blocks.of(events, trials)
    sparse = Blocks.of(np.concatenate([events, gaps]), np.concatenate([trials, gaps]))
    for side in Side:
        assert (
            effective_samples(events.sum(), 1200, [sparse], side).samples
            == effective_samples(events.sum(), 1200, [dense], side).samples
        )


def test_the_packets_of_a_minute_as_prior_make_a_clean_minute_one_sample() -> None:
    """P95 is then proven by 59 clean minutes and not by 58, however many packets they hold."""
    for minutes, proven in ((58, False), (59, True)):
        blocks = Blocks.of(np.zeros(minutes), np.full(minutes, 600))
        prior = blocks.trials_squared / (600 * minutes)
        found = effective_samples(0, 600 * minutes, [blocks], Side.UPPER, prior)
        assert found.samples == pytest.approx(minutes)
        assert (upper_bound(float(found.events), float(found.samples)) <= 0.05) == proven


@given(
    arrays(np.int64, (7, 3, len(Outcome)), elements=st.integers(0, 600)), st.sets(st.sampled_from(Outcome))
)
def test_the_sums_are_those_of_the_products_that_the_ledger_keeps(
    outcomes: np.ndarray, chosen: set[Outcome]
) -> None:
    """For any share of outcomes, and of many windows at once."""
    products = np.stack([(outcomes[..., a] * outcomes[..., b]).sum(0) for a, b in PRODUCTS], axis=-1)
    found = Blocks.of_products(products, chosen)
    counted = outcomes[:, :, sorted(chosen)].sum(-1).T
    direct = Blocks.of(counted, outcomes.sum(-1).T)
    assert np.array_equal(found.events_squared, direct.events_squared)
    assert np.array_equal(found.events_by_trials, direct.events_by_trials)
    assert np.array_equal(found.trials_squared, direct.trials_squared)


@given(st.lists(COUNTS, min_size=1, max_size=6), SIDES)
def test_windows_together_are_what_each_is_alone(
    windows: list[tuple[np.ndarray, np.ndarray]], side: Side
) -> None:
    """One pass over arrays of any shape, with one prior for all or one for each."""
    each = [Blocks.of(events, trials) for events, trials in windows]
    together = Blocks(
        *(
            np.array([[getattr(one, name) for one in each]])
            for name in ("events_squared", "events_by_trials", "trials_squared")
        )
    )
    x = [[events.sum() for events, _ in windows]]
    n = [[trials.sum() for _, trials in windows]]
    prior = [[1.0 + i for i in range(len(windows))]]
    found = effective_samples(x, n, [together], side, prior)
    assert found.samples.shape == (1, len(windows))
    for i, one in enumerate(each):
        alone = effective_samples(x[0][i], n[0][i], [one], side, prior[0][i])
        assert found.samples[0, i] == alone.samples
        assert found.measured[0, i] == alone.measured


@given(st.floats(0, 1), st.floats(1, 1e6), st.floats(1, 1e4), st.floats(1e-5, 0.9))
def test_fewer_samples_of_the_same_share_never_prove_more(
    share: float, trials: float, design_effect: float, threshold: float
) -> None:
    """So whoever looks at every packet for a sample first, and finds nothing proven, need not look again."""
    few = trials / design_effect
    margin = 1e-9 * threshold
    if meets(share * few, few, threshold - margin):
        assert meets(share * trials, trials, threshold)
    if exceeds(share * few, few, threshold + margin):
        assert exceeds(share * trials, trials, threshold)


@pytest.mark.parametrize(
    ("window", "lengths"),
    [(1, (1,)), (5, (1,)), (15, (1, 3)), (60, (1, 3, 12)), (1440, (1, 72, 288)), (43_200, (1, 2160, 8640))],
)
def test_blocks_are_a_minute_a_twentieth_and_a_fifth_of_the_window(
    window: int, lengths: tuple[int, ...]
) -> None:
    """No length twice, and none below a minute."""
    assert block_minutes(window) == lengths


def test_the_quantile_that_is_read_off_a_table_is_that_of_the_distribution() -> None:
    """To eight digits, from one degree of freedom to very many."""
    degrees = np.concatenate([np.linspace(1, 50, 2001), 10 ** np.linspace(0, 7, 2001)])
    assert t_quantile(degrees) == pytest.approx(stdtrit(degrees, 0.95), rel=1e-8)
