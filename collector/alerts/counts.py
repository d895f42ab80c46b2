"""How many notifications were tried, by channel and result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum


class Result(StrEnum):
    """What came of one try; the value is the `result` label."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It will be tried again."""
    ABANDONED = "abandoned"
    """It will not: the receiver is gone for good, or every try has failed."""


class NotificationCounts:
    """Counters of `isochrone_notifications_total`; every result of a known channel is shown, from zero on."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Result]] = Counter()

    def add_channel(self, channel: str) -> None:
        """Show a channel, even while it has nothing to say."""
        for result in Result:
            self._counts[channel, result] += 0

    def count(self, channel: str, result: Result) -> None:
        """One more try with this result."""
        self._counts[channel, result] += 1

    def of(self, channel: str, result: Result) -> int:
        """How often a channel had this result."""
        return self._counts[channel, result]

    def __iter__(self) -> Iterator[tuple[str, Result, int]]:
        for (channel, result), number in sorted(self._counts.items()):
            yield channel, result, number
