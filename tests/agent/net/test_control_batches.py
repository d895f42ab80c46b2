"""Control messages in the kernel's order, in another one, and damaged."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.net import control_batches
from agent.net.control import CONTROL_OCTETS
from agent.net.protocols import IPV4, IPV6, Protocol

SECONDS, NANOS = 1_800_000_000, 123_456_789
STAMP_NS = SECONDS * 1_000_000_000 + NANOS
HARDWARE = (7, 8)

PROTOCOLS = pytest.mark.parametrize("protocol", [IPV4, IPV6], ids=["IPv4", "IPv6"])


def message(level: int, kind: int, data: bytes) -> bytes:
    """One control message, padded."""
    return struct.pack("=Qii", 16 + len(data), level, kind) + data + bytes(-len(data) % 8)


def stamps(seconds: int = SECONDS, nanos: int = NANOS) -> bytes:
    """Three timespecs."""
    return message(1, 37, struct.pack("=6q", seconds, nanos, 0, 0, *HARDWARE))


def info(protocol: Protocol) -> bytes:
    """A packet info that reached 10.0.0.9 or 2001:db8::9 over interface 3."""
    if protocol is IPV4:
        return struct.pack("=I", 3) + socket.inet_aton("10.0.0.9") + socket.inet_aton("10.0.0.255")
    return socket.inet_pton(socket.AF_INET6, "2001:db8::9") + struct.pack("=I", 3)


def arrival_messages(protocol: Protocol) -> list[bytes]:
    """What comes with a datagram, in the kernel's order."""
    return [
        stamps(),
        message(protocol.level, protocol.packet_info, info(protocol)),
        message(protocol.level, protocol.ttl, struct.pack("=i", 61)),
        message(
            protocol.level, protocol.traffic_class, b"\xb9" if protocol is IPV4 else struct.pack("=i", 0xB9)
        ),
    ]


def error(protocol: Protocol, wire: int, origin: int = 4) -> bytes:
    """An extended error and the offender's address, which is empty for transmit times."""
    return message(
        protocol.level,
        protocol.error,
        struct.pack("=IBBBxII", 42, origin, 0, 0, 0, wire) + bytes(protocol.name_octets),
    )


def batch(*datagrams: bytes) -> tuple[bytearray, list[tuple[int, ...]]]:
    """The control buffer of a batch of 64, with something stale behind each, and the sizes that go with it."""
    buffer = bytearray(b"\xa5" * 64 * CONTROL_OCTETS)
    for position, data in enumerate(datagrams):
        buffer[position * CONTROL_OCTETS : position * CONTROL_OCTETS + len(data)] = data
    return buffer, [(16, len(data), 0, 44) for data in datagrams]


@PROTOCOLS
def test_arrivals_are_read_in_any_order(protocol: Protocol) -> None:
    """Receive time, TTL, marking and packet info are found in the kernel's order or another, beside unknown ones."""
    first, second, third, fourth = arrival_messages(protocol)
    unknown = message(1, 40, struct.pack("=I", 5))
    buffer, sizes = batch(
        first + second + third + fourth,
        third + fourth + first + second,
        first + unknown + fourth + third + second,
        first + second + third + fourth + unknown,
    )
    assert (
        control_batches.read_arrivals(protocol, buffer, sizes) == [(STAMP_NS, 61, 0xB9, info(protocol))] * 4
    )


@PROTOCOLS
def test_what_is_missing_is_none(protocol: Protocol) -> None:
    """Missing messages give None, a hardware time alone is no software time, and stale octets are not read."""
    full = b"".join(arrival_messages(protocol))
    first, second, third, _ = arrival_messages(protocol)
    buffer, sizes = batch(b"", first, second + third, stamps(0, 0) + second + third, full)
    assert control_batches.read_arrivals(protocol, buffer, sizes) == [
        (None, None, None, b""),
        (STAMP_NS, None, None, b""),
        (None, 61, None, info(protocol)),
        (None, 61, None, info(protocol)),
        (STAMP_NS, 61, 0xB9, info(protocol)),
    ]
    assert control_batches.read_receive_stamps(buffer, sizes) == [None, STAMP_NS, None, None, STAMP_NS]
    stale, _ = batch(full)
    assert control_batches.read_arrivals(protocol, stale, [(16, 0, 0, 44)]) == [(None, None, None, b"")]
    assert control_batches.read_receive_stamps(stale, [(16, 0, 0, 44)]) == [None]


@PROTOCOLS
def test_transmit_times_are_read_and_errors_passed_by(protocol: Protocol) -> None:
    """Of an error queue only transmit times count, wherever they stand; ICMP errors, even stamped, do not."""
    stamped = stamps()
    pktinfo = message(protocol.level, protocol.packet_info, info(protocol))
    buffer, sizes = batch(
        stamped + error(protocol, 5),
        stamped + error(protocol, 6, origin=2),
        error(protocol, 7),
        stamped,
        stamped + pktinfo + error(protocol, 0xFFFF_FFFF),
        stamps(0, 0) + error(protocol, 9),
        b"",
        stamped + error(protocol, 10),
    )
    assert control_batches.read_transmit_stamps(protocol, buffer, sizes) == [
        (5, STAMP_NS),
        (0xFFFF_FFFF, STAMP_NS),
        (10, STAMP_NS),
    ]


