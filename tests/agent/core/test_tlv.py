"""TLV codecs: vectors, round trips, an independent oracle, malformed input."""

from __future__ import annotations

import itertools
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.exceptions import MalformedTlv, WireError
from agent.core.stamp import SenderPacket
from agent.core.tlv import MAX_TLVS, Frame, TlvFields, TlvType, scan, serialise
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    Hmac,
    ReturnPath,
    ReturnPathPart,
    ReversePath,
    SyncSource,
    TimestampInformation,
    TimestampMethod,
    TlvValue,
    parse_value,
    serialise_request,
)
from tests.support.tlvs import ELSEWHERE, SOURCE, tlv_fields, tlv_octets, values

VECTORS: list[tuple[TlvValue, str]] = [
    (ExtraPadding(b"\x01\x02\x03"), "80 01 0003 010203"),
    (
        TimestampInformation(
            SyncSource.NTP, TimestampMethod.SOFTWARE, SyncSource.GNSS, TimestampMethod.HARDWARE
        ),
        "80 03 0004 01 02 04 01",
    ),
    (ClassOfService(46, 10, 1, ReversePath.REFUSED), "80 04 0004 b8a5 0000"),
    (ClassOfService(63), "80 04 0004 fc00 0000"),
    (DirectMeasurement(1, 2, 3), "80 05 000c 00000001 00000002 00000003"),
    (FollowUpTelemetry(7, 0xE8FE6F80_80000000, 2), "80 07 0010 00000007 e8fe6f8080000000 02 000000"),
    (Hmac(bytes(range(16))), "80 08 0010 000102030405060708090a0b0c0d0e0f"),
    (
        ReturnPath((TlvFields(ReturnPathPart.RETURN_ADDRESS, SOURCE),)),
        "80 0a 0008 80 02 0004 c0000201",
    ),
]


@pytest.mark.parametrize(("value", "octets"), VECTORS)
def test_vectors(value: TlvValue, octets: str) -> None:
    """Each field stands where RFC 8972 section 4 and RFC 9503 section 4 draw it; the sender sets U alone."""
    assert serialise_request(value) == bytes.fromhex(octets)
    assert parse_value(value.TYPE, bytes.fromhex(octets)[4:]) == value


def test_reserved_bits_are_ignored() -> None:
    """What must be zero is zero when sent and may be anything when received."""
    assert ClassOfService.parse(bytes.fromhex("b8a5ffff")) == ClassOfService(46, 10, 1, 1)
    follow_up = FollowUpTelemetry.parse(bytes.fromhex("00000007 e8fe6f8080000000 02 ffffff"))
    assert follow_up == FollowUpTelemetry(7, 0xE8FE6F80_80000000, 2)


@given(st.lists(values, max_size=6))
def test_values_round_trip(several: list[TlvValue]) -> None:
    """Serialise, scan and parse gives the same values in their order."""
    octets = serialise_request(*several)
    tlvs, intact = scan(octets)
    assert intact == len(octets)
    assert [parse_value(tlv.type, octets[tlv.start + 4 : tlv.end]) for tlv in tlvs] == several


@given(st.lists(tlv_fields, max_size=6))
def test_frames_round_trip(several: list[TlvFields]) -> None:
    """Any flags, types and values are found again, octets that are all zero apart."""
    octets = serialise(several)
    tlvs, intact = scan(octets)
    assert intact == len(octets)
    if any(octets):
        assert [TlvFields(kind, octets[at + 4 : end], flags) for at, flags, kind, end in tlvs] == several
    else:
        assert tlvs == ()


@given(tlv_octets)
def test_scan_covers_what_it_finds(octets: bytes) -> None:
    """Whatever the octets, the frames lie side by side from the first octet to where the intact part ends."""
    tlvs, intact = scan(octets)
    if tlvs:
        assert tlvs[0].start == 0
        assert tlvs[-1].end == intact
        assert all(one.end == other.start for one, other in itertools.pairwise(tlvs))
    assert intact <= len(octets)


