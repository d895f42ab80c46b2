"""UDP streams that are sent: what each datagram says, and when the first one goes."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from agent.core.authentication import Key
from agent.core.throughput.feedback import Feedback, FeedbackKind
from agent.core.throughput.lease import Protocol, Share, Way
from agent.throughput.plan import Ended, EnginePlan, WayPlan
from agent.throughput.udp_sending import SEGMENTS, Piece, UdpSending

TOKEN = Key(b"sixteen octets!!")
PAYLOAD = 1_472
PATIENCE_S = 5.0


@pytest.mark.parametrize("begin", [0, (1 << 16) - 100, (1 << 32) - 100, (1 << 48) - 100])
def test_each_datagram_is_numbered_and_stamped(begin: int) -> None:
    """From any number on, however many datagrams a call sends, and wherever the table of last octets begins anew."""
    piece, sequence, before_ns = Piece(PAYLOAD), begin, time.monotonic_ns()
    for datagrams in (SEGMENTS, 1, 7, SEGMENTS, SEGMENTS, 3, SEGMENTS, SEGMENTS):
        octets = piece.of(sequence, datagrams)
        assert len(octets) == datagrams * PAYLOAD
        heads = [struct.unpack_from(">QQ", octets, at * PAYLOAD) for at in range(datagrams)]
        assert [number for number, _ in heads] == list(range(sequence, sequence + datagrams))
        assert {before_ns <= stamp <= time.monotonic_ns() for _, stamp in heads} == {True}
        sequence += datagrams


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Who sends, and who receives."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        for one in (sender, receiver):
            one.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        receiver.connect(sender.getsockname())
        yield sender, receiver


def sending(sender: socket.socket) -> UdpSending:
    """A flow of 10 Mbit/s for a minute."""
    way = WayPlan(True, Share(10_000_000, 1 << 30))
    plan = EnginePlan(Protocol.UDP, 4, TOKEN, 60 * 10**9, 1, {Way.DOWN: way})
    return UdpSending(Way.DOWN, plan, [sender], {})


def has_something(one: socket.socket, wait_s: float) -> bool:
    """Whether something comes within a time."""
    return bool(select.select([one], [], [], wait_s)[0])


def test_nothing_is_sent_before_the_receiver_is_there(ends: tuple[socket.socket, socket.socket]) -> None:
    """What came earlier would find a socket of little room, and what that loses would look like the path's loss."""
    sender, receiver = ends
    flow = sending(sender)
    flow.begin(time.monotonic_ns())
    try:
        flow.look(time.monotonic_ns())
        assert not has_something(receiver, 0.05)
        receiver.send(Feedback(FeedbackKind.NEWS, Way.DOWN, time.monotonic_ns(), 0).serialise(TOKEN))
        assert has_something(sender, PATIENCE_S)
        flow.look(time.monotonic_ns())
        assert has_something(receiver, PATIENCE_S)
        assert struct.unpack_from(">Q", receiver.recv(2_048)) == (0,)
    finally:
        flow.end(Ended.TOLD)
        flow.close()
    assert flow.over
    counts = flow.report().datagrams
    assert counts is not None
    assert counts.meant >= counts.sent > 0


def test_a_receiver_that_never_is_there(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing is ever sent to it, and the flow ends by itself."""
    sender, receiver = ends
    flow = sending(sender)
    begin_ns = time.monotonic_ns()
    flow.begin(begin_ns)
    flow.look(begin_ns + 2 * 10**9)
    flow.close()
    assert (flow.over, flow.ended) == (True, Ended.SILENT)
    assert not any(receiver.recv(2_048).startswith(bytes(8)) for _ in range(3))
