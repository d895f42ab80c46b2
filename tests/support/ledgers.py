"""The sums of a ledger, for tests that know what they must be."""

from __future__ import annotations

from agent.core.outcome import Direction
from collector.ledger.minutes import direction_counts
from collector.sla.counts import DirectionCounts
from collector.sla.verdict import PathKey
from collector.store.store import Store

FOREVER = 1 << 36
"""A minute after all others."""


async def totals(store: Store) -> dict[PathKey, tuple[int, dict[Direction, DirectionCounts]]]:
    """All that was ever counted of each path: probes sent, and counts by direction."""
    found = await store.ledger.minutes(0, FOREVER)
    return {
        store.numbers.keys[path]: (vector[0], direction_counts(vector))
        for path in sorted(set(found.path.tolist()))
        for vector in [found.counts[found.path == path].sum(axis=0).tolist()]
    }
