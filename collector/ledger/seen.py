"""What paths counted in a window, out of what their rows did: a path has one for each of its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Outcome
from collector.ledger.minutes import DIRECTIONS, SENT, Integers
from collector.ledger.sums import Totals
from collector.sla.effective import PRODUCTS
from collector.sla.variation import Beyond, Tails

Flags = NDArray[np.bool_]


class Seen(NamedTuple):
    """What paths counted in a window.

    Attributes:
        totals: as of `collector.ledger.sums.totals`.
        left_out: packets that were left out (n, directions, outcomes).
        products: of outcomes (n, directions, `PRODUCTS`), summed over blocks of each length asked for.
        tails: what was beyond of what is asked for.
    """

    totals: Totals
    left_out: Integers
    products: Sequence[Integers]
    tails: Mapping[Beyond, Tails] = MappingProxyType({})

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """Paths one after the other."""
        return cls(
            Totals.joined([one.totals for one in parts]),
            np.concatenate([one.left_out for one in parts]),
            [np.concatenate(some) for some in zip(*(one.products for one in parts), strict=True)],
            {beyond: Tails.joined([one.tails[beyond] for one in parts]) for beyond in parts[0].tails},
        )


class ByPath:
    """Takes values of rows to those of paths, in each direction the row that fits.

    Args:
        asked: rows (n,).
        row: the place of each one's path among those asked for (n,).
        fitting: of which directions what they counted is asked for (n, directions).
        paths: how many are asked for.
    """

    def __init__(self, asked: Integers, row: Integers, fitting: Flags, paths: int) -> None:
        self._rows = np.full((len(DIRECTIONS), paths), -1, np.int64)
        for direction in range(len(DIRECTIONS)):
            mine = np.flatnonzero(fitting[:, direction])
            self._rows[direction, row[mine]] = asked[mine]
        self._alike = bool((self._rows == self._rows[0]).all())

    def __call__(self, values: NDArray[Any], directions: int, axis: int = -1) -> NDArray[Any]:
        """Values of rows, which stand along one axis, as directions do along another."""
        if self._alike:
            return self._taken(values, 0, axis)
        parts = [self._taken(np.take(values, [one], directions), one, axis) for one in range(len(DIRECTIONS))]
        return np.concatenate(parts, directions)

    def _taken(self, values: NDArray[Any], direction: int, axis: int) -> NDArray[Any]:
        rows = self._rows[direction]
        if not values.shape[axis]:
            values = np.zeros([size or 1 for size in values.shape], values.dtype)
        found: NDArray[Any] = np.take(values, rows, axis)
        if (rows < 0).any():
            np.moveaxis(found, axis, 0)[rows < 0] = 0
        return found


class BlockProducts:
    """Sums over blocks of the products of what was counted in each; minutes come in their order."""

    def __init__(self, rows: int, length: int, pairs: Sequence[tuple[int, int]] = PRODUCTS) -> None:
        self._rows = rows
        self._length = length
        self._pairs = pairs
        self._block: int | None = None
        self._counted = np.zeros((1 + max(map(max, pairs)), rows * len(DIRECTIONS)), np.int64)
        self._sums = np.zeros((len(pairs), rows * len(DIRECTIONS)), np.int64)

    def add(self, minute: int, counted: Integers) -> None:
        """Add what was counted in a minute (rows, directions, k)."""
        block = minute // self._length
        if block != self._block:
            self._close()
            self._block = block
        self._counted += counted.reshape(-1, len(self._counted)).T

    def result(self) -> Integers:
        """(rows, directions, pairs)."""
        self._close()
        by_product = self._sums.reshape(len(self._pairs), self._rows, len(DIRECTIONS))
        return np.ascontiguousarray(np.moveaxis(by_product, 0, -1))

    def _close(self) -> None:
        happened = [bool(one.any()) for one in self._counted]
        for place, (one, other) in enumerate(self._pairs):
            if happened[one] and happened[other]:
                self._sums[place] += self._counted[one] * self._counted[other]
        self._counted[:] = 0


def outcomes_of(told: Integers) -> Integers:
    """(n, TOLD) to (n, directions, outcomes); a view."""
    return told[:, SENT + 1 :].reshape(len(told), len(DIRECTIONS), len(Outcome))


def summed_twice(row: Integers, fitting: Flags, paths: int) -> Flags:
    """Of which paths more than one row counts in a direction (paths,): products are no sums of theirs."""
    if np.bincount(row, minlength=1).max() <= 1:
        return np.zeros(paths, np.bool_)
    told = np.zeros((paths, len(DIRECTIONS)), np.int64)
    np.add.at(told, row, fitting)
    return np.asarray((told > 1).any(axis=1))


def replaced(seen: Seen, places: Integers, some: Seen) -> Seen:
    """The same, with what some paths, at these places, have counted in place of theirs."""
    # these may have counted more than the octets of the others hold
    wide = np.result_type(seen.totals.delays, np.min_scalar_type(-int(some.totals.delays.max(initial=0)) - 1))
    totals = replace(seen.totals, delays=seen.totals.delays.astype(wide, copy=False))
    for one in fields(Totals):
        if one.name != "products":
            getattr(totals, one.name)[places] = getattr(some.totals, one.name)
    seen.left_out[places] = some.left_out
    for products, right in zip(seen.products, some.products, strict=True):
        products[places] = right
    return seen._replace(totals=totals)


def places_of(known: Integers, paths: Integers) -> tuple[Integers, Integers]:
    """Which of the known ones are asked for, and the place of each of those among the paths."""
    if not len(paths):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(paths)
    row = order[np.minimum(np.searchsorted(paths, known, sorter=order), len(paths) - 1)]
    asked = np.flatnonzero(paths[row] == known)
    return asked, row[asked]
