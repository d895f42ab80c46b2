"""Sockets whose times a network card takes: the real kernel on loopback, its answers as if there were a card."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from agent.core.interval import UNKNOWN_NS
from agent.net import control
from agent.net.card_stamps import CardStamps, least_method, stamping_method
from agent.net.clocks.card import CardClock
from agent.net.control import CONTROL_OCTETS
from agent.net.datagram import TimestampedSocket
from tests.support.cards import TAI_NS, FakeClock, card_clock, stamp_by_card
from tests.support.stamped import LOOPBACK, address_of, alias, number

SECOND = 1_000_000_000


@contextlib.contextmanager
def opened(
    family: socket.AddressFamily, card: CardClock | None, *, answering: bool = False
) -> Iterator[TimestampedSocket]:
    """A socket on loopback."""
    made = TimestampedSocket(family, (LOOPBACK[family], 0), answering=answering, card=card)
    try:
        yield made
    finally:
        made.close()


def flags_of(one: TimestampedSocket) -> int:
    """What the kernel was asked for."""
    with alias(one) as behind:
        return behind.getsockopt(socket.SOL_SOCKET, control.SO_TIMESTAMPING)


@pytest.mark.parametrize("answering", [False, True])
def test_times_are_the_cards_within_their_bound(
    family: socket.AddressFamily, numbering: str, monkeypatch: pytest.MonkeyPatch, answering: bool
) -> None:
    """A card's times of sending and of receiving are told by the system clock, outside of the truth, with a bound."""
    with opened(family, card_clock(), answering=answering) as one:
        assert flags_of(one) & control.CARD_STAMPING_FLAGS == control.CARD_STAMPING_FLAGS
        stamp_by_card(monkeypatch)
        for few in (3, 20):
            before_ns = time.time_ns()
            numbers = one.send([(number(i), address_of(one), b"") for i in range(few)])
            came = one.receive_arrays()
            after_ns = time.time_ns()
            assert came.bounds_ns is not None
            assert (came.bounds_ns > 0).all()
            stamps = one.transmit_stamp_arrays()
            assert stamps.transmit_ids.tolist() == numbers
            assert (stamps.bounds_ns > 0).all()
            assert (stamps.transmitted_ns + stamps.bounds_ns >= before_ns).all()
            assert (came.received_ns <= after_ns).all()
            assert (came.received_ns >= stamps.transmitted_ns).all(), "no way is shorter than it was"
            assert (one.transmit_method, one.receive_method) == ("hardware", "hardware")
            assert one.card_bound_ns > 0


