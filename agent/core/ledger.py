"""What was counted of every path, and the law that the counts obey.

    sent = Σ outcomes(round_trip) + in flight
    sent = Σ outcomes(forward)    + in flight
    Σ outcomes(reverse) = what was reflected or may have been = sent - in flight - outcomes(forward, lost)

Every probe is counted once, at its reply or at its timeout. Late replies, duplicates and reordering are counted
beside the law, not in it. In the law Σ is over two sets of outcomes: of a probe that was sent while a throughput test
filled the line they are counted apart, `under_load`, and its delays in no histogram: it says nothing of the line as it
is otherwise.

All counts are one table, a row for each path, so that a whole batch of packets is counted at once and a moment's
counts are kept by copying the table:

    sent | in flight | late | contradictions, steps | forward … | reverse … | round trip …

of each direction: outcomes | the same under load | duplicates | reordered | delay histogram | variation histogram |
differences
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.core.histogram import BUCKETS, EDGES_NS, Histogram
from agent.core.interval import Flags, Integers
from agent.core.outcome import Direction, Limit, Outcome
from agent.core.recent import NO_MINIMUM, RecentMinima

DIRECTIONS: Final = tuple(Direction)
MINIMUM_PERIOD_NS: Final = 60_000_000_000

SENT: Final = 0
IN_FLIGHT: Final = 1
LATE: Final = 2
CLOCK_CONTRADICTIONS: Final = 3
FLOOR_CONTRADICTIONS: Final = 4
STEPPED: Final = 5
_FIRST_DIRECTION: Final = 6

OUTCOMES: Final = 0
UNDER_LOAD: Final = OUTCOMES + len(Outcome)
DUPLICATES: Final = UNDER_LOAD + len(Outcome)
REORDERED: Final = DUPLICATES + 1
DELAY: Final = REORDERED + 1
DELAY_SUM: Final = DELAY + BUCKETS
VARIATION: Final = DELAY_SUM + 1
VARIATION_SUM: Final = VARIATION + BUCKETS
IPDV: Final = VARIATION_SUM + 1
IPDV_SUM: Final = IPDV + 1
_DIRECTION_COLUMNS: Final = IPDV_SUM + 1

COLUMNS: Final = _FIRST_DIRECTION + len(DIRECTIONS) * _DIRECTION_COLUMNS

_NEVER: Final = -2
"""The sequence number of no packet, nor of the one before any."""

_MOST_SUMMED_NS: Final = 100_000_000_000
"""Longer than any timeout: what is beyond is the fault of a clock, and counts as this much in sums, for which years by
the packet would soon be too large."""

_EDGES: Final = np.array(EDGES_NS, np.int64)
_FIRST_OF: Final = _FIRST_DIRECTION + _DIRECTION_COLUMNS * np.arange(len(DIRECTIONS), dtype=np.int64)[:, None]


def column(direction: Direction, within: int) -> int:
    """The column of a direction's count: `OUTCOMES` or `UNDER_LOAD` and an outcome, `DUPLICATES`, …"""
    return _FIRST_DIRECTION + DIRECTIONS.index(direction) * _DIRECTION_COLUMNS + within


def buckets_of(delays_ns: Integers) -> Integers:
    """The histogram bucket of each delay; a negative one falls into the first."""
    return np.searchsorted(_EDGES, delays_ns)


@dataclass(frozen=True, slots=True)
class PathLabels:
    """What names a path in the metrics."""

    source: str
    target: str
    tier: str
    provider: str
    kind: str
    dscp: int


@dataclass(frozen=True, slots=True)
class Promise:
    """What one direction of a path is held against.

    Attributes:
        limit: the promised delay.
        floor_ns: the least delay that physics allows.
    """

    limit: Limit
    floor_ns: int


class Ledgers:
    """The counts of all paths.

    Attributes:
        counts: (rows, COLUMNS), int64.
        floors_ns, largest_ns: (3, rows), what each direction is held against: its floor, `Limit.largest_ns`.
        minima: of each direction of each row, over the last one to two minutes.
    """

    def __init__(self, rows: int = 16) -> None:
        self.counts: Integers = np.zeros((rows, COLUMNS), np.int64)
        self.floors_ns: Integers = np.zeros((len(DIRECTIONS), rows), np.int64)
        self.largest_ns: Integers = np.zeros((len(DIRECTIONS), rows), np.int64)
        self.minima = RecentMinima(MINIMUM_PERIOD_NS, rows, len(DIRECTIONS))
        self._last_sequence: Integers = np.full(rows, _NEVER, np.int64)
        self._last_delay_ns: Integers = np.zeros((len(DIRECTIONS), rows), np.int64)
        self._used = 0

    def open(
        self,
        labels: PathLabels,
        forward: Promise,
        reverse: Promise,
        round_trip: Limit,
        begun_ns: int | None = None,
    ) -> PathLedger:
        """A fresh ledger for one path; `begun_ns` is the Unix wall time of this moment, where it is known."""
        row = self._used
        if row == len(self.counts):
            self._grow()
        self._used += 1
        ledger = PathLedger(self, row, labels, begun_ns)
        ledger.promise(forward, reverse, round_trip)
        return ledger

    def add(self, rows: Integers, columns: Integers | int, amounts: Integers | int) -> None:
        """Add amounts to counts; where one is named more than once, all of its amounts are added."""
        np.add.at(self.counts.reshape(-1), rows * COLUMNS + columns, amounts)

    def add_outcomes(self, rows: Integers, outcomes: Integers, under_load: Flags | None = None) -> None:
        """Count (3, n) outcomes of n packets on their rows, those under load apart; None: none of them is."""
        if under_load is not None:
            outcomes = outcomes + UNDER_LOAD * under_load
        self.add(rows, _FIRST_OF + (OUTCOMES + outcomes), 1)

    def observe(
        self,
        rows: Integers,
        sequences: Integers,
        delays_ns: Integers,
        trusted: Flags,
        now_ns: int,
        *,
        one_way: bool = True,
    ) -> None:
        """Record the measured delays of n packets, ordered by row, at monotonic time `now_ns`.

        An untrusted one-way delay, one between clocks that do not vouch for themselves, counts for the variation
        only (delay less the recent minimum: PDV, RFC 5481 section 4.2), which no steady clock offset touches. Where
        trust is won or lost the minimum starts anew: the offset before and after has nothing in common.

        Args:
            rows: (n,), not falling.
            sequences: (n,), of each packet within its session.
            delays_ns: (3, n).
            trusted: (n,), whether both clocks vouch for themselves.
            one_way: whether one-way delays were measured at all.
        """
        least_ns, comparable = self.minima.observe(rows, delays_ns, trusted, now_ns)
        self._histogram(DELAY, rows, delays_ns, trusted)
        self._histogram(VARIATION, rows, delays_ns - least_ns, comparable & one_way)
        self._differences(rows, sequences, delays_ns, one_way)

    def _differences(self, rows: Integers, sequences: Integers, delays_ns: Integers, one_way: bool) -> None:
        """Count by how much packets that follow each other differ in delay (IPDV, RFC 3393 section 2.3).

        That is the difference of two delays by the same clocks, so it needs no trust in them.
        """
        before, delays_before = self._last_sequence[rows], self._last_delay_ns[:, rows]
        same = np.flatnonzero(rows[1:] == rows[:-1]) + 1
        before[same], delays_before[:, same] = sequences[same - 1], delays_ns[:, same - 1]
        # of a row that is named more than once the last assignment holds
        self._last_sequence[rows], self._last_delay_ns[:, rows] = sequences, delays_ns
        chosen = sequences == before + 1
        directions = _FIRST_OF if one_way else _FIRST_OF[-1:]
        differences = _summed(np.abs(delays_ns - delays_before)[-len(directions) :, chosen])
        self.add(rows[chosen], directions + IPDV, 1)
        self.add(rows[chosen], directions + IPDV_SUM, differences)

    def _histogram(self, first: int, rows: Integers, values_ns: Integers, one_way: Flags) -> None:
        """Count values of all directions, of the one-way ones only those flagged."""
        buckets = _FIRST_OF + (first + buckets_of(values_ns))
        sums = np.broadcast_to(_FIRST_OF + (first + BUCKETS), values_ns.shape)
        values_ns = _summed(values_ns)
        if one_way.all():
            self.add(rows, buckets, 1)
            self.add(rows, sums, values_ns)
        else:
            kept = np.vstack((one_way, one_way, np.ones_like(one_way)))
            spread = np.broadcast_to(rows, kept.shape)[kept]
            self.add(spread, buckets[kept], 1)
            self.add(spread, sums[kept], values_ns[kept])

    def _grow(self) -> None:
        self.counts = np.concatenate((self.counts, np.zeros_like(self.counts)))
        self.floors_ns = np.concatenate((self.floors_ns, np.zeros_like(self.floors_ns)), axis=1)
        self.largest_ns = np.concatenate((self.largest_ns, np.zeros_like(self.largest_ns)), axis=1)
        self.minima.grow()
        self._last_sequence = np.concatenate((self._last_sequence, np.full_like(self._last_sequence, _NEVER)))
        self._last_delay_ns = np.concatenate(
            (self._last_delay_ns, np.zeros_like(self._last_delay_ns)), axis=1
        )


def _summed(values_ns: Integers) -> Integers:
    """Values as they go into a sum."""
    return np.clip(values_ns, -_MOST_SUMMED_NS, _MOST_SUMMED_NS)


