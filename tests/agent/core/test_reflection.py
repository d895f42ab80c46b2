"""The reflector without its socket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import twamp_light
from agent.core.authentication import (
    AUTHENTICATED_OCTETS,
    KeyRing,
    parse_reflector,
    serialise_sender,
    set_timestamp,
)
from agent.core.claims import prove
from agent.core.exceptions import Truncated
from agent.core.reflection import (
    Reflection,
    ReflectorMode,
    Reply,
    Request,
    RequestColumns,
    Taker,
    Timestamping,
)
from agent.core.stamp import BASE_OCTETS, Octets, ReflectorPacket, SenderPacket
from agent.core.timestamps import ntp_from_ns
from agent.core.tlv_reception import receive
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    TimestampInformation,
    serialise_request,
)
from tests.support.tlvs import KEY, OTHER_KEY, SOURCE, signed, tlv_octets, values

REQUEST = SenderPacket(41, 0x0102030405060708, 0x8AD2, 7)


def reflect(
    reflection: Reflection, request: Octets, source: bytes = b"a", destination: bytes = b"r"
) -> ReflectorPacket:
    """Reflect with fixed times and parse the reply."""
    return ReflectorPacket.parse(ask(reflection, request, source, destination).octets)


def ask(
    reflection: Reflection,
    request: Octets,
    source: bytes = b"a",
    destination: bytes = b"r",
    *,
    ttl: int = 63,
    traffic_class: int = 0,
    received: int = 111,
    error_estimate: int = 0x8001,
    light: bool = False,
) -> Reply:
    """The reply to a request of unauthenticated mode."""
    return reflection.reply(
        Request(
            request, source, destination, SOURCE, ttl, traffic_class, received, error_estimate, light=light
        )
    )


def test_reply_gives_everything_back() -> None:
    """The reply carries T2, the TTL and what the sender sent; T3 is left to the last moment."""
    assert reflect(Reflection(ReflectorMode.STATEFUL), REQUEST.serialise()) == ReflectorPacket(
        0, 0, 0x8001, 7, 111, 41, 0x0102030405060708, 0x8AD2, 63
    )


def test_stateful_counts_per_session() -> None:
    """Each source, destination and SSID is counted from 0 on its own."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    packet = REQUEST.serialise()
    other = REQUEST._replace(ssid=8).serialise()
    assert [reflect(reflection, packet).sequence for _ in range(3)] == [0, 1, 2]
    assert reflect(reflection, other).sequence == 0
    assert reflect(reflection, packet, source=b"b").sequence == 0
    assert reflect(reflection, packet, destination=b"s").sequence == 0
    assert reflect(reflection, packet).sequence == 3
    assert reflection.sessions == 4


def test_stateless_copies() -> None:
    """A stateless reflector gives the sender's number back and remembers nothing."""
    reflection = Reflection(ReflectorMode.STATELESS)
    assert reflect(reflection, REQUEST.serialise()).sequence == 41
    assert reflection.sessions == 0


def test_sessions_are_bounded() -> None:
    """A session that is not used for long is forgotten, never one in use, whoever else comes once."""
    reflection = Reflection(ReflectorMode.STATEFUL, max_sessions=4)
    packet = REQUEST.serialise()
    for source in (b"a", b"a", *(b"%d" % n for n in range(100)), b"a"):
        last = reflect(reflection, packet, source=source).sequence
        assert reflection.sessions <= 4
    assert last == 2
    assert reflect(reflection, packet, source=b"0").sequence == 0
    assert reflect(reflection, packet, source=b"99").sequence == 1


payloads = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda sequence, ssid, tlvs: SenderPacket(sequence, 5, 0x8AD2, ssid).serialise() + tlvs,
        st.integers(0, 2**32 - 1),
        st.integers(0, 2),
        st.one_of(tlv_octets, st.just(bytes(9)), st.lists(values, max_size=2).map(lambda v: signed(*v))),
    ),
)


@given(payloads, st.sampled_from(ReflectorMode))
def test_never_amplifies(data: bytes, mode: ReflectorMode) -> None:
    """A reply is exactly as long as the request, whatever follows the base; a short request gets none."""
    reflection = Reflection(mode)
    if len(data) < BASE_OCTETS:
        with pytest.raises(Truncated):
            ask(reflection, data)
        assert reflection.sessions == 0
    else:
        assert len(ask(reflection, data).octets) == len(data)


