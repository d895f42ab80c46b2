"""The outbox: what is still to be told, and to whom.

A row is written in the transaction that opens or closes the breach, so there is no moment at which one is known and the
other is not. A row is delivered at least once: a collector killed between the receiver's answer and the row's update
sends it again, with the same message id, by which the receiver knows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from collector.documents import Names, breach_document
from collector.sla.breach import BreachEvent, BreachOpened

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Notification:
    """One event for one channel.

    Attributes:
        key: `CHANNEL/SUBJECT/EVENT`; unique: a second row of the same key is never written.
        channel: who is told.
        payload: the body, as it will be sent and signed.
        created_ns: Unix wall time.
    """

    key: str
    channel: str
    payload: str
    created_ns: int

    @property
    def subject(self) -> str:
        """What it is about; notifications of one subject are delivered in their order."""
        return self.key.removeprefix(f"{self.channel}/").partition("/")[0]

    @property
    def message_id(self) -> str:
        """The same for every try and every channel."""
        subject, _, event = self.key.removeprefix(f"{self.channel}/").partition("/")
        return f"{subject}_{event}"


@dataclass(frozen=True, slots=True)
class Pending:
    """A notification that nobody has taken yet.

    Attributes:
        id: the row; smaller is older.
        attempts: tries that failed.
        next_attempt_ns: Unix wall time before which it is not tried.
    """

    id: int
    notification: Notification
    attempts: int
    next_attempt_ns: int


class Outbox(Protocol):
    """Where rows are kept; every method is one transaction."""

    async def pending(self, channel: str) -> Sequence[Pending]:
        """All rows of a channel that are neither delivered nor abandoned, oldest first."""

    async def record_delivered(self, row: int, now_ns: int) -> None:
        """The receiver has taken it."""

    async def record_failed(self, row: int, next_attempt_ns: int, error: str) -> None:
        """One more try has failed; the next is not before `next_attempt_ns`."""

    async def record_abandoned(self, row: int, error: str) -> None:
        """It is not tried any more."""


def announcements(
    events: Iterable[BreachEvent], channels: Sequence[str], names: Names, page_url: str, now_ns: int
) -> list[Notification]:
    """What to tell each channel about breaches that were opened or closed."""
    made = []
    for event in events:
        kind = "opened" if isinstance(event, BreachOpened) else "closed"
        body: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "event": f"breach_{kind}",
            **breach_document(event.breach, names),
            "url": breach_url(page_url, event.breach.id),
        }
        payload = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        made += [
            Notification(f"{channel}/{event.breach.id}/{kind}", channel, payload, now_ns)
            for channel in channels
        ]
    return made


def breach_url(page_url: str, breach_id: str) -> str:
    """Where on the page a breach is shown."""
    return f"{page_url.rstrip('/')}/#breach-{breach_id}"