class DirectionLedger:
    """One direction of one path in the table."""

    __slots__ = ("_direction", "_first", "_row", "_table", "promise")

    def __init__(self, table: Ledgers, row: int, direction: int, promise: Promise) -> None:
        self._table = table
        self._row = row
        self._direction = direction
        self._first = _FIRST_DIRECTION + direction * _DIRECTION_COLUMNS
        self.promise = promise

    @property
    def outcomes(self) -> list[int]:
        """Packets by `Outcome`, indexed by it."""
        return self._read(OUTCOMES, len(Outcome))

    @property
    def under_load(self) -> list[int]:
        """Packets by `Outcome`, sent while a throughput test filled the line; none of them is in `outcomes`."""
        return self._read(UNDER_LOAD, len(Outcome))

    @property
    def duplicates(self) -> int:
        """Replies beyond the first to a probe."""
        return self._read(DUPLICATES, 1)[0]

    @property
    def reordered(self) -> int:
        """Packets that a later one overtook."""
        return self._read(REORDERED, 1)[0]

    @property
    def delay(self) -> Histogram:
        """Measured delays; one-way delays only while both clocks vouch for themselves."""
        return Histogram(self._read(DELAY, BUCKETS), self._read(DELAY_SUM, 1)[0])

    @property
    def variation(self) -> Histogram:
        """Delay less the recent minimum."""
        return Histogram(self._read(VARIATION, BUCKETS), self._read(VARIATION_SUM, 1)[0])

    @property
    def differences(self) -> tuple[int, int]:
        """How many pairs of packets that follow each other were measured, and the sum of their differences (ns)."""
        count, sum_ns = self._read(IPDV, 2)
        return count, sum_ns

    def minimum_ns(self, now_ns: int) -> int | None:
        """The least trusted delay of the last one to two minutes, or None where there is none."""
        least = int(self._table.minima.values(np.array([self._row]), now_ns)[self._direction, 0])
        return None if least == NO_MINIMUM else least

    def count(self, within: int, amount: int = 1) -> None:
        """Add to a count: an outcome, one of `UNDER_LOAD`, `DUPLICATES` or `REORDERED`."""
        self._table.counts[self._row, self._first + within] += amount

    def _read(self, within: int, length: int) -> list[int]:
        first = self._first + within
        values: list[int] = self._table.counts[self._row, first : first + length].tolist()
        return values


class PathLedger:
    """The counts of one path: a row of the table."""

    __slots__ = ("begun_ns", "forward", "labels", "not_sent", "reverse", "round_trip", "row", "table")

    def __init__(self, table: Ledgers, row: int, labels: PathLabels, begun_ns: int | None = None) -> None:
        self.table = table
        self.row = row
        self.labels = labels
        self.begun_ns = begun_ns
        self.not_sent: Counter[str] = Counter()

    def promise(self, forward: Promise, reverse: Promise, round_trip: Limit) -> None:
        """Hold the path against these from now on; what was counted before stays."""
        promises = (forward, reverse, Promise(round_trip, forward.floor_ns + reverse.floor_ns))
        self.table.floors_ns[:, self.row] = [promise.floor_ns for promise in promises]
        self.table.largest_ns[:, self.row] = [promise.limit.largest_ns for promise in promises]
        self.forward, self.reverse, self.round_trip = (
            DirectionLedger(self.table, self.row, direction, promise)
            for direction, promise in enumerate(promises)
        )

    @property
    def sent(self) -> int:
        """Probes that the kernel took."""
        return int(self.table.counts[self.row, SENT])

    @property
    def in_flight(self) -> int:
        """Probes neither answered nor given up."""
        return int(self.table.counts[self.row, IN_FLIGHT])

    @property
    def late(self) -> int:
        """Replies after the timeout; their probes are lost."""
        return int(self.table.counts[self.row, LATE])

    @property
    def clock_contradictions(self) -> int:
        """Replies that prove a clock wrong by more than it admits."""
        return int(self.table.counts[self.row, CLOCK_CONTRADICTIONS])

    @property
    def floor_contradictions(self) -> int:
        """Replies faster than the configured distance allows."""
        return int(self.table.counts[self.row, FLOOR_CONTRADICTIONS])

    @property
    def stepped(self) -> int:
        """Replies whose time is not known, because the local clock was set meanwhile."""
        return int(self.table.counts[self.row, STEPPED])

    def count(self, which: int, amount: int = 1) -> None:
        """Add to a count of the path: `SENT`, `IN_FLIGHT`, `LATE`, …"""
        self.table.counts[self.row, which] += amount

    def directions(self) -> tuple[tuple[Direction, DirectionLedger], ...]:
        """The three directions with their counts."""
        return (
            (Direction.FORWARD, self.forward),
            (Direction.REVERSE, self.reverse),
            (Direction.ROUND_TRIP, self.round_trip),
        )

    def broken_laws(self) -> list[str]:
        """The equations of the conservation law that do not hold; empty is what it must always be."""
        resolved = self.sent - self.in_flight
        forward, reverse, round_trip = (
            list(map(int.__add__, counted.outcomes, counted.under_load)) for _, counted in self.directions()
        )
        sides = {
            "sent - in flight = round trips": sum(round_trip),
            "sent - in flight = forward": sum(forward),
            "sent - in flight = reverse + lost on the way there": sum(reverse) + forward[Outcome.LOST],
        }
        return [
            f"{equation}: {resolved} is not {counted}"
            for equation, counted in sides.items()
            if counted != resolved
        ]
