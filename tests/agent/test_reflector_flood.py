"""The reflector as a process of its own under a flood, while a real session goes on."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from socket import SOCK_DGRAM

import aiohttp
import pytest

from agent.core import metrics
from agent.core.outcome import Outcome
from agent.core.reflection import ReflectionResult
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.settings import PathSettings
from tests.support.exposition import value
from tests.support.processes import agent_command, eventually, free_port, running

FLOOD_S = 2.0
STRANGER = "127.0.0.9"
PEER = "127.0.0.2"


async def _results(http: int) -> dict[str, float]:
    url = f"http://127.0.0.1:{http}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    return {
        result.value: value(text, metrics.REFLECTOR_PACKETS, result=result.value)
        for result in ReflectionResult
    }


async def _ready(http: int) -> bool:
    try:
        return sum((await _results(http)).values()) == 0
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize(
    ("source", "content", "refused"),
    [
        (STRANGER, "--garbage", {ReflectionResult.NOT_ALLOWED}),
        (PEER, "--garbage", {ReflectionResult.TOO_SHORT}),
        (PEER, "--requests", {ReflectionResult.RATE_LIMITED, ReflectionResult.OVER_BUDGET}),
        (STRANGER, "--forged", {ReflectionResult.NOT_AUTHENTIC, ReflectionResult.OVER_BUDGET}),
        (PEER, "--forged", {ReflectionResult.NOT_AUTHENTIC}),
    ],
)
async def test_a_flood_takes_nothing_from_a_session(
    tmp_path: Path, source: str, content: str, refused: set[ReflectionResult]
) -> None:
    """While somebody sends as fast as he can, allowed or not, signed or not, every probe of a session of 100 a second
    is answered, but for what the kernel itself had no room for and says so; and every datagram is counted under one
    result, each."""
    port, http = free_port(SOCK_DGRAM), free_port()
    config = tmp_path / "reflector.yaml"
    config.write_text(
        f"site: target\nlisten: 127.0.0.1:{http}\nclock: {{source: declared, error_bound: 50us}}\n"
        f"reflector: {{listen: ['0.0.0.0:{port}'], allow: [127.0.0.1, {PEER}], credentials: keys.yaml}}\n"
    )
    keys = tmp_path / "keys.yaml"
    keys.touch(mode=0o600)
    keys.write_text("keys: {default: 'hex:000102030405060708090a0b0c0d0e0f'}\n")
    path = PathSettings.model_validate(
        {
            "target": "target",
            "address": f"127.0.0.1:{port}",
            "interval": "10ms",
            "timeout": "1s",
            "limits": {"forward": "< 100ms"},
        }
    )
    prober = Prober(StampProbes(), "wuhan", [path], LocalClock(DeclaredClock(50_000)), random.Random(1))
    ledger = prober.paths[0].ledger
    async with running(agent_command("run", "--config", config), tmp_path / "reflector.log"):
        await eventually(lambda: _ready(http), "the reflector answers")
        await prober.start()
        try:
            # whoever has been coming for a second is known
            await eventually(lambda: _sent(prober, 120), "the session is under way")
            flood = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.support.load",
                "127.0.0.1",
                str(port),
                f"--source={source}",
                f"--seconds={FLOOD_S}",
                content,
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await flood.communicate()
            assert flood.returncode == 0
            # the session outlasts the flood, however long that took to begin
            await prober.stop()
        finally:
            await prober.close()
        results = await _results(http)
    flooded = json.loads(output)["sent"]
    assert flooded > 50_000
    assert ledger.broken_laws() == []
    assert ledger.in_flight == 0
    probes = ledger.sent
    lost = ledger.round_trip.outcomes[Outcome.LOST]
    # how many the kernel has no room for is a matter of how busy the machine is: a bench tells, not a test
    assert lost <= min(results[ReflectionResult.OVERFLOWED], probes // 2), results
    assert sum(results[result] for result in refused) > 0, results
    assert sum(results.values()) == flooded + probes, results
    assert results["reflected"] >= probes - lost


async def _sent(prober: Prober, count: int) -> bool:
    prober.settle()
    return prober.paths[0].ledger.sent >= count
