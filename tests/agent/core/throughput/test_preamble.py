"""The first octets of data connections."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import Key
from agent.core.exceptions import Truncated, WireError
from agent.core.throughput.lease import Way
from agent.core.throughput.preamble import NO_TAG, PREAMBLE_OCTETS, Cookies, Preamble, PreambleKind

SECOND_NS = 1_000_000_000
TOKEN = Key(bytes(range(16)))
NONCES = bytes(range(0x10, 0x20)), bytes(range(0x20, 0x30))
HELLO = Preamble(PreambleKind.HELLO, Way.UP, 3, b"lease-id", NONCES[0])
HOST, PORT = bytes([192, 0, 2, 9]), 40_000

preambles = st.builds(
    Preamble,
    st.sampled_from(PreambleKind),
    st.sampled_from(Way),
    st.integers(0, 7),
    st.binary(min_size=8, max_size=8),
    *[st.binary(min_size=16, max_size=16)] * 3,
)


def test_vectors() -> None:
    """The fields stand where the diagram has them; the tag is HMAC-SHA-256 as `openssl dgst` computes it."""
    hello = HELLO.serialise()
    assert hello == bytes.fromhex(
        "49736f54 01 01 01 03 6c656173652d6964 101112131415161718191a1b1c1d1e1f" + "00" * 32
    )
    proof = HELLO.challenge(NONCES[1]).proof(TOKEN).serialise()
    assert proof[:48] == hello[:5] + b"\x03" + hello[6:32] + NONCES[1]
    assert proof[48:] == bytes.fromhex("df7a73faadfc01c282c5b6d339ed8ed9")


@given(preambles)
def test_round_trip(preamble: Preamble) -> None:
    """Serialise then parse gives the same message, of 64 octets."""
    data = preamble.serialise()
    assert len(data) == PREAMBLE_OCTETS
    assert Preamble.parse(data) == preamble


@given(st.binary(max_size=80) | st.binary(min_size=58, max_size=58).map(lambda rest: b"IsoT\x01\x03" + rest))
def test_any_octets(data: bytes) -> None:
    """Any octets parse or raise our error; what parses is exactly what its message says."""
    try:
        preamble = Preamble.parse(data)
    except WireError:
        return
    assert preamble.serialise() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(63), "needs 64 octets, got 63"),
        (bytes(65), "has 64 octets, got 65"),
        (b"GET / HT" + bytes(56), "not a throughput preamble of version 1"),
        (b"IsoT\x02\x01\x00\x00" + bytes(56), "not a throughput preamble of version 1"),
        (b"IsoT\x01\x06\x00\x00" + bytes(56), "unknown kind 6"),
        (b"IsoT\x01\x01\x02\x00" + bytes(56), "way 2, stream 0"),
        (b"IsoT\x01\x01\x00\x08" + bytes(56), "way 0, stream 8"),
    ],
)
def test_what_is_no_preamble(data: bytes, message: str) -> None:
    """Another length, protocol, version, kind, way or stream is named."""
    with pytest.raises(WireError, match=message) as error:
        Preamble.parse(data)
    assert isinstance(error.value, Truncated) == (len(data) < PREAMBLE_OCTETS)


def test_a_conversation() -> None:
    """Hello, challenge, proof, accept: each answers the one before, and both tags are the token's."""
    challenge = HELLO.challenge(NONCES[1])
    proof = challenge.proof(TOKEN)
    accept = proof.accept(TOKEN)
    assert challenge.answers(HELLO)
    assert proof.answers(challenge)
    assert accept.answers(proof)
    assert proof.refuse().answers(proof)
    assert proof.refuse().tag == NO_TAG
    assert proof.proves(TOKEN)
    assert accept.accepts(TOKEN)
    assert not accept.accepts(Key(bytes(16)))


@given(preambles)
def test_nothing_but_a_proof_proves(preamble: Preamble) -> None:
    """No message whose tag was not made with the token has it, and neither has one of a kind without a tag."""
    assert not preamble.proves(TOKEN)
    assert not preamble.accepts(TOKEN)
    proof, accept = preamble.proof(TOKEN), preamble.accept(TOKEN)
    # neither end can be made to say the other's words for it
    for other in (replace(proof, kind=PreambleKind.ACCEPT), replace(accept, kind=PreambleKind.PROOF)):
        assert not other.proves(TOKEN)
        assert not other.accepts(TOKEN)
    assert not proof.accepts(TOKEN)
    assert not accept.proves(TOKEN)


@given(preambles, st.integers(0, 47), st.integers(1, 255))
def test_a_tag_covers_all(preamble: Preamble, at: int, change: int) -> None:
    """Whatever octet is changed, the proof is none any more."""
    data = bytearray(preamble.proof(TOKEN).serialise())
    data[at] ^= change
    try:
        changed = Preamble.parse(data)
    except WireError:
        return
    assert not changed.proves(TOKEN)


def test_an_answer_to_another_question() -> None:
    """Another stream, lease or nonce is no answer."""
    proof = HELLO.challenge(NONCES[1]).proof(TOKEN)
    for other in (
        replace(proof, stream=2),
        replace(proof, way=Way.DOWN),
        replace(proof, lease=b"lease-ID"),
        replace(proof, client_nonce=NONCES[1]),
        replace(proof, server_nonce=NONCES[0]),
    ):
        assert not other.answers(proof)


def test_a_cookie_comes_back_from_where_it_was_sent() -> None:
    """A proof with its source's cookie is good for five seconds, for no other source and no other stream."""
    cookies = Cookies(Key(b"s" * 16))
    for now_ns in (0, 3 * SECOND_NS, 999 * SECOND_NS):
        proof = HELLO.challenge(cookies.bake(HELLO, HOST, PORT, now_ns)).proof(TOKEN)
        assert cookies.has_baked(proof, HOST, PORT, now_ns)
        assert cookies.has_baked(proof, HOST, PORT, now_ns + 5 * SECOND_NS)
        assert not cookies.has_baked(proof, HOST, PORT, now_ns + 10 * SECOND_NS)
        assert not cookies.has_baked(proof, bytes([192, 0, 2, 10]), PORT, now_ns)
        assert not cookies.has_baked(proof, HOST + bytes(12), PORT, now_ns)
        assert not cookies.has_baked(proof, HOST, PORT + 1, now_ns)
        assert not cookies.has_baked(replace(proof, stream=4), HOST, PORT, now_ns)
        assert not cookies.has_baked(replace(proof, way=Way.DOWN), HOST, PORT, now_ns)
        assert not cookies.has_baked(replace(proof, lease=b"lease-ID"), HOST, PORT, now_ns)
        assert not cookies.has_baked(replace(proof, client_nonce=NONCES[1]), HOST, PORT, now_ns)
        assert not Cookies(Key(b"t" * 16)).has_baked(proof, HOST, PORT, now_ns)
