"""What the server of a test tells its peer: how much came up at what time, and what it went through itself.

The peer asks for it on the control channel, for each end knows only half: a rate is the receiver's, what held the data
up the sender's.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.throughput.cause import DatagramCounts, HostLoad, Pressure
from agent.core.throughput.rates import Packets, Window


@dataclass(frozen=True, slots=True)
class ServerReport:
    """A server's half of a test.

    Attributes:
        received: windows of what came up, those of the ramp too; times are the server's monotonic clock.
        received_packets: how that was packed; None: nothing came.
        pressures: what stood in the way of each TCP stream that it sent down, after the ramp.
        sent_packets: how those were packed.
        congestion_control: of the TCP streams that it sent down; empty: of none.
        sent_octets: of payload, down.
        datagrams_down: what it meant to send and sent over UDP; what was received is the peer's to tell, and 0 here.
        datagrams_up: what it received over UDP; what was meant and sent is the peer's to tell, and 0 here.
        host: what it went through; None: nothing has run.
        error: why it ended before its time; empty: it did not.
    """

    received: tuple[Window, ...] = ()
    received_packets: Packets | None = None
    pressures: tuple[Pressure, ...] = ()
    sent_packets: Packets | None = None
    congestion_control: str = ""
    sent_octets: int = 0
    datagrams_down: DatagramCounts | None = None
    datagrams_up: DatagramCounts | None = None
    host: HostLoad | None = None
    error: str = ""
