"""A test's child process as its parent has it: started, handed its sockets, listened to, and surely ended.

Once a socket is handed over the parent has it no more: when the child ends, however that comes, the connection does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, Self

from pydantic import TypeAdapter, ValidationError

from agent.core.throughput.lease import Way
from agent.throughput.plan import RECORD_OCTETS, EnginePlan, EngineReport

log = logging.getLogger(__name__)

_REPORTS: Final = TypeAdapter(EngineReport)
_ENDS_S: Final = 3.0


class EngineProcess:
    """The child of one test; made by `start`.

    Attributes:
        pid: of the child.
        report: what it told last.
        complete: whether that was the last report: it came to its end by itself.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        control: socket.socket,
        told: Callable[[EngineReport], None],
    ) -> None:
        self._process = process
        self._control = control
        self._told = told
        self._closed = asyncio.Event()
        self.pid = process.pid
        self.report = EngineReport()
        self.complete = False
        asyncio.get_running_loop().add_reader(control, self._readable)

    @classmethod
    async def start(cls, plan: EnginePlan, told: Callable[[EngineReport], None]) -> Self:
        """Start a child.

        Args:
            plan: what it is to do.
            told: called with each report.

        Raises:
            OSError: there is no room for another process.
        """
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as undone:
            undone.callback(own.close)
            with other:
                for one in (own, other):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECORD_OCTETS)
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "agent.throughput.engine",
                    str(other.fileno()),
                    pass_fds=[other.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                )
            own.setblocking(False)
            started = cls(process, own, told)
            undone.pop_all()
        started._order(plan.document())
        return started

    def hand_over(
        self, way: Way, stream: int, one: socket.socket, proof: bytes = b"", accept: bytes = b""
    ) -> None:
        """Give it a data socket that is open; it is closed here.

        Args:
            way, stream: what it is for.
            one: the socket.
            proof, accept: over UDP, at the end that has granted the lease: what is said again to whom asks again.
        """
        order = {
            "order": "socket",
            "way": way,
            "stream": stream,
            "proof": proof.hex(),
            "accept": accept.hex(),
        }
        with one:
            self._order(order, one)

    def begin(self) -> None:
        """All sockets are there: let data flow."""
        self._order({"order": "begin"})

    def end(self, way: Way) -> None:
        """Enough of one way."""
        self._order({"order": "end", "way": way})

    async def ended(self) -> None:
        """Wait until it has ended."""
        await self._closed.wait()
        await self._process.wait()

    async def stop(self, ways: tuple[Way, ...] = tuple(Way)) -> None:
        """Have it end, and kill it where it does not; then nothing of it is left."""
        for way in ways:
            self.end(way)
        try:
            async with asyncio.timeout(_ENDS_S):
                await self.ended()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._close()

    def _order(self, order: dict[str, Any], one: socket.socket | None = None) -> None:
        record = json.dumps(order).encode()
        with contextlib.suppress(OSError):  # it has ended, which is seen elsewhere
            if one is None:
                self._control.send(record)
            else:
                socket.send_fds(self._control, [record], [one.fileno()])

    def _readable(self) -> None:
        try:
            record = self._control.recv(RECORD_OCTETS)
        except BlockingIOError:
            return
        except ConnectionResetError:
            return  # it has not read our last orders; what it told before it ended is there all the same
        except OSError:
            record = b""
        if not record:
            self._close()
            return
        try:
            self.report = _REPORTS.validate_json(record)
        except ValidationError as error:
            log.error("a throughput test's process says what cannot be read: %s", error)
            return
        self.complete = self.report.over
        self._told(self.report)

    def _close(self) -> None:
        if not self._closed.is_set():
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._closed.set()
