"""Sums of blocks over a window of time, and how much of the window they cover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.outcome import Direction, Limit
from collector.sla.counts import NOTHING, Block, DirectionCounts


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What one direction of a path counted in a window.

    Attributes:
        start_ns, end_ns: the window. A block belongs to it when the middle of its time does: so every block belongs
            to one of any row of windows, and one of more than twice its length to none.
        counts: the sum of its blocks.
        coverage: share of the window's time that lies between two readings of a running agent, 0 to 1. Time in which
            nobody looked, or the agent was away, or it counted against another limit, is not covered, whatever was
            counted.
    """

    start_ns: int
    end_ns: int
    counts: DirectionCounts
    coverage: float


def window_sum(
    blocks: Iterable[Block], direction: Direction, limit: Limit | None, end_ns: int, length_ns: int
) -> WindowSum:
    """Sum the blocks of one path that belong to the window of `length_ns` up to `end_ns`.

    Outcomes that were counted against another limit than `limit` say nothing of it, and are left out; None takes
    all, for delays are the same whatever they are held against.
    """
    start_ns = end_ns - length_ns
    counts = NOTHING
    covered_ns = 0
    for block in blocks:
        belongs = 2 * start_ns < block.start_ns + block.end_ns <= 2 * end_ns
        if belongs and (limit is None or block.limits.get(direction, limit) == limit):
            counts += block.directions.get(direction, NOTHING)
            covered_ns += min(block.end_ns, end_ns) - max(block.start_ns, start_ns)
    return WindowSum(start_ns, end_ns, counts, min(1.0, covered_ns / length_ns))
