"""Inputs made of others, for where no coverage guides: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

_TELLING: Final = (
    b"\0",
    b"\xff",
    b"\x7f\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\n",
    b'"',
    b"nan",
    b"1e999",
    b"-1",
)


def mutants(inputs: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many inputs, each one of the given with up to four changes."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(rng.choice(inputs))
        for _ in range(rng.randint(1, 4)):
            _change(mutant, rng.choice(inputs), rng)
        yield bytes(mutant)


def _change(mutant: bytearray, other: bytes, rng: random.Random) -> None:
    at, length = rng.randint(0, len(mutant)), rng.randint(1, 8)
    match rng.randrange(6):
        case 0 if at < len(mutant):
            mutant[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(mutant):
            mutant[at] = rng.randrange(256)
        case 2:
            del mutant[at : at + length]
        case 3:
            mutant[at:at] = rng.randbytes(length)
        case 4:
            mutant[at : at + length * rng.randrange(2)] = rng.choice(_TELLING)
        case _:
            start = rng.randint(0, len(other))
            mutant[at:] = other[start:]
