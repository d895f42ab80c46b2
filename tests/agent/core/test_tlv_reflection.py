"""The reflector's rules for TLVs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.tlv import INTEGRITY, MALFORMED, MAX_TLVS, UNRECOGNISED, TlvFields, TlvType, scan, serialise
from agent.core.tlv_integrity import prove
from agent.core.tlv_reception import receive
from agent.core.tlv_reflection import Circumstances, ReflectedTlvs, reflect
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    Hmac,
    ReturnPath,
    ReturnPathPart,
    TlvValue,
    serialise_request,
)
from agent.core.tlv_values import TimestampInformation as Timestamping
from tests.support.tlvs import (
    ABOUT,
    ELSEWHERE,
    KEY,
    OTHER_KEY,
    REPLY_SEQUENCE,
    SOURCE,
    mutated,
    signable,
    signed,
    tlv_octets,
    values,
)

AUTHENTICATED = ABOUT._replace(keys=(KEY,), hmac_required=True)
HERE = TlvFields(ReturnPathPart.RETURN_ADDRESS, SOURCE)
THERE = TlvFields(ReturnPathPart.RETURN_ADDRESS, ELSEWHERE)
circumstances = st.sampled_from(
    [
        ABOUT,
        AUTHENTICATED,
        ABOUT._replace(keys=(OTHER_KEY, KEY)),
        ABOUT._replace(counters=None, previous=None, markable=()),
    ]
)


def answered(value: TlvValue, about: Circumstances = ABOUT) -> TlvValue:
    """What the reflector makes of one TLV that it answers."""
    reply = receive(reflect(serialise_request(value), about).octets, REPLY_SEQUENCE)
    assert reply.unrecognised == ()
    assert reply.fault is None
    return reply.values[0]


def flags(octets: bytes | bytearray) -> list[int]:
    """The flags of each TLV."""
    return [tlv.flags for tlv in scan(octets).tlvs]


# What each type is answered with


def test_extra_padding_is_copied() -> None:
    """Section 4.1: padding comes back as it was."""
    assert answered(ExtraPadding(b"abc")) == ExtraPadding(b"abc")


def test_timestamp_information_is_told() -> None:
    """Section 4.3: what the sender put into the fields does not matter."""
    assert answered(Timestamping(9, 9, 9, 9)) == ABOUT.timestamping


@pytest.mark.parametrize(("wish", "rp", "dscp"), [(46, 0, 46), (0, 0, 0), (12, 1, 10), (10, 1, 10)], ids=str)
def test_class_of_service(wish: int, rp: int, dscp: int) -> None:
    """Section 4.4: a DSCP that may be set is; another is refused with RP=1 and the reply has the request's DSCP."""
    request = ClassOfService(wish, 63, 3, 3)
    assert answered(request) == ClassOfService(wish, 10, 1, rp)
    assert reflect(serialise_request(request), ABOUT).dscp == dscp


def test_first_class_of_service_decides() -> None:
    """A second one that wishes another marking learns that it was not met, one that wishes the same that it was."""
    reply = reflect(serialise_request(ClassOfService(46), ClassOfService(0), ClassOfService(46)), ABOUT)
    got = receive(reply.octets, REPLY_SEQUENCE).values
    assert got == tuple(ClassOfService(wish, 10, 1, rp) for wish, rp in ((46, 0), (0, 1), (46, 0)))
    assert reply.dscp == 46


def test_no_class_of_service_no_wish() -> None:
    """Without the TLV the caller marks replies as it always does."""
    assert reflect(serialise_request(ExtraPadding(b"")), ABOUT).dscp is None


def test_direct_measurement_counts() -> None:
    """Section 4.5: the sender's count is copied, ours are filled in modulo 2^32."""
    assert answered(DirectMeasurement(9, 8, 7)) == DirectMeasurement(9, 5, 4)
    about = ABOUT._replace(counters=((1 << 32) + 1, (1 << 32) - 1))
    assert answered(DirectMeasurement(9), about) == DirectMeasurement(9, 1, 0xFFFF_FFFF)


