"""What arrived to be answered, as arrays: the same as one by one."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from agent.core.stamp import MAX_PAYLOAD
from agent.net import control_batches
from agent.net.control import CONTROL_OCTETS
from agent.net.prepared import Prepared
from agent.net.protocols import IPV4, IPV6, Protocol
from tests.support.stamped import Open, address_of

INFOS = {
    IPV4: [bytes(4) + bytes((127, 0, 0, n)) * 2 for n in range(4)],
    IPV6: [bytes((0xFE, prefix)) + bytes(13) + bytes((1, 7, 0, 0, 0)) for prefix in (0x80, 0x81, 0, 0x80)],
}


def test_arrays_say_what_datagrams_say(family: socket.AddressFamily, opened: Open) -> None:
    """Payload, length, source, time, TTL, where to answer from, and whether it was cut."""
    reflector, sender = opened(family, answering=True), opened(family, payload_octets=2 * MAX_PAYLOAD)
    lengths = [0, 1, 44, 1472, MAX_PAYLOAD, MAX_PAYLOAD + 1, 44]
    sender.send(
        [(bytes(range(256)) * 9 if n > 2048 else bytes(n), address_of(reflector), b"") for n in lengths]
    )
    assert reflector.fetch() == len(lengths)
    requests, datagrams = reflector.fetched_requests(), reflector.fetched()
    assert reflector.kernel_receive_stamps
    assert requests.octets.tolist() == [min(n, MAX_PAYLOAD) for n in lengths]
    for i, one in enumerate(datagrams):
        assert requests.payloads[i, : requests.octets[i]].tobytes() == bytes(one.payload)
        assert requests.sources[i].tobytes() == one.source
        assert requests.answers[i].tobytes() == one.local
        assert (requests.received_ns[i], requests.ttls[i], bool(requests.truncated[i])) == (
            one.received_ns,
            one.ttl,
            one.truncated,
        )
        assert requests.traffic_classes[i] == one.traffic_class == 0
    assert reflector.fetch() == 0
    assert reflector.fetched() == []
    assert len(reflector.fetched_requests().octets) == 0


def test_prepared_answers_leave_as_they_were_put(family: socket.AddressFamily, opened: Open) -> None:
    """Each with its own length and destination, from the address that it is told or the routing's choice."""
    reflector = opened(family, answering=True)
    peers = [opened(family) for _ in range(2)]
    for peer in peers:
        peer.send([(b"ping", address_of(reflector), b"")])
    reflector.fetch()
    locals_ = [one.local for one in reflector.fetched()]
    prepared = Prepared(reflector, 4, MAX_PAYLOAD)
    prepared.put(0, b"a" * 1000, address_of(peers[1]), locals_[0])
    prepared.put(1, b"", address_of(peers[0]), b"")
    prepared.put(2, b"bc", address_of(peers[0]), locals_[1])
    prepared.number(3)
    assert [(one.first, one.stop, one.result) for one in prepared.send(0, 3)] == [(0, 3, 0)]
    assert [bytes(one.payload) for one in peers[0].receive()] == [b"", b"bc"]
    (got,) = peers[1].receive()
    assert (bytes(got.payload), got.source) == (b"a" * 1000, address_of(reflector))


def test_markings_come_and_go_with_each(family: socket.AddressFamily, opened: Open) -> None:
    """DSCP and ECN with which a datagram arrived are read; each answer has its own, the socket's unless written."""
    reflector, peer = opened(family, answering=True), opened(family, answering=True, dscp=12)
    marked = opened(family, dscp=46)
    marked.send([(b"x", address_of(reflector), b"")])
    peer.send([(b"y", address_of(reflector), b"")])
    reflector.fetch()
    assert [one.traffic_class for one in reflector.fetched()] == [46 << 2, 12 << 2]
    assert reflector.fetched_requests().traffic_classes.tolist() == [46 << 2, 12 << 2]
    prepared = Prepared(reflector, 3, MAX_PAYLOAD)
    for index in range(3):
        prepared.put(index, b"z", address_of(peer), b"")
    prepared.traffic_classes[:] = (0, 10 << 2, 46 << 2 | 1)
    prepared.number(3)
    assert [(one.first, one.stop, one.result) for one in prepared.send(0, 3)] == [(0, 3, 0)]
    assert [one.traffic_class for one in peer.receive()] == [0, 10 << 2, 46 << 2 | 1]


@pytest.mark.parametrize("protocol", [IPV4, IPV6], ids=["IPv4", "IPv6"])
def test_answers_are_those_of_each(protocol: Protocol) -> None:
    """From the address that was hit; with its interface where, and only where, it is link-local."""
    infos = INFOS[protocol]
    made = protocol.answers(np.frombuffer(b"".join(infos), np.uint8).reshape(len(infos), -1))
    assert [row.tobytes() for row in made] == [protocol.answer(info) for info in infos]


def test_messages_that_are_missing_are_missing(family: socket.AddressFamily, opened: Open) -> None:
    """Where the kernel says less than it was asked, the rest is still read, and what is missing is marked."""
    protocol = IPV6 if family == socket.AF_INET6 else IPV4
    reflector, sender = opened(family, answering=True), opened(family)
    sender.send([(b"x", address_of(reflector), b"")] * 4)
    assert reflector.fetch() == 4
    batch = reflector._incoming
    results = batch.results[:4].copy()
    full = protocol.arrival_octets
    results["control_octets"] = (full, full - 24, 64, 0)
    sizes = [(0, octets) for octets in results["control_octets"].tolist()]
    stamps, ttls, classes, infos = control_batches.arrivals_of(protocol, batch.control, results)
    expected = control_batches.read_arrivals(protocol, batch.control, sizes)
    assert [stamp or None for stamp in stamps.tolist()] == [one[0] for one in expected]
    assert [None if ttl < 0 else ttl for ttl in ttls.tolist()] == [one[1] for one in expected]
    assert [None if one < 0 else one for one in classes.tolist()] == [one[2] for one in expected]
    assert [info.tobytes() for info in infos] == [one[3] or bytes(protocol.info_octets) for one in expected]
    assert [stamp is None for stamp, *_ in expected] == [False, False, False, True]
    assert len(batch.control) % CONTROL_OCTETS == 0
