"""What all tests of sockets rely on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control
from agent.net.datagram import TimestampedSocket
from tests.support.requirements import require, require_ipv6
from tests.support.stamped import LOOPBACK, Open


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