def test_scan_stops_where_a_tlv_does_not_end() -> None:
    """A header or value beyond the packet is no frame."""
    whole = serialise_request(ClassOfService(0))
    assert scan(whole + b"\x80\x07\x00") == ((Frame(0, 0x80, 4, 8),), 8)
    assert scan(whole + b"\x80\x07\x00\x10\x00") == ((Frame(0, 0x80, 4, 8),), 8)


def test_zero_padding_is_no_tlv() -> None:
    """Octets that are zero throughout are padding; one that is not makes them TLVs of the reserved type 0."""
    assert scan(bytes(1400)) == ((), 1400)
    assert scan(memoryview(bytes(3))) == ((), 3)
    assert scan(bytes(7) + b"\x01").intact == 4


def test_number_of_tlvs_is_bounded() -> None:
    """A packet full of empty TLVs costs no more than one with the most that is looked at."""
    tlvs, intact = scan(b"\x80\x01\0\0" * 350)
    assert len(tlvs) == MAX_TLVS
    assert intact == 4 * MAX_TLVS


@given(st.integers(0, 255), st.binary(max_size=40))
def test_any_value(kind: int, value: bytes) -> None:
    """Any value parses, is of a type that is not known, or raises our error."""
    try:
        parsed = parse_value(kind, value)
    except MalformedTlv:
        parsed = None
        assert kind in set(TlvType)
    if parsed is not None:
        assert kind == parsed.TYPE


@pytest.mark.parametrize(("kind", "octets"), [(3, 4), (4, 4), (5, 12), (7, 16), (8, 16)])
def test_wrong_length_is_told(kind: int, octets: int) -> None:
    """A value of one octet too few or too many raises our error, which says how many it has and should have."""
    for wrong in (octets - 1, octets + 1):
        with pytest.raises(WireError, match=f"has {octets} octets, got {wrong}"):
            parse_value(kind, bytes(wrong))


@pytest.mark.parametrize("octets", [b"", b"\x80\x02", b"\x80\x02\x00\x04\xc0"])
def test_return_path_needs_whole_parts(octets: bytes) -> None:
    """A Return Path without sub-TLVs, or with one that does not end, is malformed."""
    with pytest.raises(MalformedTlv, match="whole sub-TLVs"):
        ReturnPath.parse(octets)


def test_return_path_leads_to() -> None:
    """Only return addresses count, and all of them must be the one."""
    here, there = (TlvFields(ReturnPathPart.RETURN_ADDRESS, address) for address in (SOURCE, ELSEWHERE))
    assert ReturnPath((here,)).leads_to(SOURCE)
    assert not ReturnPath((here, there)).leads_to(SOURCE)
    assert not ReturnPath((TlvFields(ReturnPathPart.SRV6_SEGMENT_LIST, SOURCE),)).leads_to(SOURCE)


@given(st.lists(tlv_fields, min_size=1, max_size=4))
def test_scapy_agrees(several: list[TlvFields]) -> None:
    """An independent implementation finds the same types and values behind the base packet.

    Its flags are not compared: it counts their bits from the other end.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.contrib.stamp import STAMPSessionSenderTestUnauthenticated as ScapySender

    octets = serialise(several)
    theirs = ScapySender(SenderPacket(1, 2, 0x8001, 3).serialise() + octets)
    assert [(tlv.type, tlv.len, bytes(tlv.value)) for tlv in theirs.tlv_objects] == [
        (tlv.type, len(tlv.value), tlv.value) for tlv in several
    ]


@given(st.integers(0, 255), st.binary(max_size=20))
def test_we_read_what_scapy_writes(kind: int, value: bytes) -> None:
    """A TLV that an independent implementation has written is found where it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.contrib.stamp import STAMPTestTLV

    octets = bytes(STAMPTestTLV(flags=0x80, type=kind, len=len(value), value=value))
    assert scan(octets) == ((Frame(0, 0x80, kind, len(octets)),), len(octets))
    assert octets[4:] == value
