"""Which interface leads to a peer: the kernel's answer, and answers that are none."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from agent.net.interfaces import interface_towards, outgoing_interface, read_octets


def test_loopback_leads_to_this_host() -> None:
    """By address and by name; and it has counters."""
    assert interface_towards("127.0.0.1", 1) == "lo"
    assert interface_towards("127.1.2.3", 1) == "lo"
    assert interface_towards("localhost", 1) == "lo"
    assert interface_towards("nowhere.invalid", 1) is None
    octets = read_octets("lo")
    assert octets is not None
    assert octets.received >= 0
    assert read_octets("no-such-one") is None


def answer(attributes: bytes, kind: int = 24) -> bytes:
    return struct.pack("=IHHII", 28 + len(attributes), kind, 0, 1, 0) + bytes(12) + attributes


def test_answers_of_the_kernel() -> None:
    """The outgoing interface stands among other attributes; an error has none."""
    outgoing = struct.pack("=HHI", 8, 4, 7)
    destination = struct.pack("=HH3sx", 7, 1, b"abc")
    assert outgoing_interface(answer(destination + outgoing)) == 7
    assert outgoing_interface(answer(destination)) is None
    assert outgoing_interface(answer(outgoing, kind=2)) is None
    assert outgoing_interface(answer(struct.pack("=HH", 3, 4))) is None
    assert outgoing_interface(b"") is None


@given(st.binary(max_size=80))
def test_whatever_comes(octets: bytes) -> None:
    """An index or none, and no exception."""
    outgoing_interface(octets)
    outgoing_interface(answer(octets))
