"""STAMP senders before reflectors of other makes: each is measured as far as it can be, and none makes it lie."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.core.outcome import Direction, Outcome
from agent.core.stamp import SenderPacket
from agent.core.timestamps import ErrorEstimate, ntp_from_ns
from agent.core.twamp_light import REPLY_OCTETS
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.settings import PathSettings

PROBES = 20
VOUCHED = ErrorEstimate.of_bound(1_000)
Answer = Callable[[SenderPacket, int], bytes]


def reply(
    request: SenderPacket,
    number: int,
    *,
    octets: int = 44,
    ssid: bool = False,
    estimate: ErrorEstimate = VOUCHED,
    t3_is_t2: bool = False,
) -> bytes:
    """A reply; its T2 is 1 ms ago."""
    now_ns = time.time_ns()
    t2 = ntp_from_ns(now_ns - 1_000_000)
    t3 = t2 if t3_is_t2 else ntp_from_ns(now_ns)
    base = (
        number.to_bytes(4, "big")
        + t3.to_bytes(8, "big")
        + estimate.wire.to_bytes(2, "big")
        + (request.ssid if ssid else 0).to_bytes(2, "big")
        + t2.to_bytes(8, "big")
        + request.sequence.to_bytes(4, "big")
        + request.timestamp.to_bytes(8, "big")
        + request.error_estimate.to_bytes(2, "big")
        + bytes(2)
        + b"\x40"
        + bytes(3)
    )
    return base[:octets].ljust(octets, b"\0")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """The socket of a reflector of another make."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def paths(port: int, count: int = 1, **asked: Any) -> list[PathSettings]:
    """So many paths to one reflector."""
    return [
        PathSettings.model_validate(
            {
                "target": f"t{number}",
                "address": f"127.0.0.1:{port}",
                "interval": "5ms",
                "timeout": "300ms",
                "limits": {"forward": "< 1s"},
                **asked,
            }
        )
        for number in range(count)
    ]


async def probed(
    peer: socket.socket, answer: Answer, count: int = 1, **asked: Any
) -> tuple[Prober, StampProbes]:
    """Probe the reflector to the end, which answers like this; the law holds."""
    numbers: dict[int, int] = {}

    def reflect() -> None:
        data, source = peer.recvfrom(2048)
        request = SenderPacket.parse(data)
        number = numbers[request.ssid] = numbers.get(request.ssid, -1) + 1
        peer.sendto(answer(request, number), source)

    asyncio.get_running_loop().add_reader(peer.fileno(), reflect)
    outlets = StampProbes(describe=True)
    clock = LocalClock(DeclaredClock(1_000))
    prober = Prober(
        outlets, "here", paths(peer.getsockname()[1], count, **asked), clock, random.Random(1), probes=PROBES
    )
    await prober.start()
    await prober.idle()
    await prober.stop()
    for path in prober.paths:
        assert path.ledger.broken_laws() == []
        assert path.ledger.in_flight == 0
        assert sum(path.ledger.round_trip.outcomes) == path.ledger.sent
    return prober, outlets


@pytest.mark.parametrize(
    ("how", "remark"),
    [
        ({"octets": REPLY_OCTETS}, "TWAMP Light"),
        ({}, "does not return the SSID"),
        ({"ssid": True}, "cuts replies short of their requests"),
        ({"ssid": True, "octets": 128}, "more octets than it is asked with"),
        ({"ssid": True, "octets": 1000}, "does not tell when replies left"),
        ({"ssid": True, "t3_is_t2": True}, "copies T2 into T3"),
    ],
)
async def test_each_is_measured_and_described(peer: socket.socket, how: dict[str, Any], remark: str) -> None:
    """Shorter or longer replies, without SSID, with one time for two: every probe is answered within its limit."""
    prober, outlets = await probed(peer, lambda request, number: reply(request, number, **how))
    (path,) = prober.paths
    assert path.ledger.sent == PROBES
    for direction, counted in path.ledger.directions():
        assert counted.outcomes[Outcome.WITHIN] == PROBES, direction
    assert prober.discarded == {}
    (traits,) = outlets.traits()
    assert any(remark in said for said in traits.sentences())
    assert traits.octets == (how.get("octets", 44),) * 2


@pytest.mark.parametrize(
    "estimate",
    [ErrorEstimate.of_bound(None), ErrorEstimate(synchronized=True, ptp=False, scale=0, multiplier=0)],
)
async def test_who_does_not_vouch_for_its_clock_is_not_believed(
    peer: socket.socket, estimate: ErrorEstimate
) -> None:
    """Its times enter no verdict: only what the round trip proves is counted, here that both directions are within."""
    prober, outlets = await probed(
        peer, lambda request, number: reply(request, number, ssid=True, estimate=estimate)
    )
    (path,) = prober.paths
    directions = dict(path.ledger.directions())
    assert directions[Direction.FORWARD].minimum_ns(time.monotonic_ns()) is None
    assert directions[Direction.FORWARD].outcomes[Outcome.WITHIN] == PROBES
    assert outlets.traits()[0].document()["vouches_for_its_clock"] is False


@pytest.mark.parametrize(
    "asked", [{"packet_size": 200}, {"ecn": 1}, {"tlvs": ["class_of_service"]}, {"dscp": 46}]
)
async def test_without_ssid_one_path_is_measured_whatever_it_asks_for(
    peer: socket.socket, asked: dict[str, Any]
) -> None:
    """Also where its packets are larger, marked, or have TLVs that such a peer does not answer."""
    prober, _ = await probed(peer, reply, **asked)
    (path,) = prober.paths
    assert path.ledger.forward.outcomes[Outcome.WITHIN] == PROBES
    assert prober.discarded == {}


async def test_without_ssid_two_paths_to_one_address_cannot_be_told_apart(peer: socket.socket) -> None:
    """Their replies are discarded and counted, and no path is credited with the other's."""
    prober, _ = await probed(peer, reply, count=2)
    assert prober.discarded == {"unknown": 2 * PROBES}
    for path in prober.paths:
        assert path.ledger.round_trip.outcomes[Outcome.LOST] == PROBES


@pytest.mark.parametrize("octets", [0, 14, 40])
async def test_what_is_too_short_is_no_reply(peer: socket.socket, octets: int) -> None:
    """It is counted as malformed, and the probe is lost."""
    prober, _ = await probed(peer, lambda request, number: reply(request, number, octets=octets))
    assert prober.discarded == {"malformed": PROBES}
    assert prober.paths[0].ledger.round_trip.outcomes[Outcome.LOST] == PROBES
