"""What some paths counted in a window, minute by minute: where sums do not do, for minutes are left out or may have
begun before the window, or because what is asked for follows from the window itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from agent.core.histogram import BUCKETS
from collector.ledger.minute_table import DELAYS, TOLD, MinuteTable
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, Integers, begun_within
from collector.ledger.seen import BlockProducts, Flags, Seen, outcomes_of
from collector.ledger.sums import Totals, add_rows
from collector.sla.variation import PAIRS, Tails


class LeftOut(NamedTuple):
    """Minutes of a path, [from, to), that a reader leaves out."""

    path: int
    from_minute: int
    to_minute: int


@dataclass(frozen=True, slots=True, eq=False)
class ByMinute:
    """What is asked of some paths.

    Attributes:
        tables: the minutes of the window, which have the rows asked for.
        first: with which minute the window begins.
        rows: of the paths (n,).
        number: the number of the path of each row (n,).
        places: of the path of each row, among the paths (n,).
        fitting: whether it was counted against what is promised (n, directions).
        intervals_ns: from probe to probe when it was counted, in the mean (n,).
        paths: how many.
        without, hidden: minutes that are left out.
    """

    tables: Mapping[int, MinuteTable]
    first: int
    rows: Integers
    number: Integers
    places: Integers
    fitting: Flags
    intervals_ns: Integers
    paths: int
    without: Sequence[LeftOut]
    hidden: Sequence[LeftOut]

    def some(self, paths: Integers) -> ByMinute:
        """Some of the paths, by their places, in ascending order."""
        chosen = np.zeros(self.paths, np.bool_)
        chosen[paths] = True
        mine = np.flatnonzero(chosen[self.places])
        return replace(
            self,
            rows=self.rows[mine],
            number=self.number[mine],
            places=np.searchsorted(paths, self.places[mine]),
            fitting=self.fitting[mine],
            intervals_ns=self.intervals_ns[mine],
            paths=len(paths),
        )

    def seen(self, lengths: Sequence[int]) -> Seen:
        """All that was counted, with products of blocks of so many minutes."""
        found = Totals.empty(self.paths)
        left_out = np.zeros_like(found.outcomes)
        told, delays = (np.zeros((len(self.rows), width), np.int64) for width in (TOLD, DELAYS))
        covered_ms = np.zeros(len(self.rows), np.int64)
        products = [BlockProducts(self.paths, length) for length in lengths]
        for minute, table, kept, spent in self._minutes():
            now, reach_s = table.told[:, self.rows].T.astype(np.int64), table.reach_s[self.rows]
            if spent.any():
                add_rows(
                    left_out, self.places[spent], outcomes_of(now[spent]) * self.fitting[spent][:, :, None]
                )
            now[~kept] = 0
            told += now
            delays += table.delays(self.rows) * kept[:, None]
            covered_ms += table.covered_ms[self.rows] * kept
            least = np.where(kept[:, None], table.minima_us()[self.rows], NO_MINIMUM)
            np.minimum.at(found.minima_us, self.places, least)
            np.maximum.at(found.reach_s, self.places, reach_s.astype(np.int64) * kept)
            by_path = np.zeros_like(left_out)
            add_rows(by_path, self.places, outcomes_of(now) * self.fitting[:, :, None])
            for block in products:
                block.add(minute, by_path)
        counted = [outcomes_of(told), delays.reshape(-1, len(DIRECTIONS), BUCKETS)]
        nothing = np.zeros(len(self.rows), np.int64)
        found.add(
            self.places,
            self.fitting,
            np.concatenate(counted, axis=2),
            covered_ms,
            nothing,
            told[:, SENT],
            self.intervals_ns,
        )
        return Seen(found, left_out, [one.result() for one in products])

    def tails(self, first: Integers, lengths: Sequence[int]) -> Tails:
        """The delays from these buckets on of each path (paths, directions, 3), with products of blocks of so many
        minutes."""
        counts = np.zeros_like(first)
        products = {length: BlockProducts(self.paths, length, PAIRS) for length in lengths}
        for minute, table, kept, _ in self._minutes():
            beyond = table.delays_from(self.rows, first[self.places])
            by_path = np.zeros_like(counts)
            add_rows(by_path, self.places, beyond * (kept[:, None] & self.fitting)[:, :, None])
            counts += by_path
            for block in products.values():
                block.add(minute, by_path)
        return Tails(counts, {length: one.result() for length, one in products.items()})

    def _minutes(self) -> Iterator[tuple[int, MinuteTable, Flags, Flags]]:
        """The minutes in their order, which of the rows count in each, and which are left out and spoken of."""
        for minute in sorted(self.tables):
            table = self.tables[minute]
            reach_s = table.reach_s[self.rows].astype(np.int64)
            spent, hidden = self._spoken_of(self.without, minute), self._spoken_of(self.hidden, minute)
            yield (
                minute,
                table,
                ~spent & ~hidden & begun_within(np.full(len(self.rows), minute), reach_s, self.first),
                spent,
            )

    def _spoken_of(self, left_out: Sequence[LeftOut], minute: int) -> Flags:
        """Which of the rows are left out in this minute."""
        paths = [one.path for one in left_out if one.from_minute <= minute < one.to_minute]
        return np.isin(self.number, paths) if paths else np.zeros(len(self.rows), np.bool_)
