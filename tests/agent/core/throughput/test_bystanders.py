"""Users' traffic: told by an interface's counters, and what nothing is known of is taken for traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.bystanders import Deferral, InterfaceOctets, Next
from agent.core.timestamps import SECOND_NS

COUNTERS = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 1234567    4321    0    0    0     0          0         0 7654321    4321    0    0 0 0 0 0
  eth0:99 1 0 0 0 0 0 0 77 1 0 0 0 0 0 0
"""


def at(second: int, received: int, sent: int = 0) -> InterfaceOctets:
    return InterfaceOctets(received, sent, second * SECOND_NS)


def test_the_counters_of_an_interface() -> None:
    """Those of the one that is asked for; a long number leaves no space after the colon."""
    assert InterfaceOctets.parse(COUNTERS, "lo", 5) == InterfaceOctets(1234567, 7654321, 5)
    assert InterfaceOctets.parse(COUNTERS, "eth0", 5) == InterfaceOctets(99, 77, 5)
    assert InterfaceOctets.parse(COUNTERS, "eth", 5) is None
    assert InterfaceOctets.parse("eth0: a b c d e f g h i", "eth0", 5) is None


@given(st.text())
def test_whatever_stands_there(text: str) -> None:
    """Counters or none, and no exception."""
    InterfaceOctets.parse(text, "eth0", 0)


def test_rates() -> None:
    """The busier way; counters that began anew tell nothing."""
    assert at(3, 1_000, 5_000).rate_since(at(1, 0, 1_000)) == 16_000
    assert at(3, 10).rate_since(at(1, 20)) is None
    assert at(1, 20).rate_since(at(1, 10)) is None


def test_a_test_waits_for_users() -> None:
    """It begins as soon as they carry no more than what is always there."""
    deferral = Deferral(8_000, 10 * SECOND_NS)
    assert deferral.look(at(0, 0), 0) is Next.WAIT
    assert deferral.look(at(1, 10_000), SECOND_NS) is Next.WAIT
    assert deferral.look(at(2, 11_000), 2 * SECOND_NS) is Next.TEST


def test_a_slot_ends() -> None:
    """A test whose users do not stop is left out, and so is one of which nothing is known."""
    deferral = Deferral(8_000, 2 * SECOND_NS)
    looks = [deferral.look(at(second, second * 10_000), second * SECOND_NS) for second in range(3)]
    assert looks == [Next.WAIT, Next.WAIT, Next.LEAVE]
    unknown = Deferral(8_000, 1 * SECOND_NS)
    assert [unknown.look(None, second * SECOND_NS) for second in range(2)] == [Next.WAIT, Next.LEAVE]
    gone = Deferral(8_000, 9 * SECOND_NS)
    looked = [gone.look(one, SECOND_NS) for one in (at(0, 0), None, at(2, 0), at(3, 0))]
    assert looked == [Next.WAIT, Next.WAIT, Next.WAIT, Next.TEST]
