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
from typing import Any, Final, NamedTuple, Protocol

from collector.documents import Names, breach_document, fault_document, path_document
from collector.sla.breach import Breach, BreachEvent, BreachOpened
from collector.sla.fault_words import describe
from collector.sla.names import Name
from collector.sla.promise import direction_label

FORMAT_VERSION: Final = 1
MOST_WHOLE: Final = 100
"""So many breaches stand in one message with all that is known of them, in some hundred kilobytes."""

MOST_TOGETHER: Final = 5000
"""So many breaches are told in one message, those beyond `MOST_WHOLE` in short, in another megabyte."""


class Incident(NamedTuple):
    """What is told together.

    Attributes:
        event: opened or closed.
        fault: the id of the fault that all breaches have in common; None: their cause is not known.
        tier, provider: what they have in common otherwise; empty where there is a fault.
    """

    event: str
    fault: str | None
    tier: str = ""
    provider: str = ""


def incident_of(event: BreachEvent) -> Incident:
    """What a change of a breach is told with."""
    kind, breach = "opened" if isinstance(event, BreachOpened) else "closed", event.breach
    if breach.fault is not None:
        return Incident(kind, breach.fault.id)
    return Incident(kind, None, breach.key.path.tier, breach.key.path.provider)


_OF_MANY: Final = tuple(f'{{"version":{FORMAT_VERSION},"event":"{many}_' for many in ("incident", "breaches"))


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
    def subjects(self) -> frozenset[str]:
        """The breaches that it is about; notifications of one breach are delivered in their order."""
        subject = self.key.removeprefix(f"{self.channel}/").partition("/")[0]
        if not self.payload.startswith(_OF_MANY):
            return frozenset((subject,))
        body = json.loads(self.payload)
        return frozenset(one["id"] for one in (*body["breaches"], *body.get("more", ())))

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
    """What to tell each channel about breaches that were opened or closed: all of an incident in one message."""
    incidents: dict[Incident, list[Breach]] = defaultdict(list)
    for event in events:
        incidents[incident_of(event)].append(event.breach)
    made = []
    for incident, together in incidents.items():
        for start in range(0, len(together), MOST_TOGETHER):
            some = together[start : start + MOST_TOGETHER]
            body = _message(incident, some, names, page_url)
            payload = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            made += [
                Notification(f"{channel}/{some[0].id}/{incident.event}", channel, payload, now_ns)
                for channel in channels
            ]
    return made


def _message(incident: Incident, breaches: Sequence[Breach], names: Names, page_url: str) -> dict[str, Any]:
    """The body that tells of one breach, or of several."""
    whole = [
        {**breach_document(breach, names), "url": breach_url(page_url, breach.id)}
        for breach in breaches[:MOST_WHOLE]
    ]
    if len(breaches) == 1:
        return {"version": FORMAT_VERSION, "event": f"breach_{incident.event}", **whole[0]}
    first = breaches[0]
    of_fault = {"event": f"incident_{incident.event}", "id": incident.fault}
    of_several = {"event": f"breaches_{incident.event}", "id": first.id}
    return {
        "version": FORMAT_VERSION,
        **(of_several if incident.fault is None else of_fault),
        "fault": None if first.fault is None else fault_document(first.fault, names),
        "summary": _summary(incident, breaches, names).document(),
        "total": len(breaches),
        "breaches": whole,
        "more": [_in_short(breach) for breach in breaches[MOST_WHOLE:]],
        "url": page_url,
    }


def _in_short(breach: Breach) -> dict[str, Any]:
    """What tells a breach from all others."""
    path = breach.key.path
    return {
        "id": breach.id,
        **path_document(path),
        "direction": direction_label(path.kind, breach.key.direction),
        "objective": breach.key.objective,
    }


def _summary(incident: Incident, breaches: Sequence[Breach], names: Names) -> Name:
    """One sentence on several breaches."""
    number, fault = len(breaches), breaches[0].fault
    zh, en = (
        (f"新增 {number:,} 项违约", f"{number:,} breaches have opened")
        if incident.event == "opened"
        else (f"{number:,} 项违约已结束", f"{number:,} breaches have ended")
    )
    if fault is None:
        tier = names.tier(incident.tier)
        of = f" {incident.provider}" if incident.provider else ""
        return Name(f"{tier.zh}{of} {zh}", f"{tier.en}{of}: {en}")
    known = describe(fault, names.site)
    return Name(f"{known.zh}；{zh}", f"{known.en}; {en}")


def breach_url(page_url: str, breach_id: str) -> str:
    """Where on the page a breach is shown."""
    return f"{page_url.rstrip('/')}/#breach-{breach_id}"
