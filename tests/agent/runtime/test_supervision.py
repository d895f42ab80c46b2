"""What a service manager hears, by a socket of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.supervision import Supervision


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening service manager, and its address as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(10)
        listening.bind(f"\0{name}" if request.param == "abstract" else name)
        yield listening, f"@{name}" if request.param == "abstract" else name


def heard(listening: socket.socket) -> dict[str, str]:
    """The next message."""
    return dict(line.split("=", 1) for line in listening.recv(4096).decode().splitlines())


def test_a_life_is_told(manager: tuple[socket.socket, str]) -> None:
    """Ready with a status, reloading with the time systemd 253 asks for, stopping."""
    listening, address = manager
    supervision = Supervision.of({"NOTIFY_SOCKET": address})
    supervision.ready("12 paths")
    assert heard(listening) == {"READY": "1", "STATUS": "12 paths"}
    before_us = time.monotonic_ns() // 1000
    supervision.reloading()
    said = heard(listening)
    assert said.pop("RELOADING") == "1"
    assert before_us <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert said == {}
    supervision.stopping()
    assert heard(listening) == {"STOPPING": "1"}


async def test_the_watchdog_is_fed_while_the_loop_turns(manager: tuple[socket.socket, str]) -> None:
    """Several times within its period, from the beginning on."""
    listening, address = manager
    supervision = Supervision.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000"})
    assert supervision.watchdog_s == 0.03
    async with supervision.kept_alive():
        for _ in range(5):
            assert await asyncio.to_thread(heard, listening) == {"WATCHDOG": "1"}


def _stuck() -> None:
    time.sleep(0.1)


async def test_a_stuck_loop_feeds_nobody(manager: tuple[socket.socket, str]) -> None:
    """While a callback does not come back nothing is heard, whatever else the process does."""
    listening, address = manager
    async with Supervision(address, 0.01).kept_alive():
        listening.setblocking(False)
        _stuck()
        with pytest.raises(BlockingIOError):
            listening.recv(4096)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ],
)
async def test_without_a_watchdog_nothing_is_fed(environment: dict[str, str]) -> None:
    """Where it is off, nonsense, or meant for another process."""
    supervision = Supervision.of(environment)
    assert supervision.watchdog_s is None
    async with supervision.kept_alive():
        supervision.ready("heard by nobody")


def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    """Its socket may be missing."""
    Supervision(str(tmp_path / "nobody")).stopping()
