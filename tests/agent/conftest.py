"""What all tests of the agent rely on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from agent.net.addresses import encode_address
from agent.net.datagram import TimestampedSocket

_DEADLINE_S = 10.0


@pytest.fixture(scope="session", autouse=True)
def _receive_stamping_is_on() -> Iterator[None]:
    """Keeps one socket open for the whole run, and waits until the kernel has turned receive stamping on for it.

    It does so for the whole host, a moment after the first socket has asked; what arrives before has no stamp.
    """
    first = TimestampedSocket(socket.AF_INET, ("127.0.0.1", 0))
    to = encode_address(*first.address)
    end = time.monotonic() + _DEADLINE_S
    stamped = False
    while not stamped and time.monotonic() < end:
        first.send([(b"", to, b"")])
        stamped = any(one.received_ns is not None for one in first.receive())
        first.transmit_stamps()
    assert stamped, "the kernel gives no receive stamps"
    yield
    first.close()
