"""Sums of blocks over a window of time, and how much of the window they cover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.outcome import Direction
from collector.sla.counts import NOTHING, Block, DirectionCounts


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What one direction of a path counted in a window.

    Attributes:
        start_ns, end_ns: the window. A block belongs to it when the middle of its time does: so every block belongs
            to one of any row of windows, and one that is longer than the window says nothing of it.
        counts: the sum of its blocks.
        coverage: share of the window's time that lies between two readings of a running agent, 0 to 1. Time in which
            nobody looked, or the agent was away, is not covered, whatever was counted.
    """

    start_ns: int
    end_ns: int
    counts: DirectionCounts
    coverage: float


def window_sum(blocks: Iterable[Block], direction: Direction, end_ns: int, length_ns: int) -> WindowSum:
    """Sum the blocks of one path that belong to the window of `length_ns` up to `end_ns`."""
    start_ns = end_ns - length_ns
    counts = NOTHING
    covered_ns = 0
    for block in blocks:
        if 2 * start_ns < block.start_ns + block.end_ns <= 2 * end_ns:
            counts += block.directions.get(direction, NOTHING)
            covered_ns += min(block.end_ns, end_ns) - max(block.start_ns, start_ns)
    return WindowSum(start_ns, end_ns, counts, min(1.0, covered_ns / length_ns))
