"""Authenticated mode on the wire: who has a key is answered, and nothing is remembered of who has none."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.admission import AdmissionRules
from agent.core.authentication import (
    AUTHENTICATED_OCTETS,
    Key,
    KeyRing,
    parse_reflector,
    serialise_sender,
)
from agent.core.budget import CpuBudget
from agent.core.stamp import BASE_OCTETS, ReflectorPacket, SenderPacket
from agent.core.timestamps import ns_from_ntp
from agent.core.tlv_integrity import seal
from agent.core.tlv_reception import receive
from agent.core.tlv_values import ExtraPadding, FollowUpTelemetry, Hmac, serialise_request
from agent.reflector import stamp as reflector_module
from tests.support.reflectors import ANYBODY, Stage, reflector_on, request
from tests.support.tlvs import KEY, OTHER_KEY

SECOND = 1_000_000_000
NOBODY = replace(ANYBODY, allow=[])
RING = KeyRing({7: (KEY,)})
STRANGER = Key(b"a key that nobody knows here")
pytestmark = pytest.mark.usefixtures("way")


def ask_signed(sequence: int, key: Key = KEY, ssid: int = 7, tlvs: bytes = b"") -> bytes:
    """A request of authenticated mode."""
    packet = SenderPacket(sequence, (sequence + 1) << 20, 0x8AD2, ssid)
    octets = bytearray(tlvs)
    if octets:
        octets += serialise_request(Hmac())
        seal(octets, sequence, key, len(octets) - 20)
    return bytes(serialise_sender(packet, key) + octets)


async def test_who_has_a_key_is_answered_from_anywhere(stage: Stage) -> None:
    """The reply is signed with the key that has signed the request, T1 < T2 < T3 < T4, numbered by session, and tells
    under its own HMAC when the one before left."""
    reflector = stage.reflector(reflector_on("127.0.0.1", rules=NOBODY, keys=RING))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    for round_ in range(3):
        asked = [ask_signed(100 * round_ + n, tlvs=serialise_request(FollowUpTelemetry())) for n in range(15)]
        replies = await peer.ask(asked)
        assert len(replies) == 15
        for n, (octets, source, t4_ns) in enumerate(replies):
            reply, key = parse_reflector(octets, (KEY,))
            assert (len(octets), source, key) == (len(asked[n]), peer.target, KEY)
            assert (reply.sequence, reply.sender_sequence) == (15 * round_ + n, 100 * round_ + n)
            assert (reply.ssid, reply.sender_ttl, reply.sender_error_estimate) == (7, 255, 0x8AD2)
            assert t4_ns is not None
            t2_ns, t3_ns = (ns_from_ntp(t, t4_ns) for t in (reply.receive_timestamp, reply.timestamp))
            assert t4_ns - SECOND < t2_ns <= t3_ns <= t4_ns
            tlvs = receive(octets[AUTHENTICATED_OCTETS:], reply.sequence, (KEY,), hmac_required=True)
            assert tlvs.fault is None
            told = tlvs.values[0]
            assert isinstance(told, FollowUpTelemetry)
            if told == FollowUpTelemetry():
                # the first has none before it, and of what came faster than is told of the last leave together
                assert round_ == n == 0 or n > 7
                continue
            assert told.sequence == reply.sequence - 1
            assert t4_ns - SECOND < ns_from_ntp(told.timestamp, t4_ns) < t4_ns
            # what comes together is answered together
            assert n > 0 or ns_from_ntp(told.timestamp, t4_ns) < t2_ns
    assert reflector.results["reflected"] == 45


async def test_who_has_none_is_not_answered_and_not_remembered(stage: Stage) -> None:
    """A wrong key, no key for the SSID, a changed bit, padding instead: each has its result, no answer, no session."""
    reflector = stage.reflector(reflector_on("0.0.0.0", rules=NOBODY, keys=RING))
    peer = stage.peer("127.0.0.9", "127.0.0.1", reflector)
    changed = bytearray(ask_signed(1))
    changed[3] ^= 1
    forged = [
        ask_signed(1, STRANGER),
        ask_signed(1, ssid=8),
        bytes(changed),
        request(1, AUTHENTICATED_OCTETS),
        bytes(200),
    ]
    assert await peer.ask(forged * 4) == []
    assert await peer.ask([request(1), ask_signed(1)[:-1], b""] * 4) == []
    assert reflector.results["not_authentic"] == 20
    assert reflector.results["not_allowed"] == 12
    assert sum(reflector.results.values()) == 32
    assert (reflector.sessions, reflector._admission.sources) == (0, 0)


async def test_a_list_and_keys_side_by_side(stage: Stage) -> None:
    """Listed sources are answered in either mode, others with a key; a listed one's wrong signature is not answered,
    and its padding is no signature."""
    rules = replace(ANYBODY, allow=[ip_network("127.0.0.1")])
    reflector = stage.reflector(reflector_on("0.0.0.0", rules=rules, keys=RING))
    listed, other = (stage.peer(source, "127.0.0.1", reflector) for source in ("127.0.0.1", "127.0.0.2"))
    mixed = [request(0), ask_signed(1), request(2, 200), request(3) + bytes(156), ask_signed(4, STRANGER)] * 5
    replies = [octets for octets, _, _ in await listed.ask(mixed)]
    in_clear = [octets for octets in replies if ReflectorPacket.parse(octets).ssid == 3]
    assert len(in_clear) == 15
    assert {ReflectorPacket.parse(octets).sender_sequence for octets in in_clear} == {0, 2, 3}
    proven = [parse_reflector(octets, (KEY,))[0] for octets in replies if octets not in in_clear]
    assert [reply.sequence for reply in proven] == list(range(5))
    assert [
        parse_reflector(octets, (KEY,))[0].sender_sequence for octets, _, _ in await other.ask(mixed)
    ] == [1] * 5
    assert {name: count for name, count in reflector.results.items() if count} == {
        "reflected": 25,
        "not_allowed": 5,
        "not_authentic": 20,
    }
    assert reflector.sessions == 3


async def test_keys_are_rotated_without_a_gap(stage: Stage) -> None:
    """Both keys of the session are answered while both are valid, each with itself; counts and session stay."""
    reflector = stage.reflector(reflector_on("127.0.0.1", rules=NOBODY, keys=RING))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    steps: list[tuple[KeyRing, list[Key]]] = [
        (RING, [KEY]),
        (KeyRing({7: (KEY, OTHER_KEY)}), [KEY, OTHER_KEY]),
        (KeyRing({7: (OTHER_KEY, KEY)}), [KEY, OTHER_KEY]),
        (KeyRing({7: (OTHER_KEY,)}), [OTHER_KEY]),
    ]
    numbers = []
    for ring, valid in steps:
        reflector.update(NOBODY, ring, ())
        for key in (KEY, OTHER_KEY):
            for octets, _, _ in await peer.ask([ask_signed(1, key)] * 2):
                assert key in valid
                numbers.append(parse_reflector(octets, (key,))[0].sequence)
    assert numbers == list(range(12))
    assert reflector.results["not_authentic"] == 4
    reflector.update(NOBODY, None, ())
    assert await peer.ask([ask_signed(1, OTHER_KEY)]) == []
    assert reflector.results["not_allowed"] == 1


async def test_other_rules_keep_the_sessions(stage: Stage) -> None:
    """Whoever is taken from the list is refused from then on, and finds his session as it was when he is back."""
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    assert len(await peer.ask([request(0)] * 3)) == 3
    reflector.update(NOBODY, None, ())
    assert await peer.ask([request(0)]) == []
    reflector.update(ANYBODY, None, ())
    ((octets, _, _),) = await peer.ask([request(0)])
    assert ReflectorPacket.parse(octets).sequence == 3


async def test_without_time_only_known_sources_are_verified(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the CPU budget is spent, nobody makes the reflector compute signatures by making up a source."""
    reflector = stage.reflector(reflector_on("127.0.0.1", rules=NOBODY, keys=RING))
    peer, stranger = (stage.peer("127.0.0.1", "127.0.0.1", reflector) for _ in range(2))
    monkeypatch.setattr(CpuBudget, "is_spent", lambda self, now_ns: True)
    assert await stranger.ask([ask_signed(n, STRANGER) for n in range(15)]) == []
    assert reflector.results["over_budget"] == 15
    monkeypatch.setattr(CpuBudget, "is_spent", lambda self, now_ns: False)
    assert len(await peer.ask([ask_signed(1)])) == 1
    monkeypatch.setattr(CpuBudget, "is_spent", lambda self, now_ns: True)
    assert await peer.ask([ask_signed(n, STRANGER) for n in range(15)]) == []
    assert reflector.results["not_authentic"] == 15
    assert sum(reflector.results.values()) == 31


