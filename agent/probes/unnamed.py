"""Whose replies are that name no session: of peers without SSID (RFC 8762 without RFC 8972), told apart by address."""

from __future__ import annotations

from typing import Final

import numpy as np

from agent.core.interval import Integers
from agent.core.probe_ring import with_room

NOBODY: Final = -1
"""Stands where a row would, for replies that belong to none."""
_LOW_32: Final = 0xFFFF_FFFF


class Unnamed:
    """Who is the only one to send to an address from one socket, and who was before.

    Where several rows are sent to one address, a reply without SSID may be for any of them, and is for none. A row that
    has followed another there has sent fewer packets at first: what is numbered beyond them is for the one before.
    """

    def __init__(self) -> None:
        self._at: dict[bytes, list[int]] = {}
        self._address_of: dict[int, bytes] = {}
        self._before: dict[bytes, int] = {}
        self._latest: Integers = np.zeros(0, np.int64)

    def enter(self, row: int, address: bytes) -> None:
        """A row is sent to this address from now on."""
        if self._address_of.get(row) == address:
            return
        self.leave(row)
        self._latest = with_room(self._latest, row + 1)
        self._address_of[row] = address
        self._at.setdefault(address, []).append(row)

    def leave(self, row: int) -> None:
        """A row is not sent to any more; replies to what has been sent may still come."""
        address = self._address_of.pop(row, None)
        if address is not None:
            self._at[address].remove(row)
            self._before[address] = row

    def wrote(self, rows: Integers, sequences: Integers) -> None:
        """Packets have been written, each row's in the order of their numbers."""
        self._latest = with_room(self._latest, int(rows.max(initial=0)) + 1)
        # of a row that is named more than once the last assignment holds
        self._latest[rows] = sequences

    def whose(self, address: bytes, sequence: int) -> int:
        """The row that a reply from this address is for, whose request had this 32-bit number; `NOBODY`."""
        rows = self._at.get(address, ())
        if len(rows) > 1:
            return NOBODY
        if len(rows) == 1 and sequence <= int(self._latest[rows[0]]) & _LOW_32:
            return rows[0]
        return self._before.get(address, NOBODY)