def test_direct_measurement_without_counters() -> None:
    """A stateless reflector leaves U set, for counts of zero would be read as loss."""
    request = serialise_request(DirectMeasurement(9))
    assert reflect(request, ABOUT._replace(counters=None)).octets == request


def test_follow_up_tells_the_previous_reply() -> None:
    """Section 4.7: number, transmit time and method of the reply before; zeros where there is none."""
    assert answered(FollowUpTelemetry(1, 1, 1)) == ABOUT.previous
    assert answered(FollowUpTelemetry(1, 1, 1), ABOUT._replace(previous=None)) == FollowUpTelemetry()


@given(st.integers(0, 24).filter(lambda octets: octets != 16))
def test_follow_up_of_another_length(octets: int) -> None:
    """Section 4.7: M is set, and what there is of sequence number and timestamp is zeroed."""
    request = serialise([TlvFields(TlvType.FOLLOW_UP_TELEMETRY, b"\xff" * octets)])
    zeroed = min(octets, 12)
    assert reflect(request, ABOUT).octets == serialise(
        [TlvFields(TlvType.FOLLOW_UP_TELEMETRY, bytes(zeroed) + b"\xff" * (octets - zeroed), MALFORMED)]
    )


@pytest.mark.parametrize(
    "value",
    [
        ReturnPath((THERE,)).serialise(),
        ReturnPath((HERE, THERE)).serialise(),
        ReturnPath((TlvFields(ReturnPathPart.CONTROL_CODE, bytes(4)),)).serialise(),
        ReturnPath((TlvFields(ReturnPathPart.SRV6_SEGMENT_LIST, bytes(16)),)).serialise(),
        b"",
        b"\x80\x02\x00\x05",
    ],
    ids=["elsewhere", "both", "no reply", "segments", "empty", "cut off"],
)
def test_return_path_is_refused(value: bytes) -> None:
    """A wish that would lead the reply anywhere but back is left as it was, U=1 (RFC 9503, section 4)."""
    request = serialise([TlvFields(TlvType.RETURN_PATH, value), TlvFields(TlvType.EXTRA_PADDING, b"")])
    reply = reflect(request, ABOUT)
    assert reply.octets[:-4] == request[:-4]
    assert flags(reply.octets) == [UNRECOGNISED, 0]


def test_return_path_back_is_answered() -> None:
    """Only the first Return Path is looked at, and a reply to where the request came from is what it gets."""
    twice = serialise_request(ReturnPath((HERE,)), ReturnPath((HERE,)))
    reply = receive(reflect(twice, ABOUT).octets, REPLY_SEQUENCE)
    assert reply.values == (ReturnPath((HERE._replace(flags=0),)),)
    assert reply.unrecognised == (TlvType.RETURN_PATH,)


# Flags


@given(st.lists(st.builds(TlvFields, st.integers(0, 255), st.binary(max_size=9)), min_size=1, max_size=5))
def test_unknown_types_are_echoed_with_u(several: list[TlvFields]) -> None:
    """U=1 on each type that is not known, wherever it stands, its value untouched."""
    request = serialise(
        tlv._replace(flags=0x9F) if tlv.type not in set(TlvType) else TlvFields(TlvType.EXTRA_PADDING, b"x")
        for tlv in several
    )
    reply = reflect(request, ABOUT).octets
    for one, other in zip(scan(request).tlvs, scan(reply).tlvs, strict=True):
        assert other.flags == (0 if one.type == TlvType.EXTRA_PADDING else UNRECOGNISED)
        assert reply[other.start + 1 : other.end] == request[one.start + 1 : one.end]


