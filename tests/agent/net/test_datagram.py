"""Timestamped sockets on loopback: the real kernel, both address families, both ways of numbering."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control
from agent.net.addresses import decode_address, encode_address
from agent.net.arrivals import Datagram
from agent.net.datagram import BATCH, TimestampedSocket
from tests.support.requirements import require_ipv6
from tests.support.stamped import (
    LOOPBACK,
    Open,
    address_of,
    alias,
    assert_stamps_belong,
    bad_destination,
    number,
    receive_all,
    stamps_of,
)

DEADLINE_S = 10.0


def test_stamps_surround_the_way(family: socket.AddressFamily, numbering: str, opened: Open) -> None:
    """Before the send <= transmit time <= receive time <= after the receive, for every packet of many batches."""
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    results: list[int] = []
    stamps: dict[int, int] = {}
    received: list[tuple[bytes, Datagram]] = []
    for start in range(0, 700, 100):
        before = time.time_ns()
        results += sender.send([(number(start + i), to, b"") for i in range(100)])
        stamps |= stamps_of(sender)
        arrived = receive_all(receiver)
        after = time.time_ns()
        received += arrived
        assert min(stamps[one] for one in results[start:]) >= before
        assert all(one.received_ns is not None and one.received_ns <= after for _, one in arrived)
    assert results == list(range(700))
    assert_stamps_belong(results, stamps, received)
    assert sender.kernel_transmit_stamps
    assert receiver.kernel_receive_stamps
    assert receiver.dropped == 0


def test_any_length_arrives_whole_or_marked(
    family: socket.AddressFamily, numbering: str, opened: Open
) -> None:
    """Payloads of no octet up to the maximum arrive as sent, mixed in a batch; a longer one arrives cut and marked."""
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    payloads = [os.urandom(length) for length in (0, 1, 44, 0, MAX_PAYLOAD, 1500, 44, 44, 7)] + [
        bytearray(b"x" * 60)
    ]
    for _ in range(2):
        assert min(sender.send([(payload, to, b"") for payload in payloads])) >= 0
        arrived = receive_all(receiver)
        assert [payload for payload, _ in arrived] == payloads
        assert not any(one.truncated for _, one in arrived)
        assert len(stamps_of(sender)) == len(payloads)
    with socket.socket(family, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"y" * (MAX_PAYLOAD + 1), (LOOPBACK[family], receiver.address[1]))
        plain.sendto(b"z", (LOOPBACK[family], receiver.address[1]))
    (long, marked), (short, whole) = receive_all(receiver)
    assert (long, marked.truncated) == (b"y" * MAX_PAYLOAD, True)
    assert (short, whole.truncated) == (b"z", False)


@given(st.lists(st.lists(st.sampled_from([0, 1, 44, 60]), min_size=1, max_size=8), max_size=8))
@example([[44] * 7, [60] * 2, [60] * 2 + [44] * 5])
def test_batches_leave_nothing_behind(batches: list[list[int]]) -> None:
    """Whatever lengths and numbers of datagrams were sent before, each batch arrives as it was given."""
    with contextlib.closing(TimestampedSocket(socket.AF_INET, ("127.0.0.1", 0))) as both:
        to = address_of(both)
        for lengths in batches:
            payloads = [os.urandom(length) for length in lengths]
            both.send([(payload, to, b"") for payload in payloads])
            assert [bytes(one.payload) for one in both.receive()] == payloads


def test_what_cannot_be_sent_is_refused_at_once(opened: Open) -> None:
    """A payload too long or an address of another family is our fault: an exception, and nothing leaves."""
    receiver, sender = opened(socket.AF_INET), opened(socket.AF_INET)
    to = address_of(receiver)
    with pytest.raises(ValueError, match="2049 octets of payload, 2048 fit"):
        sender.send([(b"a", to, b""), (bytes(MAX_PAYLOAD + 1), to, b"")])
    with pytest.raises(ValueError, match="another family"):
        sender.send([(b"a", to, b""), (b"a", encode_address("::1", 9), b"")])
    assert sender.send([]) == []
    assert receiver.receive() == []


def test_answers_come_from_the_address_that_was_reached(opened: Open) -> None:
    """A socket on all addresses sees TTL and address of what it receives and answers from that address."""
    reflector = opened(socket.AF_INET, "0.0.0.0", answering=True)
    for host in ("127.0.0.1", "127.0.0.3", "127.9.9.9"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.settimeout(DEADLINE_S)
            plain.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
            plain.sendto(b"ping", (host, reflector.address[1]))
            (arrived,) = reflector.receive()
            assert (arrived.ttl, arrived.truncated, bytes(arrived.payload)) == (7, False, b"ping")
            assert decode_address(arrived.source) == ("127.0.0.1", plain.getsockname()[1])
            results = reflector.send([(b"one", arrived.source, arrived.local), (b"any", arrived.source, b"")])
            assert plain.recvfrom(100) == (b"one", (host, reflector.address[1]))
            assert plain.recvfrom(100)[0] == b"any"
            assert sorted(stamps_of(reflector)) == results


def test_hop_limit_and_answers_over_ipv6(opened: Open) -> None:
    """The same over IPv6: the hop limit is seen, an answer from ::1 arrives, and stamps come to answering sockets."""
    require_ipv6()
    reflector = opened(socket.AF_INET6, "::", answering=True)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as plain:
        plain.settimeout(DEADLINE_S)
        plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
        plain.sendto(b"ping", ("::1", reflector.address[1]))
        (arrived,) = reflector.receive()
        assert arrived.ttl == 9
        assert arrived.received_ns is not None
        results = reflector.send([(b"one", arrived.source, arrived.local), (b"any", arrived.source, b"")])
        assert [plain.recvfrom(100)[0] for _ in range(2)] == [b"one", b"any"]
    assert sorted(stamps_of(reflector)) == results


def test_what_is_sent_is_marked(family: socket.AddressFamily, opened: Open) -> None:
    """What is sent carries the code point and a TTL or hop limit of 255."""
    sender = opened(family, dscp=46)
    v6 = family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    ask_class = socket.IPV6_RECVTCLASS if v6 else socket.IP_RECVTOS
    with socket.socket(family, socket.SOCK_DGRAM) as plain:
        plain.settimeout(DEADLINE_S)
        plain.bind((LOOPBACK[family], 0))
        plain.setsockopt(level, ask_class, 1)
        plain.setsockopt(level, socket.IPV6_RECVHOPLIMIT if v6 else 12, 1)
        sender.send([(b"x", encode_address(LOOPBACK[family], plain.getsockname()[1]), b"")])
        _, ancillary, _, _ = plain.recvmsg(100, 256)
    assert sorted(int.from_bytes(data, "little") for _, _, data in ancillary) == [46 << 2, 255]


def test_other_control_messages_do_not_confuse(family: socket.AddressFamily, opened: Open) -> None:
    """With more control messages than were asked for, stamps, TTL and address are still found."""
    reflector, sender = opened(family, answering=True), opened(family)
    plain_receiver = opened(family)
    v6 = family == socket.AF_INET6
    for one in (reflector, plain_receiver):
        with alias(one) as behind:
            if v6:
                behind.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            else:
                behind.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    sender.send([(b"x", address_of(reflector), b""), (b"y", address_of(plain_receiver), b"")])
    (arrived,) = reflector.receive()
    assert (arrived.ttl, bool(arrived.local), arrived.received_ns is not None) == (255, True, True)
    (arrived,) = plain_receiver.receive()
    assert arrived.received_ns is not None


def test_a_missing_stamp_costs_no_other(family: socket.AddressFamily, opened: Open) -> None:
    """A datagram that comes without a stamp leaves room for the stamp of the next in its place."""
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    stamped = []
    for flags in (0, control.STAMPING_FLAGS):
        with alias(receiver) as behind:
            behind.setsockopt(socket.SOL_SOCKET, control.SO_TIMESTAMPING, flags)
        sender.send([(b"x", to, b"")])
        stamped += [one.received_ns is not None for one in receiver.receive()]
    assert stamped == [False, True]


def test_icmp_errors_are_no_transmit_times(family: socket.AddressFamily, opened: Open) -> None:
    """Port unreachable messages in the error queue are thrown away; the transmit times among them are not."""
    nobody, sender = opened(family), opened(family)
    to = address_of(nobody)
    nobody.close()
    with alias(sender) as behind:
        if family == socket.AF_INET6:
            behind.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        else:
            behind.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    results = sender.send([(b"x", to, b"")])
    assert [one.transmit_id for one in sender.transmit_stamps()] == results
    assert sender.transmit_stamps() == []


def test_overflow_is_counted(opened: Open) -> None:
    """What the receive buffer cannot hold is lost and counted; what it holds arrives, stamped when it came."""
    receiver, sender = opened(socket.AF_INET), opened(socket.AF_INET)
    with alias(receiver) as behind:
        behind.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    to = address_of(receiver)
    sent = 0
    while receiver.dropped < BATCH and sent < 100_000:
        sent += sum(
            result >= 0 for result in sender.send([(number(sent + i), to, b"") for i in range(BATCH)])
        )
        stamps_of(sender)
    arrived = receive_all(receiver)
    assert receiver.dropped >= BATCH
    assert len(arrived) + receiver.dropped == sent
    assert [struct.unpack_from("=I", payload)[0] for payload, _ in arrived] == list(range(len(arrived)))


def test_without_stamps_it_still_carries(
    family: socket.AddressFamily, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel refuses stamps, datagrams come and go all the same, and the socket says so."""
    monkeypatch.setattr(control, "STAMPING_FLAGS", 1 << 30)
    receiver, sender = opened(family, answering=True), opened(family)
    refused, _ = bad_destination(family)
    results = sender.send([(number(0), address_of(receiver), b""), (b"", refused, b"")])
    assert results[0] == 0
    assert results[1] < 0
    ((payload, arrived),) = receive_all(receiver)
    assert (payload, arrived.received_ns, arrived.ttl) == (number(0), None, 255)
    assert receiver.send([(b"back", arrived.source, arrived.local)]) == [0]
    assert [bytes(one.payload) for one in sender.receive()] == [b"back"]
    assert stamps_of(sender) == {}
    assert not sender.kernel_transmit_stamps
    assert not receiver.kernel_receive_stamps


