"""The distance emulator, and the agent measuring through it: both directions are known, so the truth is too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import statistics
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from agent.core.measurement import Measurement, Measurements
from agent.core.outcome import Outcome
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.settings import PathSettings
from deploy.quickstart.relay import LegSettings, LinkSettings, Order, Relay
from tests.support.processes import eventually, free_port
from tests.support.reflectors import reflector_on
from tests.support.requirements import require_ipv6

MS = 1_000_000


class Emulated:
    """An agent's prober and reflector with a relay between them, all in this event loop."""

    def __init__(self, forward: dict[str, object], reverse: dict[str, object], host: str) -> None:
        clock = LocalClock(DeclaredClock(50_000))
        self.host = host
        self.reflector = reflector_on(host.strip("[]"))
        port = self.reflector.sockets[0].address[1]
        link = LinkSettings.model_validate(
            {
                "name": "link",
                "front": f"{host}:0",
                "back": f"{host}:{port}",
                "forward": forward,
                "reverse": reverse,
            }
        )
        self.relay = Relay([link], seed=3)
        self.measurements: list[Measurement] = []
        self.clock = clock

    def _record(self, measured: Measurements) -> None:
        self.measurements += measured.each()

    async def measure(self, probes: int, interval: str = "5ms", lost_after: str = "200ms") -> Prober:
        """Send so many probes through the relay and wait for all."""
        settings = PathSettings.model_validate(
            {
                "target": "target",
                "address": f"{self.host}:{self.relay.front('link')[1]}",
                "interval": interval,
                "timeout": lost_after,
                "limits": {"forward": "<= 10ms"},
            }
        )
        prober = Prober(
            StampProbes(),
            "site",
            [settings],
            self.clock,
            random.Random(5),
            record=self._record,
            probes=probes,
        )
        await prober.start()
        await prober.idle()
        await prober.stop()
        assert prober.paths[0].ledger.broken_laws() == []
        assert prober.paths[0].ledger.in_flight == 0
        assert prober.paths[0].ledger.sent == probes
        return prober


@contextlib.asynccontextmanager
async def emulated(
    forward: dict[str, object], reverse: dict[str, object], host: str = "127.0.0.1"
) -> AsyncIterator[Emulated]:
    """A running reflector and relay."""
    made = Emulated(forward, reverse, host)
    made.reflector.start()
    made.relay.start()
    try:
        yield made
    finally:
        made.relay.close()
        made.reflector.close()


@pytest.mark.parametrize(("forward_ms", "reverse_ms"), [(0.4, 0.5), (1.9, 2.0), (7.0, 7.4), (11.0, 7.4)])
async def test_asymmetric_distance_is_measured(forward_ms: float, reverse_ms: float) -> None:
    """The agent measures each direction of an emulated distance within 0.3 ms, and the relay says how it kept it."""
    async with emulated({"delay": f"{forward_ms}ms"}, {"delay": f"{reverse_ms}ms"}) as network:
        await network.measure(200)
        accuracy = network.relay.accuracy
    answered = [measured for measured in network.measurements if measured.round_trip_ns is not None]
    assert len(answered) == 200
    forward = statistics.median(measured.forward_ns or 0 for measured in answered) / MS
    reverse = statistics.median(measured.reverse_ns or 0 for measured in answered) / MS
    assert forward == pytest.approx(forward_ms, abs=0.3)
    assert reverse == pytest.approx(reverse_ms, abs=0.3)
    assert (accuracy.carried, accuracy.refused) == (400, 0)
    assert accuracy.stamped > 350
    print(f"relay: {accuracy}, measured {forward:.3f} / {reverse:.3f} ms")


async def test_distance_over_ipv6() -> None:
    """IPv6 links keep their distance as IPv4 ones do."""
    require_ipv6()
    async with emulated({"delay": "3ms"}, {"delay": "1ms"}, "[::1]") as network:
        await network.measure(100)
    forward = statistics.median(measured.forward_ns or 0 for measured in network.measurements) / MS
    reverse = statistics.median(measured.reverse_ns or 0 for measured in network.measurements) / MS
    assert forward == pytest.approx(3, abs=0.3)
    assert reverse == pytest.approx(1, abs=0.3)


async def test_an_unreachable_back_is_not_carried() -> None:
    """What the kernel refuses to send is counted as refused, not as carried, and the relay goes on."""
    leg = {"delay": "1ms"}
    link = {
        "name": "link",
        "front": "127.0.0.1:0",
        "back": "255.255.255.255:9",
        "forward": leg,
        "reverse": leg,
    }
    relay = Relay([LinkSettings.model_validate(link)])
    relay.start()

    async def refused() -> bool:
        return relay.accuracy.refused == 3

    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            sender.sendto(b"probe", relay.front("link"))
        await eventually(refused, "three refusals")
    relay.close()
    assert relay.accuracy.carried == 0


