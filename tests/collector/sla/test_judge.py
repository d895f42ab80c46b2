"""Verdicts: what is proven, what is not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from agent.core.outcome import ONE_WAY, Direction, Limit, Operator, Outcome
from collector.sla.confidence import lower_bound, upper_bound
from collector.sla.counts import NOTHING, DirectionCounts
from collector.sla.judge import Question, judge
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.observation import Observation
from collector.sla.reasons import AgentFacts
from collector.sla.verdict import Judgement, Verdict
from collector.sla.verdicts import Answer, Verdicts
from collector.sla.window import Window
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, MS, PATH, SECOND_NS, counts, observation

UP = AgentFacts(up=True, clock_bound_ns=50_000)
UNSYNCHRONISED = AgentFacts(up=True, clock_bound_ns=None)
DOWN = AgentFacts(up=False, clock_bound_ns=50_000, silence="does not answer")
WINDOW = Window(300 * SECOND_NS)


def answer(
    observed: Observation,
    objective: Objective,
    *,
    agent: AgentFacts = UP,
    direction: Direction = Direction.FORWARD,
    other_limit: Limit | None = None,
    history: Observation | None = None,
) -> Judgement:
    """Judge one direction of one path."""
    target = Target(PATH, direction, objective, HUB_LIMIT, int(4.13 * MS))
    question = Question.of(objective, [target], [0])
    evidence = judge(question, observed, history, np.array([other_limit is not None]))
    others = {} if other_limit is None else {(PATH, direction): other_limit}
    (one,) = Verdicts([Answer(question, observed, evidence, lambda path: agent, others)])
    assert evidence.lower()[0] == pytest.approx(one.bound_lower or 0)
    assert evidence.upper()[0] == pytest.approx(1 if one.bound_upper is None else one.bound_upper)
    return one


def verdict_on(
    within: int = 0,
    over: int = 0,
    uncertain: int = 0,
    lost: int = 0,
    unattributed: int = 0,
    *,
    percentile: float = 99.9,
    coverage: float = 1.0,
    agent: AgentFacts = UP,
    direction: Direction = Direction.FORWARD,
    round_trips: Mapping[int, int] | None = None,
    other_limit: Limit | None = None,
) -> Judgement:
    """Judge these counts of five minutes."""
    objective = Objective("detection", Measure.DELAY, WINDOW, 1 - percentile / 100, 0.5, percentile)
    delays = {int(7.5 * MS): within - within // 100, 15 * MS: within // 100 + over}
    counted = counts(within, over, uncertain, lost, unattributed, delays=delays)
    both = counted if round_trips is None else replace(counted, delays=counts(delays=round_trips).delays)
    observed = observation(counted, coverage=coverage, round_trips=both)
    return answer(observed, objective, agent=agent, direction=direction, other_limit=other_limit)


def test_enough_clean_packets_pass() -> None:
    """2,995 packets without a violation prove P99.9."""
    one = verdict_on(within=2995)
    assert (one.verdict, one.reason.code) == (Verdict.PASS, "upper_bound_meets")
    assert one.bound_upper is not None
    assert one.bound_upper <= one.threshold


def test_one_packet_fewer_does_not() -> None:
    """And the reason says how many are needed."""
    one = verdict_on(within=2994)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "too_few_packets")
    for text in (one.reason.zh, one.reason.en):
        assert "2994" in text
        assert "2995" in text


def test_surely_broken_promises_fail() -> None:
    """Over the limit and lost in this direction both count."""
    assert verdict_on(within=2900, over=100).verdict is Verdict.FAIL
    assert verdict_on(within=2900, lost=100).verdict is Verdict.FAIL
    one = verdict_on(within=2900, over=50, lost=50)
    assert (one.verdict, one.reason.code) == (Verdict.FAIL, "lower_bound_exceeds")
    assert one.violation_lower == pytest.approx(100 / 3000)


def test_a_few_violations_among_many_packets_are_allowed() -> None:
    """P99.9 allows one in a thousand: 5 in 20,000 pass."""
    assert verdict_on(within=19_995, over=5).verdict is Verdict.PASS


def test_uncertain_packets_neither_pass_nor_fail() -> None:
    """They may have kept the promise or not: the clocks cannot tell, and the reason says how good they are."""
    one = verdict_on(within=2000, uncertain=2000)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "clock_cannot_prove")
    assert "±0.05 ms" in one.reason.en
    assert "4.13 ms" in one.reason.zh
    assert (one.violation_lower, one.violation_upper) == (0, 0.5)


def test_without_a_synchronised_clock_the_reason_says_so() -> None:
    """The operator sees what to mend."""
    one = verdict_on(uncertain=3000, agent=UNSYNCHRONISED)
    assert one.reason.code == "clock_cannot_prove"
    assert "not synchronised" in one.reason.en
    assert "未同步" in one.reason.zh


def test_the_clock_is_named_even_where_packets_are_few() -> None:
    """More packets would not help."""
    assert verdict_on(uncertain=100).reason.code == "clock_cannot_prove"


def test_an_uncertain_round_trip_is_a_matter_of_timestamps() -> None:
    """No clock offset touches it."""
    one = verdict_on(uncertain=3000, direction=Direction.ROUND_TRIP)
    assert one.reason.code == "stamps_cannot_prove"
    assert "kernel" in one.reason.en


def test_loss_of_unknown_direction_does_not_condemn_this_one() -> None:
    """Nor acquit it."""
    one = verdict_on(within=2950, unattributed=50)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "loss_without_direction")
    assert "50" in one.reason.en
    assert verdict_on(within=50, unattributed=50).reason.code == "loss_without_direction"


def test_a_target_that_answers_nothing_is_called_silent() -> None:
    """Every packet lost, in an unknown direction."""
    one = verdict_on(unattributed=3000)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "target_silent")


def test_between_the_bounds_more_packets_are_needed() -> None:
    """Violations at about the allowed share are not decided."""
    one = verdict_on(within=4995, over=5)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "between_bounds")
    assert "0.100%" in one.reason.en


def test_too_little_of_the_window_is_no_data() -> None:
    """However good, or bad, what was seen."""
    for seen in (verdict_on(within=3000, coverage=0.4), verdict_on(over=3000, coverage=0.4)):
        assert (seen.verdict, seen.reason.code) == (Verdict.NO_DATA, "below_coverage")
        assert "40%" in seen.reason.zh
        assert "50%" in seen.reason.en


def test_a_silent_agent_is_named_as_the_cause() -> None:
    """Not the path."""
    one = verdict_on(within=1000, coverage=0.3, agent=DOWN)
    assert (one.verdict, one.reason.code) == (Verdict.NO_DATA, "agent_silent")


def test_an_agent_that_fell_silent_a_moment_ago_is_still_judged() -> None:
    """What was seen covers enough of the window."""
    assert verdict_on(within=3000, coverage=0.9, agent=DOWN).verdict is Verdict.PASS


def test_a_window_without_packets_is_no_data() -> None:
    """An agent that sends nothing proves nothing, and where it does not know whither, that is the reason."""
    one = verdict_on()
    assert (one.verdict, one.reason.code) == (Verdict.NO_DATA, "no_packets")
    assert (one.violation_lower, one.bound_upper, one.delay_p50_ns) == (None, None, None)
    unresolved = AgentFacts(up=True, clock_bound_ns=None, resolved=False)
    assert verdict_on(agent=unresolved).reason.code == "target_unresolved"


def test_counts_against_another_limit_judge_nothing() -> None:
    """The fleet file has changed and the agent does not know it yet."""
    one = verdict_on(within=3000, other_limit=CITY_LIMIT)
    assert (one.verdict, one.reason.code) == (Verdict.NO_DATA, "other_limit")
    assert "< 1 ms" in one.reason.en
    assert "<= 10 ms" in one.reason.en


def test_an_agent_that_never_said_its_limit_is_judged_by_what_was_stored() -> None:
    """After a restart of the collector, before the first reading."""
    assert verdict_on(within=3000, agent=AgentFacts(False, None)).verdict is Verdict.PASS


def test_a_judgement_can_be_recomputed_from_what_it_says() -> None:
    """Counts, window, bounds and the buckets of the percentiles are in it."""
    one = verdict_on(within=1000, over=7, uncertain=3, lost=2, unattributed=1)
    assert one.packets == 1013
    assert one.counts == {
        Outcome.WITHIN: 1000,
        Outcome.OVER: 7,
        Outcome.UNCERTAIN: 3,
        Outcome.LOST: 2,
        Outcome.UNATTRIBUTED: 1,
    }
    assert one.bound_lower == lower_bound(9, 1013)
    assert one.bound_upper == upper_bound(13, 1013)
    assert one.window_end_ns - one.window_start_ns == 300 * SECOND_NS
    assert one.delay_p50_ns == (5 * MS, int(7.5 * MS))
    assert one.delay_p99_ns == (10 * MS, 15 * MS)


COUNT = st.integers(0, 5000)


@given(COUNT, COUNT, COUNT, COUNT, COUNT, st.sampled_from([50, 95, 99, 99.9, 99.99]))
def test_pass_and_fail_are_never_claimed_at_once_and_always_explained(
    within: int, over: int, uncertain: int, lost: int, unattributed: int, percentile: float
) -> None:
    """The verdict follows from the bounds; every one has a sentence in both languages."""
    one = verdict_on(within, over, uncertain, lost, unattributed, percentile=percentile)
    assert one.reason.zh
    assert one.reason.en
    if one.packets == 0:
        assert one.verdict is Verdict.NO_DATA
        return
    assert one.bound_lower is not None
    assert one.bound_upper is not None
    assert one.bound_lower <= one.bound_upper
    expected = Verdict.INDETERMINATE
    if one.bound_lower > one.threshold:
        expected = Verdict.FAIL
    elif one.bound_upper <= one.threshold:
        expected = Verdict.PASS
    assert one.verdict is expected


@given(COUNT, COUNT, COUNT)
def test_what_is_not_known_never_turns_a_fail_into_a_pass(within: int, over: int, unknown: int) -> None:
    """Replacing a sure outcome by an uncertain one can only make the verdict weaker."""
    sure = verdict_on(within=within + unknown, over=over, percentile=99).verdict
    unsure = verdict_on(within=within, over=over, uncertain=unknown, percentile=99).verdict
    assert (sure, unsure) not in {
        (Verdict.FAIL, Verdict.PASS),
        (Verdict.INDETERMINATE, Verdict.PASS),
    }
    worst = verdict_on(within=within, over=over + unknown, percentile=99).verdict
    assert (worst, unsure) not in {(Verdict.PASS, Verdict.FAIL), (Verdict.INDETERMINATE, Verdict.FAIL)}


@pytest.mark.parametrize("packets", [300, 3000, 30_000])
@pytest.mark.parametrize("percentile", [95, 99, 99.9])
def test_of_paths_that_just_keep_the_promise_at_most_one_in_twenty_fails(
    packets: int, percentile: float
) -> None:
    """With violations exactly at the allowed share, the chance of a wrong FAIL, and of a wrong PASS just beyond it, is
    at most 5 % (independent packets): computed over all possible counts, not sampled."""
    threshold = 1 - percentile / 100
    wrong_fail = wrong_pass = 0.0
    for broken in range(int(binom.ppf(1 - 1e-9, packets, threshold)) + 2):
        chance = float(binom.pmf(broken, packets, threshold))
        verdict = verdict_on(within=packets - broken, over=broken, percentile=percentile).verdict
        wrong_fail += chance * (verdict is Verdict.FAIL)
        wrong_pass += chance * (verdict is Verdict.PASS)
    assert wrong_fail <= 0.05
    assert wrong_pass <= 0.05 + 1e-9


@pytest.mark.parametrize(
    ("round_trips", "words"),
    [
        ({int(7.5 * MS): 4000}, "the round trip itself keeps the limit"),
        ({10 * MS: 4000}, "the round trip itself keeps the limit"),
        ({15 * MS: 4000}, "the round trip less the fibre floor of 4.13 ms keeps the limit"),
        ({int(7.5 * MS): 3900, 15 * MS: 100}, "the round trip less the fibre floor"),
        ({}, "the round trip less the fibre floor"),
    ],
)
def test_a_pass_without_clocks_says_what_proves_it(round_trips: dict[int, int], words: str) -> None:
    """Where no clock vouches for anything the reason names the round trip, alone or less the floor."""
    one = verdict_on(within=4000, agent=UNSYNCHRONISED, round_trips=round_trips)
    assert one.verdict is Verdict.PASS
    assert words in one.reason.en
    assert "往返时延" in one.reason.zh
    assert "round trip" not in verdict_on(within=4000, round_trips=round_trips).reason.en
    both_ways = verdict_on(
        within=4000, agent=UNSYNCHRONISED, direction=Direction.ROUND_TRIP, round_trips=round_trips
    )
    assert "no clock" not in both_ways.reason.en


def bursty(clean: int, bad: int, lost: int, packets: int = 600) -> list[DirectionCounts]:
    """Minutes without a violation, and some that each lose so many of their packets."""
    return [counts(packets)] * clean + [counts(packets - lost, lost=lost)] * bad


def whole(minutes: list[DirectionCounts]) -> DirectionCounts:
    """All minutes together."""
    return sum(minutes, NOTHING)


HOURLY = Objective("hourly", Measure.LOSS, Window(3600 * SECOND_NS), 0.02, 0.5)


def test_packets_that_are_lost_together_prove_less() -> None:
    """Five minutes of an hour lose a third of their packets: more than 2 % in all, which so few bursts do not prove;
    spread evenly the same loss does."""
    minutes = bursty(55, 5, 200)
    together = answer(observation(whole(minutes), minutes=minutes), HOURLY)
    assert together.verdict is Verdict.INDETERMINATE
    assert together.effective is not None
    assert together.effective < 3600
    assert "in bursts: worth" in together.reason.en
    assert "独立" in together.reason.zh
    evenly = [counts(600 - 1000 // 60, lost=1000 // 60)] * 60
    apart = answer(observation(whole(evenly), minutes=evenly), HOURLY)
    assert apart.verdict is Verdict.FAIL
    assert apart.effective is not None
    assert apart.effective > 34_000


def test_a_history_tells_a_short_window_how_packets_depend_on_each_other() -> None:
    """Five clean minutes pass where packets are lost one by one, and do not where the day was lost in bursts."""
    objective = Objective("loss", Measure.LOSS, WINDOW, 0.002, 0.5)
    clean = observation(counts(3000), minutes=[counts(600)] * 5)
    assert answer(clean, objective).verdict is Verdict.PASS
    evenly = [counts(599, lost=1)] * 1440
    assert (
        answer(clean, objective, history=observation(whole(evenly), minutes=evenly)).verdict is Verdict.PASS
    )
    minutes = bursty(1400, 40, 300)
    one = answer(clean, objective, history=observation(whole(minutes), minutes=minutes))
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "too_few_packets")


@pytest.mark.parametrize(
    ("counted", "verdict", "code"),
    [
        (counts(30_000, 500, 400, 30), Verdict.PASS, "upper_bound_meets"),
        (counts(29_000, lost=700), Verdict.FAIL, "lower_bound_exceeds"),
        (counts(29_000, unattributed=700), Verdict.INDETERMINATE, "loss_without_direction"),
        (counts(unattributed=700), Verdict.INDETERMINATE, "target_silent"),
        (counts(100), Verdict.INDETERMINATE, "too_few_packets"),
        (counts(9_800, lost=200), Verdict.INDETERMINATE, "between_bounds"),
    ],
)
def test_loss_is_judged_by_what_is_lost(counted: DirectionCounts, verdict: Verdict, code: str) -> None:
    """Late packets are not lost, and what the clocks cannot tell does not matter."""
    one = answer(observation(counted), HOURLY)
    assert (one.verdict, one.reason.code) == (verdict, code)
    assert "2.000%" in one.reason.en or verdict is Verdict.INDETERMINATE
    assert one.percentile is None


def variation(at_most_ms: float, operator: Operator = Operator.AT_MOST) -> Objective:
    """P99 of packets within so much of the quickest."""
    limit = Limit(int(at_most_ms * MS), operator)
    return Objective("jitter", Measure.DELAY_VARIATION, WINDOW, 0.01, 0.5, 99, limit)


@pytest.mark.parametrize(
    ("bound_ms", "verdict", "code"),
    [
        (6.0, Verdict.PASS, "upper_bound_meets"),
        (3.0, Verdict.INDETERMINATE, "buckets_cannot_prove"),
        (0.4, Verdict.FAIL, "lower_bound_exceeds"),
    ],
)
def test_variation_is_told_as_far_as_the_buckets_tell_it(
    bound_ms: float, verdict: Verdict, code: str
) -> None:
    """The quickest took 4.2 ms, most packets between 5 and 7.5 ms, some up to 10 ms: a variation of 6 ms is kept,
    0.4 ms surely not; 3 ms lie within the bucket of most packets, of which nothing is claimed."""
    delays = {5 * MS: 970, int(7.5 * MS): 9_000, 10 * MS: 30}
    one = answer(observation(counts(10_000, delays=delays), minimum_us=4_200), variation(bound_ms))
    assert (one.verdict, one.reason.code) == (verdict, code)
    assert one.reason.zh


def varied(minutes: list[DirectionCounts], objective: Objective) -> Observation:
    """Minutes of which the quickest packet took 4 ms."""
    return observation(whole(minutes), minutes=minutes, minimum_us=4_000, variation=objective.variation)


def test_packets_that_are_slow_together_prove_less_of_a_variation() -> None:
    """Half of the packets of two minutes of an hour take 4 ms longer than the quickest: more than 1 % of all, which two
    bursts do not prove; spread evenly the same number does."""
    objective = replace(variation(1.0), window=Window(3600 * SECOND_NS))
    calm, slow = counts(600, delays={5 * MS: 600}), counts(600, delays={5 * MS: 300, 10 * MS: 300})
    minutes = [calm] * 29 + [slow] + [calm] * 29 + [slow]
    together = answer(varied(minutes, objective), objective)
    assert together.verdict is Verdict.INDETERMINATE
    assert together.effective is not None
    assert together.effective < 1_000
    assert "in bursts: worth" in together.reason.en
    evenly = [counts(600, delays={5 * MS: 590, 10 * MS: 10})] * 60
    apart = answer(varied(evenly, objective), objective)
    assert apart.verdict is Verdict.FAIL
    assert apart.effective == pytest.approx(36_000, rel=0.05)


def test_a_history_tells_a_short_window_how_its_delays_depend_on_each_other() -> None:
    """Five minutes without a slow packet prove a variation where slow ones come one by one, not where they come in
    bursts; where nobody knows better, each counts."""
    objective = variation(1.0)
    calm = counts(600, delays={5 * MS: 600})
    now = varied([calm] * 5, objective)
    assert answer(now, objective).verdict is Verdict.PASS
    evenly = [counts(600, delays={5 * MS: 599, 10 * MS: 1})] * 1440
    before = varied(evenly, objective)
    assert answer(now, objective, history=before).verdict is Verdict.PASS
    bursts = ([calm] * 59 + [counts(600, delays={5 * MS: 200, 10 * MS: 400})]) * 24
    one = answer(now, objective, history=varied(bursts, objective))
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "too_few_packets")


def test_a_variation_at_an_edge_is_kept_or_not_by_its_operator() -> None:
    """Delays of at most 5 ms against a least one of 4 ms: at most 1 ms is kept, below 1 ms is not proven."""
    observed = observation(counts(1000, delays={5 * MS: 1000}), minimum_us=4_000)
    assert answer(observed, variation(1.0)).verdict is Verdict.PASS
    assert answer(observed, variation(1.0, Operator.BELOW)).verdict is Verdict.INDETERMINATE


def test_variation_without_delays_is_no_data() -> None:
    """Where no clock vouches for one-way delays none are known; where the least one is not, nothing is claimed."""
    one = answer(observation(counts(1000)), variation(1.0))
    assert (one.verdict, one.reason.code) == (Verdict.NO_DATA, "no_delays")
    assert answer(observation(counts()), variation(1.0)).reason.code == "no_packets"
    few = answer(observation(counts(100, delays={5 * MS: 100}), minimum_us=4_900), variation(2.0))
    assert (few.verdict, few.reason.code) == (Verdict.INDETERMINATE, "too_few_packets")
    unknown = observation(counts(1000, delays={5 * MS: 1000}))
    assert answer(unknown, variation(1.0)).verdict is Verdict.INDETERMINATE


def test_verdicts_are_a_sequence() -> None:
    """Of all answers, one after the other, from either end and in slices."""
    questions = [
        Question.of(one, [Target(PATH, way, one, HUB_LIMIT, 0) for way in ONE_WAY], [0, 0])
        for one in (HOURLY, variation(1.0))
    ]
    observed = observation(counts(1000))
    verdicts = Verdicts(
        [
            Answer(asked, observed, judge(asked, observed, None, np.zeros(2, np.bool_)), lambda path: UP, {})
            for asked in questions
        ]
    )
    names = [(one.objective, one.direction) for one in verdicts]
    assert names == [(name, way) for name in ("hourly", "jitter") for way in ONE_WAY]
    assert verdicts[-1] == verdicts[3] == verdicts[2:][1]
    assert verdicts.codes.tolist() == [one.verdict for one in verdicts]
    with pytest.raises(IndexError):
        verdicts[4]
    assert len(Verdicts()) == 0
