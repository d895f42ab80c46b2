"""Where each path is sent to, and where its replies must come from: one row of octets for each path."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags, Integers

_LONGEST_ADDRESS: Final = 28

Octets = NDArray[np.uint8]


class Destinations:
    """Socket addresses as the kernel takes them (`agent.net.addresses.encode_address`), by row."""

    def __init__(self) -> None:
        self._known: Octets = np.zeros((16, _LONGEST_ADDRESS), np.uint8)
        # where replies may still come from after that
        self._before: Octets = np.zeros_like(self._known)
        self._encoded: dict[int, bytes] = {}

    def set(self, row: int, address: bytes) -> None:
        """A path is sent to this address from now on."""
        while row >= len(self._known):
            self._known = np.concatenate((self._known, np.zeros_like(self._known)))
            self._before = np.concatenate((self._before, np.zeros_like(self._before)))
        if self._encoded.get(row, address) != address:
            self._before[row] = self._known[row]
        self._encoded[row] = address
        self._known[row] = 0
        self._known[row, : len(address)] = np.frombuffer(address, np.uint8)

    def address(self, row: int) -> bytes:
        """Where a path is sent to, which must be known."""
        return self._encoded[row]

    def write(self, names: Octets, rows: Integers) -> None:
        """Write the addresses of rows to the first rows of `names`, whose width is an address's."""
        names[: len(rows)] = self._known[rows, : names.shape[1]]

    def match(self, rows: Integers, sources: Octets) -> Flags:
        """Whether each row exists and its address is the source, or was before; rows may be any numbers."""
        # an index beyond the ends is caught by the comparison of what it was before
        there = np.clip(rows, 0, len(self._known) - 1)
        octets = sources.shape[1]
        same: Flags = (self._known[there, :octets] == sources).all(axis=1)
        if not same.all():
            same |= (self._before[there, :octets] == sources).all(axis=1)
        same &= rows == there
        return same
