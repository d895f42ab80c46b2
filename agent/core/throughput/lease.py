"""A lease: one peer may run one test, once, within bounds that both ends enforce.

    granted ──────────── start_by ──────────── stop_by ──────────── expires
      data sockets are admitted │    data may flow    │  results are told  │ whatever is left of it is over

Whoever asks says what he needs; what is granted is exactly that or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.core.authentication import Key
from agent.core.timestamps import SECOND_NS

LEASES: Final = "/api/v1/throughput/leases"
"""Where leases are asked for."""

ID_OCTETS: Final = 8
TOKEN_OCTETS: Final = 16
MAX_STREAMS: Final = 8
MAX_RATE: Final = 1_000_000_000_000
"""bit/s."""
MAX_OCTETS: Final = 1 << 60


class Way(StrEnum):
    """Which way data flows, as who asked for the lease sees it: down comes to him."""

    DOWN = "down"
    UP = "up"

    @property
    def other(self) -> Way:
        """The opposite."""
        return Way.UP if self is Way.DOWN else Way.DOWN


class Directions(StrEnum):
    """Which ways a test measures."""

    DOWN = "down"
    UP = "up"
    BOTH = "both"

    @property
    def ways(self) -> tuple[Way, ...]:
        """Each of them."""
        return tuple(Way) if self is Directions.BOTH else (Way(self.value),)


class Protocol(StrEnum):
    """What carries the data."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Share:
    """What may be sent one way, by all streams together.

    Attributes:
        rate: bit/s at the IP layer, 1 to 10^12.
        octets: of payload, 1 or more.

    Raises:
        ValueError: out of range.
    """

    rate: int
    octets: int

    def __post_init__(self) -> None:
        if not 1 <= self.rate <= MAX_RATE:
            raise ValueError(f"a rate of {self.rate} bit/s is out of range: 1 to {MAX_RATE}")
        if not 1 <= self.octets <= MAX_OCTETS:
            raise ValueError(f"{self.octets} octets are out of range: 1 to {MAX_OCTETS}")

    @classmethod
    def lasting(cls, rate: int, duration_ns: int) -> Share:
        """As much as a rate amounts to in a time."""
        return cls(rate, max(1, rate * duration_ns // (8 * SECOND_NS)))


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What somebody wants to test.

    Attributes:
        peer: the address that asks, 4 or 16 octets; its data sockets must come from there.
        protocol: that carries the data.
        duration_ns: of the data.
        down: from the granting server to the peer; None: not tested.
        up: from the peer to the server; None: not tested.
        streams: of each way, 1 to 8.
        exclusive: no other test may run meanwhile.

    Raises:
        ValueError: out of range, or nothing to test.
    """

    peer: bytes
    protocol: Protocol
    duration_ns: int
    down: Share | None = None
    up: Share | None = None
    streams: int = 1
    exclusive: bool = False

    def __post_init__(self) -> None:
        if len(self.peer) not in (4, 16):
            raise ValueError(f"an address of {len(self.peer)} octets is none: 4 or 16")
        if not 1 <= self.streams <= MAX_STREAMS:
            raise ValueError(f"{self.streams} streams are out of range: 1 to {MAX_STREAMS}")
        if self.duration_ns < 1:
            raise ValueError(f"a duration of {self.duration_ns} ns is none")
        if self.down is None and self.up is None:
            raise ValueError("neither down nor up is asked for")

    def share(self, way: Way) -> Share | None:
        """What may be sent one way; None: nothing."""
        return self.down if way is Way.DOWN else self.up

    def shares(self) -> Iterator[tuple[Way, Share]]:
        """Each way that is tested, and what may be sent there."""
        for way in Way:
            share = self.share(way)
            if share is not None:
                yield way, share

    @property
    def directions(self) -> Directions:
        """Which ways are tested."""
        ways = [way for way, _ in self.shares()]
        return Directions.BOTH if len(ways) > 1 else Directions(ways[0].value)

    @property
    def octets(self) -> int:
        """Of both ways."""
        return sum(share.octets for _, share in self.shares())


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that was granted; all times are monotonic ns of the server.

    Attributes:
        id: 8 random octets, no secret.
        token: the secret of 16 random octets that its data sockets prove to know; in no `repr`.
        request: what was granted.
        granted_ns: when.
        start_by_ns: until when data sockets are admitted.
        stop_by_ns: until when data may flow.
        expires_ns: when it is over, whatever its sockets do.
    """

    id: bytes
    token: Key
    request: LeaseRequest
    granted_ns: int
    start_by_ns: int
    stop_by_ns: int
    expires_ns: int


class RefusalReason(StrEnum):
    """Why there is no lease.

    NOT_ALLOWED: the address is on no list. OVER_LIMIT: no lease is that large. BUSY: others are testing. OVER_BUDGET:
    together with others it would be too fast. OVER_CAP: the peer has used up what it may transfer in a day. FULL: too
    many peers are remembered.
    """

    NOT_ALLOWED = "not_allowed"
    OVER_LIMIT = "over_limit"
    BUSY = "busy"
    OVER_BUDGET = "over_budget"
    OVER_CAP = "over_cap"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Refusal:
    """No lease.

    Attributes:
        reason: why not.
        detail: the same in words, with what would be granted.
        retry_after_ns: after which it may be worth asking again; None: never for the same.
    """

    reason: RefusalReason
    detail: str
    retry_after_ns: int | None = None


class LeaseState(StrEnum):
    """How far a lease is: GRANTED has no data socket yet, RUNNING has, RELEASED was given back, EXPIRED was not."""

    GRANTED = "granted"
    RUNNING = "running"
    RELEASED = "released"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether its slot is free again."""
        return self in (LeaseState.RELEASED, LeaseState.EXPIRED)


class Admittance(StrEnum):
    """What is decided of a data socket; only ADMITTED may transfer anything, and each stream of a way once.

    UNKNOWN: no such lease. OVER: the lease was, or admits no more sockets. FORGED: the proof is not made with the
    token. ELSEWHERE: it comes from another address, or with another protocol. NOT_GRANTED: no such stream or way.
    REPLAYED: that stream is taken.
    """

    ADMITTED = "admitted"
    UNKNOWN = "unknown"
    OVER = "over"
    FORGED = "forged"
    ELSEWHERE = "elsewhere"
    NOT_GRANTED = "not_granted"
    REPLAYED = "replayed"