@given(st.binary(max_size=100))
def test_twamp_light_is_answered_with_its_own_reply(data: bytes) -> None:
    """Of a configured peer, a request of 14 octets is answered with 41, a longer one with as many; without SSID."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    if len(data) < 14:
        with pytest.raises(Truncated):
            ask(reflection, data, light=True)
    else:
        reply = ask(reflection, data, ttl=64, received=1, error_estimate=3, light=True).octets
        assert len(reply) == max(41, len(data))
        assert twamp_light.parse_reply(reply) == ReflectorPacket(
            0, 0, 3, 0, 1, *twamp_light.parse_request(data)[:3], 64
        )


# TLVs


def follow(reflection: Reflection, left_ns: int | None = None) -> FollowUpTelemetry:
    """What a reply tells of the one before; it leaves itself at a time, or nobody knows when."""
    request = REQUEST.serialise() + serialise_request(FollowUpTelemetry(9, 9, 9))
    reply = ask(reflection, request)
    if left_ns is not None and reply.session is not None:
        reply.session.left(reply.sequence, left_ns)
    (value,) = receive(reply.octets[BASE_OCTETS:], 0).values
    assert isinstance(value, FollowUpTelemetry)
    return value


def test_follow_up_tells_when_the_reply_before_left() -> None:
    """Number, transmit time and method of the very reply before, zeros where its time is not known (section 4.7)."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    assert follow(reflection, left_ns=10**18) == FollowUpTelemetry()
    assert follow(reflection) == FollowUpTelemetry(0, ntp_from_ns(10**18), 2)
    assert follow(reflection, left_ns=10**18 + 5) == FollowUpTelemetry()
    reflect(reflection, REQUEST.serialise())
    assert follow(reflection) == FollowUpTelemetry()


def test_a_time_that_comes_late_is_not_that_of_a_later_reply() -> None:
    """What is learnt of a reply after the next one has left is kept from being told as the next one's."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    first, second = (ask(reflection, REQUEST.serialise()) for _ in range(2))
    assert first.session is not None
    assert second.session is first.session
    second.session.left(second.sequence, 20)
    first.session.left(first.sequence, 10)
    assert follow(reflection) == FollowUpTelemetry(1, ntp_from_ns(20), 2)


def test_nothing_is_told_where_nothing_is_remembered() -> None:
    """A stateless reflector gives zeros for the reply before, and answers no Direct Measurement."""
    reflection = Reflection(ReflectorMode.STATELESS)
    assert follow(reflection) == FollowUpTelemetry()
    request = REQUEST.serialise() + serialise_request(DirectMeasurement(7))
    assert ask(reflection, request).octets[BASE_OCTETS:] == request[BASE_OCTETS:]


def test_counters_tell_what_was_received_and_sent() -> None:
    """Direct Measurement counts the session's packets, this one among them, and not what the kernel did not take."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    request = REQUEST.serialise() + serialise_request(DirectMeasurement(7))
    reply = ask(reflection, request)
    assert receive(reply.octets[BASE_OCTETS:], 0).values == (DirectMeasurement(7, 1, 1),)
    assert reply.session is not None
    reply.session.unsent += 1
    octets = ask(reflection, request).octets
    assert receive(octets[BASE_OCTETS:], 0).values == (DirectMeasurement(7, 2, 1),)


@pytest.mark.parametrize(
    ("wish", "arrived", "allowed", "expected", "rp"),
    [
        (46, 0, [46], 46, 0),
        (46, 46, [], 0, 1),
        (46, 10, [10], 10, 1),
        (0, 46, [], 0, 0),
    ],
)
def test_replies_are_marked_as_policy_allows(
    wish: int, arrived: int, allowed: list[int], expected: int, rp: int
) -> None:
    """As asked for where that is allowed; else as the request arrived, if that is, and RP says so; else not at all."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    reflection.allow_markings(allowed)
    request = REQUEST.serialise() + serialise_request(ClassOfService(wish))
    reply = ask(reflection, request, traffic_class=arrived << 2 | 1)
    assert reply.dscp == expected
    assert receive(reply.octets[BASE_OCTETS:], 0).values == (ClassOfService(wish, arrived, 1, rp),)
    assert ask(reflection, REQUEST.serialise(), traffic_class=46 << 2).dscp == 0


def test_timestamping_is_told_as_it_is() -> None:
    """Another method of T2 where the kernel gave no receive time, and where a network card took it."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    reflection.timestamping = Timestamping(*(TimestampInformation(1, method, 1, 3) for method in (3, 2, 1)))
    request = REQUEST.serialise() + serialise_request(TimestampInformation())
    for taker, expected in zip(Taker, reflection.timestamping, strict=True):
        reply = reflection.reply(Request(request, b"a", b"r", SOURCE, 1, 0, 1, 1, taker))
        assert receive(reply.octets[BASE_OCTETS:], 0).values == (expected,)


def test_tlvs_are_verified_in_unauthenticated_mode_too() -> None:
    """With the keys of the SSID, and signed with the one that has signed; without keys everything has I=1."""
    request = REQUEST.serialise() + signed(ClassOfService(0), key=OTHER_KEY)
    reflection = Reflection(ReflectorMode.STATEFUL)
    assert ask(reflection, request).octets[BASE_OCTETS] == 0xA0
    reflection.keys = KeyRing({REQUEST.ssid: (KEY, OTHER_KEY)})
    reply = ask(reflection, request).octets
    assert receive(reply[BASE_OCTETS:], 1, (OTHER_KEY,), hmac_required=True).fault is None


