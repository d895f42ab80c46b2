"""What all tests of sockets rely on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control
from agent.net.addresses import encode_address
from agent.net.datagram import TimestampedSocket
from tests.support.requirements import require, require_ipv6
from tests.support.stamped import LOOPBACK, Open

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


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    """Each address family that works here."""
    chosen: socket.AddressFamily = request.param
    if chosen == socket.AF_INET6:
        require_ipv6()
    return chosen


@pytest.fixture(params=["chosen", "counted"])
def numbering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Numbers chosen by the sender, where the kernel takes them, and counted by the kernel, as older ones do."""
    if request.param == "chosen":
        require(
            control.kernel_takes_transmit_ids(), "this kernel takes no chosen transmit numbers (Linux 6.13)"
        )
    else:
        monkeypatch.setattr(control, "kernel_takes_transmit_ids", lambda: False)
    return str(request.param)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens sockets on loopback and closes them at the end."""
    made: list[TimestampedSocket] = []

    def open_(
        family: socket.AddressFamily,
        host: str | None = None,
        *,
        dscp: int = 0,
        answering: bool = False,
        payload_octets: int = MAX_PAYLOAD,
    ) -> TimestampedSocket:
        made.append(
            TimestampedSocket(
                family,
                (host or LOOPBACK[family], 0),
                dscp=dscp,
                answering=answering,
                payload_octets=payload_octets,
            )
        )
        return made[-1]

    yield open_
    for one in made:
        one.close()
