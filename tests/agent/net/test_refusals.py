"""Timestamped sockets whose kernel refuses some of what they send: every stamp still finds its datagram."""

from __future__ import annotations

import errno
import socket
import struct
import time

import pytest

from agent.net import control
from agent.net.datagram import TimestampedSocket
from agent.net.mmsg import OutgoingBatch
from tests.support.requirements import require
from tests.support.stamped import (
    LOOPBACK,
    Open,
    address_of,
    alias,
    assert_stamps_belong,
    bad_destination,
    number,
    receive_all,
    stamps_of,
)

PORT_UNREACHABLE = {socket.AF_INET: (3, 3), socket.AF_INET6: (1, 4)}


@pytest.mark.parametrize("bad", [{0}, {2}, {6}, {2, 3}, {0, 1, 5}, set(range(7))])
def test_a_refusal_concerns_one_datagram_alone(
    family: socket.AddressFamily, numbering: str, opened: Open, bad: set[int]
) -> None:
    """Refused datagrams, wherever they stand, are reported with their errno; the others leave and keep their stamps."""
    receiver, sender = opened(family), opened(family)
    good = address_of(receiver)
    refused, codes = bad_destination(family)
    everything: list[int] = []
    for _ in range(3):
        results = sender.send([(number(i), refused if i in bad else good, b"") for i in range(7)])
        assert {i for i, result in enumerate(results) if result < 0} == bad
        assert {-result for result in results if result < 0} <= set(codes)
        assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))
        everything += [result for result in results if result >= 0]
    assert everything == sorted(set(everything)), "a number was given twice"


def test_too_long_for_udp_is_refused(family: socket.AddressFamily, numbering: str, opened: Open) -> None:
    """EMSGSIZE in the middle of a batch, for a payload that no UDP datagram holds, shifts nobody's stamp."""
    receiver, sender = opened(family, payload_octets=1 << 17), opened(family, payload_octets=1 << 17)
    to = address_of(receiver)
    for _ in range(2):
        payloads = [number(0), bytes(1 << 16), number(2), number(3)]
        results = sender.send([(payload, to, b"") for payload in payloads])
        assert results[1] == -errno.EMSGSIZE
        assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


def test_a_number_spent_in_secret_shifts_nothing(
    family: socket.AddressFamily, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel counts, it may spend numbers on what it refuses: after a refusal the stamps are right again."""
    monkeypatch.setattr(control, "kernel_takes_transmit_ids", lambda: False)
    receiver, sender = opened(family), opened(family)
    good, (refused, _) = address_of(receiver), bad_destination(family)
    with alias(sender) as behind:
        behind.sendto(b"secret", (LOOPBACK[family], receiver.address[1]))
    receive_all(receiver)
    sender.send([(b"", refused, b"")])
    stamps_of(sender)
    results = sender.send([(number(i), good, b"") for i in range(5)])
    assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


def test_a_refusal_that_passes_shifts_nothing(
    family: socket.AddressFamily, numbering: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch cut short by a refusal that is gone at the second attempt is sent whole, with the right stamps."""
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    whole = OutgoingBatch.send

    second_attempt_ns = 0

    def cut(batch: OutgoingBatch, descriptor: int, first: int, count: int) -> int:
        nonlocal second_attempt_ns
        taken = whole(batch, descriptor, first, min(count, 2))
        if not first and numbering == "counted":
            # the kernel spends a number on what it refuses
            with alias(sender) as behind:
                behind.sendto(b"", (LOOPBACK[family], receiver.address[1]))
        if not first:
            second_attempt_ns = time.time_ns()
        return taken

    monkeypatch.setattr(OutgoingBatch, "send", cut)
    results = sender.send([(number(i), to, b"") for i in range(5)])
    received = [one for one in receive_all(receiver) if one[0]]
    stamps = {one: sent_ns for one, sent_ns in stamps_of(sender).items() if one in results}
    assert_stamps_belong(results, stamps, received)
    assert stamps[results[1]] < second_attempt_ns <= stamps[results[2]]


def test_a_full_buffer_refuses_the_rest(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room, nothing further is tried: the rest of the batch is refused with the same errno."""
    receiver, sender = opened(socket.AF_INET), opened(socket.AF_INET)
    to = address_of(receiver)
    whole = OutgoingBatch.send
    attempts = []

    def filling(batch: OutgoingBatch, descriptor: int, first: int, count: int) -> int:
        attempts.append((first, count))
        return -errno.EAGAIN if first else whole(batch, descriptor, 0, 3)

    monkeypatch.setattr(OutgoingBatch, "send", filling)
    results = sender.send([(number(i), to, b"") for i in range(6)])
    assert attempts == [(0, 6), (3, 3)]
    assert results == [0, 1, 2] + [-errno.EAGAIN] * 3


def test_the_turn_of_the_kernels_number_is_survived(family: socket.AddressFamily, opened: Open) -> None:
    """Beyond 2^32 datagrams the stamps still find theirs, in the batch that turns too."""
    require(control.kernel_takes_transmit_ids(), "this kernel takes no chosen transmit numbers (Linux 6.13)")
    receiver, sender = opened(family), opened(family)
    to = address_of(receiver)
    sender._times._ids.next = (1 << 32) - 3
    results = sender.send([(number(i), to, b"") for i in range(8)])
    assert results == list(range((1 << 32) - 3, (1 << 32) + 5))
    assert_stamps_belong(results, stamps_of(sender), receive_all(receiver))


def test_an_error_that_one_datagram_meets_refuses_no_other(
    family: socket.AddressFamily, numbering: str, opened: Open
) -> None:
    """Where ICMP errors are heard the kernel tells each in place of a send or a receive; nothing is lost by that."""
    receiver, closed = opened(family), opened(family)
    open_, nowhere = address_of(receiver), address_of(closed)
    closed.close()
    sender = TimestampedSocket(family, (LOOPBACK[family], 0), hear_errors=True)
    stamps: dict[int, int] = {}
    results: list[int] = []
    for first in range(0, 60, 6):
        to = [open_, nowhere, open_, open_, nowhere, nowhere]
        results += sender.send([(number(first + at), one, b"") for at, one in enumerate(to)])
        if first % 12:  # else the error is told at the next send
            assert sender.receive() == []
            stamps |= stamps_of(sender)
    stamps |= stamps_of(sender)
    sender.close()
    assert results == list(range(60))
    (answer,) = sender.icmp_answers
    assert (answer.destination, answer.kind, answer.code) == (nowhere, *PORT_UNREACHABLE[family])
    assert 1 <= sender.icmp_answers[answer] <= 30
    received = {
        struct.unpack_from("=I", payload)[0]: one.received_ns for payload, one in receive_all(receiver)
    }
    assert sorted(received) == [index for index in results if index % 6 in (0, 2, 3)]
    assert set(stamps) <= set(results)
    assert numbering == "counted" or len(stamps) == 60, "a stamp is missing"
    for index, arrived_ns in received.items():
        assert arrived_ns is not None
        assert index not in stamps or stamps[index] <= arrived_ns
