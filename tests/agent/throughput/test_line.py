"""`probe throughput` between two namespaces, over a link of known rates; rates that a loaded machine carries too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.quantities import Endpoint
from tests.support.netns import Namespace, joined_namespaces
from tests.support.processes import agent_command, eventually, running
from tests.support.requirements import require_binary
from tests.support.throughput import engines, is_there, written

HTTP, DATA, REFLECTOR = 9461, 9462, 8620
QUIET = 0.003
SHORT = ("--seconds", "6")
FRAME = 1514 / 1500
"""A qdisc counts the Ethernet header too."""


def shape(end: Namespace, rate: float) -> None:
    """Let no more leave an end of the link than a rate at the IP layer, bit/s, with a short queue."""
    require_binary("tc")
    kilobits = round(rate * FRAME / 1e3)
    shaper = ("tbf", "rate", f"{kilobits}kbit", "burst", "20kb", "limit", "200kb")
    end.run("tc", "qdisc", "replace", "dev", end.interface, "root", *shaper)


@pytest.fixture
def link() -> Iterator[tuple[Namespace, Namespace]]:
    """Who tests, and who grants tests."""
    with joined_namespaces() as ends:
        yield ends


@contextlib.asynccontextmanager
async def granting(
    end: Namespace, client: Namespace, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent in a namespace that grants tests and reflects."""
    anywhere = "0.0.0.0"
    file = written(folder, Endpoint(anywhere, HTTP), Endpoint(anywhere, DATA), Endpoint(anywhere, REFLECTOR))
    command = end.command(*map(str, agent_command("run", "--config", file)))
    async with running(command, folder / "granting.log") as process:

        async def up() -> bool:
            return "reflector sockets" in (folder / "granting.log").read_text()

        await eventually(up, "the agent runs")
        yield process


def command_of(end: Namespace, target: Namespace, folder: Path, *arguments: str) -> list[str]:
    """The command line of a test."""
    reflector = f"{target.ipv4}:{REFLECTOR}"
    return end.command(
        *(
            sys.executable,
            "-m",
            "agent",
            "probe",
            "throughput",
            target.ipv4,
            "--json",
            "--reflector",
            reflector,
        ),
        *("--token-file", str(folder / "token"), *arguments),
    )


async def outcome_of(end: Namespace, target: Namespace, folder: Path, *arguments: str) -> tuple[Any, int]:
    """Test a line; what was said, and the exit status."""
    process = await asyncio.create_subprocess_exec(
        *command_of(end, target, folder, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaints = await process.communicate()
    assert output, complaints.decode()
    assert process.returncode is not None
    return json.loads(output), process.returncode


def is_exact(way: Mapping[str, Any]) -> bool:
    """Whether this machine had its cores for the test: else what it says of a line is less sure, though not wrong."""
    hosts = way["attempts"][-1]["hosts"].values()
    return all(host is not None and host["run_delay_ratio"] < QUIET for host in hosts)


async def test_both_ways_at_once(link: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """A line that carries exactly its floor down, and more than its floor up, passes with both at once; latency is told
    before, during and after."""
    left, right = link
    shape(right, 100e6)
    shape(left, 20e6)  # and what acknowledges the data that comes down
    async with granting(right, left, tmp_path):
        found, status = await outcome_of(
            left, right, tmp_path, "--floor-down", "100M", "--floor-up", "5M", *SHORT
        )
    ways = found["ways"]
    assert found["verdict"] in ("pass", "inconclusive"), json.dumps(ways, indent=1)
    if all(map(is_exact, ways.values())):
        assert (found["verdict"], status) == ("pass", 0), json.dumps(ways, indent=1)
    for phase in ("idle", "under_load", "after"):
        series = found["latency"][phase]
        assert series["sent"] > 50
        assert (series["round_trip"] or {"samples": 0})["samples"] + series["lost"] == series["sent"]
    assert found["latency"]["law"] == "holds"


@pytest.mark.parametrize("way", ["down", "up"])
async def test_a_line_at_its_floor_and_one_below(
    link: tuple[Namespace, Namespace], tmp_path: Path, way: str
) -> None:
    """A line of exactly its floor passes; one of 1 % less fails, and it was the path."""
    left, right = link
    shape(right if way == "down" else left, 50e6)
    once = ("--direction", way, "--no-latency", "--no-retest", *SHORT)
    async with granting(right, left, tmp_path):
        for floor, verdict, cause in (("50M", "pass", None), ("50.5M", "fail", "path_rate")):
            found, status = await outcome_of(left, right, tmp_path, *once, f"--floor-{way}", floor)
            outcome = found["ways"][way]
            assert outcome["verdict"] in (verdict, "inconclusive"), json.dumps(outcome, indent=1)
            assert status == (0 if outcome["verdict"] == "pass" else 1)
            if is_exact(outcome):
                assert outcome["verdict"] == verdict, json.dumps(outcome, indent=1)
                assert cause in (None, outcome["cause"])


@pytest.mark.parametrize("victim", ["who tests", "who grants"])
async def test_an_end_is_killed(link: tuple[Namespace, Namespace], tmp_path: Path, victim: str) -> None:
    """Neither end's child outlives its parent; who is left says so, and has no slot taken."""
    left, right = link
    async with granting(right, left, tmp_path) as server:
        arguments = ("--direction", "down", "--floor-down", "20M", "--no-latency", *SHORT)
        client = await asyncio.create_subprocess_exec(
            *command_of(left, right, tmp_path, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        pids: list[int] = []

        async def both() -> bool:
            pids[:] = engines(client.pid) + engines(server.pid)
            return len(pids) == 2

        await eventually(both, "both ends have a process for the test")
        (client if victim == "who tests" else server).send_signal(signal.SIGKILL)
        output, _ = await asyncio.wait_for(client.communicate(), 15)

        async def none() -> bool:
            return not any(map(is_there, pids))

        await eventually(none, "no process is left", 5)
        if victim == "who grants":
            assert client.returncode == 1
            found = json.loads(output)["ways"]["down"]
            assert (found["verdict"], found["ip_layer"]) == ("error", None)
        else:
            found, _ = await outcome_of(left, right, tmp_path, *arguments, "--no-retest")
            assert found["ways"]["down"]["error"] is None
