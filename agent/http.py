"""The agent's HTTP server: metrics, health, and who may have the settings read anew."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from agent.connections import BACKLOG, Connections
from agent.runtime.exceptions import IsochroneError
from agent.runtime.memory import trim
from agent.runtime.secret_files import bears

_LINGERING_S: Final = 1.0
"""How long is listened to the rest of a request that was answered before it was read; aiohttp's 10 s serve a flood."""


def create_app(
    render: Callable[[Container[str] | None], Iterator[str]],
    give_way: Callable[[], None],
    reload: Callable[[], Awaitable[None]],
    not_ready: Callable[[], str],
    token: str | None = None,
) -> web.Application:
    """The application.

    Args:
        render: what /metrics shows, in pieces, between which probes can be sent; of the metrics of these names alone
            where a request says so (`name[]`, as other exporters have it).
        give_way: called between pieces, to see to that.
        reload: takes over the settings as they are now; raises IsochroneError where it cannot.
        not_ready: why the agent is not ready yet; empty where it is.
        token: of the API; who bears it may ask for a reload from elsewhere than this host.
    """

    async def metrics(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        await response.prepare(request)
        names = request.query.getall("name[]", None)
        for piece in render(None if names is None else frozenset(names)):
            await response.write(piece.encode())
            give_way()
            await asyncio.sleep(0)
        trim()  # 1 MB of text and counts
        return response

    async def reloaded(request: web.Request) -> web.Response:
        # what is read is this host's own file, but to read it costs time, and what is wrong with it is told
        if not _is_local(request.remote):
            authorization = request.headers.get("Authorization", "")
            if token is None or not bears(authorization, token):
                return web.Response(text="from this host, or with the API's token\n", status=403)
        try:
            await reload()
        except IsochroneError as error:
            return web.Response(text=f"{error}\n", status=400)
        return web.Response(text="reloaded\n")

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="healthy\n")

    async def ready(_: web.Request) -> web.Response:
        missing = not_ready()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", ready)
    app.router.add_post("/-/reload", reloaded)
    return app


def _is_local(remote: str | None) -> bool:
    """Whether a request comes from a loopback address of this host."""
    return remote is not None and ipaddress.ip_address(remote).is_loopback


class HttpServer:
    """A server that listens.

    Attributes:
        connections: that it has.
    """

    def __init__(
        self, runner: web.AppRunner, connections: Connections, listening: Sequence[asyncio.Server]
    ) -> None:
        self.connections = connections
        self._runner = runner
        self._listening = listening

    async def close(self) -> None:
        """Listen no more, and close all connections when what they were asked is answered."""
        for server in self._listening:
            server.close()
        await self._runner.cleanup()


async def serve(app: web.Application, sockets: Sequence[socket.socket]) -> HttpServer:
    """Serve an application to who connects to sockets, as `agent.connections.bind` gives them; they are closed in
    the end.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, lingering_time=_LINGERING_S)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server)
    loop = asyncio.get_running_loop()
    listening = [await loop.create_server(connections, sock=one, backlog=BACKLOG) for one in sockets]
    return HttpServer(runner, connections, listening)
