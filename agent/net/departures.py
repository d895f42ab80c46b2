"""What becomes of datagrams that a socket was given to send."""

from __future__ import annotations

from typing import NamedTuple


class Sending(NamedTuple):
    """What became of neighbouring datagrams of a prepared batch.

    Attributes:
        first, stop: which.
        result: the number of the first one, the others' follow it; or minus the errno with which they were refused.
    """

    first: int
    stop: int
    result: int


class TransmitStamp(NamedTuple):
    """When a datagram left.

    Attributes:
        transmit_id: what `send` gave for it.
        transmitted_ns: the kernel's transmit time (Unix wall time).
    """

    transmit_id: int
    transmitted_ns: int


class IcmpAnswer(NamedTuple):
    """An ICMP error that quotes a datagram.

    Attributes:
        destination: where the datagram was sent to, encoded.
        kind, code: ICMP type and code.
        sender: who sent the error, encoded; empty, or beginning with zeros, where the kernel does not say.
    """

    destination: bytes
    kind: int
    code: int
    sender: bytes
