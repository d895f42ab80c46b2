"""When a throughput test filled a path's line: what was sent then says nothing of the line as it is otherwise.

Such a probe is `under_load`. It is counted, once, like every other (the conservation law of `agent.core.ledger`), but
among counts of its own, which no objective of delay is judged by.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from agent.core.interval import Flags, Integers
from agent.core.probe_ring import with_room

_FOR_EVER: Final = np.iinfo(np.int64).max
_NEVER: Final = np.iinfo(np.int64).min
_SOON_NS: Final = 120_000_000_000
"""A probe is waited for no longer than half of this: what was sent in an earlier load than this is long counted."""


class LoadWindows:
    """The latest time of load of each path; Unix wall times."""

    def __init__(self) -> None:
        self._from_ns: Integers = np.full(0, _FOR_EVER, np.int64)
        self._until_ns: Integers = np.full(0, _NEVER, np.int64)
        self._latest_ns = _NEVER

    def begin(self, rows: Integers, now_ns: int) -> None:
        """What these paths send from now on is under load; a load that has just ended goes on."""
        if not len(rows):
            return
        needed = int(rows.max()) + 1
        known = len(self._from_ns)
        self._from_ns, self._until_ns = with_room(self._from_ns, needed), with_room(self._until_ns, needed)
        self._from_ns[known:], self._until_ns[known:] = _FOR_EVER, _NEVER
        goes_on = (self._until_ns[rows] != _NEVER) & (self._until_ns[rows] >= now_ns - _SOON_NS)
        self._from_ns[rows] = np.where(goes_on, self._from_ns[rows], now_ns)
        self._until_ns[rows] = _FOR_EVER
        self._latest_ns = _FOR_EVER

    def end(self, rows: Integers, until_ns: int) -> None:
        """What these paths send after `until_ns`, which may still come, is under load no more."""
        rows = rows[rows < len(self._until_ns)]
        self._until_ns[rows] = until_ns
        self._latest_ns = int(self._until_ns.max(initial=_NEVER))

    def under(self, rows: Integers, sent_ns: Integers) -> Flags | None:
        """Whether each probe was sent under load (n,); None: none of them was, which is told at once.

        Args:
            rows: (n,), of their paths.
            sent_ns: (n,).
        """
        if self._latest_ns == _NEVER or not len(rows) or int(sent_ns.min()) > self._latest_ns:
            return None
        known = rows < len(self._from_ns)
        places = np.where(known, rows, 0)
        found: Flags = known & (sent_ns >= self._from_ns[places]) & (sent_ns <= self._until_ns[places])
        return found if found.any() else None
