"""The way that packets of one five-tuple take: its hops, a fingerprint of it, and what changed between two of them.

A router that says nothing is unknown, not absent: ICMP is rate-limited, filtered and lost. So silence agrees with
anything, and only what two traces both saw can contradict:

- the fingerprint is a hash of one line per hop, `*` for a hop that did not answer or that answered from several
  addresses (one that balances packet by packet: nobody knows which of them a packet takes);
- two routes take the same way unless a hop of one has answered from addresses none of which it has in the other, or
  a hop has answered that lies beyond the other's target;
- a hash cannot be tolerant, so `KnownWays` is what names a series of routes: a route gets the fingerprint of the
  latest known way that it does not contradict, and fills in what that had not heard.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

_FINGERPRINT_DIGITS: Final = 12
_WILDCARD: Final = "*"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Addresses = frozenset[str]


class AnswerKind(StrEnum):
    """What came back for a probe."""

    TIME_EXCEEDED = "time_exceeded"
    """ICMP time exceeded: a router on the way."""
    REPLY = "reply"
    """The target's reflector replied."""
    PORT_UNREACHABLE = "port_unreachable"
    """ICMP port unreachable: the packet arrived, and no reflector listens."""
    UNREACHABLE = "unreachable"
    """Any other ICMP destination unreachable: the way ends here."""

    @classmethod
    def of_icmp(cls, version: int, kind: int, code: int) -> AnswerKind | None:
        """What an ICMP error says of the way; None where it says something else (too big, parameter problem).

        Args:
            version: of IP, 4 or 6.
            kind, code: ICMP type and code.

        Source: RFC 792; RFC 4443, sections 3.1 and 3.3.
        """
        unreachable, port, too_big, exceeded = (3, 3, 4, 11) if version == 4 else (1, 4, None, 3)
        if (kind, code) == (exceeded, 0):
            return cls.TIME_EXCEEDED
        if kind != unreachable or code == too_big:
            return None
        return cls.PORT_UNREACHABLE if code == port else cls.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        address: who answered.
        rtt_ns: from the send to the arrival of the answer; None where a clock step made it meaningless.
        kind: what it was.
        code: the ICMP code, None for a reply.
    """

    address: str
    rtt_ns: int | None
    kind: AnswerKind
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """What was heard from one distance.

    Attributes:
        ttl: the distance, from 1.
        sent: how many probes were sent that far.
        answers: in the order of the probes.
    """

    ttl: int
    sent: int
    answers: tuple[Answer, ...] = ()

    @property
    def addresses(self) -> Addresses:
        """All addresses that answered."""
        return frozenset(answer.address for answer in self.answers)

    @property
    def address(self) -> str | None:
        """The address that answered most often, the lowest of several; None where nothing answered."""
        counts = Counter(sorted(answer.address for answer in self.answers))
        return counts.most_common(1)[0][0] if counts else None

    @property
    def rtts_ns(self) -> tuple[int, ...]:
        """The round trips to here."""
        return tuple(answer.rtt_ns for answer in self.answers if answer.rtt_ns is not None)


@dataclass(frozen=True, slots=True)
class Flow:
    """What routers choose the way by, the same for every probe: UDP, and these.

    Attributes:
        source, source_port, destination, destination_port: addresses as text.
        dscp: code point, 0 to 63.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int
    dscp: int