def test_stamps_that_never_come_are_noticed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that agrees to stamps and then gives none is found out by what arrives."""
    no_transmit_no_report = control.STAMPING_FLAGS & ~(2 | 16)
    monkeypatch.setattr(control, "STAMPING_FLAGS", no_transmit_no_report)
    receiver, sender = opened(socket.AF_INET), opened(socket.AF_INET)
    assert sender.kernel_transmit_stamps
    assert receiver.kernel_receive_stamps
    for _ in range(3):
        sender.send([(b"x", address_of(receiver), b"")] * BATCH)
        assert len(receive_all(receiver)) == BATCH
        assert stamps_of(sender) == {}
    assert not sender.kernel_transmit_stamps
    assert not receiver.kernel_receive_stamps


async def test_drained_queues_let_the_event_loop_sleep(family: socket.AddressFamily, opened: Open) -> None:
    """With both queues drained, the loop wakes a few times a packet; with the error queue left alone it spins."""
    loop = asyncio.get_running_loop()
    receiver, sender = opened(family), opened(family)
    woken = {"sender": 0, "receiver": 0}
    seen = asyncio.Event()
    stamped = arrived = 0

    def drain_sender() -> None:
        nonlocal stamped
        woken["sender"] += 1
        stamped += len(sender.transmit_stamps())
        assert sender.receive() == []
        seen.set()

    def drain_receiver() -> None:
        nonlocal arrived
        woken["receiver"] += 1
        arrived += len(receiver.receive())
        assert receiver.transmit_stamps() == []
        seen.set()

    loop.add_reader(sender.fileno(), drain_sender)
    loop.add_reader(receiver.fileno(), drain_receiver)
    for sent in range(1, 51):
        sender.send([(b"x", address_of(receiver), b"")])
        while (stamped, arrived) != (sent, sent):
            seen.clear()
            await asyncio.wait_for(seen.wait(), DEADLINE_S)
    await asyncio.sleep(0.1)
    assert woken["sender"] <= 2 * 50
    assert woken["receiver"] <= 2 * 50

    spinning = asyncio.Event()
    rounds = 0

    def ignore() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 100:
            spinning.set()

    loop.add_reader(sender.fileno(), ignore)
    sender.send([(b"x", address_of(receiver), b"")])
    await asyncio.wait_for(spinning.wait(), DEADLINE_S)
    loop.remove_reader(sender.fileno())
    loop.remove_reader(receiver.fileno())


def test_an_address_that_is_taken_is_refused(family: socket.AddressFamily, opened: Open) -> None:
    """Binding where another socket is fails, and the failed socket leaves nothing open."""
    first = opened(family)
    with pytest.raises(OSError, match="in use"):
        TimestampedSocket(family, first.address)


def test_ipv6_leaves_ipv4_alone(opened: Open) -> None:
    """A socket on :: does not take the IPv4 port too."""
    require_ipv6()
    everywhere = opened(socket.AF_INET6, "::")
    other = TimestampedSocket(socket.AF_INET, ("0.0.0.0", everywhere.address[1]))
    assert other.address == ("0.0.0.0", everywhere.address[1])
    other.close()
