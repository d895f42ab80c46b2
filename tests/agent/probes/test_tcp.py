"""TCP probes of services: one that listens, one that refuses, and silence."""

from __future__ import annotations

import socket

import pytest

from agent.core.outcome import Outcome
from agent.probes.tcp import TcpProbes
from tests.support.netns import joined_namespaces
from tests.support.probing import Recorded, finish, measure, path, prober_of
from tests.support.processes import free_port
from tests.support.requirements import require_ipv6

US = 1_000
MS = 1_000_000


def listen(host: str) -> tuple[socket.socket, str]:
    """A service and its address as one writes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family, backlog=4096)
    literal = f"[{host}]" if ":" in host else host
    return server, f"{literal}:{server.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_every_handshake_is_measured(host: str) -> None:
    """Every probe is answered with the kernel's own round trip, which bounds both directions."""
    if ":" in host:
        require_ipv6()
    server, address = listen(host)
    recorded = Recorded()
    prober = prober_of(TcpProbes(), [path("tcp", address)], 50, recorded)
    with server:
        await measure(prober)
    ledger = prober.paths[0].ledger
    assert ledger.sent == 50 == sum(ledger.round_trip.outcomes[: Outcome.LOST])
    assert ledger.forward.outcomes[Outcome.WITHIN] == ledger.reverse.outcomes[Outcome.WITHIN] == 50
    assert ledger.forward.delay.total == 0
    assert ledger.round_trip.reordered == ledger.round_trip.duplicates == ledger.late == 0
    assert prober.discarded == {}
    assert prober.sockets == []
    for one in recorded.all:
        assert one.round_trip_ns is not None
        assert one.round_trip_ns % US == 0
        assert US <= one.round_trip_ns < 20 * MS
        assert one.forward_bounds == (0, one.round_trip_ns)


async def test_the_clocks_resolution_is_in_the_bounds() -> None:
    """A round trip is over its limit only where that is so even if its microseconds were rounded."""
    server, address = listen("127.0.0.1")
    recorded = Recorded()
    prober = prober_of(TcpProbes(), [path("tcp", address, limits={"round_trip": "<= 1ns"})], 20, recorded)
    with server:
        await measure(prober)
    for one in recorded.all:
        assert one.round_trip_ns is not None
        certain = one.round_trip_ns - 2 * US > 1
        assert one.outcomes[2] is (Outcome.OVER if certain else Outcome.UNCERTAIN)


async def test_a_refusal_is_no_answer() -> None:
    """A port that refuses is lost in no proven direction, however soon it refuses, and its refusals are counted."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        prober = prober_of(TcpProbes(), [path("tcp", f"127.0.0.1:{taken.getsockname()[1]}")], 20)
        await measure(prober)
    ledger = prober.paths[0].ledger
    assert ledger.round_trip.outcomes[Outcome.LOST] == ledger.forward.outcomes[Outcome.UNATTRIBUTED] == 20
    assert prober.discarded == {"refused": 20}


async def test_connections_are_bounded() -> None:
    """What would be a connection too many is not sent, with the reason, and is no loss."""
    server, address = listen("127.0.0.1")
    prober = prober_of(TcpProbes(most=2), [path("tcp", address, target=str(n)) for n in range(40)], 5)
    with server:
        await measure(prober)
    sent = sum(probed.ledger.sent for probed in prober.paths)
    refused = sum(probed.ledger.not_sent["emfile"] for probed in prober.paths)
    # what is overdue on a busy machine is made up for, beside these
    assert sent + refused == 200
    assert refused > 0
    assert sum(sum(probed.ledger.round_trip.outcomes[:3]) for probed in prober.paths) == sent > 0


async def test_a_bad_name_harms_nobody() -> None:
    """A target that cannot be resolved is not sent to; the others are measured."""
    server, address = listen("127.0.0.1")
    prober = prober_of(TcpProbes(), [path("tcp", "nowhere.invalid:80"), path("tcp", address)], 10)
    with server:
        await measure(prober)
    assert prober.paths[0].ledger.not_sent == {"unresolved": 10}
    assert sum(prober.paths[1].ledger.round_trip.outcomes[:3]) == 10


@pytest.mark.timeout(120)
async def test_silence_over_a_link() -> None:
    """Behind a link a service is measured, and one behind a black hole is lost without a word."""
    with joined_namespaces() as (left, right):
        left.run("ip", "route", "add", "10.98.0.0/16", "via", right.ipv4)
        right.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        right.run("ip", "route", "add", "blackhole", "10.98.1.0/24")
        with right.entered():
            server, address = listen(right.ipv4)
        prober = prober_of(TcpProbes(), [path("tcp", address), path("tcp", f"10.98.1.1:{free_port()}")], 20)
        with left.entered():
            await prober.start()
        await finish(prober)
        server.close()
    answered, lost = (probed.ledger for probed in prober.paths)
    assert sum(answered.round_trip.outcomes[: Outcome.LOST]) == 20
    assert 0 < answered.round_trip.delay.sum_ns / 20 < 2 * MS
    assert lost.round_trip.outcomes[Outcome.LOST] == lost.forward.outcomes[Outcome.UNATTRIBUTED] == 20
    assert prober.discarded == {}