@dataclass(frozen=True, slots=True)
class Route:
    """One trace.

    Attributes:
        flow: whose way it is.
        started_ns: when it began, Unix wall time.
        hops: by distance from 1 without gaps, to the target, or to the last hop that answered.
        reached: whether the last hop is the target.
        unidentified: ICMP errors that quoted too little of a probe to tell which it was.
    """

    flow: Flow
    started_ns: int
    hops: tuple[Hop, ...]
    reached: bool
    unidentified: int = 0

    @property
    def heard(self) -> dict[int, Addresses]:
        """The addresses of each hop that answered, by distance."""
        return {hop.ttl: hop.addresses for hop in self.hops if hop.answers}

    @property
    def fingerprint(self) -> str | None:
        """Twelve hexadecimal digits that name the way; None where nothing answered."""
        if not self.heard:
            return None
        lines = (_WILDCARD if len(hop.addresses) != 1 else str(hop.address) for hop in self.hops)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_FINGERPRINT_DIGITS]

    def document(self) -> dict[str, Any]:
        """The route as JSON: times in seconds, UTC, None where nothing is known."""
        return {
            "flow": {
                "protocol": "udp",
                "source": self.flow.source,
                "source_port": self.flow.source_port,
                "destination": self.flow.destination,
                "destination_port": self.flow.destination_port,
                "dscp": self.flow.dscp,
            },
            "started": (_EPOCH + timedelta(microseconds=self.started_ns // 1000)).isoformat(),
            "reached": self.reached,
            "fingerprint": self.fingerprint,
            "unidentified": self.unidentified,
            "hops": [
                {
                    "ttl": hop.ttl,
                    "address": hop.address,
                    "sent": hop.sent,
                    "answers": [
                        {
                            "address": answer.address,
                            "rtt_seconds": None if answer.rtt_ns is None else answer.rtt_ns / 1e9,
                            "kind": answer.kind.value,
                            "code": answer.code,
                        }
                        for answer in hop.answers
                    ],
                }
                for hop in self.hops
            ],
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """The route that `document` has written.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        flow = document["flow"]
        started = datetime.fromisoformat(document["started"]) - _EPOCH
        hops = tuple(
            Hop(hop["ttl"], hop["sent"], tuple(map(_answer, hop["answers"]))) for hop in document["hops"]
        )
        return cls(
            Flow(
                flow["source"],
                flow["source_port"],
                flow["destination"],
                flow["destination_port"],
                flow["dscp"],
            ),
            started // timedelta(microseconds=1) * 1000,
            hops,
            document["reached"],
            document["unidentified"],
        )


def _answer(document: Mapping[str, Any]) -> Answer:
    rtt = document["rtt_seconds"]
    rtt_ns = None if rtt is None else round(rtt * 1e9)
    return Answer(document["address"], rtt_ns, AnswerKind(document["kind"]), document["code"])


@dataclass(frozen=True, slots=True)
class HopChange:
    """A hop that two routes contradict each other about.

    Attributes:
        ttl: its distance.
        before, after: who answered there; nobody where the target was nearer.
    """

    ttl: int
    before: Addresses
    after: Addresses


def compare(before: Route, after: Route) -> tuple[HopChange, ...]:
    """What changed, by distance; nothing where both may have taken the same way."""
    return _changes(before.heard, _end(before), after.heard, _end(after))


def _end(route: Route) -> int | None:
    return len(route.hops) if route.reached else None


def _changes(
    before: Mapping[int, Addresses],
    before_end: int | None,
    after: Mapping[int, Addresses],
    after_end: int | None,
) -> tuple[HopChange, ...]:
    nobody: Addresses = frozenset()
    changed = []
    for ttl in sorted({*before, *after}):
        old, new = before.get(ttl, nobody), after.get(ttl, nobody)
        if old and new:
            contradicts = not old & new
        else:
            end = after_end if old else before_end
            contradicts = end is not None and ttl > end
        if contradicts:
            changed.append(HopChange(ttl, old, new))
    return tuple(changed)


@dataclass(slots=True)
class _Way:
    fingerprint: str
    heard: dict[int, Addresses]
    end: int | None


class KnownWays:
    """Names the ways of one path, so that silence and lost answers do not look like a change of route.

    Args:
        capacity: how many ways are remembered; the one not seen for longest is forgotten.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._ways: list[_Way] = []

    def name(self, route: Route) -> str | None:
        """The fingerprint of the way that a route took; None where nothing answered, which says nothing of the way.

        Of the ways known that it does not contradict, the one seen last: its hops that had not answered yet are
        filled in from the route. Where there is none, the route itself is a new way.
        """
        fingerprint = route.fingerprint
        if fingerprint is None:
            return None
        end = _end(route)
        way = next(
            (known for known in self._ways if not _changes(known.heard, known.end, route.heard, end)), None
        )
        if way is None:
            way = _Way(fingerprint, route.heard, end)
        else:
            self._ways.remove(way)
            way.heard = {**route.heard, **way.heard}
            way.end = way.end or end
        self._ways.insert(0, way)
        del self._ways[self._capacity :]
        return way.fingerprint
