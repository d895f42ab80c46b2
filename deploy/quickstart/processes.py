"""The quickstart's processes: started together, and gone with it whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import functools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_STOP_WITHIN_S: Final = 10.0
_TAKEN: Final = os.strerror(errno.EADDRINUSE).casefold()


class ProcessDiedError(Exception):
    """A process of the quickstart ended by itself; the text says why, or holds the end of its log."""


class Processes:
    """Children with a log each, in sessions of their own so that Ctrl-C reaches only us, and dying with us.

    Args:
        folder: where the logs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *command: str | Path, piped: bool = False) -> asyncio.subprocess.Process:
        """Start a child; `piped` ones are spoken to over standard input and output."""
        with self._log(name).open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=functools.partial(_die_with, os.getpid()),
            )
        return self._running[name]

    async def start_python(
        self, name: str, *arguments: str | Path, piped: bool = False
    ) -> asyncio.subprocess.Process:
        """Start one of our own modules."""
        return await self.start(name, sys.executable, "-m", *arguments, piped=piped)

    def check(self) -> None:
        """See that all are alive.

        Raises:
            ProcessDiedError: one is not.
        """
        for name, process in self._running.items():
            if process.returncode is not None:
                lines = self._log(name).read_text(errors="replace").splitlines()
                for line in lines:
                    if _TAKEN in line.casefold():  # that says it all, and does not need the rest
                        raise ProcessDiedError(f"{name}: {line}")
                tail = "\n".join(lines[-15:])
                raise ProcessDiedError(f"{name} ended with status {process.returncode}:\n{tail}")

    async def stop(self, names: Sequence[str] | None = None) -> dict[str, int]:
        """End children, all of them by default, with SIGTERM, and with SIGKILL what does not obey.

        Returns:
            Their exit statuses.
        """
        chosen = {
            name: self._running.pop(name) for name in list(self._running) if names is None or name in names
        }
        for process in chosen.values():
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in chosen.values():
            try:
                await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        return {name: process.returncode or 0 for name, process in chosen.items()}

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@contextlib.asynccontextmanager
async def processes(folder: Path) -> AsyncIterator[Processes]:
    """Children that are stopped at the end."""
    children = Processes(folder)
    try:
        yield children
    finally:
        await children.stop()


def _die_with(parent: int) -> None:
    """In the child: be terminated when the parent is, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be watched
        os._exit(1)


class RelayControl:
    """Orders to the relay process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def order(self, **order: object) -> dict[str, Any]:
        """Give an order (none: only ask) and read what the relay says of itself.

        Raises:
            ProcessDiedError: it is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise ProcessDiedError("the relay has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