@given(st.lists(signable, max_size=4))
def test_flags_received_do_not_matter(several: list[TlvValue]) -> None:
    """M, I and the reserved bits of a request are not passed on (section 4)."""
    octets = bytearray(serialise_request(*several))
    reply = reflect(octets, ABOUT).octets
    for tlv in scan(octets).tlvs:
        octets[tlv.start] = 0xFF
    assert reflect(octets, ABOUT).octets == reply
    assert not any(flag & ~UNRECOGNISED for flag in flags(reply))


@pytest.mark.parametrize("kind", [3, 4, 5, 7])
def test_wrong_length_stops(kind: int) -> None:
    """A known type of another length has M=1, the one before is answered, and the rest is a copy."""
    before, after = serialise_request(ClassOfService(46)), serialise_request(Timestamping())
    request = before + serialise([TlvFields(kind, b"")]) + after
    reply = reflect(request, ABOUT)
    assert flags(reply.octets) == [0, MALFORMED, UNRECOGNISED]
    assert reply.octets.endswith(after)
    assert reply.dscp == 46


@pytest.mark.parametrize("cut_off", [b"\x80", b"\x80\x03\x00", b"\x80\x03\x00\x05\x01\x02\x03\x04"])
def test_cut_off(cut_off: bytes) -> None:
    """A TLV that does not end within the packet has M=1, the one before is answered."""
    request = serialise_request(DirectMeasurement(9)) + cut_off
    reply = reflect(request, ABOUT)
    assert reply.octets == (
        serialise([TlvFields(TlvType.DIRECT_MEASUREMENT, DirectMeasurement(9, 5, 4).serialise(), 0)])
        + bytes([cut_off[0] | MALFORMED])
        + cut_off[1:]
    )
    assert reply.intact


def test_too_many() -> None:
    """What stands behind the most TLVs that are looked at counts as malformed."""
    reply = reflect(b"\x80\x01\0\0" * 100, ABOUT).octets
    assert reply[: 4 * MAX_TLVS] == b"\x00\x01\0\0" * MAX_TLVS
    assert reply[4 * MAX_TLVS :] == b"\xc0\x01\0\0" + b"\x80\x01\0\0" * (99 - MAX_TLVS)


def test_zero_padding_comes_back() -> None:
    """The padding of a sender without extensions is copied as it is, in any mode (RFC 8762, section 4.3)."""
    for about in (ABOUT, AUTHENTICATED):
        assert reflect(bytes(100), about) == ReflectedTlvs(bytearray(100), None, intact=True)


# Integrity


@given(st.lists(signable, max_size=4), st.binary(max_size=9))
def test_reply_is_signed(several: list[TlvValue], padding: bytes) -> None:
    """A request that verifies gets a reply that verifies, with the same key and the reply's own sequence number."""
    for about in (AUTHENTICATED, ABOUT._replace(keys=(OTHER_KEY, KEY))):
        reply = reflect(signed(*several, padding=padding), about)
        assert reply.intact
        proof = prove(reply.octets, scan(reply.octets), REPLY_SEQUENCE, (KEY,), required=True)
        assert proof.key is KEY
        assert reply.octets[proof.start] == 0
        received = receive(reply.octets, REPLY_SEQUENCE, (KEY,), hmac_required=True)
        assert received.fault is None


@given(st.lists(values, min_size=1, max_size=4))
def test_integrity_failure_echoes_everything(several: list[TlvValue]) -> None:
    """A wrong, misplaced or unverifiable HMAC: every TLV comes back as it was, but for I=1, and nothing is obeyed."""
    request = serialise_request(Hmac(), *several)
    for about in (AUTHENTICATED, ABOUT):
        reply = reflect(request, about)
        assert (reply.intact, reply.dscp) == (False, None)
        assert set(flags(reply.octets)) == {UNRECOGNISED | INTEGRITY}
        assert [reply.octets[tlv.start + 1 : tlv.end] for tlv in scan(request).tlvs] == [
            request[tlv.start + 1 : tlv.end] for tlv in scan(request).tlvs
        ]


