"""Real programs started for a test, on ports of their own, and always stopped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

START_DEADLINE_S = 20.0


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(
    condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = START_DEADLINE_S
) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.05)


async def serving(url: str, what: str) -> None:
    """Wait until a GET of this address is answered with 200.

    Raises:
        AssertionError: it was not within the deadline.
    """
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            try:
                async with session.get(url) as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, f"{what} serves")


@contextlib.asynccontextmanager
async def running(command: Sequence[str | Path], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process whose output goes to a file; terminated, then killed, at the end."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*map(str, command), stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def agent_command(*arguments: str | Path) -> list[str | Path]:
    """The agent's command line."""
    return [sys.executable, "-m", "agent", *arguments]


def collector_command(*arguments: str | Path) -> list[str | Path]:
    """The collector's command line."""
    return [sys.executable, "-m", "collector", *arguments]
