"""Counts, readings and blocks for the tests of what the collector makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.core.histogram import BUCKETS, EDGES_NS
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.minutes import WIDTH, counts_vector, direction_counts
from collector.ledger.recent import Slices
from collector.sla.counts import NOTHING, DirectionCounts, Reading
from collector.sla.effective import PRODUCTS
from collector.sla.observation import NOT_MEASURED, Observation
from collector.sla.promise import Promise
from collector.sla.variation import PAIRS, Beyond, Tails, counted_from, first_beyond
from collector.sla.verdict import PathKey
from collector.store.numbers import Numbers

SECOND_NS = 1_000_000_000
MS = 1_000_000
PATH = PathKey("wuhan", "qingyang", "hub", "telecom", "stamp", 0)
OTHER_PATH = PathKey("wuhan", "yichang", "province", "unicom", "stamp", 0)
HUB_LIMIT = Limit(10 * MS, Operator.AT_MOST)
CITY_LIMIT = Limit(MS, Operator.BELOW)


@dataclass(frozen=True)
class Block:
    """What a path counted between two readings: a row of `Slices`, with names."""

    path: PathKey
    start_ns: int
    end_ns: int
    sent: int
    directions: Mapping[Direction, DirectionCounts]
    limits: Mapping[Direction, Promise]


def blocks_of(slices: Slices, numbers: Numbers) -> list[Block]:
    """Slices row by row."""
    return [
        Block(
            numbers.keys[path], begun_ns, taken_ns, vector[0], direction_counts(vector), numbers.limits[terms]
        )
        for path, terms, begun_ns, taken_ns, vector in zip(
            *(values.tolist() for values in (slices.path, slices.terms, slices.begun_ns, slices.taken_ns)),
            slices.counts.tolist(),
            strict=True,
        )
    ]


def slices_of(
    blocks: Sequence[Block], path: int = 0, terms: Sequence[Mapping[Direction, Limit]] = ()
) -> Slices:
    """Blocks of one path as rows, under the number of their limits among `terms`."""
    columns = np.array([(one.start_ns, one.end_ns) for one in blocks], np.int64).reshape(-1, 2)
    return Slices(
        np.full(len(blocks), path),
        np.array([terms.index(one.limits) if terms else 0 for one in blocks], np.int64),
        columns[:, 0],
        columns[:, 1],
        np.array([counts_vector(one.sent, one.directions) for one in blocks], np.int64).reshape(-1, WIDTH),
    )


def observation(
    counted: DirectionCounts,
    *,
    coverage: float = 1.0,
    begin_ns: int = 0,
    end_ns: int = 300 * SECOND_NS,
    round_trips: DirectionCounts | None = None,
    minimum_us: int | None = None,
    minutes: Sequence[DirectionCounts] = (),
    variation: Limit | None = None,
    left_out: DirectionCounts = NOTHING,
    left_out_ms: int = 0,
) -> Observation:
    """One path that counted the same in all directions; `minutes` are what it is made of, where that is known, and then
    `variation` is asked of."""
    ways = [counted, counted, round_trips or counted]
    blocks = np.array([one.outcomes for one in minutes], np.int64).reshape(-1, len(Outcome))
    products = np.array([(blocks[:, one] * blocks[:, other]).sum() for one, other in PRODUCTS])
    minima_us = np.full((1, 3), NOT_MEASURED if minimum_us is None else minimum_us)
    tails = {}
    if variation is not None:
        delays = np.array([one.delays for one in minutes], np.int64).reshape(-1, BUCKETS)
        beyond = counted_from(delays, np.repeat(first_beyond(variation, minima_us[0, :1]), len(delays), 0))
        told = np.array([(beyond[:, one] * beyond[:, other]).sum() for one, other in PAIRS])
        whole = (np.broadcast_to(one, (1, 3, *one.shape)) for one in (beyond.sum(axis=0), told))
        counts, by_block = whole
        tails = {Beyond(variation, apart): Tails(counts, {1: by_block}) for apart in (False, True)}
    return Observation(
        np.array([begin_ns]),
        np.array([end_ns]),
        np.full((1, 3), round(coverage * (end_ns - begin_ns) / MS)),
        np.array([[one.outcomes for one in ways]], np.int64),
        np.array([[one.delays for one in ways]], np.int64),
        minima_us,
        np.array([left_out_ms]),
        np.array([[left_out.outcomes] * 3], np.int64),
        {1: np.broadcast_to(products, (1, 3, *products.shape))} if minutes else {},
        tails=tails,
    )


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
