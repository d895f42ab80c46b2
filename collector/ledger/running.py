"""Sums over a window of minutes that moves on: what comes is added, and what leaves is taken away.

Exact, for counts are integers: whatever has come and gone, the sums are those of the minutes in the window. The
products of what outcomes a block of minutes has are not sums of what its minutes have: so the outcomes of those blocks
that change, at the begin and the end of the window, are held apart, and a block whose minutes all lie in the window is
worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from agent.core.outcome import Outcome
from collector.ledger.minute_table import DELAYS, TOLD, Compact, MinuteTable, Narrow
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, Integers
from collector.sla.effective import PRODUCTS


class RunningWindow:
    """The sums of the minutes in it, of all rows of `LastHour`.

    Attributes:
        minutes: those that are in it.
        covered_ms: (rows,).
        told: probes sent and outcomes (TOLD, rows).
        delays: (rows, DELAYS), in four octets where that suffices.

    Args:
        lengths: minutes of the blocks of which products are asked for.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.minutes: set[int] = set()
        self.covered_ms: Integers = np.zeros(0, np.int64)
        self.told: Integers = np.zeros((TOLD, 0), np.int64)
        self.delays: Narrow = np.zeros((0, DELAYS), np.int32)
        self._blocks = [_Blocks(length) for length in lengths]

    def move(self, wanted: Collection[int], tables: Mapping[int, MinuteTable], rows: int) -> None:
        """Have these minutes in it, and no others.

        Args:
            wanted: those of `tables` that are to be in it.
            tables: all minutes that there are, with all that was ever `added`.
            rows: how many there are.
        """
        self._grow(rows)
        for minute in sorted(self.minutes.symmetric_difference(wanted)):
            if minute in self.minutes:
                self.leave(minute, tables)
            else:
                self._change(minute, tables, 1)
                self.minutes.add(minute)
            for block in self._blocks:
                block.close(self.minutes)

    def leave(self, minute: int, tables: Mapping[int, MinuteTable]) -> None:
        """Take a minute out, where it is in."""
        if minute in self.minutes:
            self._change(minute, tables, -1)
            self.minutes.remove(minute)

    def added(self, minute: int, some: Compact, tables: Mapping[int, MinuteTable]) -> None:
        """Take in what is about to be added to the table of a minute; nothing where it is not in it."""
        if minute not in self.minutes:
            return
        self._grow(int(some.rows[-1]) + 1)
        where = some.where()
        self.covered_ms[where] += some.covered_ms
        self.told[:, where] += some.told
        self._widen(some.delays.wide)
        some.delays.add_to(self.delays)
        outcomes = _by_direction(some.told)
        for block in self._blocks:
            block.opened(minute, self.minutes, tables, len(self.covered_ms))[..., where] += outcomes

    def outcomes(self) -> Integers:
        """(directions, outcomes, rows)."""
        return _by_direction(self.told)

    def products(self, of: Callable[[Integers, int], Integers]) -> list[Integers]:
        """Of what outcomes each block has, summed over blocks of each length (`PRODUCTS`, directions, …).

        Args:
            of: what is to be made before of values, whose rows are along the last axis and whose directions are along
                the axis given; another array in any case.
        """
        return [block.result(of) for block in self._blocks]

    def reach_s(self, tables: Mapping[int, MinuteTable]) -> Integers:
        """The longest of any minute in it (rows,)."""
        longest: Integers = np.zeros(len(self.covered_ms), np.int64)
        for table in (tables[minute] for minute in self.minutes):
            if table.reach_s.any():
                some = longest[: len(table)]
                np.maximum(some, table.reach_s[: len(some)], out=some)
        return longest

    def minima_us(self, tables: Mapping[int, MinuteTable]) -> Integers:
        """The least of any minute in it (rows, directions)."""
        least = np.full((len(self.covered_ms), len(DIRECTIONS)), NO_MINIMUM)
        for minute in self.minutes:
            now = tables[minute].minima_us()[: len(least)]
            np.minimum(least[: len(now)], now, out=least[: len(now)])
        return least

    def _grow(self, rows: int) -> None:
        more = rows - len(self.covered_ms)
        if more > 0:
            self.covered_ms = np.pad(self.covered_ms, (0, more))
            self.told = np.pad(self.told, ((0, 0), (0, more)))
            self.delays = np.pad(self.delays, ((0, more), (0, 0)))
            for block in self._blocks:
                block.grow(rows)

    def _widen(self, wide: bool) -> None:
        if wide and self.delays.dtype != np.int64:
            self.delays = self.delays.astype(np.int64)

    def _change(self, minute: int, tables: Mapping[int, MinuteTable], sign: int) -> None:
        table, rows = tables[minute], len(self.covered_ms)
        table.grow(rows)
        for block in self._blocks:
            block.opened(minute, self.minutes, tables, rows)
        change = np.add if sign > 0 else np.subtract
        told = table.told[:, :rows]
        change(self.covered_ms, table.covered_ms[:rows], out=self.covered_ms, casting="unsafe")
        change(self.told, told, out=self.told, casting="unsafe")
        self._widen(table.wide)
        table.add_delays(self.delays, sign)
        for block in self._blocks:
            outcomes = block.opened(minute, self.minutes, tables, rows)
            change(outcomes, _by_direction(told), out=outcomes, casting="unsafe")


