"""An HTTP server that notes what it is sent and answers as it is told: a webhook's receiver, or an Alertmanager."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.processes import eventually


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """What was received, and how to answer.

    Attributes:
        answers: status codes of the next answers, then `status`.
        hanging: answer only when it is unset.
    """

    status: int = 200
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    hanging: bool = False
    received: list[Received] = field(default_factory=list)
    url: str = ""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        """Note the request and answer."""
        body = await request.read()
        self.received.append(Received(request.path, request.query_string, request.headers.copy(), body))
        if self.hanging:
            await self.released.wait()
        status = self.answers.pop(0) if self.answers else self.status
        return web.Response(status=status, headers=self.headers)

    async def until(self, number: int) -> None:
        """Wait until so many requests have arrived."""

        async def arrived() -> bool:
            return len(self.received) >= number

        await eventually(arrived, f"{number} requests, there are {len(self.received)}")


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0) -> AsyncIterator[Receiver]:
    """Serve on loopback, on a free port if none is given; hanging answers are released at the end."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}"
    try:
        yield receiver
    finally:
        receiver.released.set()
        await runner.cleanup()
