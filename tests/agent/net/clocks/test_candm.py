"""chronyd's TRACKING request and reply as bytes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.net.clocks.candm import LOCAL_REFERENCE, MalformedAnswer, Tracking, tracking_request

SEQUENCE = 0x0102_0304

FOLLOWING = bytes.fromhex(
    "060200000021000500000000000000000102030400000000000000007f0000017f0000010000000000000000000000000001"
    "000000090000000000006b03f37a12796c7ddb03a9a6d5701b68d0d16dfbf32cb2fbf558745afca111b7e0b69a6dd8e534c1"
    "fc80b850"
)
"""A chronyd 4.3 that follows another on the same host; chronyc said of it, at the same moment: system time 0.940 µs
fast, residual frequency -0.005 ppm, skew 0.079 ppm, root delay 5.442 µs, root dispersion 0.449 µs."""

ALONE = bytes.fromhex(
    "060200000021000500000000000000000102030400000000000000007f7f0101000000000000000000000000000000000000"
    "000000080000000000006b03f37116e5d3250000000000000000000000000000000000000000000000000000000000000000"
    "00000000"
)
"""The other one: `local stratum 8`."""

WRONG_VERSION = bytes.fromhex("06020000002100010012000000000000010203040000000000000000")
WRONG_LENGTH = bytes.fromhex("06020000002100010013000000000000010203040000000000000000")


def test_the_request_is_as_long_as_its_reply() -> None:
    """chronyd refuses a request that is shorter than the reply: version 6, type 1, command 33, our number, zeros."""
    request = tracking_request(SEQUENCE)
    assert len(request) == len(FOLLOWING) == 104
    assert request == bytes.fromhex("06010000 00210000 01020304 00000000 00000000") + bytes(84)


def test_a_recorded_reply_says_what_chronyc_said() -> None:
    """To the digits that chronyc shows."""
    tracking = Tracking.parse(FOLLOWING, SEQUENCE)
    assert (tracking.reference_id, tracking.stratum, tracking.leap) == (0x7F00_0001, 9, 0)
    assert tracking.updated_ns == 1_795_421_050_309_947_517
    assert round(tracking.correction, 9) == Fraction("-0.00000094")
    assert round(tracking.residual_ppm, 3) == Fraction("-0.005")
    assert round(tracking.skew_ppm, 3) == Fraction("0.079")
    assert round(tracking.root_delay, 9) == Fraction("0.000005442")
    # chronyc asked a moment later, and the dispersion grows
    assert Fraction("0.0000004") < tracking.root_dispersion < Fraction("0.00000045")
    assert round(tracking.update_interval, 2) == Fraction("0.06")


def test_a_recorded_reply_of_a_chronyd_on_its_own_is_all_zero() -> None:
    """Its own reference, and an exact zero stays one."""
    tracking = Tracking.parse(ALONE, SEQUENCE)
    assert (tracking.reference_id, tracking.stratum) == (LOCAL_REFERENCE, 8)
    assert tracking.root_dispersion == tracking.root_delay == tracking.correction == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 octets, a reply has at least 28"),
        (FOLLOWING[:27], "27 octets"),
        (FOLLOWING[:103], "103 octets, a tracking reply has 104"),
        (WRONG_VERSION, "refused: another protocol version"),
        (WRONG_LENGTH, "refused: wrong packet length"),
        (FOLLOWING[:8] + b"\0\x63" + FOLLOWING[10:], "refused: status 99"),
        (tracking_request(SEQUENCE), "no reply to our request"),
        (b"\x07" + FOLLOWING[1:], "protocol version 7"),
        (FOLLOWING[:7] + b"\x06" + FOLLOWING[8:], "reply 6"),
        (FOLLOWING[:5] + b"\x22" + FOLLOWING[6:], "no reply to our request"),
        (FOLLOWING[:16] + bytes(4) + FOLLOWING[20:], "no reply to our request"),
    ],
)
def test_what_is_no_tracking_reply_is_refused_and_named(data: bytes, why: str) -> None:
    """Too short, refused, of another kind, or an answer to somebody else."""
    with pytest.raises(MalformedAnswer, match=why):
        Tracking.parse(data, SEQUENCE)


@given(st.binary(max_size=120))
@example(FOLLOWING[:28] + b"\xff" * 76)
@example(FOLLOWING[:28] + b"\x7f" * 76)
def test_any_octets_parse_or_are_refused(data: bytes) -> None:
    """There is no other exception, with or without a head that is right."""
    for candidate in (data, FOLLOWING[:28] + data):
        try:
            Tracking.parse(candidate, SEQUENCE)
        except MalformedAnswer:
            pass


@given(st.integers(-(1 << 24), (1 << 24) - 1), st.integers(-64, 63))
def test_a_float_is_never_nearer_to_zero_than_it_was(coefficient: int, exponent: int) -> None:
    """The float on the wire was rounded by up to half a unit; that is given back, away from zero."""
    word = (exponent % 128 << 25 | coefficient % (1 << 25)).to_bytes(4, "big")
    tracking = Tracking.parse(FOLLOWING[:92] + word + FOLLOWING[96:], SEQUENCE)
    unit = Fraction(2) ** (exponent - 25)
    assert abs(tracking.root_delay) == (abs(coefficient) * unit + unit / 2 if coefficient else 0)
    assert tracking.root_delay * coefficient >= 0
