"""STAMP and TWAMP Light packets, authenticated or not, and TLVs in both directions."""

from __future__ import annotations

from typing import Final

import numpy as np

from agent.core import authentication, twamp_light
from agent.core.authentication import AUTHENTICATED_OCTETS, Key, ssid_of
from agent.core.exceptions import MalformedTlv, NotAuthentic, Truncated
from agent.core.stamp import BASE_OCTETS, ReflectorPacket, SenderPacket
from agent.core.timestamps import ErrorEstimate, ns_from_ntp, ns_from_ptp, ns_from_wire
from agent.core.tlv import HEADER_OCTETS, INTEGRITY, MALFORMED, TlvType, scan
from agent.core.tlv_integrity import seal
from agent.core.tlv_reception import TlvFault, receive
from agent.core.tlv_reflection import Circumstances, reflect
from agent.core.tlv_values import HMAC_OCTETS, FollowUpTelemetry, TimestampInformation, parse_value
from tests.fuzz.choices import Choices

KEY: Final = Key(bytes(range(16)))
OTHER_KEY: Final = Key(bytes(range(16, 48)))
WALL_NS: Final = 1_795_000_000_000_000_000
HALF_ERA_NS: Final = (1 << 31) * 1_000_000_000
SOURCE: Final = bytes((192, 0, 2, 1))
MARKABLE: Final = (0, 46)


def packets(data: bytes) -> None:
    """Base packets: read or `Truncated`; what was read is written as it was; times are near the time they came."""
    try:
        request = SenderPacket.parse(data)
    except Truncated:
        assert len(data) < BASE_OCTETS
    else:
        assert SenderPacket.parse(request.serialise()) == request
        assert request.serialise()[:16] == data[:16]
    try:
        reply = ReflectorPacket.parse(data)
    except Truncated:
        assert len(data) < BASE_OCTETS
    else:
        assert reply.serialise()[:38] == data[:38]
        _times(reply)
    try:
        light = twamp_light.parse_request(data)
    except Truncated:
        assert len(data) < twamp_light.REQUEST_OCTETS
    else:
        assert twamp_light.serialise_request(light)[:14] == data[:14]
    try:
        answer = twamp_light.parse_reply(data)
    except Truncated:
        assert len(data) < twamp_light.REPLY_OCTETS
    else:
        written = twamp_light.serialise_reply(answer, data)
        assert len(written) == len(data)
        assert twamp_light.parse_reply(written) == answer


def _times(reply: ReflectorPacket) -> None:
    estimate = ErrorEstimate.from_wire(reply.error_estimate)
    assert estimate.wire == reply.error_estimate
    bound_ns = estimate.bound_ns
    if bound_ns is not None:
        again = ErrorEstimate.of_bound(bound_ns).bound_ns
        assert again is None or again >= bound_ns
    stamps = (reply.timestamp, reply.receive_timestamp)
    one_by_one = [(ns_from_ptp if estimate.ptp else ns_from_ntp)(stamp, WALL_NS) for stamp in stamps]
    at_once = ns_from_wire(
        np.array(stamps, np.uint64), np.full(2, estimate.ptp), np.full(2, WALL_NS, np.int64)
    )
    assert at_once.tolist() == one_by_one
    assert all(abs(time_ns - WALL_NS) <= HALF_ERA_NS + 5_000_000_000 for time_ns in one_by_one)


def authenticated(data: bytes) -> None:
    """Nothing is read that no key has signed; what is signed is read, and with one bit changed no longer is."""
    choices = Choices(data)
    signed, flipped = choices.flag(), choices.number(2)
    packet = bytearray(choices.rest())
    keys = (OTHER_KEY, KEY)
    if signed and len(packet) >= AUTHENTICATED_OCTETS:
        authentication.seal(packet, KEY)
        request, key = authentication.parse_sender(packet, keys)
        reply, _ = authentication.parse_reflector(packet, keys)
        assert key is KEY
        assert request.ssid == reply.ssid == ssid_of(packet)
        written = authentication.serialise_reflector(reply, key)
        assert authentication.parse_reflector(written, keys) == (reply, KEY)
        packet[flipped // 8 % AUTHENTICATED_OCTETS] ^= 1 << flipped % 8
    for parse in (authentication.parse_sender, authentication.parse_reflector):
        try:
            parse(packet, keys)
        except Truncated:
            assert len(packet) < AUTHENTICATED_OCTETS
        except NotAuthentic:
            assert len(packet) >= AUTHENTICATED_OCTETS
        else:
            raise AssertionError("read what nobody has signed")


def tlvs(data: bytes) -> None:
    """The answer is as long as what was asked and framed alike; both ends read anything without an exception."""
    choices = Choices(data)
    signed, required, stateful, marks = (choices.flag() for _ in range(4))
    dscp, ecn = choices.below(64), choices.below(4)
    request = bytearray(choices.rest())
    frames = scan(request)
    if signed:
        for frame in frames.tlvs:
            if (frame.type, frame.end - frame.start) == (TlvType.HMAC, HEADER_OCTETS + HMAC_OCTETS):
                seal(request, 41, KEY, frame.start)
                break
    about = Circumstances(
        SOURCE,
        41,
        7,
        dscp,
        ecn,
        MARKABLE if marks else (),
        TimestampInformation(1, 2, 1, 2),
        (5, 1 << 32) if stateful else None,
        FollowUpTelemetry(6, WALL_NS, 2) if stateful else None,
        (KEY,) if signed or required else (),
        required,
    )
    reflected = reflect(request, about)
    answer = reflected.octets
    assert len(answer) == len(request)
    assert reflected.dscp is None or reflected.dscp in {dscp, *MARKABLE}
    for (start, _, kind, end), again in zip(frames.tlvs, scan(answer).tlvs, strict=False):
        assert (again.start, again.type, again.end) == (start, kind, end)
        if not reflected.intact:
            assert answer[start] & INTEGRITY
            assert answer[start + 1 : end] == request[start + 1 : end]
    if frames.intact < len(request):
        assert answer[frames.intact] & MALFORMED
        assert answer[frames.intact + 1 :] == request[frames.intact + 1 :]
    for _, _, kind, end in frames.tlvs:
        if kind == TlvType.RETURN_PATH and reflected.intact:
            assert answer[end:] == request[end:] or len(frames.tlvs) > 1 or frames.intact < len(request)
    for octets in (answer, request):
        _received(bytes(octets), required)


def _received(reply: bytes, required: bool) -> None:
    received = receive(reply, 7, (KEY,), hmac_required=required)
    assert received.fault is None or isinstance(received.fault, TlvFault)
    for value in received.values:
        assert parse_value(value.TYPE, value.serialise()) == value
    for start, _, kind, end in scan(reply).tlvs:
        try:
            parse_value(kind, reply[start + HEADER_OCTETS : end])
        except MalformedTlv:
            continue
