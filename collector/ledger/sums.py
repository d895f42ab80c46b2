"""Sums over many minutes: of hours and of days, and over any window, for all paths at once.

Beside the counts there are the sums of their products, minute by minute: with them the variance between minutes of any
share of outcomes is known of any window without its minutes. For a share that counts outcomes S, with x the packets of
a minute that are in S and n all of them, Σ(x - pn)² = Σx² - 2pΣxn + p²Σn², and each of these is a sum of products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Outcome
from collector.ledger.minutes import (
    DIRECTIONS,
    NO_MINIMUM,
    Integers,
    Minutes,
    by_direction,
    groups,
    reduced,
    taken,
)
from collector.ledger.promises import Promises, Terms
from collector.sla.effective import PRODUCTS

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

PRODUCT_WIDTH: Final = len(DIRECTIONS) * len(PRODUCTS)
PACES: Final = 3
"""With n packets at an interval of so many ms: Σ n · interval, Σ n · interval², and the longest interval."""

ROUND_TRIP: Final = DIRECTIONS.index(Direction.ROUND_TRIP)
"""Every packet has one, and perhaps no known fate in one direction."""

_MS_NS: Final = 1_000_000
_ONE: Final = np.array([one for one, _ in PRODUCTS])
_OTHER: Final = np.array([other for _, other in PRODUCTS])


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Rows of sums.

    Attributes:
        path, terms: as in `Minutes` (n,).
        minute: with which the time summed over begins (n,).
        covered_ms, reach_s, minima_us, counts: as in `Minutes`, over all of them.
        products: (n, PRODUCT_WIDTH), of the outcomes of each direction and minute.
    """

    path: Integers
    terms: Integers
    minute: Integers
    covered_ms: Integers
    reach_s: Integers
    minima_us: Integers
    counts: Integers
    products: Integers

    @classmethod
    def empty(cls) -> Self:
        """No rows."""
        none = Minutes.empty()
        return cls(
            none.path,
            none.terms,
            none.minute,
            none.covered_ms,
            none.reach_s,
            none.minima_us,
            none.counts,
            np.empty((0, PRODUCT_WIDTH), np.int64),
        )

    @classmethod
    def of(cls, minutes: Minutes, span: int | None = None) -> Sums:
        """The sums of merged minutes over spans of so many minutes; None: over all of them.

        Args:
            minutes: one row for each path, terms and minute.
            span: spans begin where the Unix time is a multiple of it.
        """
        counts = minutes.counts.astype(np.int64, copy=False)
        outcomes = by_direction(counts)[:, :, : len(Outcome)]
        products = (outcomes[:, :, _ONE] * outcomes[:, :, _OTHER]).reshape(len(minutes), PRODUCT_WIDTH)
        start = np.zeros_like(minutes.minute) if span is None else minutes.minute - minutes.minute % span
        return cls(
            minutes.path,
            minutes.terms,
            start,
            minutes.covered_ms,
            minutes.reach_s,
            minutes.minima_us,
            counts,
            products,
        ).merged()

    @classmethod
    def joined(cls, parts: Iterable[Sums]) -> Self:
        """All rows, in their order."""
        found = [part for part in parts if len(part)]
        if not found:
            return cls.empty()
        if len(found) == 1 and isinstance(found[0], cls):
            return found[0]
        return cls(*(np.concatenate([getattr(part, one.name) for part in found]) for one in fields(cls)))

    def __len__(self) -> int:
        return len(self.path)

    def take(self, rows: Any) -> Sums:
        """Some of the rows: a mask, a slice or their places."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.bool_ and rows.all():
            return self
        return Sums(*(taken(getattr(self, one.name), rows) for one in fields(self)))

    def starting(self, minute: int) -> Sums:
        """The same rows as parts of a longer span that begins there."""
        return replace(self, minute=np.full(len(self), minute))

    def within(self, part_of: Callable[[int], int]) -> Sums:
        """The same rows as parts of longer spans, each of that which begins with the minute that its own leads to."""
        return replace(
            self, minute=np.array([part_of(one) for one in self.minute.tolist()], np.int64)
        ).merged()

    def merged(self) -> Sums:
        """One row for each path, terms and minute, in that order."""
        if not len(self):
            return self
        order, starts = groups(self.path, self.terms, self.minute)
        rows = self if (order[1:] > order[:-1]).all() else self.take(order)
        if len(starts) == len(rows):
            return rows
        return Sums(
            rows.path[starts],
            rows.terms[starts],
            rows.minute[starts],
            reduced(np.add, rows.covered_ms, starts),
            reduced(np.maximum, rows.reach_s, starts),
            reduced(np.minimum, rows.minima_us, starts),
            reduced(np.add, rows.counts, starts),
            reduced(np.add, rows.products, starts),
        )

    def negated(self) -> Sums:
        """What takes these away where it is merged with them, but for the extremes, which cannot be taken away."""
        return replace(
            self,
            covered_ms=-self.covered_ms,
            reach_s=np.zeros_like(self.reach_s),
            minima_us=np.full_like(self.minima_us, NO_MINIMUM),
            counts=-self.counts,
            products=-self.products,
        )


def block_products(
    parts: Sums,
    paths: Sequence[int] | Integers,
    terms: Terms,
    promised: Promises,
    span: int,
) -> Integers:
    """Sums, over blocks of so many minutes, of the products of what outcomes each block has.

    Args:
        parts: of a window, each within a block; one that is longer counts as a block.
        paths, terms, promised: as of `totals`.
        span: minutes of a block.

    Returns:
        (paths, directions, `PRODUCTS`).
    """
    rows, row = asked_rows(parts, np.asarray(paths, np.int64))
    outcomes = where(
        by_direction(rows.counts)[:, :, : len(Outcome)], fitting_rows(rows.terms, row, terms, promised)
    )
    return products_of(outcomes, row, rows.minute // span, len(paths), PRODUCTS)


def products_of(
    counted: Integers, row: Integers, block: Integers, paths: int, pairs: Sequence[tuple[int, int]]
) -> Integers:
    """Products of what was counted in a block, summed over the blocks.

    Args:
        counted: parts of blocks (n, directions, k).
        row, block: the place of each one's path, and its block (n,).
        paths: how many there are.
        pairs: which of the k are multiplied.

    Returns:
        (paths, directions, pairs).
    """
    if not len(counted):
        return np.zeros((paths, len(DIRECTIONS), len(pairs)), np.int64)
    block = block - block.min()
    blocks = np.zeros((paths, int(block.max()) + 1, *counted.shape[1:]), np.int64)
    add_rows(blocks.reshape(-1, *blocks.shape[2:]), row * blocks.shape[1] + block, counted)
    products = [np.einsum("nkd,nkd->nd", blocks[..., one], blocks[..., other]) for one, other in pairs]
    return np.stack(products, axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """What paths counted in a window; row i is of the i-th path that was asked for.

    Attributes:
        covered_ms: how much of the window lies between two readings of a running agent, and was counted against the
            limit of the direction (n, directions).
        reach_s: how long before its own minute any of the counts may have begun (n,).
        sent: probes (n,), against whatever limits.
        outcomes: (n, directions, outcomes).
        delays: (n, directions, buckets), not cumulative.
        minima_us: (n, directions); `NO_MINIMUM` where nothing is known.
        products: sums over the minutes of the products of outcomes (n, directions, `PRODUCTS`).
        pace: for how much time the packets stand (n, `PACES`).
    """

    covered_ms: Integers
    reach_s: Integers
    sent: Integers
    outcomes: Integers
    delays: Integers
    minima_us: Integers
    products: Integers
    pace: Floats

    @classmethod
    def empty(cls, paths: int) -> Self:
        """Of so many paths nothing."""
        of_each = paths, len(DIRECTIONS)
        return cls(
            np.zeros(of_each, np.int64),
            np.zeros(paths, np.int64),
            np.zeros(paths, np.int64),
            np.zeros((*of_each, len(Outcome)), np.int64),
            np.zeros((*of_each, BUCKETS), np.int64),
            np.full(of_each, NO_MINIMUM, np.int64),
            np.zeros((*of_each, len(PRODUCTS)), np.int64),
            np.zeros((paths, PACES)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Totals]) -> Self:
        """Of some paths after the others."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def add(
        self,
        row: Integers,
        fitting: Flags,
        counted: Integers,
        covered_ms: Integers,
        reach_s: Integers,
        sent: Integers,
        intervals_ns: Integers,
        minima_us: Integers | None = None,
    ) -> None:
        """Add what was counted once more, but for the products.

        Args:
            row: of which path (n,).
            fitting: whether it was counted against the limit of the direction (n, directions).
            counted: outcomes and delays (n, directions, outcomes and then buckets).
            covered_ms, reach_s, sent: (n,).
            intervals_ns: from probe to probe when it was counted, in the mean (n,).
            minima_us: (n, directions); None: none is known.
        """
        self.add_pace(row, counted[:, ROUND_TRIP, : len(Outcome)].sum(axis=1), intervals_ns)
        counted = where(counted, fitting)
        add_rows(self.outcomes, row, counted[:, :, : len(Outcome)])
        add_rows(self.delays, row, counted[:, :, len(Outcome) :])
        add_rows(self.covered_ms, row, covered_ms[:, None] * fitting)
        add_rows(self.sent, row, sent)
        np.maximum.at(self.reach_s, row, reach_s)
        if minima_us is not None:
            np.minimum.at(self.minima_us, row, minima_us)

    def explained_ms(self) -> Integers:
        """How much time the packets of each path stand for, at most (n,).

        Each stands for the interval at which it was sent, and those at the ends of the window for another one. Of a
        Poisson stream n come in a time for which √n more or fewer would be no wonder: three times that is allowed for.
        """
        most: Integers = (self.pace[:, 0] + 3 * np.sqrt(self.pace[:, 1]) + self.pace[:, 2]).astype(np.int64)
        return most

    def add_pace(self, row: Integers, packets: Integers, intervals_ns: Integers) -> None:
        """Add for how much time packets stand, of which path and from one to the next (n,)."""
        intervals_ms = intervals_ns / _MS_NS
        for place, more in enumerate((packets * intervals_ms, packets * np.square(intervals_ms))):
            self.pace[:, place] += np.bincount(row, more, minlength=len(self.pace))
        np.maximum.at(self.pace[:, 2], row, np.where(packets > 0, intervals_ms, 0))