def test_required_hmac_is_missing() -> None:
    """In authenticated mode TLVs without HMAC have I=1, but for one that is Extra Padding."""
    assert flags(reflect(serialise_request(ClassOfService(46)), AUTHENTICATED).octets) == [0xA0]
    assert flags(reflect(serialise_request(ExtraPadding(b"x")), AUTHENTICATED).octets) == [0]


@pytest.mark.parametrize("before", [b"", serialise_request(ExtraPadding(b"x"))])
def test_hmac_may_be_cut_off(before: bytes) -> None:
    """In authenticated mode a TLV that does not end may have been the HMAC: I=1 beside M=1."""
    reply = reflect(before + signed()[:-1], AUTHENTICATED)
    assert not reply.intact
    assert reply.octets[len(before)] == UNRECOGNISED | INTEGRITY | MALFORMED
    assert set(flags(before and reply.octets)) <= {UNRECOGNISED | INTEGRITY}


def test_behind_a_verified_hmac() -> None:
    """What is cut off behind a verified HMAC has M=1 and spoils nothing before it."""
    reply = reflect(signed(ClassOfService(46)) + b"\x80", AUTHENTICATED)
    assert reply.intact
    assert reply.dscp == 46
    assert reply.octets[-1] == UNRECOGNISED | MALFORMED


def test_malformed_under_a_valid_hmac() -> None:
    """A signed request with a malformed TLV gets a reply that verifies and says which one."""
    request = bytearray(serialise_request(ClassOfService(46)) + serialise([TlvFields(3, b"")]))
    octets = bytes(request) + bytes.fromhex("80080010") + KEY.sign(b"\0\0\0\x29" + request)
    reply = reflect(octets, AUTHENTICATED).octets
    assert flags(reply) == [0, MALFORMED, 0]
    assert prove(reply, scan(reply), REPLY_SEQUENCE, (KEY,), required=True).intact


# Whatever comes


@given(tlv_octets, circumstances)
def test_reply_is_as_long_as_the_request(octets: bytes, about: Circumstances) -> None:
    """Never longer, never shorter; headers stay where they were, and the request is not touched."""
    before = bytes(octets)
    reply = reflect(octets, about)
    assert octets == before
    assert len(reply.octets) == len(octets)
    assert [(tlv.start, tlv.type, tlv.end) for tlv in scan(octets).tlvs] == [
        (tlv.start, tlv.type, tlv.end) for tlv in scan(reply.octets).tlvs
    ] or not any(reply.octets)


@given(
    st.one_of(tlv_octets, st.lists(signable, max_size=4).map(lambda several: signed(*several))), circumstances
)
def test_reflection_is_idempotent(octets: bytes, about: Circumstances) -> None:
    """A reply that is reflected again, in the same circumstances, comes out as it is."""
    once = reflect(octets, about).octets
    again = reflect(once, about._replace(request_sequence=REPLY_SEQUENCE)).octets
    assert again == once


def test_mutated_requests() -> None:
    """Thousands of damaged requests: each gets a reply of its length, which the sender reads without an error."""
    rng = random.Random(8972)
    whole = [
        signed(FollowUpTelemetry(), ClassOfService(46), Timestamping(), DirectMeasurement(7)),
        signed(ReturnPath((HERE, THERE)), padding=b"padding"),
        serialise_request(ClassOfService(12), ReturnPath((HERE,)), ExtraPadding(bytes(9))),
    ]
    for round_ in range(4000):
        request = mutated(whole[round_ % len(whole)], rng)
        for about in (ABOUT, AUTHENTICATED):
            reply = reflect(request, about)
            assert len(reply.octets) == len(request)
            assert reply.dscp is None or reply.dscp in (0, 10, 46)
            receive(reply.octets, REPLY_SEQUENCE, about.keys, hmac_required=about.hmac_required)
            if about.hmac_required and reply.dscp is not None:
                start = prove(request, scan(request), 41, (KEY,), required=True).start
                assert request[:start] == whole[0][:start]
