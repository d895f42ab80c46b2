"""Agents that grant throughput tests, and what is left of a test when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.core.throughput.lease import Lease
from agent.program import Agent
from agent.runtime.quantities import Endpoint
from agent.runtime.settings import load
from agent.settings import AgentSettings
from agent.throughput_settings import ThroughputPathSettings
from tests.support.processes import eventually, free_port

TOKEN = "the-token-of-throughput-tests"
_ENGINE = "agent.throughput.engine"


def written(folder: Path, http: Endpoint, data: Endpoint, reflector: Endpoint | None = None) -> Path:
    """The file of an agent that grants tests to everybody."""
    (folder / "token").write_text(TOKEN + "\n", encoding="ascii")
    (folder / "token").chmod(0o600)
    reflecting = "" if reflector is None else f'reflector: {{listen: ["{reflector}"], allow: [0.0.0.0/0]}}'
    file = folder / "granting.yaml"
    file.write_text(
        f"""
site: there
listen: "{http}"
clock: {{source: declared, error_bound: 50us}}
{reflecting}
throughput:
  listen: ["{data}"]
  allow: [0.0.0.0/0, "::/0"]
  token_file: token
  rates: {{down: 400G, up: 400G}}
  per_day: 900TB
""",
        encoding="utf-8",
    )
    return file


class Granting:
    """An agent in this process that grants tests.

    Attributes:
        agent: which.
        http: where it listens.
    """

    def __init__(self, agent: Agent, http: int) -> None:
        self.agent = agent
        self.http = http

    @property
    def leases(self) -> list[Lease]:
        """Those that hold a slot."""
        assert self.agent.throughput is not None
        return self.agent.throughput.desk._book.running

    async def until_free(self, deadline_s: float = 8.0) -> None:
        """Wait until no lease holds a slot."""
        assert self.agent.throughput is not None
        desk = self.agent.throughput.desk

        async def free() -> bool:
            return desk.slots_taken == 0

        await eventually(free, "the slot is free", deadline_s)


@contextlib.asynccontextmanager
async def granting(folder: Path, host: str = "127.0.0.1") -> AsyncIterator[Granting]:
    """An agent that runs in this process, on loopback."""
    http, data = free_port(), _free_port_of_both()
    file = written(folder, Endpoint(host, http), Endpoint(host, data))
    agent = Agent(load(file, AgentSettings), folder=folder)
    stop = asyncio.Event()
    serving = asyncio.create_task(agent.run(stop))

    async def up() -> bool:
        return agent._ready

    try:
        await eventually(up, "the agent runs")
        yield Granting(agent, http)
    finally:
        stop.set()
        assert await serving


def _free_port_of_both() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port


def line_to(http: int, **changes: Any) -> ThroughputPathSettings:
    """A line to an agent on loopback, at rates that any machine carries."""
    return ThroughputPathSettings.model_validate(
        {
            "target": "there",
            "address": f"127.0.0.1:{http}",
            "token_file": "token",
            "floors": {"down": "40M", "up": "10M"},
            "longest": "5s",
            "streams": 2,
            "slot": {"every": "1h"},
            **changes,
        }
    )


def engines(parent: int) -> list[int]:
    """Process ids of the children of tests that a process has."""
    found = []
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in children.read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):
                if _ENGINE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found


def is_there(pid: int) -> bool:
    """Whether a process runs; what has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
