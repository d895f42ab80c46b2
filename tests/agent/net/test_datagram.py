"""Timestamped sockets on loopback: the real kernel, both address families, both ways of numbering."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.net import control, datagram
from agent.net.datagram import (
    BATCH,
    MAX_PAYLOAD,
    Datagram,
    TimestampedSocket,
    decode_address,
    encode_address,
)
from agent.net.mmsg import OutgoingBatch
from tests.support.requirements import require, require_ipv6

Open = Callable[..., TimestampedSocket]
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
DEADLINE_S = 10.0


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
        family: socket.AddressFamily, host: str | None = None, *, dscp: int = 0, answering: bool = False
    ) -> TimestampedSocket:
        made.append(TimestampedSocket(family, (host or LOOPBACK[family], 0), dscp=dscp, answering=answering))
        return made[-1]

    yield open_
    for one in made:
        one.close()


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
        found.update(taken)
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


def bad_destination(family: socket.AddressFamily) -> tuple[bytes, tuple[int, ...]]:
    """Where the kernel refuses to send, and with what: a broadcast without leave, an interface that does not exist."""
    if family == socket.AF_INET:
        return encode_address("255.255.255.255", 9), (errno.EACCES, errno.ENETUNREACH)
    return encode_address("fe80::1%2147483000", 9), (errno.ENODEV, errno.ENETUNREACH, errno.EINVAL)


@pytest.mark.parametrize("bad", [{0}, {2}, {6}, {2, 3}, {0, 1, 5}, set(range(7))])
def test_a_refusal_concerns_one_datagram_alone(
    family: socket.AddressFamily, numbering: str, opened: Open, bad: set[int]
) -> None:
    """Refused datagrams, wherever they stand, are reported with their errno; the others leave and keep their stamps."""
    receiver, sender = opened(family), opened(family)
    good = address_of(receiver)
    refused, codes = bad_destination(family)
    everything: list[int] = []
    for _ in range(3):
        results = sender.send([(number(i), refused if i in bad else good, b"") for i in range(7)])
        assert {i for i, result in enumerate(results) if result < 0} == bad
        assert {-result for result in results if result < 0} <= set(codes)
        assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))
        everything += [result for result in results if result >= 0]
    assert everything == list(range(3 * (7 - len(bad))))


def test_too_long_for_udp_is_refused(
    family: socket.AddressFamily, numbering: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMSGSIZE in the middle of a batch, for a payload that no UDP datagram holds, shifts nobody's stamp."""
    monkeypatch.setattr(datagram, "MAX_PAYLOAD", 1 << 17)
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    for _ in range(2):
        payloads = [number(0), bytes(1 << 16), number(2), number(3)]
        results = sender.send([(payload, to, b"") for payload in payloads])
        assert results[1] == -errno.EMSGSIZE
        assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


def test_a_number_spent_in_secret_shifts_nothing(
    family: socket.AddressFamily, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel counts, it may spend numbers on what it refuses: after a refusal the stamps are right again."""
    monkeypatch.setattr(control, "kernel_takes_transmit_ids", lambda: False)
    receiver, sender = opened(family), opened(family)
    good, (refused, _) = address_of(receiver), bad_destination(family)
    with alias(sender) as behind:
        behind.sendto(b"secret", (LOOPBACK[family], receiver.address[1]))
    receive_all(receiver)
    sender.send([(b"", refused, b"")])
    stamps_of(sender)
    results = sender.send([(number(i), good, b"") for i in range(5)])
    assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


def test_a_refusal_that_passes_shifts_nothing(
    family: socket.AddressFamily, numbering: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch cut short by a refusal that is gone at the second attempt is sent whole, with the right stamps."""
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    whole = OutgoingBatch.send

    second_attempt_ns = 0

    def cut(batch: OutgoingBatch, descriptor: int, first: int, count: int) -> int:
        nonlocal second_attempt_ns
        taken = whole(batch, descriptor, first, min(count, 2))
        if not first and numbering == "counted":
            # the kernel spends a number on what it refuses
            with alias(sender) as behind:
                behind.sendto(b"", (LOOPBACK[family], receiver.address[1]))
        if not first:
            second_attempt_ns = time.time_ns()
        return taken

    monkeypatch.setattr(OutgoingBatch, "send", cut)
    results = sender.send([(number(i), to, b"") for i in range(5)])
    received = [one for one in receive_all(receiver) if one[0]]
    stamps = {one: sent_ns for one, sent_ns in stamps_of(sender).items() if one in results}
    assert_stamps_belong(results, stamps, received)
    assert stamps[results[1]] < second_attempt_ns <= stamps[results[2]]


def test_a_full_buffer_refuses_the_rest(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room, nothing further is tried: the rest of the batch is refused with the same errno."""
    receiver, sender = opened(socket.AF_INET), opened(socket.AF_INET)
    to = address_of(receiver)
    whole = OutgoingBatch.send
    attempts = []

    def filling(batch: OutgoingBatch, descriptor: int, first: int, count: int) -> int:
        attempts.append((first, count))
        return -errno.EAGAIN if first else whole(batch, descriptor, 0, 3)

    monkeypatch.setattr(OutgoingBatch, "send", filling)
    results = sender.send([(number(i), to, b"") for i in range(6)])
    assert attempts == [(0, 6), (3, 3)]
    assert results == [0, 1, 2] + [-errno.EAGAIN] * 3


def test_the_turn_of_the_kernels_number_is_survived(family: socket.AddressFamily, opened: Open) -> None:
    """Beyond 2^32 datagrams the stamps still find theirs, in the batch that turns too."""
    require(control.kernel_takes_transmit_ids(), "this kernel takes no chosen transmit numbers (Linux 6.13)")
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    sender._ids.next = (1 << 32) - 3
    results = sender.send([(number(i), to, b"") for i in range(8)])
    assert results == list(range((1 << 32) - 3, (1 << 32) + 5))
    assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


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


@given(st.ip_addresses(), st.integers(0, 65535))
def test_addresses_are_encoded_and_decoded(address: object, port: int) -> None:
    """Decoding gives back what was encoded, over all addresses and ports."""
    encoded = encode_address(str(address), port)
    assert decode_address(encoded) == (str(address), port)
    assert len(encoded) in (16, 28)


def test_scopes_are_interfaces() -> None:
    """A link-local address carries its interface, by name or by number; a name is no address."""
    index = socket.if_nametoindex("lo")
    assert encode_address("fe80::1%lo", 862) == encode_address(f"fe80::1%{index}", 862)
    assert decode_address(encode_address("fe80::1%lo", 862)) == (f"fe80::1%{index}", 862)
    with pytest.raises(OSError, match=r"No such device|no interface"):
        encode_address("fe80::1%nonesuch", 862)
    with pytest.raises(ValueError, match="does not appear to be"):
        encode_address("example.org", 862)
