"""Error budgets: how much of what an objective allows is left, and how fast it is being spent.

An objective over a month that allows one packet in a thousand to break the promise has a budget: a thousandth of the
month's packets. The burn rate is the share that breaks it lately over the share that may: at 1 the budget lasts exactly
as long as the window. It warns where a long window and a short one both burn faster than the budget can bear: the long
one because a moment proves nothing, the short one because what is over needs no warning.

What a window of time has spent for sure is what was seen to be spent, so time of which nothing was seen, or that is
judged elsewhere or not at all (maintenance), has spent nothing: a burn rate is that of what was seen, times the share
of its window that this is. Five minutes are no hour, and one lost packet of the first five minutes of all is no slow
burn. For the absence of a warning the rest is taken to be as what was seen.

    burn rate = broken / judged / threshold · observed time / window

Of a calendar month rules reckon with 31 days.

Source: Beyer et al., The Site Reliability Workbook (2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts", whose
shares and windows these are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from collector.sla.judge import Evidence, Flags, Floats, Question
from collector.sla.measure import SHARES
from collector.sla.names import duration_name
from collector.sla.observation import Integers, Observation
from collector.sla.verdict import Burn, Reason, Verdict
from collector.sla.window import Calendar, Window

_MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 60 * _MINUTE_NS
_DAY_NS: Final = 24 * _HOUR_NS
MIN_COVERAGE: Final = 0.5
"""No budget holds over days of which less was seen."""

_MS_NS: Final = 1_000_000


class BurnRule(NamedTuple):
    """When a burn rate warns.

    Attributes:
        long_ns, short_ns: both windows must burn fast enough.
        share: of the budget of the objective's window that is spent in a long window then.
    """

    long_ns: int
    short_ns: int
    share: float

    def factor(self, window_ns: int) -> float:
        """The burn rate at which that is so."""
        return self.share * window_ns / self.long_ns


RULES: Final = (
    BurnRule(_HOUR_NS, 5 * _MINUTE_NS, 0.02),
    BurnRule(6 * _HOUR_NS, 30 * _MINUTE_NS, 0.05),
    BurnRule(_DAY_NS, 2 * _HOUR_NS, 0.1),
    BurnRule(3 * _DAY_NS, 6 * _HOUR_NS, 0.1),
)


_SUFFIX: Final = ":budget"


def budget_id(objective: str) -> str:
    """What the question is called whether an objective's budget burns; no objective of a fleet file has a colon."""
    return objective + _SUFFIX


def budget_owner(question: str) -> str:
    """The objective whose budget it is."""
    return question.removesuffix(_SUFFIX)


def rules_of(window: Window) -> Sequence[BurnRule]:
    """The rules that warn of an objective: those at whose rate the budget would be spent within its window."""
    return [rule for rule in RULES if rule.factor(window.longest_ns) >= 1]


def windows_of(window: Window) -> Sequence[Window]:
    """The windows whose burn rates are looked at, the shortest first."""
    spans = {span for rule in rules_of(window) for span in (rule.long_ns, rule.short_ns)}
    return [Window(span) for span in sorted(spans)]


def remaining(evidence: Evidence, question: Question, counted: Floats) -> Floats:
    """The share of the error budget that is left, below 0 where more was spent; nothing is spent without trials.

    Args:
        evidence: of the objective's window.
        question: the objective.
        counted: as `share_counted` has it (n,).
    """
    broken = np.divide(
        evidence.surely, evidence.trials, out=np.zeros(len(evidence.surely)), where=evidence.trials > 0
    )
    left: Floats = 1 - broken * counted / question.objective.threshold
    return left


def share_counted(question: Question, observed: Observation, now_ns: int) -> Floats:
    """Which share of what a window will have been judged by, at its end, was counted already (n,).

    That is 1, but for the days of a month that are to come. Maintenance, unavailable time and what nobody saw are in
    neither: they will not be judged, so a packet that was lost beside them weighs the more.
    """
    window = question.objective.window
    # of a window that slides nothing is to come, though it begins with a whole minute
    length_ns = window.length_ns(now_ns) if isinstance(window.span, Calendar) else 0
    to_come_ms = np.maximum(0, length_ns - (observed.end_ns - observed.begin_ns))[question.rows] // _MS_NS
    covered_ms = observed.covered_ms[question.rows, question.places]
    whole_ms = covered_ms + to_come_ms
    counted: Floats = np.divide(covered_ms, whole_ms, out=np.zeros(len(whole_ms)), where=whole_ms > 0)
    return counted


