"""Timestamped sockets over a real link: two network namespaces joined by virtual Ethernet."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from agent.net import control
from agent.net.addresses import decode_address, encode_address
from agent.net.datagram import TimestampedSocket
from tests.support.netns import Namespace, joined_namespaces
from tests.support.requirements import require, require_binary

DEADLINE_S = 20.0
Link = tuple[Namespace, Namespace]


@pytest.fixture
def link() -> Iterator[Link]:
    """Two joined namespaces."""
    with joined_namespaces() as joined:
        yield joined


Open = Callable[..., TimestampedSocket]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens sockets in a namespace and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_(end: Namespace, address: str, *, answering: bool = False) -> TimestampedSocket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with end.entered():
                one = TimestampedSocket(family, (address, 0), answering=answering)
            stack.callback(one.close)
            return one

        yield open_


def collect(
    sender: TimestampedSocket, receiver: TimestampedSocket, count: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Transmit times by number, and receive times by the index in the payload, until `count` have arrived."""
    sent: dict[int, int] = {}
    arrived: dict[int, int] = {}
    end = time.monotonic() + DEADLINE_S
    while len(arrived) < count and time.monotonic() < end:
        for one in receiver.receive():
            assert one.received_ns is not None
            arrived[struct.unpack_from("=I", one.payload)[0]] = one.received_ns
        sent.update({one.transmit_id: one.transmitted_ns for one in sender.transmit_stamps()})
    sent.update({one.transmit_id: one.transmitted_ns for one in sender.transmit_stamps()})
    assert len(arrived) == count, f"{len(arrived)} of {count} arrived"
    return sent, arrived


@pytest.mark.parametrize("protocol", ["ipv4", "ipv6"])
def test_stamps_of_a_link(link: Link, protocol: str, opened: Open) -> None:
    """Over a link every packet has a transmit and a receive time, in this order, in both directions."""
    ends = [opened(end, getattr(end, protocol)) for end in link]
    for (here, there), there_end in zip((ends, ends[::-1]), link[::-1], strict=True):
        to = encode_address(getattr(there_end, protocol), there.address[1])
        before = time.time_ns()
        numbers = here.send([(struct.pack("=I", i), to, b"") for i in range(200)])
        sent, arrived = collect(here, there, 200)
        assert sorted(sent) == numbers
        for index, number in enumerate(numbers):
            assert before <= sent[number] <= arrived[index]


@pytest.mark.parametrize("numbering", ["chosen", "counted"])
def test_late_transmit_times_find_their_own(
    link: Link, numbering: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packets held back by a queue are stamped late, when the kernel may count anew already: no time is mixed up."""
    if numbering == "counted":
        monkeypatch.setattr(control, "kernel_takes_transmit_ids", lambda: False)
    else:
        require(
            control.kernel_takes_transmit_ids(), "this kernel takes no chosen transmit numbers (Linux 6.13)"
        )
    left, right = link
    shaped = subprocess.run(
        [
            require_binary("tc"), "-netns", left.name, "qdisc", "add", "dev", left.interface, "root",
            "tbf", "rate", "160kbit", "burst", "1600", "limit", "100000",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    require(shaped.returncode == 0, f"no token bucket filter: {shaped.stderr.strip()}")
    sender, receiver = opened(left, left.ipv4), opened(right, right.ipv4)
    good = encode_address(right.ipv4, receiver.address[1])
    refused = encode_address("255.255.255.255", 9)

    # About 50 ms each: those of the first batch are still waiting when the next ones leave.
    def batch(first: int, count: int) -> list[tuple[bytes, bytes, bytes]]:
        return [(struct.pack("=I", i) + bytes(960), good, b"") for i in range(first, first + count)]

    numbers = sender.send(batch(0, 4))
    assert sender.send([(b"", refused, b"")])[0] in (-errno.EACCES, -errno.ENETUNREACH)
    numbers += sender.send(batch(4, 4))
    assert sender.send([(b"", refused, b"")])[0] < 0
    numbers += sender.send(batch(8, 4))
    assert numbers == sorted(set(numbers))
    sent, arrived = collect(sender, receiver, 12)
    # a packet of a neighbour's time would be off by the 50 ms between two
    for number, sent_ns in sent.items():
        assert 0 <= arrived[numbers.index(number)] - sent_ns < 25_000_000
    assert numbers[0] in sent
    if numbering == "chosen":
        assert sorted(sent) == numbers


def test_answers_over_ipv6_come_from_the_address_that_was_reached(link: Link, opened: Open) -> None:
    """Of several addresses, a link-local one among them, each answers for itself."""
    left, right = link
    for address in ("fd21::22/64", "fe80::22/64"):
        right.run("ip", "addr", "add", address, "dev", right.interface, "nodad")
    left.run("ip", "addr", "add", "fe80::11/64", "dev", left.interface, "nodad")
    reflector = opened(right, "::", answering=True)
    with left.entered():
        index = socket.if_nametoindex(left.interface)
        plain = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with plain:
        plain.settimeout(DEADLINE_S)
        for host in (right.ipv6, "fd21::22", f"fe80::22%{index}"):
            plain.sendto(
                b"ping", (host.partition("%")[0], reflector.address[1], 0, index if "%" in host else 0)
            )
            end = time.monotonic() + DEADLINE_S
            while not (found := reflector.receive()):
                assert time.monotonic() < end
            assert found[0].ttl == 64
            assert reflector.send([(b"pong", found[0].source, found[0].local)])[0] >= 0
            payload, source = plain.recvfrom(100)
            assert (payload, source[0].partition("%")[0]) == (b"pong", host.partition("%")[0])
            assert decode_address(found[0].source)[1] == plain.getsockname()[1]


def test_a_program_in_a_namespace_sees_its_end_only(link: Link) -> None:
    """A child process runs in its namespace, and both namespaces are gone afterwards, even after a failure."""
    for end in link:
        seen = json.loads(
            end.run(sys.executable, "-c", "import json, socket; print(json.dumps(socket.if_nameindex()))")
        )
        assert {name for _, name in seen} >= {"lo", end.interface}
    names: set[str] = set()

    def fail() -> None:
        with joined_namespaces() as ends:
            names.update(end.name for end in ends)
            raise RuntimeError("failure")

    with pytest.raises(RuntimeError, match="failure"):
        fail()
    assert len(names) == 2
    listed = subprocess.run(
        [require_binary("ip"), "netns"], capture_output=True, text=True, check=True
    ).stdout
    assert not names & set(listed.split())
