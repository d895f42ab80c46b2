"""The sender's rules for the TLVs of a reply."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.tlv import INTEGRITY, MALFORMED, TlvFields, TlvType, serialise
from agent.core.tlv_integrity import seal
from agent.core.tlv_reception import ReceivedTlvs, TlvFault, receive
from agent.core.tlv_values import ClassOfService, ExtraPadding, FollowUpTelemetry, Hmac, TlvValue
from tests.support.tlvs import KEY, mutated, signable, tlv_octets

COS = ClassOfService(46, 10, 1)
FOLLOW_UP = FollowUpTelemetry(6, 0xE8FE6F80_80000000, 2)


def reply(*tlvs: TlvValue, flags: int = 0) -> bytes:
    """TLVs as a reflector sends them that has answered all."""
    return serialise(TlvFields(value.TYPE, value.serialise(), flags) for value in tlvs)


def signed_reply(*tlvs: TlvValue, sequence: int = 7) -> bytes:
    """The same under an HMAC."""
    octets = bytearray(reply(*tlvs, Hmac()))
    seal(octets, sequence, KEY, len(octets) - 20)
    return bytes(octets)


@given(st.lists(signable, max_size=5))
def test_answers_are_read(several: list[TlvValue]) -> None:
    """All that is answered is there, in its order; octets that are all zero are padding."""
    octets = reply(*several)
    assert receive(octets, 7) == ReceivedTlvs(tuple(several) if any(octets) else ())


def test_unanswered_are_skipped() -> None:
    """A TLV that has kept its U is named and not read, the next one is."""
    assert receive(reply(COS, flags=0x80) + reply(FOLLOW_UP), 7) == ReceivedTlvs(
        (FOLLOW_UP,), (TlvType.CLASS_OF_SERVICE,)
    )


def test_unknown_is_skipped() -> None:
    """A type that we never sent is not read, even without U."""
    assert receive(serialise([TlvFields(200, b"x", 0)]) + reply(COS), 7) == ReceivedTlvs((COS,))


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        (reply(COS, flags=MALFORMED) + reply(COS), TlvFault.MALFORMED_REQUEST),
        (b"\x40\x04", TlvFault.MALFORMED_REQUEST),
        (serialise([TlvFields(4, b"abc", 0)]) + reply(COS), TlvFault.MALFORMED_REPLY),
        (b"\x00\x04", TlvFault.MALFORMED_REPLY),
    ],
)
def test_malformed_ends_the_reading(rest: bytes, fault: TlvFault) -> None:
    """What stands before a malformed TLV is used, it and the rest are not; whose fault it was is told."""
    assert receive(reply(FOLLOW_UP) + rest, 7) == ReceivedTlvs((FOLLOW_UP,), (), fault)


@pytest.mark.parametrize("rest", [reply(COS, flags=INTEGRITY), b"\xe0\x08"])
def test_integrity_flag_discards_all(rest: bytes) -> None:
    """I on any TLV, also on one that is cut off, and nothing is used."""
    assert receive(reply(FOLLOW_UP) + rest, 7) == ReceivedTlvs(fault=TlvFault.REFUSED_INTEGRITY)


def test_hmac_is_verified_first() -> None:
    """A good HMAC lets the TLVs in; a wrong, missing or replayed one does not."""
    octets = signed_reply(COS)
    for form in (octets, bytearray(octets), memoryview(octets)):
        assert receive(form, 7, (KEY,), hmac_required=True).values[0] == COS
    refused = ReceivedTlvs(fault=TlvFault.INTEGRITY)
    assert receive(octets, 8, (KEY,), hmac_required=True) == refused
    assert receive(octets[:-1] + b"\0", 7, (KEY,)) == refused
    assert receive(reply(COS), 7, (KEY,), hmac_required=True) == refused


@given(tlv_octets, st.booleans())
def test_any_octets(octets: bytes, required: bool) -> None:
    """Any octets are read without an error."""
    got = receive(octets, 7, (KEY,), hmac_required=required)
    assert got.fault in (None, *TlvFault)


def test_mutated_replies() -> None:
    """Of thousands of damaged replies under an HMAC, none yields a value that was not sent."""
    rng = random.Random(9503)
    octets = signed_reply(COS, FOLLOW_UP)
    for _ in range(3000):
        got = receive(mutated(octets, rng), 7, (KEY,), hmac_required=True)
        told = [value for value in got.values if not isinstance(value, Hmac | ExtraPadding)]
        assert told in ([], [COS, FOLLOW_UP])
