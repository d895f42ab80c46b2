"""Authenticated STAMP packets and the keys they are signed with."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import (
    AUTHENTICATED_OCTETS,
    Key,
    KeyRing,
    parse_reflector,
    parse_sender,
    serialise_reflector,
    serialise_sender,
    set_timestamp,
    ssid_of,
    verify,
)
from agent.core.exceptions import NotAuthentic, Truncated, WireError
from agent.core.stamp import ReflectorPacket, SenderPacket
from tests.support.tlvs import KEY, OTHER_KEY, mutated, u8, u16, u32, u64

senders = st.builds(SenderPacket, u32, u64, u16, u16)
reflectors = st.builds(ReflectorPacket, u32, u64, u16, u16, u64, u32, u64, u16, u8)
keys = st.binary(min_size=16, max_size=80).map(Key)
SENDER = SenderPacket(1, 0xE8FE6F80_80000000, 0x8AD2, 42)


def test_sender_vector() -> None:
    """The signature is that of a known packet under a known key, and stands in the last 16 octets."""
    assert serialise_sender(SENDER, Key(bytes(range(16)))).hex() == (
        "00000001" + "00" * 12 + "e8fe6f8080000000" + "8ad2" + "002a" + "00" * 68
    ) + ("394ae455be2222ad297b4497caed2624")


def test_reflector_vector() -> None:
    """The octets stand where RFC 8762 figure 6 and RFC 8972 figure 2 draw them; those that must be zero are."""
    packet = ReflectorPacket(
        2, 0x1111111122222222, 0x8001, 42, 0x3333333344444444, 9, 0x5555555566666666, 0x8AD2, 64
    )
    assert serialise_reflector(packet, KEY)[:96] == bytes.fromhex(
        "00000002 000000000000000000000000 1111111122222222 8001 002a 00000000"
        "3333333344444444 0000000000000000 00000009 000000000000000000000000"
        "5555555566666666 8ad2 000000000000 40 000000000000000000000000000000"
    )


@given(keys, st.binary(max_size=200))
def test_signature_is_hmac_sha_256(key: Key, octets: bytes) -> None:
    """The signature is HMAC-SHA-256 as RFC 2104 writes it down, cut to 16 octets."""
    block = (hashlib.sha256(key.secret).digest() if len(key.secret) > 64 else key.secret).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(octet ^ 0x36 for octet in block) + octets).digest()
    assert key.sign(octets) == hashlib.sha256(bytes(octet ^ 0x5C for octet in block) + inner).digest()[:16]


@given(senders, keys, st.binary(max_size=40))
def test_sender_round_trip(packet: SenderPacket, key: Key, rest: bytes) -> None:
    """Serialise then parse gives the same request, whatever follows the base."""
    octets = serialise_sender(packet, key)
    assert len(octets) == AUTHENTICATED_OCTETS
    assert parse_sender(octets + rest, [key]) == (packet, key)
    assert ssid_of(octets) == packet.ssid


@given(reflectors, keys, st.binary(max_size=40))
def test_reflector_round_trip(packet: ReflectorPacket, key: Key, rest: bytes) -> None:
    """Serialise then parse gives the same reply, whatever follows the base."""
    octets = serialise_reflector(packet, key)
    assert parse_reflector(memoryview(octets + rest), [key]) == (packet, key)
    assert ssid_of(octets) == packet.ssid


@given(senders, reflectors, keys, u64)
def test_timestamp_is_set_and_signed(
    sender: SenderPacket, reflector: ReflectorPacket, key: Key, stamp: int
) -> None:
    """T1 and T3 can be written into a finished packet, which is then signed as it is."""
    request, reply = serialise_sender(sender, key), serialise_reflector(reflector, key)
    set_timestamp(request, stamp, key)
    set_timestamp(reply, stamp, key)
    assert parse_sender(request, [key])[0] == sender._replace(timestamp=stamp)
    assert parse_reflector(reply, [key])[0] == reflector._replace(timestamp=stamp)


@pytest.mark.parametrize("read", [parse_sender, parse_reflector, verify])
def test_every_octet_is_protected(read: Callable[..., object]) -> None:
    """One octet changed anywhere in the 112, those that must be zero included, and nothing is read."""
    packet = serialise_sender(SENDER, KEY)
    for at in range(AUTHENTICATED_OCTETS):
        changed = bytearray(packet)
        changed[at] ^= 1
        with pytest.raises(NotAuthentic):
            read(changed, [KEY])


def test_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is the one that does not stop at the first difference."""
    compared: list[tuple[Any, Any]] = []

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(NotAuthentic):
        verify(serialise_sender(SENDER, KEY), [KEY, OTHER_KEY])
    assert [len(one) for one, _ in compared] == [16, 16]


@given(st.binary(max_size=130))
def test_any_octets(data: bytes) -> None:
    """Octets that nobody has signed raise our error."""
    for read in (parse_sender, parse_reflector, verify):
        with pytest.raises(Truncated if len(data) < AUTHENTICATED_OCTETS else NotAuthentic):
            read(data, [KEY])
    if len(data) < AUTHENTICATED_OCTETS:
        with pytest.raises(Truncated, match=f"needs 112 octets, got {len(data)}"):
            ssid_of(data)


def test_mutated_packets() -> None:
    """Thousands of damaged packets: each is refused with our error, or is still octet for octet what was signed."""
    rng = random.Random(8762)
    for _ in range(3000):
        packet = bytes(serialise_sender(SenderPacket(rng.getrandbits(32), rng.getrandbits(64), 1, 42), KEY))
        damaged = mutated(packet, rng)
        try:
            parse_sender(damaged, [KEY])
        except WireError:
            continue
        assert damaged[:AUTHENTICATED_OCTETS] == packet


def test_rotation_leaves_no_gap() -> None:
    """Through all three steps of a rotation, on two ends that take them at different times, each verifies the other."""
    steps = [(KEY,), (KEY, OTHER_KEY), (OTHER_KEY, KEY), (OTHER_KEY,)]
    for one, other in [(step, step) for step in range(4)] + [(step, step + 1) for step in range(3)]:
        ours, theirs = (KeyRing({42: steps[step]}) for step in (one, other))
        for signing, verifying in ((ours, theirs), (theirs, ours)):
            packet = serialise_sender(SENDER, signing.keys(42)[0])
            assert parse_sender(packet, verifying.keys(ssid_of(packet)))[1] is signing.keys(42)[0]


def test_keys_by_ssid() -> None:
    """An SSID with keys of its own has only these; the others have the default, or none."""
    assert KeyRing({42: (KEY,)}, (OTHER_KEY,)).keys(42) == (KEY,)
    assert KeyRing({42: (KEY,)}, (OTHER_KEY,)).keys(0) == (OTHER_KEY,)
    assert KeyRing({42: (KEY,)}).keys(7) == ()
    with pytest.raises(NotAuthentic):
        verify(serialise_sender(SENDER, KEY), ())


def test_keys_are_not_shown() -> None:
    """No text of a key or a ring, nor the refusal of a short key, holds any of the secret."""
    ring = KeyRing({42: (KEY,)}, (OTHER_KEY,))
    texts = [repr(KEY), str(KEY), f"{ring}", repr(ring)]
    with pytest.raises(ValueError, match="15 octets is too short: at least 16") as refusal:
        Key(b"fifteen octets!")
    texts.append(str(refusal.value))
    assert texts[3] == "KeyRing(ssids=[42], default=True)"
    for text in texts:
        assert "\\x" not in text
        assert "fifteen" not in text