def test_a_few_requests_carry_who_took_their_times(
    family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one and as columns alike."""
    with opened(family, card_clock(), answering=True) as one:
        for by_card in (False, True):
            if by_card:
                stamp_by_card(monkeypatch)
            one.send([(b"x", address_of(one), b"")] * 3)
            assert one.fetch() == 3
            assert [came.by_card for came in one.fetched()] == [by_card] * 3
            requests = one.fetched_requests()
            assert requests.bounds_ns is not None
            assert (requests.bounds_ns > 0).tolist() == [by_card] * 3
            assert [came.received_ns for came in one.fetched()] == requests.received_ns.tolist()
            one.transmit_stamps()


def test_loopback_has_no_card_whatever_is_asked_for(family: socket.AddressFamily) -> None:
    """The kernel agrees to a card's times where there is no card; that proves nothing, and its own are used."""
    with opened(family, card_clock()) as one:
        one.send([(b"x", address_of(one), b"")] * 5)
        assert len(one.transmit_stamps()) == 5
        came = one.receive_arrays()
        assert came.bounds_ns is not None
        assert not came.bounds_ns.any()
        assert came.received_ns.all()
        assert (one.transmit_method, one.receive_method) == ("kernel", "kernel")


def test_a_card_that_is_gone_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where its clock cannot be read any more its times mean nothing: the kernel's own are asked for again."""
    clock = FakeClock()
    family = socket.AF_INET
    with opened(family, card_clock(clock)) as one:
        stamp_by_card(monkeypatch)
        clock.gone = True
        monkeypatch.undo()
        stamp_by_card(monkeypatch)
        one.send([(b"x", address_of(one), b"")])
        came = one.receive_arrays()
        assert came.bounds_ns is not None
        assert not came.bounds_ns.any()
        assert came.received_ns.all(), "the kernel's own time of receiving is there all the same"
        assert one.transmit_stamps() == [], "a time that means nothing is none"
        assert "no times by the card eth7 any more" in caplog.text
        assert flags_of(one) & control.CARD_STAMPING_FLAGS == 0
        monkeypatch.undo()
        one.send([(b"x", address_of(one), b"")] * 2)
        assert [stamp.bound_ns for stamp in one.transmit_stamps()] == [0, 0]
        assert (one.transmit_method, one.receive_method) == ("kernel", "kernel")


def test_stamps_that_never_come_are_not_waited_for_forever() -> None:
    """After a second in which many were sent and no time came, the card is done without; one lost time is no reason."""
    now_ns = 10**12
    stamps = CardStamps(card_clock(), lambda: now_ns)
    assert not stamps.have_stopped(100, 0)
    now_ns += SECOND // 2
    assert not stamps.have_stopped(100, 3), "some came"
    assert not stamps.have_stopped(100, 0)
    now_ns += 2 * SECOND
    assert not stamps.have_stopped(1, 0), "one lost"
    assert not stamps.have_stopped(100, 0)
    now_ns += 2 * SECOND
    assert stamps.have_stopped(100, 0)
    assert not stamps.in_use
    assert not stamps.have_stopped(100, 0), "told once"


def arrivals_of(stamps: CardStamps, *card_ns: int, kernel_ns: int) -> tuple[list[int], list[int]]:
    """What becomes of card times of arrivals, crafted, all with the same kernel time."""
    buffer = bytearray(len(card_ns) * CONTROL_OCTETS)
    results = np.zeros(len(card_ns), [("control_octets", "u8")])
    results["control_octets"] = 64
    rows = np.frombuffer(buffer, np.int64).reshape(len(card_ns), -1)
    rows[:, 1] = 37 << 32 | 1
    rows[:, 6], rows[:, 7] = np.divmod(np.array(card_ns), 10**9)
    found = stamps.arrivals(buffer, results, np.full(len(card_ns), kernel_ns))
    return found.times_ns.tolist(), found.bounds_ns.tolist()


def test_the_kernel_knows_what_is_too_late() -> None:
    """No packet came after the kernel had it: a card's time is cut there, and one that surely contradicts is none."""
    clock = FakeClock()
    stamps = CardStamps(card_clock(clock))
    now_ns = time.time_ns()
    (late_ns, usual_ns, none_ns), bounds_ns = arrivals_of(
        stamps, now_ns + TAI_NS + 900_000, now_ns + TAI_NS, 0, kernel_ns=now_ns
    )
    assert late_ns == usual_ns == none_ns == now_ns
    assert bounds_ns[0] == bounds_ns[2] == 0
    assert 0 < bounds_ns[1] < 100_000
    assert not stamps.receives, "the latest had no time by the card"
    (alone_ns,), (bound_ns,) = arrivals_of(stamps, now_ns + TAI_NS, kernel_ns=0)
    assert now_ns <= alone_ns <= now_ns + bound_ns


def test_a_time_without_meaning_is_none() -> None:
    """By a clock that cannot be compared a departure has no time, nor has an arrival without the kernel's."""
    clock = FakeClock()
    card = card_clock(clock)
    clock.gone = True
    stamps = CardStamps(card)
    left = stamps.departures(np.array([clock.now_ns(), 7]), np.array([True, False]))
    assert left.times_ns.tolist() == [0, 7]
    assert left.bounds_ns.tolist() == [0, 0]
    assert arrivals_of(stamps, clock.now_ns(), kernel_ns=0) == ([0], [0])
    assert card.system_ns(np.array([5]))[1].tolist() == [UNKNOWN_NS]


def test_a_method_is_as_good_as_its_worst_socket() -> None:
    """The metric tells the least exact of all sockets."""
    assert stamping_method(by_kernel=False, by_card=True) == "user"
    assert least_method(["hardware", "kernel"]) == "kernel"
    assert least_method(["hardware", "user", "kernel"]) == "user"
    assert least_method(["hardware"]) == "hardware"
    assert least_method([]) == "kernel"
