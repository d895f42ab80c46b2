"""Packets with TLVs: strategies, and a reflector's circumstances."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from agent.core.authentication import Key
from agent.core.tlv import TlvFields
from agent.core.tlv_integrity import seal
from agent.core.tlv_reflection import Circumstances
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    Hmac,
    ReturnPath,
    ReturnPathPart,
    TimestampInformation,
    TlvValue,
    serialise_request,
)

u1, u2, u6, u8, u16, u32, u64 = (
    st.integers(min_value=0, max_value=2**bits - 1) for bits in (1, 2, 6, 8, 16, 32, 64)
)
KEY = Key(bytes(range(16)))
OTHER_KEY = Key(bytes(range(16, 48)))
SOURCE = bytes((192, 0, 2, 1))
ELSEWHERE = bytes((203, 0, 113, 9))
REQUEST_SEQUENCE, REPLY_SEQUENCE = 41, 7
ABOUT = Circumstances(
    source=SOURCE,
    request_sequence=REQUEST_SEQUENCE,
    reply_sequence=REPLY_SEQUENCE,
    dscp=10,
    ecn=1,
    markable=frozenset((0, 46)),
    timestamping=TimestampInformation(1, 2, 4, 1),
    counters=(5, 4),
    previous=FollowUpTelemetry(6, 0xE8FE6F80_80000000, 2),
)

return_path_parts = st.builds(
    TlvFields, st.sampled_from(ReturnPathPart), st.sampled_from([SOURCE, ELSEWHERE, b"", bytes(16)]), u8
)
values = st.one_of(
    st.builds(ExtraPadding, st.binary(max_size=40)),
    st.builds(TimestampInformation, u8, u8, u8, u8),
    st.builds(ClassOfService, u6, u6, u2, u2),
    st.builds(DirectMeasurement, u32, u32, u32),
    st.builds(FollowUpTelemetry, u32, u64, u8),
    st.builds(Hmac, st.binary(min_size=16, max_size=16)),
    st.builds(ReturnPath, st.lists(return_path_parts, min_size=1, max_size=3).map(tuple)),
)
signable = values.filter(lambda value: not isinstance(value, Hmac))
tlv_fields = st.builds(TlvFields, st.integers(0, 12), st.binary(max_size=20), u8)
tlv_octets = st.one_of(
    st.lists(values, max_size=6).map(lambda several: serialise_request(*several)),
    st.lists(tlv_fields, max_size=6).map(lambda several: b"".join(tlv.serialise() for tlv in several)),
    st.binary(max_size=80),
    st.tuples(st.lists(values, max_size=3), st.binary(max_size=9)).map(
        lambda both: serialise_request(*both[0]) + both[1]
    ),
)


def signed(*before: TlvValue, padding: bytes | None = None, key: Key = KEY) -> bytes:
    """The TLVs of a request with a valid HMAC behind `before`, and Extra Padding behind that."""
    octets = bytearray(serialise_request(*before, Hmac()))
    seal(octets, REQUEST_SEQUENCE, key, len(octets) - 20)
    return bytes(octets) + (b"" if padding is None else serialise_request(ExtraPadding(padding)))


def mutated(octets: bytes, rng: random.Random) -> bytes:
    """Octets as a bad link, a bad peer or an attacker may leave them."""
    packet = bytearray(octets)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(packet) + 1)
        match rng.randrange(4):
            case 0:
                del packet[at:]
            case 1:
                packet[at:at] = rng.randbytes(rng.randrange(8))
            case 2:
                del packet[at : at + rng.randrange(8)]
            case _ if at < len(packet):
                packet[at] = rng.randrange(256)
    return bytes(packet)
