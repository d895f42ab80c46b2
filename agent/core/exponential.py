"""Exponential deviates exactly as RFC 4656, section 5, computes them, for whole arrays of random numbers.

The algorithm is Knuth's S (The Art of Computer Programming, volume 2, section 3.4.1) in fixed point: the same random
numbers give the same deviates to the last bit in every implementation. A deviate takes one random number, or, with
probability 1 - ln 2, one and two to eleven more. So where the second deviate begins depends on the first; here what
would begin at every place is computed at once, and then the places at which one does begin are picked out.

The specification takes its random numbers from AES in counter mode, for both ends of a session must draw the same. A
STAMP reflector need not know when it is sent to, so that here they may come from any generator.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Integers

Fixed: TypeAlias = NDArray[np.uint64]
"""Numbers in units of 2^-32: OWAMP's 32.32 format."""

_Q: Final = np.array(
    [
        0xB17217F8,
        0xEEF193F7,
        0xFD271862,
        0xFF9D6DD0,
        0xFFF4CFD0,
        0xFFFEE819,
        0xFFFFE7FF,
        0xFFFFFE2B,
        0xFFFFFFE0,
        0xFFFFFFFE,
        0xFFFFFFFF,
    ],
    np.uint64,
)
"""Q[k], the sum of (ln 2)^i / i! for i from 1 to k, at index k - 1; Q[1] is ln 2 (section 5.2).

The last is above all that step S1 can leave of a number, for that ends in a 0.
"""
_LN2: Final = _Q[0]
_LOW: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)
_BLOCK: Final = 2048


def deviates(numbers: NDArray[np.uint32]) -> tuple[Fixed, int]:
    """The exponential deviates of mean 1 that random numbers give, in their order.

    Args:
        numbers: (n,), uniform over all 32-bit numbers.

    Returns:
        The deviates, each at most 32 ln 2, which is 22.2; and how many of the numbers they took: those that are left,
        at most eleven, begin a deviate that needs more.

    Source: RFC 4656, sections 5.1 and 5.2.
    """
    wide = numbers.astype(np.uint64)
    # S1: get U and shift: count the leading ones, and shift them and the zero after them off
    ones = 32 - np.frexp((wide ^ _LOW).astype(np.float64))[1]
    shifted = (wide << (ones + 1).astype(np.uint64)) & _LOW
    values: Fixed = ones.astype(np.uint64) * _LN2
    # S2: immediate acceptance
    accepted = shifted < _LN2
    values += np.where(accepted, shifted, 0)
    # S3: else the least k with U < Q[k], and V, the least of k more numbers
    lengths = np.ones(len(wide), np.int64)
    rejected = np.flatnonzero(~accepted)
    more = np.searchsorted(_Q, shifted[rejected], side="right") + 1
    lengths[rejected] += more
    whole = rejected + more < len(wide)
    rejected, more = rejected[whole], more[whole]
    least = wide[rejected + 1]
    for nth in range(2, int(more.max(initial=0)) + 1):
        (drawing,) = np.nonzero(more >= nth)
        least[drawing] = np.minimum(least[drawing], wide[rejected[drawing] + nth])
    # S4: (j + V) ln 2, its low 32 bits cut off
    values[rejected] += (least * _LN2) >> _32

    begins: list[int] = []
    place, end = 0, len(wide)
    # at the end begins one that there are never enough numbers for
    length_at = [*lengths.tolist(), 1]
    while (following := place + length_at[place]) <= end:
        begins.append(place)
        place = following
    return values[np.array(begins, np.int64)], place


def scaled(factors: Fixed, means_ns: Integers) -> Integers:
    """Deviates of other means, ns: the product, what is below 1 ns cut off (RFC 4656, section 5.1)."""
    means = means_ns.astype(np.uint64)
    whole, part = factors >> _32, factors & _LOW
    product: Fixed = whole * means + part * (means >> _32) + ((part * (means & _LOW)) >> _32)
    return product.astype(np.int64)


class Exponential:
    """Exponential deviates of mean 1, drawn ahead of time in blocks.

    Args:
        rng: where the random numbers come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._numbers: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._ready: Fixed = np.zeros(0, np.uint64)

    def draw(self, count: int) -> Fixed:
        """So many deviates."""
        while len(self._ready) < count:
            fresh = self._rng.integers(1 << 32, size=max(_BLOCK, count), dtype=np.uint32)
            self._numbers = np.concatenate((self._numbers, fresh))
            ready, used = deviates(self._numbers)
            self._numbers = self._numbers[used:]
            self._ready = np.concatenate((self._ready, ready))
        drawn, self._ready = self._ready[:count], self._ready[count:]
        return drawn