@dataclass(frozen=True, slots=True, eq=False)
class _Spent:
    """What a window has spent; (n,) each.

    Attributes:
        judged, broken, possibly: packets.
        observed: share of the window that was seen and judged, 0 to 1.
        rate: at which it burns for sure; NaN where nothing was counted.
        seen: at which that burns which was seen.
        most: that, if all of it that is not known were broken.
    """

    judged: Integers
    broken: Integers
    possibly: Integers
    observed: Floats
    rate: Floats
    seen: Floats
    most: Floats

    @classmethod
    def of(cls, question: Question, observed: Observation) -> _Spent:
        """What was spent in the window of an observation."""
        shares, threshold = SHARES[question.objective.budget_of], question.objective.threshold
        rows, places = question.rows, question.places
        outcomes = observed.outcomes[rows, places]
        judged = outcomes.sum(axis=1)
        broken = outcomes[:, sorted(shares.surely)].sum(axis=1)
        length_ms = np.maximum(1, (observed.end_ns - observed.begin_ns)[rows] // _MS_NS)
        share = np.minimum(1.0, observed.covered_ms[rows, places] / length_ms)
        seen = _rate(broken, judged, threshold)
        possibly = outcomes[:, sorted(shares.possibly)].sum(axis=1)
        most = _rate(possibly, judged, threshold)
        return cls(judged, broken, possibly, share, seen * share, seen, most)


_SPENT: Final[WeakKeyDictionary[Observation, dict[Question, _Spent]]] = WeakKeyDictionary()
"""What observations have told: those of long windows stay the same for many evaluations."""


def _spent(question: Question, observed: Observation) -> _Spent:
    known = _SPENT.setdefault(observed, {})
    if question not in known:
        known[question] = _Spent.of(question, observed)
    return known[question]


@dataclass(frozen=True, slots=True, eq=False)
class Burning(Evidence):
    """How fast budgets are being spent; the other figures are of the longest window.

    Attributes:
        spent: by window.
        rule: which of `rules_of` warns, the one of the shortest windows first (n,); as many as there are: none.
        unseen: whether one would if the rest of its windows were as what was seen of them (n,).
    """

    spent: Mapping[Window, _Spent]
    rule: Integers
    unseen: Flags


def burn(question: Question, observed: Mapping[Window, Observation]) -> Burning:
    """How fast the budgets of an objective are being spent.

    Args:
        question: the objective.
        observed: all paths over each of `windows_of` its window.

    Returns:
        FAIL where a rule warns, PASS where none would even if all that is not known were broken. What warns is
        covered as the shortest window is, what does not as the least covered of all: of each it says that it is good.
    """
    objective = question.objective
    rules, windows = rules_of(objective.window), windows_of(objective.window)
    spent = {window: _spent(question, observed[window]) for window in windows}
    rule = np.full(len(question.targets), len(rules))
    unseen, possible = (np.zeros(len(question.targets), np.bool_) for _ in range(2))
    for number, one in reversed(list(enumerate(rules))):
        factor = one.factor(objective.window.longest_ns)
        both = spent[Window(one.long_ns)], spent[Window(one.short_ns)]
        rule[np.all([window.rate >= factor for window in both], axis=0)] = number
        unseen |= np.all([window.seen >= factor for window in both], axis=0)
        possible |= np.all([window.most >= factor for window in both], axis=0)
    covered = [observed[window].coverage()[question.rows, question.places] for window in windows]
    coverage = np.where(rule < len(rules), covered[0], np.min(covered, axis=0))
    codes = np.where(possible, Verdict.INDETERMINATE, Verdict.PASS).astype(np.int8)
    codes[rule < len(rules)] = Verdict.FAIL
    codes[(coverage < objective.min_coverage) | (spent[windows[0]].judged == 0)] = Verdict.NO_DATA
    longest = spent[windows[-1]]
    return Burning(
        longest.judged,
        longest.broken,
        longest.possibly,
        longest.judged.astype(np.float64),
        longest.judged.astype(np.float64),
        coverage,
        codes,
        spent,
        rule,
        unseen,
    )


def burn_rates_of(evidence: Evidence, index: int) -> dict[int, float]:
    """The burn rates of one target by length of window (ns), those that are known."""
    if not isinstance(evidence, Burning):
        return {}
    rates = {window.longest_ns: float(spent.rate[index]) for window, spent in evidence.spent.items()}
    return {span_ns: rate for span_ns, rate in rates.items() if not math.isnan(rate)}


def burns_of(evidence: Evidence, index: int) -> dict[int, Burn]:
    """What the burn rates of one target are made of, by length of window (ns)."""
    if not isinstance(evidence, Burning):
        return {}
    return {
        window.longest_ns: Burn(
            int(spent.judged[index]),
            int(spent.broken[index]),
            int(spent.possibly[index]),
            float(spent.observed[index]),
        )
        for window, spent in evidence.spent.items()
    }


def _rate(broken: Integers, judged: Integers, threshold: float) -> Floats:
    share = np.divide(broken, judged, out=np.full(len(judged), np.nan), where=judged > 0)
    rate: Floats = share / threshold
    return rate


def explain_burn(question: Question, burning: Burning, index: int) -> Reason:
    """Why a budget is said to burn or not, where it was judged at all."""
    window, rules = question.objective.window, rules_of(question.objective.window)
    number = int(burning.rule[index])
    if number < len(rules):
        rule = rules[number]
        long, short = (
            float(burning.spent[Window(span)].rate[index]) for span in (rule.long_ns, rule.short_ns)
        )
        left = duration_name(round(window.longest_ns / long))
        return Reason(
            "budget_burns",
            f"误差预算消耗过快：最近 {duration_name(rule.long_ns).zh} 是允许速度的 {long:.1f} 倍，最近 "
            f"{duration_name(rule.short_ns).zh} 是 {short:.1f} 倍；照此速度，全部预算 {left.zh} 用尽",
            f"the error budget burns {long:.1f} times as fast as it may over {duration_name(rule.long_ns).en}, "
            f"{short:.1f} times over {duration_name(rule.short_ns).en}: all of it is spent in {left.en}",
        )
    if Verdict(int(burning.codes[index])) is Verdict.PASS:
        return Reason(
            "budget_holds",
            "误差预算的消耗速度在允许范围内",
            "the error budget burns no faster than it may",
        )
    if burning.unseen[index]:
        return Reason(
            "budget_unseen",
            "误差预算可能消耗过快：观测到的时间里超过了允许的速度，但观测到的时间太少，不足以证明",
            "the error budget may burn too fast: in what was observed it does, which is too little of the time to "
            "prove it",
        )
    return Reason(
        "budget_unclear",
        "误差预算可能消耗过快：取决于时钟或方向不明的丢包",
        "the error budget may burn too fast: that hangs on packets of which the clocks or the direction are not known",
    )
