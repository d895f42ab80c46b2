"""Error budgets: how much of what an objective allows is left, and how fast it is being spent.

An objective over a month that allows one packet in a thousand to break the promise has a budget: a thousandth of the
month's packets. The burn rate is the share that breaks it lately over the share that may: at 1 the budget lasts exactly
as long as the window. It warns where a long window and a short one both burn faster than the budget can bear: the long
one because a moment proves nothing, the short one because what is over needs no warning.

Source: Beyer et al., The Site Reliability Workbook (2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts", whose
shares and windows these are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Outcome
from collector.sla.judge import Evidence, Floats, Question
from collector.sla.measure import SHARES
from collector.sla.names import duration_name
from collector.sla.observation import Integers, Observation
from collector.sla.verdict import Reason, Verdict
from collector.sla.window import Window

_MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 60 * _MINUTE_NS
_DAY_NS: Final = 24 * _HOUR_NS
_MIN_COVERAGE: Final = 0.5


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


def remaining(evidence: Evidence, question: Question, elapsed: Floats) -> Floats:
    """The share of the error budget that is left, below 0 where more was spent; nothing is spent without trials.

    Args:
        evidence: of the objective's window.
        question: the objective.
        elapsed: the share of the window that is over (n,): 1, but for the days of a month that are to come.
    """
    broken = np.divide(
        evidence.surely, evidence.trials, out=np.zeros(len(evidence.surely)), where=evidence.trials > 0
    )
    left: Floats = 1 - broken * elapsed / question.objective.threshold
    return left


@dataclass(frozen=True, slots=True, eq=False)
class Burning(Evidence):
    """How fast budgets are being spent; the other figures are of the longest window.

    Attributes:
        rates: burn rates by window (n,); NaN where nothing was counted.
        rule: which of `rules_of` warns, the one of the shortest windows first (n,); as many as there are: none.
    """

    rates: Mapping[Window, Floats]
    rule: Integers


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
    shares = SHARES[objective.budget_of]
    rates: dict[Window, Floats] = {}
    most: dict[Window, Floats] = {}
    for window in windows:
        outcomes = observed[window].outcomes[question.rows, question.places]
        trials = outcomes.sum(axis=1)
        rates[window] = _rate(outcomes, shares.surely, trials, objective.threshold)
        most[window] = _rate(outcomes, shares.possibly, trials, objective.threshold)
    rule = np.full(len(question.targets), len(rules))
    possible = np.zeros(len(question.targets), np.bool_)
    for number, one in reversed(list(enumerate(rules))):
        factor = one.factor(objective.window.longest_ns)
        both = Window(one.long_ns), Window(one.short_ns)
        rule[(rates[both[0]] >= factor) & (rates[both[1]] >= factor)] = number
        possible |= (most[both[0]] >= factor) & (most[both[1]] >= factor)
    longest = observed[windows[-1]]
    covered = [observed[window].coverage()[question.rows, question.places] for window in windows]
    coverage = np.where(rule < len(rules), covered[0], np.min(covered, axis=0))
    codes = np.where(possible, Verdict.INDETERMINATE, Verdict.PASS).astype(np.int8)
    codes[rule < len(rules)] = Verdict.FAIL
    codes[(coverage < _MIN_COVERAGE) | np.isnan(rates[windows[0]])] = Verdict.NO_DATA
    outcomes = longest.outcomes[question.rows, question.places]
    trials = outcomes.sum(axis=1)
    return Burning(
        trials,
        outcomes[:, sorted(shares.surely)].sum(axis=1),
        outcomes[:, sorted(shares.possibly)].sum(axis=1),
        trials.astype(np.float64),
        trials.astype(np.float64),
        coverage,
        codes,
        rates,
        rule,
    )


def burn_rates_of(evidence: Evidence, index: int) -> dict[int, float]:
    """The burn rates of one target by length of window (ns), those that are known."""
    if not isinstance(evidence, Burning):
        return {}
    rates = {window.longest_ns: float(rates[index]) for window, rates in evidence.rates.items()}
    return {span_ns: rate for span_ns, rate in rates.items() if not math.isnan(rate)}


def _rate(outcomes: Integers, which: frozenset[Outcome], trials: Integers, threshold: float) -> Floats:
    share: NDArray[np.float64] = np.divide(
        outcomes[:, sorted(which)].sum(axis=1), trials, out=np.full(len(trials), np.nan), where=trials > 0
    )
    rate: Floats = share / threshold
    return rate


def explain_burn(question: Question, burning: Burning, index: int) -> Reason:
    """Why a budget is said to burn or not, where it was judged at all."""
    window, rules = question.objective.window, rules_of(question.objective.window)
    number = int(burning.rule[index])
    if number < len(rules):
        rule = rules[number]
        long, short = (float(burning.rates[Window(span)][index]) for span in (rule.long_ns, rule.short_ns))
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
    return Reason(
        "budget_unclear",
        "误差预算可能消耗过快：取决于时钟或方向不明的丢包",
        "the error budget may burn too fast: that hangs on packets of which the clocks or the direction are not known",
    )
