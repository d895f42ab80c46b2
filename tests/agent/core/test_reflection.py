"""The reflector without its socket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import twamp_light
from agent.core.exceptions import Truncated
from agent.core.reflection import Reflection, ReflectorMode
from agent.core.stamp import BASE_OCTETS, Octets, ReflectorPacket, SenderPacket

REQUEST = SenderPacket(41, 0x0102030405060708, 0x8AD2, 7)


def reflect(
    reflection: Reflection, request: Octets, source: bytes = b"a", destination: bytes = b"r"
) -> ReflectorPacket:
    """Reflect with fixed times and parse the reply."""
    return ReflectorPacket.parse(reflection.reply(request, source, destination, 63, 111, 0x8001))


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


@given(st.binary(max_size=200))
def test_never_amplifies(data: bytes) -> None:
    """A reply is exactly as long as the request and repeats what follows the base; a short request gets none."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    if len(data) < BASE_OCTETS:
        with pytest.raises(Truncated):
            reflect(reflection, data)
        assert reflection.sessions == 0
    else:
        reply = reflection.reply(data, b"a", b"r", 64, 1, 3)
        assert len(reply) == len(data)
        assert reply[BASE_OCTETS:] == data[BASE_OCTETS:]


@given(st.binary(max_size=100))
def test_twamp_light_is_answered_with_its_own_reply(data: bytes) -> None:
    """Of a configured peer, a request of 14 octets is answered with 41, a longer one with as many; without SSID."""
    reflection = Reflection(ReflectorMode.STATEFUL)
    if len(data) < 14:
        with pytest.raises(Truncated):
            reflection.reply(data, b"a", b"r", 64, 1, 3, light=True)
    else:
        reply = reflection.reply(data, b"a", b"r", 64, 1, 3, light=True)
        assert len(reply) == max(41, len(data))
        assert twamp_light.parse_reply(reply) == ReflectorPacket(
            0, 0, 3, 0, 1, *twamp_light.parse_request(data)[:3], 64
        )


_requests = st.lists(
    st.tuples(
        st.sampled_from((b"aaaa", b"bbbb")),
        st.sampled_from((b"rr", b"ss")),
        st.binary(min_size=BASE_OCTETS, max_size=BASE_OCTETS + 9),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.integers(0, 0xFFFF),
    ),
    min_size=1,
    max_size=40,
)


@given(st.sampled_from(ReflectorMode), _requests)
def test_a_batch_is_answered_like_its_packets(
    mode: ReflectorMode, requests: list[tuple[bytes, bytes, bytes, int, int, int]]
) -> None:
    """As columns, replies are octet by octet those that each request gets by itself, of the same sessions."""
    one_by_one, at_once = Reflection(mode), Reflection(mode)
    expected = [
        one_by_one.reply(data, source, destination, ttl, t2, estimate)
        for source, destination, data, ttl, t2, estimate in requests
    ]
    sources, destinations, data, ttls, t2, estimates = zip(*requests, strict=True)
    packets = np.frombuffer(b"".join(one.ljust(60, b"*") for one in data), np.uint8).reshape(-1, 60).copy()
    at_once.reply_all(
        packets,
        np.frombuffer(b"".join(sources), np.uint8).reshape(-1, 4),
        np.frombuffer(b"".join(destinations), np.uint8).reshape(-1, 2),
        np.array(ttls),
        np.array(t2, np.uint64),
        np.array(estimates, np.uint16),
    )
    found = [packet.tobytes()[: len(one)] for packet, one in zip(packets, data, strict=True)]
    assert found == [bytes(one) for one in expected]
    assert at_once.sessions == one_by_one.sessions
