"""What paths are held against, and how often they are probed: as numbers, for very many counts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.ledger.minutes import DIRECTIONS, Integers
from collector.sla.promise import Promise

_ANY = -1
"""Stands for no limit: whatever was counted against fits."""

Terms = Mapping[int, Mapping[Direction, Promise]]
"""The limits of each number of terms; a number keeps its limits."""


class Promises:
    """What each of some paths is held against.

    Args:
        promised: limits by direction (n,); a direction that is not in the mapping takes all counts.
        intervals_ns: from probe to probe of each, in the mean, where nothing is known of when it was counted (n,).
        counted_at: the interval of each number of terms that has one; may grow.
    """

    def __init__(
        self,
        promised: Sequence[Mapping[Direction, Promise]],
        intervals_ns: Integers | None = None,
        counted_at: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self._intervals_ns = np.zeros(len(promised), np.int64) if intervals_ns is None else intervals_ns
        self._counted_at = counted_at
        self._codes: dict[Promise, int] = {}
        coded: dict[int, list[int]] = {}
        for limits in promised:
            if id(limits) not in coded:
                coded[id(limits)] = self._coded(limits)
        self._wanted = np.array([coded[id(one)] for one in promised], np.int64).reshape(-1, len(DIRECTIONS))
        self._of_terms: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def take(self, rows: Integers) -> Promises:
        """Those of some of the paths."""
        some = Promises(())
        some._codes, some._of_terms = self._codes, self._of_terms
        some._wanted, some._intervals_ns = self._wanted[rows], self._intervals_ns[rows]
        some._counted_at = self._counted_at
        return some

    def fitting(self, terms: Terms, number: Integers, row: Integers) -> NDArray[np.bool_]:
        """Whether what was counted against these limits tells of what is promised (m, directions).

        Args:
            terms: the limits of each number.
            number: of the limits that were counted against (m,).
            row: of the path that counted, among these (m,).
        """
        for new in terms.keys() - self._of_terms.keys():
            self._of_terms[new] = self._coded(terms[new])
        numbers = np.array(sorted(self._of_terms), np.int64)
        given = np.array([self._of_terms[one] for one in numbers.tolist()], np.int64)
        mine = self._wanted[row]
        theirs = given.reshape(-1, len(DIRECTIONS))[np.searchsorted(numbers, number)]
        fitting: NDArray[np.bool_] = (mine == _ANY) | (mine == theirs)
        return fitting

    def intervals_ns(self, number: Integers, row: Integers) -> Integers:
        """From probe to probe when it was counted, or else as it is now (m,); arguments as of `fitting`."""
        numbers, places = np.unique(number, return_inverse=True)
        then = np.array([self._counted_at.get(one, 0) for one in numbers.tolist()], np.int64)[places]
        found: Integers = np.where(then > 0, then, self._intervals_ns[row])
        return found

    def _coded(self, limits: Mapping[Direction, Promise]) -> list[int]:
        return [
            _ANY if direction not in limits else self._codes.setdefault(limits[direction], len(self._codes))
            for direction in DIRECTIONS
        ]
