"""STAMP replies as a socket of senders reads them."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter

import numpy as np
import pytest

from agent.core.interval import UNKNOWN_NS
from agent.core.stamp import ReflectorPacket
from agent.net.addresses import encode_address
from agent.net.arrivals import Arrivals
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.plain_stamp import PlainStampOutlet

NOW_NS = 1_795_000_000_000_000_000


@pytest.mark.parametrize(
    ("estimate", "bound_ns"),
    [(0x8001, 1_001), (0xBFFF, UNKNOWN_NS), (0xBD0F, UNKNOWN_NS), (0x3F01, UNKNOWN_NS), (0x8A00, UNKNOWN_NS)],
)
def test_any_error_estimate_is_read(estimate: int, bound_ns: int) -> None:
    """An error of millennia, which 64 bits of nanoseconds do not hold, vouches for nothing; it ends no probing."""
    destinations = Destinations()
    address = encode_address("127.0.0.1", 862)
    destinations.set(0, address)
    reply = ReflectorPacket(0, 0, estimate, 1, 0, 0, 0, 0, 64).serialise()
    arrivals = Arrivals(
        np.frombuffer(reply, np.uint8).reshape(1, -1),
        np.array([len(reply)], np.uint32),
        np.frombuffer(address, np.uint8).reshape(1, -1),
        np.array([NOW_NS], np.int64),
    )
    with contextlib.closing(
        PlainStampOutlet(socket.AF_INET, 0, destinations, LocalClock(DeclaredClock(1_000)))
    ) as outlet:
        assert outlet.read(arrivals, Counter()).clocks_ns.tolist() == [bound_ns]
