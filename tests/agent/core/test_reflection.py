"""The reflector without its socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    """The least recently used session is forgotten, never the one in use."""
    reflection = Reflection(ReflectorMode.STATEFUL, max_sessions=2)
    packet = REQUEST.serialise()
    for source in (b"a", b"b", b"a", b"c", b"a"):
        last = reflect(reflection, packet, source=source).sequence
    assert last == 2
    assert reflection.sessions == 2
    assert reflect(reflection, packet, source=b"b").sequence == 0


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
