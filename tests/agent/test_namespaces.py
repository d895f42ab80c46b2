"""The agent over a real interface: two network namespaces joined by veth, and a known distance behind it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

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
