"""Error budgets: what is left of them, and when their burning is warned of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction
from collector.sla.budget import (
    RULES,
    Burning,
    budget_id,
    budget_owner,
    burn,
    burn_rates_of,
    remaining,
    rules_of,
    share_counted,
    windows_of,
)
from collector.sla.counts import DirectionCounts
from collector.sla.judge import Question, judge
from collector.sla.measure import Measure
from collector.sla.objective import Objective, Target
from collector.sla.reasons import AgentFacts
from collector.sla.verdict import Judgement, Verdict
from collector.sla.verdicts import Answer, Verdicts
from collector.sla.window import Calendar, Window
from tests.support.counting import HUB_LIMIT, PATH, counts, observation

MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
MONTH = Window(30 * DAY_NS)
THRESHOLD = 0.001
WINDOWS = windows_of(MONTH)


def question(window: Window = MONTH, of: Measure = Measure.DELAY) -> Question:
    """The budget of one path's objective that allows a thousandth."""
    objective = Objective(budget_id("month"), Measure.BUDGET, window, THRESHOLD, 0.5, budget_of=of)
    return Question.of(objective, [Target(PATH, Direction.FORWARD, objective, HUB_LIMIT, 0)], [0])


def judged(
    by_window: dict[int, DirectionCounts],
    of: Measure = Measure.DELAY,
    coverage: float = 1.0,
    longest: float | None = None,
) -> Judgement:
    """The verdict where these windows counted this, and the others are clean; the longest may be covered otherwise."""
    asked = question(of=of)
    seen = {
        window: observation(
            by_window.get(window.longest_ns, counts(10_000)),
            end_ns=window.longest_ns,
            coverage=coverage if longest is None or window != WINDOWS[-1] else longest,
        )
        for window in WINDOWS
    }
    found = burn(asked, seen)
    (one,) = Verdicts([Answer(asked, seen[WINDOWS[-1]], found, lambda path: AgentFacts(True, 50_000), {})])
    assert one.burn_rates == burn_rates_of(found, 0)
    return one


def test_a_month_is_watched_by_four_pairs_of_windows() -> None:
    """2 % of it in an hour, 5 % in six, 10 % in a day and in three: 14.4, 6, 3 and once as fast as may be."""
    assert [round(rule.factor(MONTH.longest_ns), 6) for rule in rules_of(MONTH)] == [14.4, 6, 3, 1]
    spans = [window.longest_ns for window in WINDOWS]
    assert spans == [5 * MINUTE_NS, 30 * MINUTE_NS, HOUR_NS, 2 * HOUR_NS, 6 * HOUR_NS, DAY_NS, 3 * DAY_NS]
    assert rules_of(Window(Calendar.MONTH)) == list(RULES)
    assert len(rules_of(Window(7 * DAY_NS))) == 2
    assert rules_of(Window(DAY_NS)) == []
    assert budget_owner(budget_id("month")) == budget_owner("month") == "month"


def test_a_fast_burn_warns_while_it_lasts() -> None:
    """2 % lost over an hour and five minutes burn twenty times too fast; once five minutes are clean it is over."""
    bad = counts(9_800, lost=200)
    one = judged({HOUR_NS: bad, 5 * MINUTE_NS: bad})
    assert (one.verdict, one.reason.code) == (Verdict.FAIL, "budget_burns")
    assert "20.0 times as fast as it may over 1 h" in one.reason.en
    assert "all of it is spent in 1 d 12 h" in one.reason.en
    assert "最近 1 小时" in one.reason.zh
    assert one.burn_rates[HOUR_NS] == pytest.approx(20)
    over = judged({HOUR_NS: bad})
    assert (over.verdict, over.reason.code) == (Verdict.PASS, "budget_holds")


def test_a_slow_burn_warns_before_the_month_is_lost() -> None:
    """Twice the allowed share over three days and six hours: spent after half a month, and no hour shows it."""
    slow = counts(9_980, over=20)
    one = judged({window.longest_ns: slow for window in WINDOWS})
    assert one.verdict is Verdict.FAIL
    assert "over 3 d" in one.reason.en
    assert "spent in 15 d" in one.reason.en


def test_what_the_clocks_cannot_tell_burns_nothing_for_sure() -> None:
    """Uncertain packets may have broken the promise: neither a warning nor its absence is proven, but for loss."""
    unknown = {window.longest_ns: counts(5_000, uncertain=5_000) for window in WINDOWS}
    assert (judged(unknown).verdict, judged(unknown).reason.code) == (
        Verdict.INDETERMINATE,
        "budget_unclear",
    )
    assert judged(unknown, Measure.LOSS).verdict is Verdict.PASS