# Authenticated mode

RING = KeyRing({REQUEST.ssid: (KEY,)})


def ask_signed(reflection: Reflection, request: bytes) -> Reply:
    """The reply to a request of authenticated mode."""
    return reflection.reply(
        Request(request, b"a", b"r", SOURCE, 63, 0, 111, 0x8001, signed=prove(request, RING))
    )


def test_signed_requests_get_replies_that_can_be_signed() -> None:
    """In the frame of authenticated mode, as long as the request, with the key that has signed it."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    for tlvs in (b"", signed(FollowUpTelemetry()), serialise_request(ExtraPadding(b"xyz"))):
        request = bytes(serialise_sender(REQUEST, KEY)) + tlvs
        reply = ask_signed(reflection, request)
        assert len(reply.octets) == len(request)
        assert reply.key is KEY
        set_timestamp(reply.octets, 222, KEY)
        packet, key = parse_reflector(reply.octets, (KEY,))
        assert key is KEY
        assert packet == ReflectorPacket(reply.sequence, 222, 0x8001, REQUEST.ssid, 111, *REQUEST[:3], 63)
        received = receive(reply.octets[AUTHENTICATED_OCTETS:], reply.sequence, (KEY,), hmac_required=True)
        assert received.fault is None


def test_who_has_no_key_moves_no_number_of_who_has() -> None:
    """The same addresses and SSID in the other mode are another session."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    authentic = bytes(serialise_sender(REQUEST, KEY))
    assert ask_signed(reflection, authentic).sequence == 0
    assert reflect(reflection, REQUEST.serialise()).sequence == 0
    assert ask_signed(reflection, authentic).sequence == 1
    assert reflection.sessions == 2


def test_signed_tlvs_need_their_own_signature() -> None:
    """In authenticated mode TLVs without HMAC come back with I=1 (RFC 8972, section 4.8)."""
    request = bytes(serialise_sender(REQUEST, KEY)) + serialise_request(FollowUpTelemetry())
    assert ask_signed(Reflection(ReflectorMode.STATEFUL), request).octets[AUTHENTICATED_OCTETS] == 0xA0


# Many at once

_requests = st.lists(
    st.tuples(
        st.sampled_from((b"aaaa", b"bbbb")),
        st.sampled_from((b"rr", b"ss")),
        payloads.map(lambda data: data.ljust(BASE_OCTETS, b"s")),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.integers(0, 0xFFFF),
        st.sampled_from(Taker),
    ),
    min_size=1,
    max_size=10,
)


def _reflection(mode: ReflectorMode) -> Reflection:
    made = Reflection(mode)
    made.allow_markings([46, 10])
    made.keys = KeyRing({1: (OTHER_KEY, KEY)})
    made.timestamping = Timestamping(*(TimestampInformation(5, method, 5, 3) for method in (3, 2, 1)))
    return made


@given(st.sampled_from(ReflectorMode), st.lists(_requests, min_size=1, max_size=3))
def test_batches_are_answered_like_their_packets(
    mode: ReflectorMode, batches: list[list[tuple[bytes, bytes, bytes, int, int, int, int, Taker]]]
) -> None:
    """As columns, replies are octet by octet those that each request gets by itself, of the same sessions, with the
    same marking; also when it is known between the batches when some of them left, and that others did not."""
    one_by_one, at_once = _reflection(mode), _reflection(mode)
    for requests in batches:
        expected = [
            one_by_one.reply(Request(data, source, destination, source, ttl, marking, t2, estimate, taker))
            for source, destination, data, ttl, marking, t2, estimate, taker in requests
        ]
        sources, destinations, data, ttls, markings, t2, estimates, takers = zip(*requests, strict=True)
        longest = max(map(len, data)) + 3
        packets = np.frombuffer(b"".join(one.ljust(longest, b"*") for one in data), np.uint8)
        packets = packets.reshape(-1, longest).copy()
        addresses = np.frombuffer(b"".join(sources), np.uint8).reshape(-1, 4)
        found = at_once.reply_all(
            RequestColumns(
                packets,
                np.array([len(one) for one in data]),
                addresses,
                np.frombuffer(b"".join(destinations), np.uint8).reshape(-1, 2),
                addresses,
                np.array(ttls),
                np.array(markings),
                np.array(t2, np.uint64),
                np.array(estimates, np.uint16),
                np.array(takers),
            )
        )
        assert [packet.tobytes()[: len(one)] for packet, one in zip(packets, data, strict=True)] == [
            bytes(one.octets) for one in expected
        ]
        assert found.dscps.tolist() == [one.dscp for one in expected]
        assert list(found.sequences) == [one.sequence for one in expected]
        assert at_once.sessions == one_by_one.sessions
        for index, (one, other) in enumerate(zip(expected, found.sessions, strict=False)):
            assert one.session is not None
            for session in (one.session, other):
                if index % 3 == 0:
                    session.unsent += 1
                else:
                    session.left(one.sequence, 10**18 + index)
