"""The verdict: counts of a window held against an objective (DESIGN: three verdicts of ILAC-G8, and NO_DATA).

p_lo is the share of packets that surely broke the promise, p_hi the share that may have. A packet that was lost
somewhere (unattributed) may have been lost in this direction; of one that is uncertain the clocks cannot tell.

    PASS            the upper bound of p_hi is at most 1 - percentile
    FAIL            the lower bound of p_lo is above it
    INDETERMINATE   neither is proven
    NO_DATA         too little of the window was observed, or nothing that this objective could be judged by
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.histogram import quantile_bounds_ns
from agent.core.outcome import Direction, Limit, Outcome
from collector.sla.confidence import clean_packets_needed, lower_bound, upper_bound
from collector.sla.verdict import Judgement, PathKey, Reason, Verdict
from collector.sla.window import WindowSum


@dataclass(frozen=True, slots=True)
class Objective:
    """What is asked of one direction of a path.

    Attributes:
        id: as in the fleet file.
        limit: the promise.
        floor_ns: the least delay that physics allows in this direction.
        percentile: share of packets, in percent, that must keep it; below 100.
        min_coverage: share of the window that must have been observed, 0 to 1.
    """

    id: str
    limit: Limit
    floor_ns: int
    percentile: float
    min_coverage: float

    @property
    def threshold(self) -> float:
        """The share of packets that may break the promise."""
        return 1 - self.percentile / 100


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What else is known of the agent that counted.

    Attributes:
        up: whether it was reached when it was last asked.
        limit: what it counts outcomes against; None: it never said.
        clock_bound_ns: what its clock vouches for; None: nothing.
        resolved: whether it knows the target's address.
        round_trips: what round trips were measured in the window, per bucket of the delay histogram.
        silence: why nothing is read of it; empty where something is.
    """

    up: bool
    limit: Limit | None
    clock_bound_ns: int | None
    resolved: bool = True
    round_trips: tuple[int, ...] = ()
    silence: str = ""


def judge(
    path: PathKey, direction: Direction, objective: Objective, window: WindowSum, agent: AgentFacts
) -> Judgement:
    """Hold one direction of a path against an objective over a window."""
    counts = window.counts.outcomes
    packets = sum(counts)
    broken = counts[Outcome.OVER] + counts[Outcome.LOST]
    suspect = broken + counts[Outcome.UNCERTAIN] + counts[Outcome.UNATTRIBUTED]
    bound_lower = lower_bound(broken, packets) if packets else None
    bound_upper = upper_bound(suspect, packets) if packets else None
    verdict, reason = _decide(direction, objective, window, agent, bound_lower, bound_upper)
    return Judgement(
        path=path,
        direction=direction,
        objective=objective.id,
        verdict=verdict,
        reason=reason,
        limit=objective.limit,
        floor_ns=objective.floor_ns,
        percentile=objective.percentile,
        window_start_ns=window.start_ns,
        window_end_ns=window.end_ns,
        counts=dict(zip(Outcome, counts, strict=True)),
        violation_lower=broken / packets if packets else None,
        violation_upper=suspect / packets if packets else None,
        bound_lower=bound_lower,
        bound_upper=bound_upper,
        threshold=objective.threshold,
        coverage=window.coverage,
        delay_p50_ns=quantile_bounds_ns(window.counts.delays, 0.5),
        delay_p99_ns=quantile_bounds_ns(window.counts.delays, 0.99),
    )


def _decide(
    direction: Direction,
    objective: Objective,
    window: WindowSum,
    agent: AgentFacts,
    bound_lower: float | None,
    bound_upper: float | None,
) -> tuple[Verdict, Reason]:
    if agent.limit is not None and agent.limit != objective.limit:
        return Verdict.NO_DATA, Reason(
            "other_limit",
            f"代理按 {agent.limit} 计数，而承诺是 {objective.limit}：这些计数不能用来判定",
            f"the agent counts against {agent.limit}, the promise is {objective.limit}: these counts judge nothing",
        )
    if window.coverage < objective.min_coverage or bound_lower is None or bound_upper is None:
        return Verdict.NO_DATA, _unobserved(objective, window, agent)
    threshold = objective.threshold
    if bound_lower > threshold:
        return Verdict.FAIL, Reason(
            "lower_bound_exceeds",
            f"违约比例至少 {bound_lower:.3%}（95 % 置信下界），超过 P{objective.percentile:g} 允许的 {threshold:.3%}",
            f"at least {bound_lower:.3%} of packets break the promise (95 % lower bound), "
            f"P{objective.percentile:g} allows {threshold:.3%}",
        )
    if bound_upper <= threshold:
        zh, en = _proof_without_clock(direction, objective, agent)
        return Verdict.PASS, Reason(
            "upper_bound_meets",
            f"违约比例至多 {bound_upper:.3%}（95 % 置信上界），P{objective.percentile:g} 允许 {threshold:.3%}{zh}",
            f"at most {bound_upper:.3%} of packets break the promise (95 % upper bound), "
            f"P{objective.percentile:g} allows {threshold:.3%}{en}",
        )
    return Verdict.INDETERMINATE, _unproven(direction, objective, window, agent)