class _Blocks:
    """Products of the outcomes of blocks of so many minutes.

    Of a closed block the products are in the sums, of an open one the outcomes are held.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._sums: Integers = np.zeros((len(PRODUCTS), len(DIRECTIONS), 0), np.int64)
        self._open: dict[int, Integers] = {}

    def grow(self, rows: int) -> None:
        """Have as many rows."""
        more = rows - self._sums.shape[2]
        self._sums = np.pad(self._sums, ((0, 0), (0, 0), (0, more)))
        self._open = {block: np.pad(told, ((0, 0), (0, 0), (0, more))) for block, told in self._open.items()}

    def opened(
        self, minute: int, within: Collection[int], tables: Mapping[int, MinuteTable], rows: int
    ) -> Integers:
        """The outcomes of a minute's block so far (directions, outcomes, rows), which may be changed."""
        block = minute // self._length
        if block not in self._open:
            outcomes = np.zeros((len(DIRECTIONS), len(Outcome), rows), np.int64)
            mine = [one for one in within if one // self._length == block]
            for one in mine:
                tables[one].grow(rows)
                outcomes += _by_direction(tables[one].told[:, :rows])
            if mine:
                _add_products(self._sums, outcomes, np.subtract)
            self._open[block] = outcomes
        return self._open[block]

    def close(self, minutes: Collection[int]) -> None:
        """Hold no outcomes but of the blocks at both ends, where these minutes are in the window."""
        here = {minute // self._length for minute in minutes}
        ends = {min(here), max(here)} if here else set()
        for block in [*self._open]:
            if block not in ends or (self._length == 1 and block != max(ends)):
                if block in here:
                    _add_products(self._sums, self._open[block], np.add)
                del self._open[block]

    def result(self, of: Callable[[Integers, int], Integers]) -> Integers:
        """As of `RunningWindow.products`."""
        found = of(self._sums, 1)
        for outcomes in self._open.values():
            _add_products(found, of(outcomes, 0), np.add)
        return found


def _add_products(to: Integers, outcomes: Integers, change: np.ufunc) -> None:
    """Add the products of outcomes (directions, outcomes, n), or take them away."""
    happened = [bool(outcomes[:, one].any()) for one in Outcome]
    for place, (one, other) in enumerate(PRODUCTS):
        if happened[one] and happened[other]:
            change(to[place], outcomes[:, one] * outcomes[:, other], out=to[place])


def _by_direction(told: Narrow) -> Narrow:
    """Outcomes (directions, outcomes, rows) of probes sent and outcomes (TOLD, rows); a view where it can be."""
    return told[SENT + 1 :].reshape(len(DIRECTIONS), len(Outcome), -1)
