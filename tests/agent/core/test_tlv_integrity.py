"""The HMAC TLV."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.tlv import TlvType, scan
from agent.core.tlv_integrity import Proof, prove
from agent.core.tlv_values import ClassOfService, ExtraPadding, Hmac, TlvValue, serialise_request
from tests.support.tlvs import KEY, OTHER_KEY, REQUEST_SEQUENCE, signable, signed

COS = ClassOfService(46)


def proof_of(octets: bytes, *, sequence: int = REQUEST_SEQUENCE, required: bool = True) -> Proof:
    """What the HMAC TLV proves to one who knows both keys."""
    return prove(octets, scan(octets), sequence, (OTHER_KEY, KEY), required=required)


def test_hmac_covers_sequence_number_and_tlvs() -> None:
    """The signed octets are the sequence number and all TLVs before, their headers included (section 4.8)."""
    before = serialise_request(COS)
    assert signed(COS) == before + bytes.fromhex("80080010") + KEY.sign(b"\0\0\0\x29" + before)


@given(st.lists(signable, max_size=4), st.binary(max_size=20))
def test_what_is_signed_verifies(before: list[TlvValue], padding: bytes) -> None:
    """What one key has signed is intact, with Extra Padding behind the HMAC or without."""
    start = len(serialise_request(*before))
    for octets in (signed(*before), signed(*before, padding=padding)):
        assert proof_of(octets) == Proof(True, KEY, start)


@given(st.lists(signable, max_size=3), st.data())
def test_every_octet_before_is_protected(before: list[TlvValue], data: st.DataObject) -> None:
    """An octet changed before the HMAC or in it, or another sequence number, and nothing is intact."""
    octets = bytearray(signed(*before))
    assert not proof_of(bytes(octets), sequence=REQUEST_SEQUENCE + 1).intact
    at = data.draw(st.integers(0, len(octets) - 1))
    if at != len(octets) - 20:  # the HMAC TLV's own flags, which a reflector changes
        octets[at] ^= data.draw(st.integers(1, 255))
        proof = proof_of(bytes(octets))
        assert proof.key is None
        # The one thing that may pass for itself is what needs no signature.
        assert not proof.intact or [tlv.type for tlv in scan(octets).tlvs] == [TlvType.EXTRA_PADDING]


@pytest.mark.parametrize(
    "octets",
    [
        signed() + serialise_request(COS),
        signed() + signed(),
        signed(key=OTHER_KEY)[:-20] + bytes.fromhex("8008000f") + bytes(15),
        serialise_request(COS, Hmac()),
    ],
    ids=["misplaced", "twice", "short", "wrong"],
)
def test_failures(octets: bytes) -> None:
    """An HMAC that is not behind all but Extra Padding, not of 16 octets, or wrong, proves nothing, required or not."""
    assert proof_of(octets) == proof_of(octets, required=False) == Proof(intact=False)


def test_without_key() -> None:
    """An HMAC that nobody can verify has failed."""
    octets = signed(COS)
    assert not prove(octets, scan(octets), REQUEST_SEQUENCE, (), required=False).intact


@pytest.mark.parametrize(
    ("before", "intact"),
    [
        ([], True),
        ([ExtraPadding(b"x")], True),
        ([ExtraPadding(b"x"), ExtraPadding(b"x")], False),
        ([COS], False),
    ],
)
def test_missing(before: list[TlvValue], intact: bool) -> None:
    """Where an HMAC is required, only a single Extra Padding TLV does without."""
    assert proof_of(serialise_request(*before)) == Proof(intact)
    assert proof_of(serialise_request(*before), required=False) == Proof(intact=True)
