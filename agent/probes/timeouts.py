"""When probes under way are given up: after the timeout of their path."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from agent.core.interval import Integers
from agent.core.measurement import Probes
from agent.core.probe_ring import with_room


class Timeouts:
    """Probes under way, in order of their end: a queue for each timeout, of which there are few."""

    def __init__(self) -> None:
        self._timeouts_ns: Integers = np.zeros(0, np.int64)
        self._queues: dict[int, deque[tuple[int, Probes]]] = {}

    def __bool__(self) -> bool:
        """Whether any probe is waited for."""
        return any(self._queues.values())

    def set(self, row: int, timeout_ns: int) -> None:
        """How long a reply to a probe of this row is waited for, from now on."""
        self._timeouts_ns = with_room(self._timeouts_ns, row + 1)
        self._timeouts_ns[row] = timeout_ns

    def await_replies(self, probes: Probes, sent_ns: int) -> None:
        """Wait for the replies to probes, the last of which was sent at monotonic time `sent_ns`."""
        timeouts_ns = self._timeouts_ns[probes.rows]
        for timeout_ns in set(timeouts_ns.tolist()):
            same = timeouts_ns == timeout_ns
            queue = self._queues.setdefault(timeout_ns, deque())
            queue.append((sent_ns + timeout_ns, Probes(probes.rows[same], probes.sequences[same])))

    def over(self, now_ns: int) -> Iterator[Probes]:
        """The probes whose time is over at monotonic time `now_ns`; they are waited for no more."""
        for queue in self._queues.values():
            while queue and queue[0][0] <= now_ns:
                yield queue.popleft()[1]
