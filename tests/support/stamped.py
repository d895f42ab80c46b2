"""What tests do with timestamped sockets on loopback."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Protocol

from agent.core.stamp import MAX_PAYLOAD
from agent.net.addresses import encode_address
from agent.net.arrivals import Datagram
from agent.net.datagram import TimestampedSocket

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Open(Protocol):
    """Opens a socket on loopback that is closed at the end of the test."""

    def __call__(
        self,
        family: socket.AddressFamily,
        host: str | None = None,
        *,
        dscp: int = 0,
        answering: bool = False,
        payload_octets: int = MAX_PAYLOAD,
    ) -> TimestampedSocket:
        """A socket bound to `host`, or to the loopback address, and a port of the kernel's choice."""


def address_of(receiver: TimestampedSocket, host: str | None = None) -> bytes:
    """Where a socket on loopback is reached."""
    return encode_address(host or LOOPBACK[receiver.family], receiver.address[1])


def alias(one: TimestampedSocket) -> socket.socket:
    """A plain socket over the same open one, to do behind its back what it never does itself."""
    return socket.socket(fileno=os.dup(one.fileno()))


def receive_all(receiver: TimestampedSocket) -> list[tuple[bytes, Datagram]]:
    """Drain a socket; payloads copied."""
    found: list[tuple[bytes, Datagram]] = []
    while taken := receiver.receive():
        found += [(bytes(one.payload), one) for one in taken]
    return found


def stamps_of(sender: TimestampedSocket) -> dict[int, int]:
    """Drain the transmit times; none comes twice."""
    found: dict[int, int] = {}
    while taken := sender.transmit_stamps():
        assert not found.keys() & {one.transmit_id for one in taken}
        found.update({one.transmit_id: one.transmitted_ns for one in taken})
    return found


def number(index: int) -> bytes:
    """A payload that says which one it is."""
    return struct.pack("=I", index) + bytes(40)


def assert_stamps_belong(
    results: list[int], stamps: dict[int, int], received: list[tuple[bytes, Datagram]]
) -> None:
    """Every accepted datagram has its own transmit time: in order of sending, before its receive time."""
    accepted = [index for index, result in enumerate(results) if result >= 0]
    assert len({results[index] for index in accepted}) == len(accepted)
    assert sorted(stamps) == [results[index] for index in accepted]
    assert [struct.unpack_from("=I", payload)[0] for payload, _ in received] == accepted
    times = [stamps[results[index]] for index in accepted]
    assert times == sorted(times)
    for sent_ns, (_, arrived) in zip(times, received, strict=True):
        assert arrived.received_ns is not None
        assert sent_ns <= arrived.received_ns < sent_ns + 1_000_000_000


def bad_destination(family: socket.AddressFamily) -> tuple[bytes, tuple[int, ...]]:
    """Where the kernel refuses to send, and with what: a broadcast without leave, an interface that does not exist."""
    if family == socket.AF_INET:
        return encode_address("255.255.255.255", 9), (errno.EACCES, errno.ENETUNREACH)
    return encode_address("fe80::1%2147483000", 9), (errno.ENODEV, errno.ENETUNREACH, errno.EINVAL)
