"""Counts, readings and blocks for the tests of what the collector makes of them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.histogram import BUCKETS, EDGES_NS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.sla.counts import Block, DirectionCounts, Reading
from collector.sla.verdict import PathKey

SECOND_NS = 1_000_000_000
MS = 1_000_000
PATH = PathKey("wuhan", "qingyang", "hub", "telecom", "stamp", 0)
OTHER_PATH = PathKey("wuhan", "yichang", "province", "unicom", "stamp", 0)
HUB_LIMIT = Limit(10 * MS, Operator.AT_MOST)
CITY_LIMIT = Limit(MS, Operator.BELOW)


def counts(
    within: int = 0,
    over: int = 0,
    uncertain: int = 0,
    lost: int = 0,
    unattributed: int = 0,
    *,
    delays: Mapping[int, int] | None = None,
) -> DirectionCounts:
    """Counts of one direction; `delays` are packets by the upper edge of their bucket in ns."""
    buckets = [0] * BUCKETS
    for edge_ns, packets in (delays or {}).items():
        buckets[EDGES_NS.index(edge_ns)] = packets
    return DirectionCounts((within, over, uncertain, lost, unattributed), tuple(buckets))


def reading(
    taken_s: float,
    *,
    epoch: float = 100.0,
    sent: int = 0,
    path: PathKey = PATH,
    limit: Limit = HUB_LIMIT,
    within: int = 0,
    lost: int = 0,
    outcomes: tuple[int, ...] = (),
) -> Reading:
    """A reading that counted the same outcomes in all directions; `within` packets took 5 to 7.5 ms."""
    within, over, uncertain, lost, unattributed = outcomes or (within, 0, 0, lost, 0)
    counted = counts(within, over, uncertain, lost, unattributed, delays={int(7.5 * MS): within})
    packets = sum(counted.outcomes)
    return Reading(
        path,
        epoch,
        int(taken_s * SECOND_NS),
        sent or packets,
        max(0, sent - packets),
        dict.fromkeys(Direction, counted),
        dict.fromkeys(Direction, limit),
    )


def block(
    start_s: float,
    end_s: float,
    counted: DirectionCounts,
    *,
    path: PathKey = PATH,
    limit: Limit = HUB_LIMIT,
) -> Block:
    """A block with the same counts in all directions."""
    return Block(
        path,
        int(start_s * SECOND_NS),
        int(end_s * SECOND_NS),
        counted.packets,
        dict.fromkeys(Direction, counted),
        dict.fromkeys(Direction, limit),
    )


def outcome_total(blocks: list[Block], direction: Direction, outcome: Outcome) -> int:
    """The sum of one count over blocks."""
    return sum(one.directions[direction].outcomes[outcome] for one in blocks)