def card_stamps(seconds: int, card_seconds: int) -> bytes:
    """Three timespecs, the kernel's and a card's."""
    return message(1, 37, struct.pack("=6q", seconds, NANOS, 0, 0, card_seconds, NANOS))


@PROTOCOLS
@pytest.mark.parametrize("usual", [True, False], ids=["in the usual order", "in another"])
def test_a_cards_times_are_told_from_the_kernels(protocol: Protocol, usual: bool) -> None:
    """The third timespec is the card's; of a transmit time it stands alone, of an arrival beside the kernel's."""
    buffer, sizes = batch(
        card_stamps(0, SECONDS + 1) + error(protocol, 5),
        card_stamps(SECONDS, 0) + error(protocol, 6),
        *(() if usual else (error(protocol, 7) + card_stamps(0, SECONDS + 2), card_stamps(0, 9), b"")),
    )
    results = np.zeros(len(sizes), [("control_octets", "u8")])
    results["control_octets"] = [size[1] for size in sizes]
    wires, stamped_ns, by_card = control_batches.all_transmit_stamps_of(protocol, buffer, results)
    other = [] if usual else [(7, STAMP_NS + 2 * 10**9, True)]
    assert list(zip(wires.tolist(), stamped_ns.tolist(), by_card.tolist(), strict=True)) == [
        (5, STAMP_NS + 10**9, True),
        (6, STAMP_NS, False),
        *other,
    ]
    assert control_batches.transmit_stamps_of(protocol, buffer, results)[0].tolist() == [6]
    ttl = message(protocol.level, protocol.ttl, struct.pack("=i", 61))
    buffer, sizes = batch(
        card_stamps(SECONDS, SECONDS + 1) + ttl,
        card_stamps(SECONDS, 0),
        ttl + card_stamps(SECONDS, 3),
        b"",
        ttl,
    )
    results = np.zeros(len(sizes), [("control_octets", "u8")])
    results["control_octets"] = [size[1] for size in sizes]
    assert control_batches.card_stamps_of(buffer, results).tolist() == [
        STAMP_NS + 10**9,
        0,
        3 * 10**9 + NANOS,
        0,
        0,
    ]


def test_a_layout_is_as_long_as_the_room() -> None:
    """Every layout spans the room of one datagram, so that a batch is read by one pass."""
    for protocol in (IPV4, IPV6):
        assert protocol.arrival.size == protocol.stamp.size == CONTROL_OCTETS
        assert protocol.arrival_octets == len(b"".join(arrival_messages(protocol)))
        assert protocol.stamp_octets == len(stamps() + error(protocol, 0))


@PROTOCOLS
@given(data=st.binary(max_size=CONTROL_OCTETS))
def test_damaged_messages_break_nothing(protocol: Protocol, data: bytes) -> None:
    """Whatever octets stand there, reading ends with a result."""
    buffer, sizes = batch(data)
    assert len(control_batches.read_arrivals(protocol, buffer, sizes)) == 1
    assert len(control_batches.read_receive_stamps(buffer, sizes)) == 1
    assert len(control_batches.read_transmit_stamps(protocol, buffer, sizes)) <= 1
    results = np.zeros(1, [("control_octets", "u8")])
    results["control_octets"] = len(data)
    assert len(control_batches.card_stamps_of(buffer, results)) == 1
    assert len(control_batches.all_transmit_stamps_of(protocol, buffer, results)[0]) <= 1


@PROTOCOLS
@given(cut=st.integers(0, 151))
def test_cut_messages_break_nothing(protocol: Protocol, cut: int) -> None:
    """Control data cut anywhere gives what is whole and nothing else."""
    whole = b"".join(arrival_messages(protocol))
    buffer, sizes = batch(whole[:cut])
    received_ns, ttl, traffic_class, found = control_batches.read_arrivals(protocol, buffer, sizes)[0]
    assert received_ns in (None, STAMP_NS)
    assert ttl in (None, 61)
    assert traffic_class in (None, 0xB9)
    assert found in (b"", info(protocol))


def test_an_answer_leaves_the_way_out_to_the_routing() -> None:
    """The answer comes from the address that was reached (for a broadcast, from ours), over any interface."""
    assert IPV4.answer(info(IPV4)) == message(0, 8, bytes(4) + socket.inet_aton("10.0.0.9") + bytes(4))
    assert IPV6.answer(info(IPV6)) == message(41, 50, info(IPV6)[:16] + bytes(4))
    link_local = socket.inet_pton(socket.AF_INET6, "fe80::9") + struct.pack("=I", 3)
    assert IPV6.answer(link_local) == message(41, 50, link_local)
    assert IPV4.answer(b"") == IPV6.answer(b"") == b""
    assert IPV4.any_source == message(0, 8, bytes(12))
    assert IPV6.any_source == message(41, 50, bytes(20))
