"""Why a verdict is what it is, in words: which rule decided, with the numbers, in Chinese and English."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.core.histogram import quantile_bounds_ns
from agent.core.outcome import Direction, Limit, Outcome
from collector.sla.confidence import clean_packets_needed, lower_bound, upper_bound
from collector.sla.line import LineSaid
from collector.sla.measure import Measure
from collector.sla.names import Name, percent
from collector.sla.objective import Target
from collector.sla.promise import Promise, promise_name
from collector.sla.verdict import Reason, Verdict

_AS_GOOD_AS_INDEPENDENT: Final = 0.95


_SHARES: Final = {
    Measure.DELAY: Name("违约比例", "break the promise"),
    Measure.LOSS: Name("丢包比例", "are lost"),
    Measure.DELAY_VARIATION: Name("时延变化超限的比例", "vary by more than is promised"),
    Measure.AVAILABILITY: Name("不可用时间的比例", "are unavailable"),
}


class AgentFacts(NamedTuple):
    """What else is known of the agent that counted.

    Attributes:
        up: whether it was reached when it was last asked.
        clock_bound_ns: what its clock vouches for; None: nothing.
        resolved: whether it knows the target's address.
        round_trips: what round trips were measured in the window, per bucket of the delay histogram.
        silence: why nothing is read of it; empty where something is.
        told: whether it tells of this path.
        line: what it says of the line beside its counts, where it is one that is tested.
    """

    up: bool
    clock_bound_ns: int | None
    resolved: bool = True
    round_trips: tuple[int, ...] = ()
    silence: str = ""
    told: bool = True
    line: LineSaid | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted of one target, and how sure that is.

    Attributes:
        counts: packets by `Outcome`, indexed by it.
        trials, surely, possibly, least, most, coverage: as of `collector.sla.judge.Evidence`.
        maintained: whether all of the window is maintenance.
        unavailable: whether all of it that is not maintenance was unavailable.
        exact: whether the trials are all there is, and no sample: bounds are the shares themselves.
    """

    counts: tuple[int, ...]
    trials: int
    surely: int
    possibly: int
    least: float
    most: float
    coverage: float
    maintained: bool = False
    unavailable: bool = False
    exact: bool = False

    @property
    def lower(self) -> float:
        """The one-sided 95 % lower bound of p_lo; 0 without trials."""
        return self.at_least(self.surely)

    @property
    def upper(self) -> float:
        """The upper one of p_hi; 1 without trials."""
        return self.at_most(self.possibly)

    def at_least(self, events: int) -> float:
        """The lower bound of the share of so many events."""
        if self.exact:
            return events / self.trials if self.trials else 0.0
        return lower_bound(events * self.least / self.trials, self.least) if self.trials else 0.0

    def at_most(self, events: int) -> float:
        """The upper one."""
        if self.exact:
            return events / self.trials if self.trials else 1.0
        return upper_bound(events * self.most / self.trials, self.most) if self.trials else 1.0

    @property
    def effective(self) -> float:
        """How many independent packets they are worth, by the poorer of the two."""
        return min(self.least, self.most)

    @property
    def dependent(self) -> Name:
        """That packets depend on each other, where it shows."""
        if self.effective > _AS_GOOD_AS_INDEPENDENT * self.trials:
            return Name("", "")
        return Name(
            f"（成簇，统计上相当于 {self.effective:.0f} 个独立的包）",
            f" (in bursts: worth {self.effective:.0f} independent ones)",
        )


def explain_other_limit(target: Target, counted: Promise | None) -> Reason:
    """Why counts that are not of the promise judge nothing of it.

    Args:
        target: what was to be judged.
        counted: what the agent counts against; None: it does not say.
    """
    promised = promise_name(target.limit)
    if counted is None:
        return Reason(
            "limit_unknown",
            f"代理没有说明按什么限值计数，而承诺是 {promised.zh}：这些计数不能用来判定",
            f"the agent does not say what limit it counts against, the promise is {promised.en}: these counts judge "
            "nothing",
        )
    other = promise_name(counted)
    return Reason(
        "other_limit",
        f"代理按 {other.zh} 计数，而承诺是 {promised.zh}：这些计数不能用来判定",
        f"the agent counts against {other.en}, the promise is {promised.en}: these counts judge nothing",
    )


