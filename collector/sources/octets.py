"""Octets in which many texts and numbers are found at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.ledger.minutes import Integers

Octets = NDArray[np.uint8]
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

_FLOATS: Final = re.compile(r"[0-9.e+\n-]*")
_WORD: Final = 8
_DIGITS: Final = 16
_MOST_DIGITS: Final = 15
"""More than an agent ever counts, and fewer than a sample, which is a float to others, could hold exactly."""

_POWERS: Final = 10 ** np.arange(_DIGITS - 1, -1, -1)
_WITHIN_NUMBER: Final = np.arange(_DIGITS) >= _DIGITS - np.arange(_DIGITS + 1)[:, None]
"""Which of the octets before a line's end belong to a number of 0, 1, … digits."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Octets that are compared a word at a time: those of text i are `want[i]` where `mask[i]` is set.

    Attributes:
        width: octets of the longest, in whole words.
        lengths: in octets (n,).
    """

    width: int
    lengths: Integers
    want: Words
    mask: Words

    @classmethod
    def of(cls, texts: Sequence[bytes], to_the_right: bool = False) -> Texts:
        """These texts, at the left or the right end of their words."""
        width = max(_WORD, -(-max(map(len, texts), default=0) // _WORD) * _WORD)

        def placed(text: bytes) -> bytes:
            return text.rjust(width, b"\0") if to_the_right else text.ljust(width, b"\0")

        want = np.frombuffer(b"".join(map(placed, texts)), np.uint64)
        mask = np.frombuffer(b"".join(placed(b"\xff" * len(text)) for text in texts), np.uint64)
        shape = len(texts), width // _WORD
        return cls(width, np.array([*map(len, texts)], np.int64), want.reshape(shape), mask.reshape(shape))

    def found(self, window: Octets, at: Integers, which: NDArray[np.integer]) -> bool:
        """Whether these of the texts stand at these places of a `window` of the same width."""
        words = window[at].view(np.uint64).reshape(len(at), self.width // _WORD)
        return bool(np.array_equal(words & self.mask[which], self.want[which]))


def window(octets: Octets, width: int) -> Octets:
    """All pieces of so many octets: item i begins at octet i."""
    pieces: Octets = np.ndarray((len(octets) - width + 1,), f"V{width}", octets, strides=(1,))
    return pieces


def numbers_before(octets: Octets, lengths: Integers, ends: Integers) -> Integers | None:
    """The numbers of so many digits before these places; None: some are none."""
    if not len(lengths):
        return np.zeros(0, np.int64)
    if int(lengths.max()) > _MOST_DIGITS:
        return None
    digits = window(octets, _DIGITS)[ends - _DIGITS].view(np.uint8).reshape(-1, _DIGITS) - np.uint8(ord("0"))
    digits[~_WITHIN_NUMBER[lengths]] = 0
    if digits.max() > 9:
        return None
    # not a product of matrices, for which threads of other cores would be woken
    numbers: Integers = np.einsum("ij,j->i", digits, _POWERS)
    return numbers


def floats_between(octets: Octets, starts: Integers, ends: Integers) -> NDArray[np.float64] | None:
    """The floats between these places; None: some are none that an agent writes."""
    texts = [octets[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    joined = b"\n".join(texts).decode("ascii", "replace")
    if _FLOATS.fullmatch(joined) is None:
        return None
    try:
        return np.array([*map(float, joined.split("\n"))])
    except ValueError:
        return None
