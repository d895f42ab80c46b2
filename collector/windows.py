"""What was counted in each window, kept as long as it is true enough: short windows from memory, longer ones from the
ledger.

No more of a window is covered than the packets of it explain at the pace at which they were to be sent then: an agent
that is read and sends nothing covers no time, whatever its clock says. What was counted while nobody read, and may have
begun before the window, is no part of it.

A window from the ledger begins with a whole minute, and a long one is not read anew each time: by a hundredth of its
length, ten minutes at most, it may lag behind, and says so by where it ends. To read it of very many paths takes longer
than an evaluation may: then each evaluation reads it of some of them, and until all are there the last one stands, for
ten minutes more at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Self
from weakref import WeakKeyDictionary

import numpy as np

from agent.core.outcome import Direction
from collector.asked_windows import PATHS_AT_ONCE, Asked, Known, OfWindow, Renewal
from collector.fleet.plan import Plan
from collector.ledger.by_minute import LeftOut
from collector.ledger.last_hour import LONGEST, LastHour
from collector.ledger.minutes import MINUTE_NS, NO_MINIMUM, Integers, begun_within, minute_of
from collector.ledger.promises import Promises
from collector.ledger.recent import RecentSlices
from collector.ledger.seen import Flags, Seen
from collector.ledger.sums import Sums, block_products, totals
from collector.ledger.tails import tails_of_parts
from collector.outages import Outages
from collector.sla.effective import block_minutes
from collector.sla.maintenance import MaintenanceCalendar, touched_minutes
from collector.sla.objective import AvailabilityRule
from collector.sla.observation import NOT_MEASURED, Observation
from collector.sla.promise import Promise
from collector.sla.selector import PathFacts
from collector.sla.throughput import SlotTable
from collector.sla.variation import Beyond
from collector.sla.verdict import PathKey
from collector.sla.window import Calendar, Window
from collector.store.ledger import Ledger
from collector.store.numbers import Numbers
from collector.store.store import Store

SHORTEST_OF_MINUTES_NS: Final = 2 * MINUTE_NS
"""Shorter windows are made of readings, others of minutes."""

_PARTS: Final = 100
_MS_NS: Final = 1_000_000
_LONGEST_LAG_NS: Final = 10 * MINUTE_NS

_Key = tuple[Window, bool, bool]
"""A window, whether unavailable time is left out, and whether there are blocks."""


class Windows:
    """Observes paths over windows.

    Attributes:
        outages: finds the time in which the same paths were unavailable.

    Args:
        ledger, numbers: where the counts are.
        recent: the latest readings.
        paths: whose rows the observations have, in this order.
        promised: the limits that each of them is held against.
        intervals_ns: from probe to probe of each of them, in the mean (n,), where the ledger does not know it.
        facts: what selectors ask of each of them.
        calendar: gives the maintenance windows as they are now; another calendar where they have changed.
        rules: when each of them is unavailable; none: nobody asks.
        variations: what is asked of delay variation in each window, and of which directions of the paths
            (n, directions).
    """

    def __init__(
        self,
        ledger: Ledger,
        numbers: Numbers,
        recent: RecentSlices,
        paths: Sequence[PathKey],
        promised: Sequence[Mapping[Direction, Promise]],
        intervals_ns: Integers,
        facts: Sequence[PathFacts],
        calendar: Callable[[], MaintenanceCalendar],
        rules: Sequence[AvailabilityRule | None] = (),
        variations: Mapping[Window, Mapping[Beyond, Flags]] = MappingProxyType({}),
    ) -> None:
        self._ledger = ledger
        self._numbers = numbers
        self._recent = recent
        self._paths = paths
        self._promised = Promises(promised, intervals_ns, numbers.intervals_ns)
        self._found_of = -1
        self._found: tuple[Integers, Integers, Promises]
        self._facts = facts
        self._calendar = calendar
        self.outages = Outages(ledger, lambda: self._numbered()[:2], self._maintained)
        self._rules = rules
        self._variations = variations
        self._planned: WeakKeyDictionary[Observation, Integers] = WeakKeyDictionary()
        self._known: dict[_Key, Known] = {}
        self._renewals: dict[_Key, Renewal] = {}
        self._renewed_ns = 0

    @classmethod
    def of_plan(
        cls, plan: Plan, store: Store, recent: RecentSlices, calendar: Callable[[], MaintenanceCalendar]
    ) -> Self:
        """Those of the paths of a plan."""
        return cls(
            store.ledger,
            store.numbers,
            recent,
            plan.paths,
            [plan.promised[path] for path in plan.paths],
            plan.intervals_ns,
            plan.facts,
            calendar,
            plan.rules,
            plan.variations,
        )

    async def observe(
        self,
        window: Window,
        ends_ns: Integers,
        now_ns: int,
        *,
        available: bool = False,
        blocks: bool = True,
    ) -> Observation:
        """What was counted in a window up to now.

        Args:
            window: how far back.
            ends_ns: where it ends of each path (n,): with its last reading, or now where its agent is silent.
            now_ns: Unix wall time.
            available: whether unavailable time is left out, of windows that are long enough to tell it.
            blocks: whether the products of outcomes are asked for, and what was beyond a delay variation.
        """
        span = window.span
        if not isinstance(span, Calendar) and span < SHORTEST_OF_MINUTES_NS:
            return await asyncio.to_thread(self._lately, ends_ns - span, ends_ns, now_ns)
        begin_ns = window.begin_ns(now_ns)
        kept_ns = min(_LONGEST_LAG_NS, (now_ns - begin_ns) // _PARTS)
        rules = {rule for rule in self._rules if rule is not None and rule.told_by(window.longest_ns)}
        left_out = available and bool(rules)
        calendar = self._calendar()
        # a delay variation is that of available time: whoever takes in all of it does not ask
        beyond = self._variations.get(window, {}) if blocks and left_out is bool(rules) else {}
        for more in {blocks, True}:
            known = self._known.get((window, left_out, more))
            if known is not None and known.stands(now_ns, kept_ns, calendar):
                return known.observed
        key, of = (window, left_out, blocks), (rules if left_out else (), blocks, beyond)
        known = self._known.get(key)
        if (
            known is None
            or known.since_ns < begin_ns
            or not known.stands(now_ns, kept_ns + _LONGEST_LAG_NS, calendar)
            or now_ns - begin_ns <= LONGEST * MINUTE_NS
            or len(self._numbered()[0]) <= PATHS_AT_ONCE
        ):
            self._renewals.pop(key, None)
            asked = await self._asked(window, now_ns, ends_ns, *of)
            observed = self._observed(asked, await self._seen(asked.counted))
            self._known[key] = Known(now_ns, calendar, observed)
        elif self._renewed_ns != now_ns:
            # of all windows one gets its turn in each evaluation
            self._renewed_ns = now_ns
            if key not in self._renewals:
                # a whole minute: the paths that are read last are to have no more of it than the first
                end_ns = minute_of(now_ns) * MINUTE_NS
                asked = await self._asked(window, end_ns, np.minimum(ends_ns, end_ns), *of)
                self._renewals[key] = Renewal(now_ns, asked)
            renewal = self._renewals[key]
            renewal.found.append(await self._seen_of(renewal.left.pop(0)))
            if not renewal.left:
                observed = self._observed(renewal.asked, Seen.joined(renewal.found))
                self._known[key] = Known(renewal.since_ns, calendar, observed)
                del self._renewals[key]
        return self._known[key].observed

    def planned(self, slots: SlotTable, observed: Observation) -> Integers:
        """How many slots of lines (n,) are over in a window that was observed; maintenance is left out."""
        known = self._planned.get(observed)
        if known is None:
            begin_ns, end_ns = observed.begin_ns, observed.end_ns
            out = self._maintained(int(begin_ns.min(initial=0)), int(end_ns.max(initial=0)))
            known = self._planned[observed] = slots.count(begin_ns, end_ns, out)
        return known

    def _lately(self, begins_ns: Integers, ends_ns: Integers, now_ns: int) -> Observation:
        rows, numbers, promised = self._numbered()
        out = self._maintained(int(begins_ns.min(initial=now_ns)), now_ns)
        intervals = {
            place: [(first * MINUTE_NS, stop * MINUTE_NS) for first, stop in out[row]]
            for place, row in enumerate(rows.tolist())
            if row in out
        }
        asked = numbers, begins_ns[rows], ends_ns[rows], intervals
        found, left_out = self._recent.totals(*asked, self._numbers.limits, promised)
        out_ms = _overlap_ms(out, begins_ns, ends_ns)
        return self._spread(rows, Seen(found, left_out.outcomes, []), (), out_ms, begins_ns, ends_ns)

    async def _unavailable(
        self, first: int, stop: int, rules: Collection[AvailabilityRule]
    ) -> dict[int, list[tuple[int, int]]]:
        """The minutes in which paths were unavailable, [from, to), by row, each by its own rule."""
        return {
            row: spans
            for rule in rules
            for row, spans in (await self.outages.spans(first, stop, rule)).items()
            if self._rules[row] == rule
        }

    async def _asked(
        self,
        window: Window,
        now_ns: int,
        ends_ns: Integers,
        rules: Collection[AvailabilityRule],
        blocks: bool,
        beyond: Mapping[Beyond, Flags],
    ) -> Asked:
        first, stop = minute_of(window.begin_ns(now_ns)) + 1, minute_of(now_ns) + 1
        spent = await self._unavailable(first, stop, rules) if rules else {}
        rows, numbers, promised = self._numbered()
        out = self._maintained(first * MINUTE_NS, stop * MINUTE_NS)
        of_row = dict(zip(rows.tolist(), numbers.tolist(), strict=True))
        without, unavailable = (
            [LeftOut(of_row[row], *span) for row in some if row in of_row for span in some[row]]
            for some in (out, spent)
        )
        wanted = {one: flags[rows] for one, flags in beyond.items()}
        counted = OfWindow(first, stop, numbers, promised, without, unavailable, blocks, wanted)
        return Asked(counted, rows, out, spent, ends_ns)

    def _observed(self, asked: Asked, seen: Seen) -> Observation:
        first, stop = asked.counted.first, asked.counted.stop
        begins_ns = np.full(len(asked.ends_ns), first * MINUTE_NS)
        ends_ns = np.maximum(asked.ends_ns, begins_ns)
        out_ms, spent_ms = (_overlap_ms(some, begins_ns, ends_ns) for some in (asked.out, asked.spent))
        observed = self._spread(asked.rows, seen, block_minutes(stop - first), out_ms, begins_ns, ends_ns)
        return replace(observed, unavailable_ms=spent_ms)

    def _seen_lately(self, lately: LastHour, asked: OfWindow) -> Seen:
        lengths = block_minutes(asked.stop - asked.first) if asked.blocks else ()
        counted = asked.first, asked.stop, asked.numbers, self._numbers.limits, asked.promised
        return lately.window(*counted, lengths, asked.without, asked.unavailable, asked.beyond)

    async def _seen(self, asked: OfWindow) -> Seen:
        """What memory has of a window, or the ledger: that of some paths after the others, for a month is too much at
        once."""
        lately = await self._ledger.recall(asked.stop)
        if asked.first >= lately.since:
            return await asyncio.to_thread(self._seen_lately, lately, asked)
        found = [await self._seen_of(some) for some in asked.pieces()]
        if not found:
            return self._seen_lately(LastHour(asked.first), asked)
        return Seen.joined(found)

    async def _seen_of(self, asked: OfWindow) -> Seen:
        shortest, *longer = block_minutes(asked.stop - asked.first)
        window = asked.first, asked.stop, longer[0] if longer else shortest
        parts, left_out = await self._ledger.parts(
            *window, asked.numbers.tolist(), [*asked.without, *asked.unavailable]
        )
        if asked.unavailable:
            # what is told of beside the verdict is maintenance alone
            left_out = await self._ledger.left_out(*window, asked.without)
        return await asyncio.to_thread(self._seen_in_parts, asked, parts, left_out)

    def _seen_in_parts(self, asked: OfWindow, parts: Sums, left_out: Sums) -> Seen:
        shortest, *longer = block_minutes(asked.stop - asked.first)
        counted = asked.numbers, self._numbers.limits, asked.promised
        parts = parts.take(begun_within(parts.minute, parts.reach_s, asked.first))
        found = totals(parts.starting(asked.first).merged(), *counted)
        lost = totals(left_out.starting(asked.first).merged(), *counted)
        if not asked.blocks:
            return Seen(found, lost.outcomes, [])
        products = [block_products(parts, *counted, minutes) for minutes in longer]
        tails = tails_of_parts(parts, *counted, found.minima_us, asked.beyond, longer or [shortest])
        return Seen(found, lost.outcomes, [found.products, *products], tails)

    def _maintained(self, begin_ns: int, end_ns: int) -> dict[int, list[tuple[int, int]]]:
        """The minutes of maintenance, [from, to), of those paths that have any of that time, by their row."""
        dropped = self._calendar().dropped(begin_ns, end_ns)
        if not dropped.parts:
            return {}
        found = {row: touched_minutes(dropped.of(facts)) for row, facts in enumerate(self._facts)}
        return {row: minutes for row, minutes in found.items() if minutes}

    def _numbered(self) -> tuple[Integers, Integers, Promises]:
        """Which paths were ever read, their numbers, and what is held against them."""
        numbers = self._numbers.paths
        if self._found_of != len(numbers):
            known = [(row, numbers[path]) for row, path in enumerate(self._paths) if path in numbers]
            rows, found = np.array(known, np.int64).reshape(-1, 2).T
            self._found = rows, np.ascontiguousarray(found), self._promised.take(rows)
            self._found_of = len(numbers)
        return self._found

    def _spread(
        self,
        rows: Integers,
        seen: Seen,
        lengths: Sequence[int],
        left_out_ms: Integers,
        begins_ns: Integers,
        ends_ns: Integers,
    ) -> Observation:
        found = seen.totals

        def spread(values: Integers, missing: int = 0) -> Integers:
            if len(rows) == len(self._paths):
                return values
            whole: Integers = np.full((len(self._paths), *values.shape[1:]), missing, np.int64)
            whole[rows] = values
            return whole

        assert NOT_MEASURED == NO_MINIMUM
        covered_ms = np.minimum(found.covered_ms, found.explained_ms()[:, None])
        return Observation(
            begins_ns,
            ends_ns,
            spread(covered_ms),
            spread(found.outcomes),
            spread(found.delays),
            spread(found.minima_us, NOT_MEASURED),
            left_out_ms,
            spread(seen.left_out),
            dict(zip(lengths, map(spread, seen.products), strict=bool(seen.products))),
            tails={beyond: one.each(spread) for beyond, one in seen.tails.items()},
        )


def _overlap_ms(
    minutes: Mapping[int, Sequence[tuple[int, int]]], begins_ns: Integers, ends_ns: Integers
) -> Integers:
    """How much of each window these minutes take."""
    found = np.zeros(len(begins_ns), np.int64)
    for row, intervals in minutes.items():
        for first, stop in intervals:
            begun, ended = (
                max(first * MINUTE_NS, int(begins_ns[row])),
                min(stop * MINUTE_NS, int(ends_ns[row])),
            )
            found[row] += max(0, ended - begun) // _MS_NS
    return found