def explain(target: Target, verdict: Verdict, figures: Figures, agent: AgentFacts) -> Reason:
    """Why a target has its verdict.

    Args:
        target: what was judged.
        verdict: the verdict.
        figures: what it was made of.
        agent: what else is known.
    """
    objective = target.objective
    of = objective.budget_of if objective.measure is Measure.BUDGET else objective.measure
    allowed, share = _allowed(target), _SHARES[of]
    match verdict:
        case Verdict.NO_DATA:
            return _unobserved(target, figures, agent)
        case Verdict.FAIL:
            least = percent(figures.lower, objective.threshold)
            return Reason(
                "lower_bound_exceeds",
                f"{share.zh}至少 {least}（95 % 置信下界），超过 {allowed.zh}{figures.dependent.zh}",
                f"at least {least} of packets {share.en} (95 % lower bound), {allowed.en}{figures.dependent.en}",
            )
        case Verdict.PASS:
            proof = _proof_without_clock(target, agent)
            most = percent(figures.upper, objective.threshold)
            return Reason(
                "upper_bound_meets",
                f"{share.zh}至多 {most}（95 % 置信上界），{allowed.zh}{proof.zh}",
                f"at most {most} of packets {share.en} (95 % upper bound), {allowed.en}{proof.en}",
            )
        case _:
            return _unproven(target, figures, agent, allowed, share)


def _allowed(target: Target) -> Name:
    """How much may break the promise."""
    objective = target.objective
    threshold = percent(objective.threshold)
    if objective.percentile is None:
        return Name(f"允许 {threshold}", f"{threshold} are allowed")
    percentile = f"P{objective.percentile:.10g}"
    return Name(f"{percentile} 允许 {threshold}", f"{percentile} allows {threshold}")


def _proof_without_clock(target: Target, agent: AgentFacts) -> Name:
    """What proves a one-way promise where the clocks vouch for nothing; empty where they do, or none is needed."""
    objective = target.objective
    if (
        objective.measure is not Measure.DELAY
        or agent.clock_bound_ns is not None
        or target.direction is Direction.ROUND_TRIP
    ):
        return Name("", "")
    bucket = quantile_bounds_ns(agent.round_trips, 1 - objective.threshold)
    assert isinstance(target.limit, Limit)
    if bucket is not None and bucket[1] is not None and target.limit.met_by(bucket[1]):
        return Name(
            "；无需时钟：往返时延本身就低于限值",
            "; no clock is needed: the round trip itself keeps the limit",
        )
    floor = f"{target.floor_ns / 1e6:.2f} ms"
    return Name(
        f"；无需时钟：往返时延减去另一方向的光纤下限 {floor} 低于限值",
        f"; no clock is needed: the round trip less the fibre floor of {floor} keeps the limit",
    )


def _covered(figures: Figures) -> str:
    """The share of the window that is covered, and no more."""
    return f"{math.floor(100 * figures.coverage)}%"


def unread(figures: Figures, agent: AgentFacts) -> Reason | None:
    """Why nothing is known of a path at all, whatever is asked of it; None: for no such reason."""
    covered = _covered(figures)
    if figures.maintained:
        return Reason(
            "in_maintenance",
            "整个时间窗都在维护期内，好坏一概不计",
            "all of the window is maintenance: good and bad alike are left out",
        )
    if figures.unavailable:
        return Reason(
            "no_available_time",
            "整个时间窗都不可用，没有可判定时延的时间",
            "all of the window is unavailable: there is no time in which a delay could be judged",
        )
    if not agent.up:
        return Reason(
            "agent_silent",
            f"读不到代理的数据（{agent.silence}），时间窗只覆盖了 {covered}",
            f"nothing is read of the agent ({agent.silence}), {covered} of the window is covered",
        )
    if not agent.told:
        return Reason(
            "path_untold",
            f"代理没有提供这条路径的数据，时间窗只覆盖了 {covered}",
            f"the agent tells nothing of this path, {covered} of the window is covered",
        )
    return None


def _unobserved(target: Target, figures: Figures, agent: AgentFacts) -> Reason:
    coverage, needed, covered = figures.coverage, target.objective.min_coverage, _covered(figures)
    if (reason := unread(figures, agent)) is not None:
        return reason
    if coverage < needed and (agent.resolved or any(figures.counts)):
        return Reason(
            "below_coverage",
            f"时间窗只覆盖了 {covered}，至少需要 {needed:.0%}",
            f"{covered} of the window is covered, at least {needed:.0%} is needed",
        )
    if not agent.resolved:
        return Reason(
            "target_unresolved",
            "代理无法解析目标地址，没有发出探测包",
            "the agent cannot resolve the target's address and sends nothing",
        )
    if target.objective.measure is Measure.DELAY_VARIATION and any(figures.counts):
        return Reason(
            "no_delays",
            "时间窗内没有测得任何时延：包全部丢失，或单向时延缺少可信的时钟",
            "no delay of the window is known: all packets were lost, or no clock vouches for one-way delays",
        )
    return Reason("no_packets", "时间窗内没有任何探测包有结果", "no packet of the window has an outcome")


