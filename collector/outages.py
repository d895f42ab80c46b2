"""Unavailable time, found in the ledger: whole days and hours that lost too little are never looked into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from agent.core.outcome import Direction, Outcome
from collector.ledger.minutes import (
    DIRECTIONS,
    MINUTE_MS,
    MINUTE_NS,
    Integers,
    Minutes,
    by_direction,
    minute_of,
)
from collector.ledger.sums import Sums
from collector.sla.availability import high_loss, suspects, unavailable
from collector.sla.objective import AvailabilityRule
from collector.sla.observation import Observation
from collector.sla.window import Window
from collector.store.blocks import DAY, HOUR
from collector.store.ledger import Ledger

_ROUND_TRIP: Final = DIRECTIONS.index(Direction.ROUND_TRIP)


class Outages:
    """Counts unavailable intervals.

    Args:
        ledger: where the counts are.
        numbered: gives the rows of the paths that were ever read, and their numbers.
        maintained: gives the minutes of maintenance between two times (ns), [from, to), by row.
    """

    def __init__(
        self,
        ledger: Ledger,
        numbered: Callable[[], tuple[Integers, Integers]],
        maintained: Callable[[int, int], Mapping[int, Sequence[tuple[int, int]]]],
    ) -> None:
        self._ledger = ledger
        self._numbered = numbered
        self._maintained = maintained
        self._known: dict[tuple[Window, AvailabilityRule], tuple[Observation, Integers]] = {}
        self._looked_into: dict[tuple[AvailabilityRule, int, int], dict[int, tuple[bytes, Integers]]] = {}

    async def count(
        self, window: Window, rule: AvailabilityRule, observed: Observation, now_ns: int
    ) -> Integers:
        """Unavailable intervals of all paths (n,), of the window that was observed; maintenance is left out."""
        known = self._known.get((window, rule))
        if known is not None and known[0] is observed:
            return known[1]
        found = np.zeros(len(observed.begin_ns), np.int64)
        first, stop = minute_of(window.begin_ns(now_ns)) + 1, minute_of(now_ns) + 1
        for row, spans in (await self.spans(first, stop, rule)).items():
            found[row] = sum(ended - begun for begun, ended in spans) // rule.interval_minutes
        self._known[window, rule] = observed, found
        return found

    async def spans(self, first: int, stop: int, rule: AvailabilityRule) -> dict[int, list[tuple[int, int]]]:
        """The minutes in which paths were unavailable, [from, to), by row, of those of [first, stop).

        What is maintenance neither begins such time nor goes on with it.
        """
        rows, numbers = self._numbered()
        row_of = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
        maintained = self._maintained(first * MINUTE_NS, stop * MINUTE_NS)
        found: dict[int, list[tuple[int, int]]] = {}
        length = rule.interval_minutes
        for number, high in (await self._high_loss(rule, first, stop, numbers)).items():
            row = row_of[number]
            for begun, ended in maintained.get(row, ()):
                high = high[(high * length + length <= begun) | (high * length >= ended)]
            whole = [(begun * length, ended * length) for begun, ended in unavailable(rule, high)]
            if spans := without(whole, maintained.get(row, ())):
                found[row] = spans
        return found

    async def _high_loss(
        self, rule: AvailabilityRule, first: int, stop: int, numbers: Integers
    ) -> dict[int, Integers]:
        """The high-loss intervals of [first, stop) of each path that has any, in order."""
        found, _ = await self._ledger.parts(first, stop, HOUR, numbers.tolist())
        # against whatever limits it was counted: a loss is one against any
        parts = replace(found, terms=np.zeros_like(found.terms)).merged()
        tiles = self._ledger.tiles(first, stop)
        lengths = dict.fromkeys(tiles.days, DAY)
        suspicious = parts.take(suspects(rule, *_round_trips(parts), parts.covered_ms))
        highs: dict[int, list[Integers]] = defaultdict(list)
        looked_into = {}
        for start in np.unique(suspicious.minute).tolist():
            length = lengths.get(start, HOUR)
            span = max(first, start), min(stop, start + length)
            known = self._looked_into.get((rule, *span), {})
            now = await self._look_into(rule, span, suspicious.take(suspicious.minute == start), known)
            looked_into[rule, *span] = now
            for number, (_, high) in now.items():
                highs[number].append(high)
        others = {key: one for key, one in self._looked_into.items() if key[0] != rule}
        self._looked_into = others | looked_into
        return {number: np.concatenate(found) for number, found in highs.items()}

    async def _look_into(
        self,
        rule: AvailabilityRule,
        span: tuple[int, int],
        parts: Sums,
        known: dict[int, tuple[bytes, Integers]],
    ) -> dict[int, tuple[bytes, Integers]]:
        """The high-loss intervals of each of these paths in a span, read anew where its sums have changed."""
        sums = {
            number: parts.counts[parts.path == number].tobytes() for number in np.unique(parts.path).tolist()
        }
        changed = [number for number, counts in sums.items() if known.get(number, (b"",))[0] != counts]
        found = {number: known[number] for number in sums if number not in changed}
        if changed:
            minutes = await self._ledger.minutes(*span, changed)
            for number in changed:
                mine = minutes.take(minutes.path == number)
                lost, packets = _round_trips(mine)
                usual = float(packets.sum()) * MINUTE_MS / max(1, int(mine.covered_ms.sum()))
                found[number] = sums[number], high_loss(rule, mine.minute, lost, packets, usual)
        return found


def _round_trips(rows: Sums | Minutes) -> tuple[Integers, Integers]:
    """Those that were lost, and all of them (n,)."""
    outcomes = by_direction(rows.counts)[:, _ROUND_TRIP, : len(Outcome)]
    return outcomes[:, Outcome.LOST] + outcomes[:, Outcome.UNATTRIBUTED], outcomes.sum(axis=1)


def without(spans: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of spans, [from, to), where others are taken out."""
    left = list(spans)
    for begun, ended in taken:
        left = [
            part
            for first, stop in left
            for part in ((first, min(stop, begun)), (max(first, ended), stop))
            if part[0] < part[1]
        ]
    return left
