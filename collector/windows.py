"""What was counted in each window, kept as long as it is true enough: short windows from memory, longer ones from the
ledger.

A window from the ledger begins with a whole minute, and a long one is not read anew each time: by a hundredth of its
length, ten minutes at most, it may lag behind, and says so by where it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from agent.core.outcome import Direction, Limit
from collector.ledger.minutes import MINUTE_NS, NO_MINIMUM, Integers, minute_of
from collector.ledger.recent import RecentSlices
from collector.ledger.sums import Totals, totals
from collector.sla.observation import NOT_MEASURED, Observation
from collector.sla.verdict import PathKey
from collector.sla.window import Calendar, Window
from collector.store.ledger import Ledger
from collector.store.numbers import Numbers

SHORTEST_OF_MINUTES_NS: Final = 2 * MINUTE_NS
"""Shorter windows are made of readings, others of minutes."""

_PARTS: Final = 100
_LONGEST_LAG_NS: Final = 10 * MINUTE_NS


class Windows:
    """Observes paths over windows.

    Args:
        ledger, numbers: where the counts are.
        recent: the latest readings.
        paths: whose rows the observations have, in this order.
        promised: the limits that each of them is held against.
    """

    def __init__(
        self,
        ledger: Ledger,
        numbers: Numbers,
        recent: RecentSlices,
        paths: Sequence[PathKey],
        promised: Sequence[Mapping[Direction, Limit]],
    ) -> None:
        self._ledger = ledger
        self._numbers = numbers
        self._recent = recent
        self._paths = paths
        self._promised = promised
        self._known: dict[Window, tuple[int, Observation]] = {}

    async def observe(self, window: Window, ends_ns: Integers, now_ns: int) -> Observation:
        """What was counted in a window up to now.

        Args:
            window: how far back.
            ends_ns: where it ends of each path (n,): with its last reading, or now where its agent is silent.
            now_ns: Unix wall time.
        """
        span = window.span
        if not isinstance(span, Calendar) and span < SHORTEST_OF_MINUTES_NS:
            return self._observed(self._lately(ends_ns - span, ends_ns), ends_ns - span, ends_ns)
        begin_ns = window.begin_ns(now_ns)
        kept_ns = min(_LONGEST_LAG_NS, (now_ns - begin_ns) // _PARTS)
        known = self._known.get(window)
        if known is not None and 0 <= now_ns - known[0] < kept_ns:
            return known[1]
        first, last = minute_of(begin_ns) + 1, minute_of(now_ns)
        begins_ns = np.full(len(ends_ns), first * MINUTE_NS)
        found = await self._of_minutes(first, last + 1)
        observed = self._observed(found, begins_ns, np.maximum(ends_ns, begins_ns))
        self._known[window] = now_ns, observed
        return observed

    def _lately(self, begins_ns: Integers, ends_ns: Integers) -> tuple[Integers, Totals]:
        rows, numbers = self._numbered()
        promised = [self._promised[row] for row in rows.tolist()]
        return rows, self._recent.totals(
            numbers, begins_ns[rows], ends_ns[rows], self._numbers.limits, promised
        )

    async def _of_minutes(self, first: int, stop: int) -> tuple[Integers, Totals]:
        rows, numbers = self._numbered()
        sums = await self._ledger.sums(first, stop, numbers.tolist())
        promised = [self._promised[row] for row in rows.tolist()]
        return rows, totals(sums, numbers, self._numbers.limits, promised)

    def _numbered(self) -> tuple[Integers, Integers]:
        """Which paths were ever read, and their numbers."""
        known = [
            (row, number)
            for row, path in enumerate(self._paths)
            if (number := self._numbers.paths.get(path)) is not None
        ]
        return (*np.array(known, np.int64).reshape(-1, 2).T,)

    def _observed(
        self, found: tuple[Integers, Totals], begins_ns: Integers, ends_ns: Integers
    ) -> Observation:
        rows, of_known = found

        def spread(values: Integers, missing: int = 0) -> Integers:
            whole: Integers = np.full((len(self._paths), *values.shape[1:]), missing, np.int64)
            whole[rows] = values
            return whole

        assert NOT_MEASURED == NO_MINIMUM
        return Observation(
            begins_ns,
            ends_ns,
            spread(of_known.covered_ms),
            spread(of_known.outcomes),
            spread(of_known.delays),
            spread(of_known.minima_us, NOT_MEASURED),
            spread(of_known.products),
        )