def _unproven(target: Target, figures: Figures, agent: AgentFacts, allowed: Name, share: Name) -> Reason:
    """Why neither PASS nor FAIL is proven: the clocks, lost packets of unknown direction, or too few packets.

    A cause is named where it alone stands in the way, or would even if all other packets were good.
    """
    counts, packets, threshold = figures.counts, figures.trials, target.objective.threshold
    between = figures.possibly - figures.surely
    unattributed = counts[Outcome.UNATTRIBUTED]
    match target.objective.measure:
        case Measure.DELAY_VARIATION:
            if figures.at_most(figures.surely) <= threshold or figures.at_least(between) > threshold:
                return Reason(
                    "buckets_cannot_prove",
                    f"{between} 个包落在 {target.objective.variation} 两侧的同一直方图区间内，无法区分",
                    f"{between} packets lie in a histogram bucket on both sides of "
                    f"{target.objective.variation} beyond the least delay: they cannot be told apart",
                )
        case _ if unattributed == packets:
            return Reason(
                "target_silent",
                f"目标没有应答：{packets} 个包全部丢失，方向不明",
                f"the target does not answer: all {packets} packets were lost, in an unknown direction",
            )
        case Measure.DELAY if _stands_alone(figures, counts[Outcome.UNCERTAIN], unattributed, threshold):
            return _clock_reason(target, agent, counts[Outcome.UNCERTAIN] / packets)
        case _ if _stands_alone(figures, unattributed, between - unattributed, threshold):
            return Reason(
                "loss_without_direction",
                f"{unattributed} 个包丢失，但无法证明丢在哪个方向",
                f"{unattributed} packets were lost and nothing proves in which direction",
            )
    needed, dependent = clean_packets_needed(threshold), figures.dependent
    if figures.most < needed:
        may = percent(threshold)
        return Reason(
            "too_few_packets",
            f"{packets} 个包太少{dependent.zh}：要证明违约不超过 {may}，至少需要 {needed} 个相互独立、全部达标的包",
            f"{packets} packets are too few{dependent.en}: that no more than {may} break the promise takes at least "
            f"{needed} independent ones to prove, all of them good",
        )
    lower, upper = percent(figures.lower, threshold), percent(figures.upper, threshold)
    return Reason(
        "between_bounds",
        f"{share.zh}在 {lower} 与 {upper} 之间（95 % 置信），{allowed.zh}，尚不能判定{dependent.zh}",
        f"between {lower} and {upper} of packets {share.en} (95 % confidence), {allowed.en}: not decided yet"
        f"{dependent.en}",
    )


def _stands_alone(figures: Figures, unknown: int, other_unknown: int, threshold: float) -> bool:
    """Whether what is not known of these packets alone keeps the verdict open."""
    return (
        figures.at_most(figures.surely + other_unknown) <= threshold or figures.at_least(unknown) > threshold
    )


def _clock_reason(target: Target, agent: AgentFacts, share: float) -> Reason:
    if target.direction is Direction.ROUND_TRIP:
        # No clock offset touches a round trip: what is left are times that were not taken by the kernel.
        return Reason(
            "stamps_cannot_prove",
            f"收发时间不是由内核记录的，精度不足以证明 {target.limit}：{share:.1%} 的包不确定",
            f"times were not taken by the kernel and are too coarse to prove {target.limit}: "
            f"{share:.1%} of packets are uncertain",
        )
    if agent.clock_bound_ns is None:
        zh, en = "时钟未同步", "the clocks are not synchronised"
    else:
        bound = f"±{agent.clock_bound_ns / 1e6:g} ms"
        zh, en = (
            f"两端时钟的误差（本端 {bound}）过大",
            f"the clocks of both ends are too coarse (this one {bound})",
        )
    floor = f"{target.floor_ns / 1e6:.2f} ms"
    return Reason(
        "clock_cannot_prove",
        f"{zh}，往返时延减去光纤下限 {floor} 也不足以证明 {target.limit}：{share:.1%} 的包不确定",
        f"{en}, and the round trip less the fibre floor of {floor} does not prove {target.limit} either: "
        f"{share:.1%} of packets are uncertain",
    )
