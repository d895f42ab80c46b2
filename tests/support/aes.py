"""AES-128 (FIPS 197), many blocks at once: where RFC 4656 takes its random numbers from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Octets = NDArray[np.uint8]

_ROUNDS: Final = 10
_SHIFTED_ROWS: Final = [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11]


def _times(a: int, b: int) -> int:
    """Product in GF(2^8) (section 4.2)."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a = a << 1 ^ 0x11B * (a >> 7)
        b >>= 1
    return product


def _substitute(octet: int) -> int:
    """The S-box: an affine map of the inverse (section 5.1.1)."""
    inverse = next((other for other in range(256) if _times(octet, other) == 1), 0)
    rotations = [inverse << turn | inverse >> (8 - turn) for turn in range(5)]
    return (rotations[0] ^ rotations[1] ^ rotations[2] ^ rotations[3] ^ rotations[4] ^ 0x63) & 0xFF


_SBOX: Final[Octets] = np.array([_substitute(octet) for octet in range(256)], np.uint8)
_DOUBLE: Final[Octets] = np.array([_times(octet, 2) for octet in range(256)], np.uint8)


def _round_keys(key: bytes) -> Octets:
    """(11, 16), section 5.2."""
    words = [np.frombuffer(key[at : at + 4], np.uint8) for at in range(0, 16, 4)]
    constant = 1
    while len(words) < 4 * (_ROUNDS + 1):
        word = words[-1]
        if len(words) % 4 == 0:
            word = _SBOX[np.roll(word, -1)]
            word[0] ^= constant
            constant = _times(constant, 2)
        words.append(words[-4] ^ word)
    return np.concatenate(words).reshape(-1, 16)


def encrypt(key: bytes, blocks: Octets) -> Octets:
    """Encrypt blocks, (n, 16), each by itself (section 5.1)."""
    keys = _round_keys(key)
    state: Octets = blocks ^ keys[0]
    for number in range(1, _ROUNDS + 1):
        state = _SBOX[state[:, _SHIFTED_ROWS]]
        if number < _ROUNDS:
            columns = state.reshape(-1, 4, 4)
            # each octet of a column becomes 2a + 3b + c + d of itself and those that follow it round
            following = np.roll(columns, -1, axis=2)
            whole = np.bitwise_xor.reduce(columns, axis=2, keepdims=True)
            state = (columns ^ whole ^ _DOUBLE[columns ^ following]).reshape(-1, 16)
        state = state ^ keys[number]
    return state


def counter_mode(key: bytes, count: int) -> NDArray[np.uint32]:
    """The first 32-bit numbers of algorithm Unif (RFC 4656, section 5.2).

    Its counter counts numbers, of which a block has four, and is encrypted when it is a multiple of four.
    """
    counters = np.zeros((-(-count // 4), 2), ">u8")
    counters[:, 1] = np.arange(0, count, 4)
    encrypted = np.ascontiguousarray(encrypt(key, counters.view(np.uint8)))
    return encrypted.view(">u4").reshape(-1)[:count].astype(np.uint32)