def test_nothing_counted_is_no_data() -> None:
    """A silent agent burns no budget and keeps none either."""
    one = judged({window.longest_ns: counts() for window in WINDOWS})
    assert (one.verdict, one.burn_rates) == (Verdict.NO_DATA, {})
    assert judged({}, coverage=0.1).verdict is Verdict.NO_DATA


def test_no_budget_holds_over_days_that_nobody_saw() -> None:
    """Five minutes say nothing of three days; but what burns warns however little of the days was seen."""
    one = judged({}, longest=0.01)
    assert (one.verdict, one.reason.code, one.coverage) == (Verdict.NO_DATA, "below_coverage", 0.01)
    bad = counts(9_800, lost=200)
    assert judged({HOUR_NS: bad, 5 * MINUTE_NS: bad}, longest=0.01).verdict is Verdict.FAIL


def test_what_was_seen_of_an_hour_is_no_hour() -> None:
    """Twenty times too fast in three fifths of it is twelve times as fast as the whole hour may: no warning, for the
    rest is not known to have been as bad; nor its absence, for it may have been."""
    bad = counts(9_800, lost=200)
    one = judged({HOUR_NS: bad, 5 * MINUTE_NS: bad}, coverage=0.6)
    assert one.burn_rates[HOUR_NS] == pytest.approx(12)
    assert (one.verdict, one.reason.code) == (Verdict.INDETERMINATE, "budget_unseen")
    assert "观测到的时间太少" in one.reason.zh
    assert one.burns[HOUR_NS] == (10_000, 200, 200, 0.6)


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(WINDOWS))
def test_more_violations_never_end_a_warning(lost: int, more: int, where: Window) -> None:
    """Whichever window they are counted in."""
    base = {window.longest_ns: counts(20_000, lost=lost) for window in WINDOWS}
    worse = base | {where.longest_ns: counts(20_000, lost=lost + more)}
    before, after = judged(base).verdict, judged(worse).verdict
    assert (before, after) != (Verdict.FAIL, Verdict.PASS)


def test_what_will_not_be_judged_is_no_part_of_a_budget() -> None:
    """Of the first fifteen days of January ten were maintenance and a day nobody saw: four are judged with the sixteen
    to come, so a fifth of what the month will be judged by was counted, and not half."""
    month = Window(Calendar.MONTH)
    begin_ns = month.begin_ns(1_800_000_000 * 1_000_000_000)
    now_ns = begin_ns + 15 * DAY_NS
    objective = Objective("month", Measure.LOSS, month, THRESHOLD, 0.5)
    asked = Question.of(objective, [Target(PATH, Direction.FORWARD, objective, HUB_LIMIT, 0)], [0])
    observed = observation(
        counts(10_000),
        begin_ns=begin_ns,
        end_ns=now_ns,
        left_out_ms=10 * DAY_NS // 1_000_000,
        coverage=4 / 15,
    )
    assert share_counted(asked, observed, now_ns).tolist() == [4 / 20]
    nothing = observation(counts(), begin_ns=begin_ns, end_ns=now_ns, coverage=0.0)
    assert share_counted(asked, nothing, now_ns).tolist() == [0]


@pytest.mark.parametrize(
    ("lost", "counted", "left"), [(0, 1, 1), (5, 1, 0.5), (5, 0.1, 0.95), (20, 1, -1), (20, 0.25, 0.5)]
)
def test_what_is_left_counts_the_days_to_come(lost: int, counted: float, left: float) -> None:
    """Half of a thousandth lost leaves half; early in the month most of it, for most packets are yet to come."""
    objective = Objective("month", Measure.LOSS, MONTH, THRESHOLD, 0.5)
    asked = Question.of(objective, [Target(PATH, Direction.FORWARD, objective, HUB_LIMIT, 0)], [0])
    observed = observation(counts(10_000 - lost, lost=lost))
    evidence = judge(asked, observed, None, np.zeros(1, np.bool_))
    assert not isinstance(evidence, Burning)
    found = remaining(evidence, asked, np.array([counted]))
    assert found.tolist() == pytest.approx([left])
    one = Answer(asked, observed, evidence, lambda path: AgentFacts(True, 1), {}, found).judgement(0)
    assert one.budget_remaining == pytest.approx(left)
    assert one.burn_rates == {}
