"""TWAMP Light peers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import stamp, twamp_light
from agent.core.exceptions import Truncated
from agent.core.stamp import ReflectorPacket, SenderPacket
from tests.support.tlvs import u8, u16, u32, u64

senders = st.builds(SenderPacket, u32, u64, u16, st.just(0))
reflectors = st.builds(ReflectorPacket, u32, u64, u16, st.just(0), u64, u32, u64, u16, u8)
REQUEST = SenderPacket(1, 0xE8FE6F80_80000000, 0x8AD2, 42)
REPLY = ReflectorPacket(
    2, 0x1111111122222222, 0x8001, 42, 0x3333333344444444, 9, 0x5555555566666666, 0x8AD2, 64
)


def test_request_vector() -> None:
    """14 octets as in RFC 4656 section 4.1.2, without an SSID, and padding of zeros."""
    assert twamp_light.serialise_request(REQUEST, 14) == bytes.fromhex("00000001 e8fe6f8080000000 8ad2")
    assert twamp_light.serialise_request(REQUEST) == twamp_light.serialise_request(REQUEST, 14) + bytes(27)


def test_reply_vector() -> None:
    """41 octets as in RFC 5357 section 4.2.1; what must be zero is."""
    assert twamp_light.serialise_reply(REPLY, bytes(14)) == bytes.fromhex(
        "00000002 1111111122222222 8001 0000 3333333344444444 00000009 5555555566666666 8ad2 0000 40"
    )


@given(senders, st.integers(14, 60))
def test_request_round_trip(packet: SenderPacket, octets: int) -> None:
    """Serialise then parse gives the same request, whatever the padding."""
    data = twamp_light.serialise_request(packet, octets)
    assert len(data) == octets
    assert twamp_light.parse_request(data) == packet


@given(reflectors, st.binary(max_size=80))
def test_reply_round_trip(packet: ReflectorPacket, request: bytes) -> None:
    """Serialise then parse gives the same reply; it is as long as the request or 41 octets, and copies padding."""
    data = twamp_light.serialise_reply(packet, request)
    assert len(data) == max(41, len(request))
    assert data[41:] == request[41:]
    assert twamp_light.parse_reply(data) == packet


def test_padding_is_no_ssid() -> None:
    """Octets 14 and 15 are padding in a request and nothing in a reply: the SSID is 0 whatever they hold."""
    assert twamp_light.parse_request(REQUEST.serialise()) == REQUEST._replace(ssid=0)
    assert twamp_light.parse_reply(REPLY.serialise()) == REPLY._replace(ssid=0)


@given(reflectors)
def test_fields_stand_where_stamp_has_them(packet: ReflectorPacket) -> None:
    """A reply with three zeros behind it is a STAMP reply."""
    data = twamp_light.serialise_reply(packet, b"") + bytes(3)
    assert stamp.ReflectorPacket.parse(data) == packet


@given(st.binary(max_size=60))
def test_any_octets(data: bytes) -> None:
    """Any octets parse or raise our error."""
    for parse, needed in ((twamp_light.parse_request, 14), (twamp_light.parse_reply, 41)):
        if len(data) < needed:
            with pytest.raises(Truncated, match=f"needs {needed} octets, got {len(data)}"):
                parse(data)
        else:
            assert parse(data).ssid == 0
