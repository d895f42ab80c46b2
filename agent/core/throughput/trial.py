"""One test: what it came to, and what that was reached with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.throughput.cause import DatagramCounts, HostLoad, Pressure
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Window
from agent.core.throughput.result import Outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """What a test has come to.

    Attributes:
        outcomes: of each way.
        began_ns, ended_ns: when data flowed, Unix wall time; None: none has.
        octets: of payload that this end has sent or received, each way.
        windows: of each way, at its receiver, those of the ramp too.
        host, server_host: what both ends went through; None: not known.
        cpu_ns: CPU of this end's child.
        datagrams: over UDP, of each way, what became of them at both ends.
        pressures: over TCP, of each way, what stood in the way of each stream at its sender.
        congestion_control: over TCP, of each way, that of its streams.
        retry_after_s: when it may be worth asking again, where the lease was refused.
    """

    outcomes: Mapping[Way, Outcome]
    began_ns: int | None = None
    ended_ns: int | None = None
    octets: Mapping[Way, int] | None = None
    windows: Mapping[Way, Sequence[Window]] | None = None
    host: HostLoad | None = None
    server_host: HostLoad | None = None
    cpu_ns: int = 0
    datagrams: Mapping[Way, DatagramCounts] | None = None
    pressures: Mapping[Way, Sequence[Pressure]] | None = None
    congestion_control: Mapping[Way, str] | None = None
    retry_after_s: float | None = None
