"""What a test's child process is told, and what it tells: JSON in the records of a socket pair, data sockets beside it.

{"order": "plan", …}                    first, once
{"order": "socket", "way", "stream"}    with the descriptor of a data socket that is open
{"order": "begin"}                      all sockets are there
{"order": "end", "way"}                 enough of one way; its sockets are closed
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from agent.core.authentication import Key
from agent.core.throughput.cause import DatagramCounts, HostLoad, Pressure
from agent.core.throughput.lease import Protocol, Share, Way
from agent.core.throughput.rates import Packets, Window

RECORD_OCTETS: Final = 1 << 19
"""The longest record: a report of two ways and some minutes."""


@dataclass(frozen=True, slots=True)
class WayPlan:
    """What is to be done one way.

    Attributes:
        sends: whether this end does.
        share: what the lease grants.
        paced: whether the share's rate is kept to evenly; else it is a bound and nothing more.
        searching: over UDP, whether the rate is sought below that of the share (RFC 9097).
    """

    sends: bool
    share: Share
    paced: bool = True
    searching: bool = False


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What is to be done.

    Attributes:
        protocol, ip_version: of the data sockets.
        token: of the lease.
        duration_ns: how long data flows.
        streams: of each way.
        ways: that are tested.
    """

    protocol: Protocol
    ip_version: int
    token: Key
    duration_ns: int
    streams: int
    ways: Mapping[Way, WayPlan]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` gave."""
        return cls(
            Protocol(document["protocol"]),
            document["ip_version"],
            Key(bytes.fromhex(document["token"])),
            document["duration_ns"],
            document["streams"],
            {
                Way(way): WayPlan(plan["sends"], Share(**plan["share"]), plan["paced"], plan["searching"])
                for way, plan in document["ways"].items()
            },
        )

    def document(self) -> dict[str, Any]:
        """The order."""
        return {
            "order": "plan",
            "protocol": self.protocol,
            "ip_version": self.ip_version,
            "token": self.token.secret.hex(),
            "duration_ns": self.duration_ns,
            "streams": self.streams,
            "ways": {way: asdict(plan) for way, plan in self.ways.items()},
        }


@dataclass(frozen=True, slots=True)
class WayReport:
    """How far one way is.

    Attributes:
        octets: of payload, that this end has sent or received.
        windows: at the receiver; a sender has them from feedback, with the receiver's clock.
        packets: how the payload is packed; None: nothing has flowed.
        min_rtt_ns: the least round trip; None: not known.
        pressures: what stood in the way of each TCP stream that is sent, after the ramp.
        congestion_control: of the TCP streams that are sent; empty: of none.
        datagrams: over UDP, of what this end knows; what it cannot is 0.
        queueing_ns: over UDP, how much later than the fastest datagram most of them came; None: not known.
        acknowledgements: that this end sends for what it receives over TCP, bit/s at the IP layer: the other way
            carries them.
        ended: why it is over; empty: it is not.
    """

    octets: int = 0
    windows: tuple[Window, ...] = ()
    packets: Packets | None = None
    min_rtt_ns: int | None = None
    pressures: tuple[Pressure, ...] = ()
    congestion_control: str = ""
    datagrams: DatagramCounts | None = None
    queueing_ns: float | None = None
    acknowledgements: float = 0.0
    ended: str = ""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """How far a test is at this end.

    Attributes:
        ways: each that is tested.
        host: what this end has gone through since the ramp; None: it is not over it yet.
        cpu_ns: CPU of the whole child so far, its start too.
        over: whether this is the last one.
    """

    ways: Mapping[Way, WayReport] = field(default_factory=dict)
    host: HostLoad | None = None
    cpu_ns: int = 0
    over: bool = False

    def serialise(self) -> bytes:
        """A record."""
        return json.dumps(asdict(self)).encode()


class Ended:
    """Why a way is over."""

    DONE: Final = "done"
    """All that was to be sent has been."""
    TOLD: Final = "told"
    """This end was told that it is enough."""
    PEER: Final = "peer"
    """The other end has closed, or says that it has enough."""
    SILENT: Final = "silent"
    """The other end says nothing any more."""
    EXCEEDED: Final = "exceeded"
    """More has come than the lease grants."""
