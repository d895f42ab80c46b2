"""The outbox: what is still to be told, and to whom.

A row is written in the transaction that opens or closes the breach, so there is no moment at which one is known and the
other is not. A row is delivered at least once: a collector killed between the receiver's answer and the row's update
sends it again, with the same message id, by which the receiver knows it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from collector.documents import Names, breach_document, fault_document
from collector.sla.breach import Breach, BreachEvent, BreachOpened

FORMAT_VERSION: Final = 1
MOST_TOGETHER: Final = 100
"""So many breaches of one fault are told in one message, of some hundred kilobytes."""


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
    """What to tell each channel about breaches that were opened or closed.

    Breaches of one fault that change at one time are one incident, and told in one message.
    """
    incidents: dict[tuple[str, str], list[Breach]] = defaultdict(list)
    for event in events:
        kind = "opened" if isinstance(event, BreachOpened) else "closed"
        fault = event.breach.fault
        incidents[kind, event.breach.id if fault is None else fault.id].append(event.breach)
    made = []
    for (kind, _), together in incidents.items():
        for start in range(0, len(together), MOST_TOGETHER):
            some = together[start : start + MOST_TOGETHER]
            body = _message(kind, some, names, page_url)
            payload = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            made += [
                Notification(f"{channel}/{some[0].id}/{kind}", channel, payload, now_ns)
                for channel in channels
            ]
    return made


def _message(kind: str, breaches: Sequence[Breach], names: Names, page_url: str) -> dict[str, Any]:
    """The body that tells of one breach, or of several with one cause."""
    first = breaches[0]
    told = [{**breach_document(breach, names), "url": breach_url(page_url, breach.id)} for breach in breaches]
    if first.fault is None or len(breaches) == 1:
        return {"version": FORMAT_VERSION, "event": f"breach_{kind}", **told[0]}
    return {
        "version": FORMAT_VERSION,
        "event": f"incident_{kind}",
        "id": first.fault.id,
        "fault": fault_document(first.fault, names),
        "breaches": told,
        "url": page_url,
    }


def breach_url(page_url: str, breach_id: str) -> str:
    """Where on the page a breach is shown."""
    return f"{page_url.rstrip('/')}/#breach-{breach_id}"
