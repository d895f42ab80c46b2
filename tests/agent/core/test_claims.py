"""Which requests claim to be signed, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import AUTHENTICATED_OCTETS, KeyRing, serialise_sender
from agent.core.claims import Signed, claims, claims_of, prove, prove_all
from agent.core.exceptions import NotAuthentic, Truncated
from agent.core.stamp import SenderPacket
from tests.support.tlvs import KEY, OTHER_KEY

PACKET = SenderPacket(5, 6 << 40, 0x8AD2, 42)
SIGNED = bytes(serialise_sender(PACKET, KEY))
PLAIN = PACKET.serialise().ljust(AUTHENTICATED_OCTETS, b"\0")


def test_what_is_sent_where_zeros_must_be_tells_the_modes_apart() -> None:
    """Of a listed source zeros claim, times do not; of any other everything long enough claims."""
    assert claims(SIGNED, listed=True)
    assert claims(SIGNED, listed=False)
    assert not claims(PLAIN, listed=True)
    assert claims(PLAIN, listed=False)
    assert not claims(SIGNED[:-1], listed=False)


requests = st.one_of(
    st.just(SIGNED), st.just(PLAIN), st.binary(max_size=120), st.binary(max_size=20).map(SIGNED.__add__)
)


@given(st.lists(st.tuples(requests, st.booleans()), min_size=1))
def test_many_claim_as_each_does(several: list[tuple[bytes, bool]]) -> None:
    """As columns, whatever stands behind a short one."""
    data, listed = zip(*several, strict=True)
    packets = np.frombuffer(b"".join(one.ljust(140, b"*") for one in data), np.uint8).reshape(-1, 140)
    found = claims_of(packets, np.array([len(one) for one in data]), np.array(listed))
    assert found.tolist() == [claims(one, listed=one_listed) for one, one_listed in several]


def test_one_of_the_valid_keys_of_the_session_is_enough() -> None:
    """Both keys of a rotation verify; that of another SSID, and none, do not."""
    assert prove(SIGNED, KeyRing({42: (OTHER_KEY, KEY)})) == Signed(PACKET, KEY)
    assert prove(SIGNED, KeyRing({}, default=(KEY,))) == Signed(PACKET, KEY)
    for ring in (KeyRing({42: (OTHER_KEY,)}, default=(KEY,)), KeyRing({7: (KEY,)})):
        with pytest.raises(NotAuthentic):
            prove(SIGNED, ring)


@given(st.integers(0, AUTHENTICATED_OCTETS * 8 - 1))
def test_any_other_bit_is_not_authentic(bit: int) -> None:
    """A packet of which one bit differs was not signed so."""
    octets = bytearray(SIGNED)
    octets[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotAuthentic):
        prove(octets, KeyRing({}, default=(KEY,)))


def test_many_are_verified_as_each_is() -> None:
    """Only those that claim are looked at, and those that a valid key has signed are given, by row."""
    rows = [SIGNED + b"behind", PLAIN, SIGNED, bytes(serialise_sender(PACKET, OTHER_KEY)), SIGNED]
    packets = np.frombuffer(b"".join(row.ljust(130, b"*") for row in rows), np.uint8).reshape(-1, 130)
    signed = Signed(PACKET, KEY)
    assert prove_all(packets, [0, 1, 3, 4], KeyRing({42: (KEY,)})) == {0: signed, 4: signed}


def test_a_short_one_is_truncated() -> None:
    """Nothing is read of what is too short to be signed."""
    with pytest.raises(Truncated):
        prove(SIGNED[:-1], KeyRing({}, default=(KEY,)))
