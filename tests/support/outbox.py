"""An outbox in memory that keeps what a store would keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from collector.alerts.outbox import Notification, Pending


@dataclass(frozen=True)
class Row:
    """One row, and what has become of it."""

    pending: Pending
    delivered_ns: int | None = None
    abandoned: bool = False
    error: str = ""


class MemoryOutbox:
    """Rows by id; `broken` makes every method fail."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.broken: Exception | None = None

    def add(self, notifications: Iterable[Notification]) -> None:
        """Write rows; a key that is there already is not written again."""
        for notification in notifications:
            if all(row.pending.notification.key != notification.key for row in self.rows.values()):
                number = len(self.rows) + 1
                self.rows[number] = Row(Pending(number, notification, 0, notification.created_ns))

    async def pending(self, channel: str) -> Sequence[Pending]:
        """Rows of a channel that are neither delivered nor abandoned."""
        self._check()
        return [
            row.pending
            for row in self.rows.values()
            if row.pending.notification.channel == channel and row.delivered_ns is None and not row.abandoned
        ]

    async def record_delivered(self, row: int, now_ns: int) -> None:
        """It was taken."""
        self._check()
        assert self.rows[row].delivered_ns is None
        self.rows[row] = replace(self.rows[row], delivered_ns=now_ns)

    async def record_failed(self, row: int, next_attempt_ns: int, error: str) -> None:
        """One more try has failed."""
        self._check()
        was = self.rows[row].pending
        now = replace(was, attempts=was.attempts + 1, next_attempt_ns=next_attempt_ns)
        self.rows[row] = replace(self.rows[row], pending=now, error=error)

    async def record_abandoned(self, row: int, error: str) -> None:
        """It is not tried any more."""
        self._check()
        self.rows[row] = replace(self.rows[row], abandoned=True, error=error)

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken
