"""The agent's HTTP server: metrics and health."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint


class HttpBindError(IsochroneError):
    """The HTTP server cannot listen where it is told to."""


def create_app(registry: CollectorRegistry, not_ready: Callable[[], str]) -> web.Application:
    """The application.

    Args:
        registry: what /metrics shows.
        not_ready: why the agent is not ready yet; empty where it is.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="healthy\n")

    async def ready(_: web.Request) -> web.Response:
        missing = not_ready()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", ready)
    return app


async def serve(app: web.Application, endpoint: Endpoint) -> web.AppRunner:
    """Serve an application.

    Raises:
        HttpBindError: the endpoint is taken or is not ours.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, endpoint.host, endpoint.port).start()
    except OSError as error:
        await runner.cleanup()
        raise HttpBindError(f"http: cannot listen on {endpoint}: {error.strerror or error}") from error
    return runner