def _proof_without_clock(direction: Direction, objective: Objective, agent: AgentFacts) -> tuple[str, str]:
    """What proves a one-way promise where the clocks vouch for nothing; empty where they do."""
    if agent.clock_bound_ns is not None or direction is Direction.ROUND_TRIP:
        return "", ""
    bucket = quantile_bounds_ns(agent.round_trips, objective.percentile / 100)
    if bucket is not None and bucket[1] is not None and objective.limit.met_by(bucket[1]):
        return (
            "；无需时钟：往返时延本身就低于限值",
            "; no clock is needed: the round trip itself keeps the limit",
        )
    floor = f"{objective.floor_ns / 1e6:.2f} ms"
    return (
        f"；无需时钟：往返时延减去另一方向的光纤下限 {floor} 低于限值",
        f"; no clock is needed: the round trip less the fibre floor of {floor} keeps the limit",
    )


def _unobserved(objective: Objective, window: WindowSum, agent: AgentFacts) -> Reason:
    if not agent.up:
        return Reason(
            "agent_silent",
            f"读不到代理的数据（{agent.silence}），时间窗只覆盖了 {window.coverage:.0%}",
            f"nothing is read of the agent ({agent.silence}), {window.coverage:.0%} of the window is covered",
        )
    if window.coverage < objective.min_coverage:
        return Reason(
            "below_coverage",
            f"时间窗只覆盖了 {window.coverage:.0%}，至少需要 {objective.min_coverage:.0%}",
            f"{window.coverage:.0%} of the window is covered, at least {objective.min_coverage:.0%} is needed",
        )
    if not agent.resolved:
        return Reason(
            "target_unresolved",
            "代理无法解析目标地址，没有发出探测包",
            "the agent cannot resolve the target's address and sends nothing",
        )
    return Reason("no_packets", "时间窗内没有任何探测包有结果", "no packet of the window has an outcome")


def _unproven(direction: Direction, objective: Objective, window: WindowSum, agent: AgentFacts) -> Reason:
    """Why neither PASS nor FAIL is proven: the clocks, lost packets of unknown direction, or too few packets.

    A cause is named where it alone stands in the way, or would even if all other packets were good.
    """
    counts = window.counts.outcomes
    packets = sum(counts)
    threshold = objective.threshold
    surely = counts[Outcome.OVER] + counts[Outcome.LOST]
    uncertain, unattributed = counts[Outcome.UNCERTAIN], counts[Outcome.UNATTRIBUTED]
    if unattributed == packets:
        return Reason(
            "target_silent",
            f"目标没有应答：{packets} 个包全部丢失，方向不明",
            f"the target does not answer: all {packets} packets were lost, in an unknown direction",
        )
    if (
        upper_bound(surely + unattributed, packets) <= threshold
        or lower_bound(uncertain, packets) > threshold
    ):
        return _clock_reason(direction, objective, agent, uncertain / packets)
    if (
        upper_bound(surely + uncertain, packets) <= threshold
        or lower_bound(unattributed, packets) > threshold
    ):
        return Reason(
            "loss_without_direction",
            f"{unattributed} 个包丢失，但无法证明丢在哪个方向",
            f"{unattributed} packets were lost and nothing proves in which direction",
        )
    needed = clean_packets_needed(threshold)
    if packets < needed:
        return Reason(
            "too_few_packets",
            f"只有 {packets} 个包；证明 P{objective.percentile:g} 至少需要 {needed} 个无违约的包",
            f"{packets} packets; proving P{objective.percentile:g} needs at least {needed} without a violation",
        )
    lower, upper = lower_bound(surely, packets), upper_bound(packets - counts[Outcome.WITHIN], packets)
    return Reason(
        "between_bounds",
        f"违约比例在 {lower:.3%} 与 {upper:.3%} 之间（95 % 置信），P{objective.percentile:g} 允许 {threshold:.3%}，"
        "尚不能判定",
        f"between {lower:.3%} and {upper:.3%} of packets break the promise (95 % confidence), "
        f"P{objective.percentile:g} allows {threshold:.3%}: not decided yet",
    )


def _clock_reason(direction: Direction, objective: Objective, agent: AgentFacts, share: float) -> Reason:
    if direction is Direction.ROUND_TRIP:
        # No clock offset touches a round trip: what is left are times that were not taken by the kernel.
        return Reason(
            "stamps_cannot_prove",
            f"收发时间不是由内核记录的，精度不足以证明 {objective.limit}：{share:.1%} 的包不确定",
            f"times were not taken by the kernel and are too coarse to prove {objective.limit}: "
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
    floor = f"{objective.floor_ns / 1e6:.2f} ms"
    return Reason(
        "clock_cannot_prove",
        f"{zh}，往返时延减去光纤下限 {floor} 也不足以证明 {objective.limit}：{share:.1%} 的包不确定",
        f"{en}, and the round trip less the fibre floor of {floor} does not prove {objective.limit} either: "
        f"{share:.1%} of packets are uncertain",
    )