def totals(
    sums: Sums,
    paths: Sequence[int] | Integers,
    terms: Terms,
    promised: Promises | None = None,
) -> Totals:
    """Sums as arrays over paths.

    Args:
        sums: of a window; rows of paths that were not asked for are left out.
        paths: numbers of the paths asked for, none twice.
        terms: the limits of each number of terms.
        promised: what each of the paths is held against. What a direction counted against another limit says nothing
            of it, and is left out; None: nothing is.
    """
    sums, row = asked_rows(sums, np.asarray(paths, np.int64))
    found = Totals.empty(len(paths))
    found.add(
        row,
        fitting_rows(sums.terms, row, terms, promised),
        by_direction(sums.counts),
        sums.covered_ms,
        sums.reach_s,
        sums.counts[:, 0],
        np.zeros(len(row), np.int64) if promised is None else promised.intervals_ns(sums.terms, row),
        sums.minima_us,
    )
    told = sums.products.reshape(-1, len(DIRECTIONS), len(PRODUCTS))
    add_rows(found.products, row, where(told, fitting_rows(sums.terms, row, terms, promised)))
    return found


def asked_rows(sums: Sums, paths: Integers) -> tuple[Sums, Integers]:
    """The rows of these paths, and the place of each row's path among them."""
    if not len(paths):
        return Sums.empty(), np.zeros(0, np.int64)
    order = np.argsort(paths)
    place = np.searchsorted(paths, sums.path, sorter=order)
    row: Integers = order[np.minimum(place, len(paths) - 1)]
    asked = paths[row] == sums.path
    return sums.take(asked), row[asked]


def fitting_rows(number: Integers, row: Integers, terms: Terms, promised: Promises | None) -> Flags:
    """Whether each row's limits are those that its path is held against (n, directions)."""
    if promised is None:
        return np.ones((len(number), len(DIRECTIONS)), np.bool_)
    return promised.fitting(terms, number, row)


def where(values: Integers, fitting: Flags) -> Integers:
    """Values (n, directions, …) where they fit, else 0; the same array where all do."""
    return values if fitting.all() else values * fitting[:, :, None]


def add_rows(to: Integers, row: Integers, values: Integers) -> None:
    """Add values to these rows, of which some may come more than once."""
    if np.bincount(row, minlength=1).max(initial=0) > 1:
        order = np.argsort(row, kind="stable")
        starts = np.flatnonzero(np.diff(row[order], prepend=-1))
        flat = values[order].reshape(len(order), -1)
        row, values = row[order[starts]], reduced(np.add, flat, starts).reshape(-1, *values.shape[1:])
    to[row] += values
