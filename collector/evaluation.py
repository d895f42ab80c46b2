"""One evaluation: everything that is judged, from the state and the blocks as they are now. Pure."""

from __future__ import annotations

from agent.core.outcome import Direction
from collector.fleet.plan import Plan, Target
from collector.sla.judge import AgentFacts, judge
from collector.sla.verdict import Judgement
from collector.sla.window import window_sum
from collector.state import NEVER_READ, CollectorState, RecentBlocks


def evaluate(plan: Plan, blocks: RecentBlocks, state: CollectorState, now_ns: int) -> list[Judgement]:
    """Judge every target of the plan.

    Args:
        plan: what is judged.
        blocks: what was counted.
        state: what the agents last said of themselves.
        now_ns: Unix wall time up to which the windows of silent agents reach.
    """
    return [_judge(target, blocks, state, now_ns) for target in plan.targets]


def _judge(target: Target, blocks: RecentBlocks, state: CollectorState, now_ns: int) -> Judgement:
    status = state.sources.get(target.path.source, NEVER_READ)
    latest = state.latest.get(target.path)
    # The window ends with the last reading: what happened since is not known yet, and no gap while the agent answers.
    end_ns = status.seen_ns if status.up and status.seen_ns is not None else now_ns
    path_blocks = blocks.of(target.path)
    window = window_sum(path_blocks, target.direction, target.objective.limit, end_ns, target.window_ns)
    round_trips = window_sum(path_blocks, Direction.ROUND_TRIP, None, end_ns, target.window_ns)
    facts = AgentFacts(
        up=status.up,
        silence=status.reason,
        limit=None if latest is None else latest.limits.get(target.direction),
        clock_bound_ns=status.clock_bound_ns,
        resolved=latest is None or latest.resolved,
        round_trips=round_trips.counts.delays,
    )
    return judge(target.path, target.direction, target.objective, window, facts)
