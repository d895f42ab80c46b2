"""What becomes of datagrams that a socket was given to send."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.interval import Integers


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
        transmitted_ns: the kernel's transmit time (Unix wall time), or the card's.
        bound_ns: how much later that may really have been: 0 for the kernel's time, above 0 for a card's.
    """

    transmit_id: int
    transmitted_ns: int
    bound_ns: int = 0


class TransmitStamps(NamedTuple):
    """The same of many, (n,) each."""

    transmit_ids: Integers
    transmitted_ns: Integers
    bounds_ns: Integers


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
