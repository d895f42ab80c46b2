"""STAMP codecs: vectors, round trips, an independent oracle, malformed input."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.exceptions import Truncated
from agent.core.stamp import (
    BASE_OCTETS,
    REFLECTOR_COLUMNS,
    SENDER_COLUMNS,
    ReflectorPacket,
    SenderPacket,
    set_timestamp,
)

u8, u16, u32, u64 = (st.integers(min_value=0, max_value=2**bits - 1) for bits in (8, 16, 32, 64))
senders = st.builds(SenderPacket, u32, u64, u16, u16)
reflectors = st.builds(ReflectorPacket, u32, u64, u16, u16, u64, u32, u64, u16, u8)


def test_sender_vector() -> None:
    """The octets stand where RFC 8762 figure 2 and RFC 8972 figure 1 draw them."""
    packet = SenderPacket(1, 0xE8FE6F80_80000000, 0x8AD2, 42)
    assert packet.serialise() == bytes.fromhex("00000001 e8fe6f8080000000 8ad2 002a") + bytes(28)


def test_reflector_vector() -> None:
    """The octets stand where RFC 8762 figure 4 draws them; those that must be zero are."""
    packet = ReflectorPacket(
        2, 0x1111111122222222, 0x8001, 42, 0x3333333344444444, 9, 0x5555555566666666, 0x8AD2, 64
    )
    assert packet.serialise() == bytes.fromhex(
        "00000002 1111111122222222 8001 002a 3333333344444444 00000009 5555555566666666 8ad2 0000 40 000000"
    )


@given(senders, reflectors, u64)
def test_timestamp_is_set_in_place(sender: SenderPacket, reflector: ReflectorPacket, stamp: int) -> None:
    """T1 and T3 can be written into a finished packet, and nothing else of it changes."""
    request, reply = bytearray(sender.serialise()), bytearray(reflector.serialise())
    set_timestamp(request, stamp)
    set_timestamp(reply, stamp)
    assert SenderPacket.parse(request) == sender._replace(timestamp=stamp)
    assert ReflectorPacket.parse(reply) == reflector._replace(timestamp=stamp)


@given(senders, st.binary(max_size=64))
def test_sender_round_trip(packet: SenderPacket, rest: bytes) -> None:
    """Serialise then parse gives the same request, whatever follows the base."""
    assert SenderPacket.parse(packet.serialise() + rest) == packet


@given(reflectors, st.binary(max_size=64))
def test_reflector_round_trip(packet: ReflectorPacket, rest: bytes) -> None:
    """Serialise then parse gives the same reply, whatever follows the base."""
    assert ReflectorPacket.parse(packet.serialise() + rest) == packet


@given(st.binary(max_size=120))
def test_any_octets(data: bytes) -> None:
    """Any octets parse or raise our error, and what parses keeps every octet that is not MBZ."""
    for kind in (SenderPacket, ReflectorPacket):
        if len(data) < BASE_OCTETS:
            with pytest.raises(Truncated, match=f"needs 44 octets, got {len(data)}"):
                kind.parse(data)
        else:
            parsed = kind.parse(data)
            assert kind.parse(parsed.serialise()) == parsed


@given(senders, reflectors)
def test_scapy_agrees(sender: SenderPacket, reflector: ReflectorPacket) -> None:
    """An independent implementation reads the same fields at the same places."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.contrib.stamp import STAMPSessionReflectorTestUnauthenticated as ScapyReflector
        from scapy.contrib.stamp import STAMPSessionSenderTestUnauthenticated as ScapySender

    theirs = ScapySender(sender.serialise())
    assert (theirs.seq, theirs.ssid) == (sender.sequence, sender.ssid)
    assert bytes(theirs)[:BASE_OCTETS] == sender.serialise()
    back = ScapyReflector(reflector.serialise())
    assert (back.seq, back.ssid, back.seq_sender, back.ttl_sender) == (
        reflector.sequence,
        reflector.ssid,
        reflector.sender_sequence,
        reflector.sender_ttl,
    )


@given(st.lists(senders, min_size=1, max_size=5), st.lists(reflectors, min_size=1, max_size=5))
def test_columns_agree(requests: list[SenderPacket], replies: list[ReflectorPacket]) -> None:
    """Arrays of packets have the same fields at the same places as single ones."""
    packets: Sequence[tuple[Sequence[SenderPacket | ReflectorPacket], np.dtype[np.void]]] = (
        (requests, SENDER_COLUMNS),
        (replies, REFLECTOR_COLUMNS),
    )
    for several, layout in packets:
        columns = np.frombuffer(b"".join(packet.serialise() for packet in several), layout)
        assert layout.itemsize == BASE_OCTETS
        for index, packet in enumerate(several):
            assert {name: columns[name][index] for name in layout.names or ()} == packet._asdict()
