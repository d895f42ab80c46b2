"""What waits to leave, in the order in which it is to leave. Pure: the time is an argument."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Departures(Generic[T]):
    """Things with a time to leave; of two with the same time, the one that came first leaves first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, T]] = []
        self._number = 0

    def add(self, due_ns: int, thing: T) -> None:
        """Let a thing wait until `due_ns`."""
        self._number += 1
        heapq.heappush(self._waiting, (due_ns, self._number, thing))

    def take(self, until_ns: int) -> tuple[int, T] | None:
        """Take the thing that leaves next, with its time; None where none leaves at or before `until_ns`."""
        if not self._waiting or self._waiting[0][0] > until_ns:
            return None
        due_ns, _, thing = heapq.heappop(self._waiting)
        return due_ns, thing

    @property
    def next_due_ns(self) -> int | None:
        """When the next thing leaves; None where nothing waits."""
        return self._waiting[0][0] if self._waiting else None
