"""What a datagram socket has received, with the kernel's times: one by one, or as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.net.control import Integers


class Datagram(NamedTuple):
    """One received datagram.

    Attributes:
        payload: valid until the next `receive` on the same socket.
        source: the sender's address, encoded as `agent.net.addresses.encode_address` does.
        received_ns: the kernel's receive time (Unix wall time), None where it gave none: for a moment after the first
            such socket of the host was opened, while the kernel turns stamping on, that is to be expected.
        ttl: TTL or hop limit with which it arrived, None where not asked for.
        local: which of our addresses it reached, in the form that `send` takes to answer from it; empty where not
            asked for.
        truncated: whether the payload was longer than what fits.
        traffic_class: TOS or traffic class with which it arrived, DSCP and ECN; None where not asked for.
        by_card: whether `received_ns` was taken by the network card.
    """

    payload: memoryview
    source: bytes
    received_ns: int | None
    ttl: int | None
    local: bytes
    truncated: bool
    traffic_class: int | None = None
    by_card: bool = False


class Arrivals(NamedTuple):
    """Received datagrams as arrays, valid until the next receive on the same socket.

    Attributes:
        payloads: (n, `payload_octets`) octets; what lies beyond a payload's end is left from before.
        octets: (n,), how long each payload is.
        sources: (n, octets of an address), as `encode_address` gives them.
        received_ns: (n,), the kernel's receive time (Unix wall time); 0 where it gave none.
        traffic_classes: (n,), TOS or traffic class with which each arrived, -1 where not known; None where not asked
            for.
        bounds_ns: (n,), how much earlier each may really have come: above 0 where the network card took the time; None
            where it took none.
    """

    payloads: NDArray[np.uint8]
    octets: NDArray[np.uint32]
    sources: NDArray[np.uint8]
    received_ns: Integers
    traffic_classes: Integers | None = None
    bounds_ns: Integers | None = None


class Requests(NamedTuple):
    """Received datagrams that are to be answered, as arrays, valid until the next receive on the same socket.

    Attributes:
        payloads, octets, sources, received_ns: as of `Arrivals`; the payloads may be written to.
        ttls: (n,), TTL or hop limit with which each arrived, -1 where not known.
        answers: (n, octets of a control message), where to answer from, as `Datagram.local` has it.
        truncated: (n,), whether a payload was longer than what fits.
        traffic_classes: (n,), TOS or traffic class with which each arrived, -1 where not known.
        bounds_ns: as of `Arrivals`.
    """

    payloads: NDArray[np.uint8]
    octets: NDArray[np.uint32]
    sources: NDArray[np.uint8]
    received_ns: Integers
    ttls: Integers
    answers: NDArray[np.uint8]
    truncated: NDArray[np.bool_]
    traffic_classes: Integers
    bounds_ns: Integers | None = None
