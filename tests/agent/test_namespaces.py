"""The agent over a real interface: two network namespaces joined by veth, and a known distance behind it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

import pytest

from agent.core.outcome import Outcome
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.icmp import IcmpProbes
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.runtime.probe_address import ProbeKind
from agent.settings import PathSettings
from tests.support.netns import Namespace, joined_namespaces
from tests.support.processes import eventually, running

REFLECTOR = """
site: right
clock: {source: declared, error_bound: 50us}
reflector: {listen: ["0.0.0.0:8620", "[::]:8620"], allow: [0.0.0.0/0, "::/0"]}
"""
LINKS = """
links:
  - {name: far, front: "10.213.0.2:8610", back: "127.0.0.1:8620", forward: {delay: 3ms}, reverse: {delay: 1ms}}
"""


async def probe(end: Namespace, target: str, *arguments: str) -> dict[str, object]:
    """Run `probe stamp` in a namespace and read what it says."""
    process = await asyncio.create_subprocess_exec(
        *end.command(
            *(sys.executable, "-m", "agent", "probe", "stamp", target, "--json", "--clock-error", "50us"),
            *arguments,
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output, errors.decode()
    found: dict[str, object] = json.loads(output)
    return found


def delay_ms(found: dict[str, object], direction: str) -> float:
    """The median delay of a direction."""
    directions = found["directions"]
    assert isinstance(directions, dict)
    return float(directions[direction]["delay"]["p50_seconds"]) * 1e3


@pytest.mark.timeout(120)
async def test_over_a_link(tmp_path: Path) -> None:
    """Over veth, IPv4 and IPv6, every probe is answered within a fraction of a millisecond; a known asymmetric
    distance behind the link is measured within 0.3 ms per direction."""
    (tmp_path / "right.yaml").write_text(REFLECTOR)
    (tmp_path / "links.yaml").write_text(LINKS)
    with joined_namespaces() as (left, right):
        reflector = right.command(
            sys.executable, "-m", "agent", "run", "--config", str(tmp_path / "right.yaml")
        )
        relay = right.command(
            # the relay ends with its standard input, so it is given one that stays open
            *(
                "sh",
                "-c",
                f'tail -f /dev/null --pid=$$ | exec "{sys.executable}" -m deploy.quickstart.relay "$0"',
            ),
            str(tmp_path / "links.yaml"),
        )
        async with running(reflector, tmp_path / "reflector.log"), running(relay, tmp_path / "relay.log"):

            async def answers() -> bool:
                found = await probe(left, f"{right.ipv4}:8610", "--count", "1", "--timeout", "200ms")
                return found["answered"] == 1

            await eventually(answers, "the other end answers")
            for target in (f"{right.ipv4}:8620", f"[{right.ipv6}]:8620"):
                found = await probe(left, target, "--count", "200", "--interval", "2ms")
                assert (found["sent"], found["answered"], found["law"]) == (200, 200, "holds")
                assert found["clock_contradictions"] == 0
                assert 0 <= delay_ms(found, "forward") < 0.3
                assert 0 <= delay_ms(found, "reverse") < 0.3
            far = await probe(left, f"{right.ipv4}:8610", "--count", "200", "--interval", "2ms")
    assert (far["sent"], far["answered"]) == (200, 200)
    assert delay_ms(far, "forward") == pytest.approx(3, abs=0.3)
    assert delay_ms(far, "reverse") == pytest.approx(1, abs=0.3)


def crowded(kind: ProbeKind, address: str) -> Prober:
    """Two hundred probes a second, whose replies are waited for as long as the link's queue may hold them."""
    path = PathSettings.model_validate(
        {
            "target": "right",
            "kind": kind,
            "address": address,
            "interval": "5ms",
            "timeout": "2s",
            "limits": {"round_trip": "< 100ms"},
        }
    )
    outlets = StampProbes() if kind == "stamp" else IcmpProbes()
    return Prober(outlets, "left", [path], LocalClock(DeclaredClock(50_000)), random.Random(1))


async def test_what_our_own_queue_has_no_room_for_was_never_sent(tmp_path: Path) -> None:
    """Where the interface sends more slowly than we do, what its queue drops is not sent, for its reason, and no probe
    is lost: the kernel tells of it."""
    (tmp_path / "right.yaml").write_text(REFLECTOR)
    with joined_namespaces() as (left, right):
        reflector = right.command(
            sys.executable, "-m", "agent", "run", "--config", str(tmp_path / "right.yaml")
        )
        async with running(reflector, tmp_path / "reflector.log"):

            async def answers() -> bool:
                return (await probe(left, f"{right.ipv4}:8620", "--count", "1"))["answered"] == 1

            await eventually(answers, "the other end answers")
            shaper = ("rate", "100kbit", "burst", "1600", "limit", "1600")
            left.run("tc", "qdisc", "add", "dev", left.interface, "root", "tbf", *shaper)
            with left.entered():
                probers = [crowded("stamp", f"{right.ipv4}:8620"), crowded("icmp", right.ipv4)]
                for prober in probers:
                    await prober.start()
            ledgers = [prober.paths[0].ledger for prober in probers]

            async def refused() -> bool:
                for prober in probers:
                    prober.settle()
                return all(ledger.not_sent["enobufs"] > 20 for ledger in ledgers)

            await eventually(refused, "the queue is full")
            for prober in probers:
                await prober.stop()
                await prober.close()
    for ledger in ledgers:
        assert ledger.broken_laws() == []
        assert ledger.in_flight == 0
        assert ledger.round_trip.outcomes[Outcome.LOST] == 0
        assert sum(ledger.round_trip.outcomes) == ledger.sent > 0