async def test_more_forgeries_than_are_read_at_once_are_not_all_verified(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a full batch some of the unknown sources' signatures are verified, and those of known ones all: whoever is
    known is answered, and a newcomer gets in."""
    monkeypatch.setattr(reflector_module, "_FEW", 0)
    reflector = stage.reflector(reflector_on("0.0.0.0", rules=NOBODY, keys=RING))
    known, other = (stage.peer(source, "127.0.0.1", reflector) for source in ("127.0.0.2", "127.0.0.3"))
    assert len(await known.ask([ask_signed(0)])) == 1
    known.send([ask_signed(n) for n in range(100)])
    assert len(await other.ask([ask_signed(n) for n in range(156)])) == 64
    assert len(list(known.replies())) == 100
    assert reflector.results["over_budget"] == 92


octets = st.one_of(
    st.binary(max_size=200),
    st.builds(request, st.integers(0, 9), st.sampled_from((44, 60, 112, 150))),
    st.builds(ask_signed, st.integers(0, 9), st.sampled_from((KEY, STRANGER)), st.integers(7, 8)),
    st.builds(
        lambda n, tail: ask_signed(n, tlvs=serialise_request(ExtraPadding(tail))),
        st.integers(0, 9),
        st.binary(max_size=20),
    ),
    st.just(ask_signed(0)[:60] + bytes(60)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(octets, min_size=1, max_size=12), st.booleans(), st.randoms(use_true_random=False))
async def test_nothing_is_lost_and_nobody_lets_himself_in(
    stage: Stage, asked: list[bytes], listed: bool, rng: random.Random
) -> None:
    """Whatever comes: every datagram has one result, every reply is as long as a request, and where nobody is listed,
    sessions and sources are only of those who have a key."""
    rules: AdmissionRules = ANYBODY if listed else NOBODY
    reflector = stage.reflector(reflector_on("127.0.0.1", rules=rules, keys=RING))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    rng.shuffle(asked)
    replies = await peer.ask(asked)
    assert sum(reflector.results.values()) == len(asked)
    assert reflector.results["reflected"] == len(replies)
    lengths = [len(one) for one in asked]
    for reply, _, _ in replies:
        lengths.remove(len(reply))
    if not listed:
        keyed = [one for one in asked if len(one) >= AUTHENTICATED_OCTETS and one[26:28] == b"\0\7"]
        assert len(replies) <= len(keyed)
        for reply, _, _ in replies:
            parse_reflector(reply, (KEY,))
        assert reflector.sessions == reflector._admission.sources == bool(replies)
    assert all(len(reply) >= BASE_OCTETS for reply, _, _ in replies)
    stage.close()
