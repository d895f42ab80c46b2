"""One evaluation: everything that is judged, from the blocks as they are now. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.outcome import Direction, Limit
from collector.fleet.plan import Plan, Target
from collector.sla.judge import AgentFacts, judge
from collector.sla.verdict import Judgement, PathKey
from collector.sla.window import window_sum
from collector.state import NEVER_READ, RecentBlocks, SourceStatus

Limits = Mapping[tuple[PathKey, Direction], Limit]


def evaluate(
    plan: Plan, blocks: RecentBlocks, sources: Mapping[str, SourceStatus], limits: Limits, now_ns: int
) -> list[Judgement]:
    """Judge every target of the plan.

    Args:
        plan: what is judged.
        blocks: what was counted.
        sources: the agents, by site.
        limits: what the agents said they count against.
        now_ns: Unix wall time up to which the windows reach.
    """
    return [_judge(target, blocks, sources, limits, now_ns) for target in plan.targets]


def _judge(
    target: Target, blocks: RecentBlocks, sources: Mapping[str, SourceStatus], limits: Limits, now_ns: int
) -> Judgement:
    status = sources.get(target.path.source, NEVER_READ)
    facts = AgentFacts(status.up, limits.get((target.path, target.direction)), status.clock_bound_ns)
    # The window ends with the last reading: what came after is not known yet, and no gap while the agent answers.
    end_ns = status.seen_ns if status.up and status.seen_ns is not None else now_ns
    window = window_sum(blocks.of(target.path), target.direction, end_ns, target.window_ns)
    return judge(target.path, target.direction, target.objective, window, facts)
