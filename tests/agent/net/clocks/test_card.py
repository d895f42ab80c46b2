"""Cards that stamp: found among interfaces, and their clocks by the system clock."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest

from agent.core.interval import UNKNOWN_NS
from agent.net.clocks.card import Card, CardClock, ask_kernel, card_of, choose_card
from agent.net.clocks.phc import OpenClock
from tests.support.cards import FakeCards, FakeClock, card_clock
from tests.support.netns import joined_namespaces

EVERYTHING = 0x5F
SOFTWARE = 0x1A
ON, OFF = (1, 1), (0, 0)
PTP_ONLY = (1, 12)


def test_the_real_interfaces_are_asked() -> None:
    """The kernel answers for loopback, whose driver has no clock: not by a card."""
    info = bytearray(44)
    info[0] = 0x41
    ask_kernel(0x8946, "lo", info)
    assert int.from_bytes(info[8:12], "little", signed=True) == -1
    assert card_of("lo") is None
    assert card_of("nonesuch0") is None


def test_without_a_card_the_reason_is_told() -> None:
    """Loopback alone: no hardware, and whoever asks is told so."""
    assert choose_card(["lo"]) == (None, "no interface stamps in hardware")


def test_a_card_that_stamps_is_used() -> None:
    """One that was told to stamp everything, by whomever, beside interfaces that cannot."""
    cards = FakeCards({"lo": (SOFTWARE, -1), "eth0": (EVERYTHING, 3)}, {"eth0": ON})
    opened: list[Path] = []

    def open_clock(device: Path) -> OpenClock:
        opened.append(device)
        return FakeClock(device)

    found = choose_card(["lo", "eth0", "sit0"], cards, open_clock)
    assert found.clock is not None
    assert found.clock.card == Card("eth0", 3, receives=True)
    assert opened == [Path("/dev/ptp3")]
    assert found.explanation == "eth0 stamps in hardware, by /dev/ptp3"


def test_a_card_that_ptp_uses_is_left_as_it_is() -> None:
    """ptp4l's filter stays: such a card's times of sending are used, and nobody's settings are changed."""
    cards = FakeCards({"eth0": (EVERYTHING, 0)}, {"eth0": PTP_ONLY})
    assert card_of("eth0", cards) == Card("eth0", 0, receives=False)
    assert cards.told["eth0"] == PTP_ONLY


def test_an_idle_card_is_told_to_stamp_where_that_is_permitted(caplog: pytest.LogCaptureFixture) -> None:
    """And where it is not, how to do so is told."""
    cards = FakeCards({"eth0": (EVERYTHING, 0), "eth1": (EVERYTHING & ~4, 0)}, {"eth0": OFF, "eth1": OFF})
    assert card_of("eth0", cards) == Card("eth0", 0, receives=True)
    assert card_of("eth1", cards) == Card("eth1", 0, receives=False)
    assert cards.told == {"eth0": (1, 1), "eth1": (1, 0)}
    idle = FakeCards({"eth3": (EVERYTHING, 0)}, {"eth3": OFF})
    assert choose_card(["eth3"], idle, FakeClock, turn_on=False).clock is None
    assert idle.told["eth3"] == OFF, "whoever only looks changes nothing"
    with caplog.at_level(logging.INFO):
        assert card_of("eth2", FakeCards({"eth2": (EVERYTHING, 0)}, {"eth2": OFF}, permitted=False)) is None
    assert "hwstamp_ctl -i eth2 -t 1 -r 1" in caplog.text


@pytest.mark.parametrize(
    ("able", "told"),
    [((SOFTWARE, 0), ON), ((EVERYTHING, -1), ON), ((EVERYTHING & ~64, 0), ON), ((EVERYTHING, 0), (2, 1))],
    ids=["software only", "no clock", "not raw", "one-step"],
)
def test_what_does_not_stamp_is_no_card(able: tuple[int, int], told: tuple[int, int]) -> None:
    """Hardware that lacks any part of it is not used."""
    assert card_of("eth0", FakeCards({"eth0": able}, {"eth0": told})) is None


def test_two_clocks_are_one_too_many() -> None:
    """Nobody could say by which of two clocks a time is; two ports of one clock are well."""
    able = {"eth0": (EVERYTHING, 0), "eth1": (EVERYTHING, 1), "eth2": (EVERYTHING, 0)}
    cards = FakeCards(able, dict.fromkeys(able, ON))
    refused = choose_card(list(able), cards, FakeClock)
    assert refused.clock is None
    assert "more than one card stamps" in refused.explanation
    assert choose_card(["eth0", "eth2"], cards, FakeClock).clock is not None


def test_a_clock_that_may_not_be_read_is_told() -> None:
    """The reason is the kernel's."""
    found = choose_card(["eth0"], FakeCards({"eth0": (EVERYTHING, 77)}, {"eth0": ON}))
    assert found.clock is None
    assert "its clock cannot be read: [Errno 2]" in found.explanation


def test_a_time_of_just_now_is_known() -> None:
    """The clocks are compared when a time is asked for that is newer than the last comparison, and not again for it."""
    clock = FakeClock()
    card = card_clock(clock)
    before_ns = time.time_ns()
    stamp_ns = clock.now_ns()
    after_ns = time.time_ns()
    (found_ns,), (bound_ns,) = card.system_ns(np.array([stamp_ns]))
    assert 0 < bound_ns < 50_000
    assert before_ns - bound_ns <= found_ns <= after_ns + bound_ns
    clock.gone = True
    assert card.system_ns(np.array([stamp_ns]))[1].tolist() == [bound_ns], "not compared anew"


def test_a_clock_that_is_gone_gives_no_time() -> None:
    """Nor does a closed one; and why is told."""
    clock = FakeClock()
    card = card_clock(clock)
    clock.gone = True
    assert card.system_ns(np.array([clock.now_ns()]))[1].tolist() == [UNKNOWN_NS]
    assert card.fault == "the clock of eth7 cannot be read: [Errno 19] No such device"
    card.keep_compared()
    card.close()
    assert clock.closed
    assert "cannot be read" in card.fault
    other = card_clock()
    other.close()
    assert other.fault == "closed"


def test_clocks_are_compared_ten_times_a_second() -> None:
    """However often that is asked for."""
    now_ns = 10**12
    clock = FakeClock()
    compared = 0
    compare = clock.compare

    def counting() -> object:
        nonlocal compared
        compared += 1
        return compare()

    clock.compare = counting  # type: ignore[method-assign,assignment]
    card = CardClock(Card("eth7", 0, receives=True), clock, lambda: now_ns)
    for _ in range(100):
        now_ns += 10_000_000
        card.keep_compared()
    assert compared == 11


def test_a_virtual_cable_has_no_card() -> None:
    """veth stamps in software only, and says so."""
    with joined_namespaces() as (left, _), left.entered():
        assert card_of(left.interface) is None
        assert choose_card() == (None, "no interface stamps in hardware")