@pytest.mark.parametrize("direction", ["forward", "reverse"])
async def test_loss_is_attributed_to_its_direction(direction: str) -> None:
    """10 % loss in one direction of a real path is counted in that direction and not in the other."""
    good, bad = {"delay": "1ms"}, {"delay": "1ms", "loss": 0.1}
    legs = (bad, good) if direction == "forward" else (good, bad)
    async with emulated(*legs) as network:
        prober = await network.measure(600, lost_after="300ms")
        lost = network.relay.accuracy.lost
    ledger = prober.paths[0].ledger
    guilty, innocent = (
        (ledger.forward, ledger.reverse) if direction == "forward" else (ledger.reverse, ledger.forward)
    )
    assert binomtest(lost, 600, 0.1).pvalue > 1e-4
    assert ledger.round_trip.outcomes[Outcome.LOST] == lost
    assert innocent.outcomes[Outcome.LOST] == 0
    assert guilty.outcomes[Outcome.LOST] == lost - ledger.forward.outcomes[Outcome.UNATTRIBUTED]
    assert ledger.forward.outcomes[Outcome.UNATTRIBUTED] <= 3


async def test_duplicates_and_reordering_are_counted() -> None:
    """Duplicates are counted in the direction that made them, reordering too; every probe still counts once."""
    async with emulated(
        {"delay": "1ms", "duplication": 0.1},
        {"delay": "1ms", "reordering": 0.1, "held_back": "12ms"},
    ) as network:
        prober = await network.measure(400)
    ledger = prober.paths[0].ledger
    assert ledger.forward.duplicates > 10
    assert ledger.reverse.duplicates == 0
    assert ledger.reverse.reordered > 10
    assert ledger.forward.reordered == 0
    assert sum(ledger.round_trip.outcomes[: Outcome.LOST]) == 400


async def test_late_replies() -> None:
    """A reply after the timeout is late: its probe is lost and the law holds."""
    async with emulated({"delay": "60ms"}, {"delay": "60ms"}) as network:
        prober = await network.measure(40, lost_after="100ms")
    ledger = prober.paths[0].ledger
    assert ledger.round_trip.outcomes[Outcome.LOST] == 40
    assert 0 < ledger.late <= 40


async def test_legs_change_while_running() -> None:
    """An order changes one leg from then on, and leaves the other as it is."""
    async with emulated({"delay": "1ms"}, {"delay": "1ms"}) as network:
        await network.measure(20)
        network.relay.change(Order.model_validate({"link": "link", "direction": "forward", "delay": "5ms"}))
        await network.measure(20)
    later = network.measurements[20:]
    assert statistics.median(measured.forward_ns or 0 for measured in later) == pytest.approx(
        5 * MS, abs=0.3 * MS
    )
    assert statistics.median(measured.reverse_ns or 0 for measured in later) == pytest.approx(
        MS, abs=0.3 * MS
    )


@given(st.integers(), st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**9))
def test_leg_departures(seed: int, loss: float, duplication: float, delay_ns: int) -> None:
    """A packet leaves never, once or twice, and never before its delay."""
    leg = LegSettings.model_validate(
        {
            "delay": f"{delay_ns}ns",
            "jitter": "1ms",
            "loss": loss,
            "duplication": duplication,
            "reordering": 0.5,
        }
    )
    departures = leg.departures(random.Random(seed))
    assert len(departures) <= 2
    assert all(delay_ns <= one < delay_ns + MS + leg.held_back for one in departures)


async def test_relay_program(tmp_path: Path) -> None:
    """As a program the relay obeys orders, refuses nonsense with a reason, and ends with its standard input."""
    links = tmp_path / "links.yaml"
    links.write_text(
        f"links:\n- {{name: a, front: '127.0.0.1:{free_port(socket.SOCK_DGRAM)}', back: '127.0.0.1:9', "
        "forward: {delay: 1ms}, reverse: {delay: 1ms}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.quickstart.relay", str(links)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for order, complaint in (
        ('{"link": "a", "direction": "forward", "delay": "11ms", "loss": 0.1}', None),
        ("{}", None),
        ('{"link": "b", "direction": "forward"}', "not an order"),
        ('{"link": "a", "direction": "up"}', "'forward' or 'reverse'"),
        ('{"link": "a", "direction": "forward", "delay": 3}', "has no unit"),
        ("nonsense", "not an order"),
        ("[1]", ""),
    ):
        process.stdin.write(f"{order}\n".encode())
        answer = json.loads(await process.stdout.readline())
        assert answer["carried"] == 0
        if complaint is None:
            assert "error" not in answer
        else:
            assert complaint in answer["error"]
    process.stdin.close()
    assert await process.wait() == 0
