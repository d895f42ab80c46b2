"""The collector's HTTP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from collector.alerts.counts import NotificationCounts
from collector.web.api import Api
from collector.web.exposition import registry
from collector.web.queries import BadQueryError
from collector.web.refusal import Refusal
from collector.web.verdict_text import VerdictText
from collector.web.view import Fleet, StateView

log = logging.getLogger(__name__)

STATIC: Final = Path(__file__).with_name("static")

SECURITY_HEADERS: Final = {
    # Nothing but what this server itself serves: no inline script or style, no other origin, no frame elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    fleet: Fleet,
    state: StateView,
    notifications: NotificationCounts,
    more: Iterable[web.RouteDef] = (),
) -> web.Application:
    """The application; it shows the state as it is whenever it is asked, and serves `more` beside it."""
    health_registry = registry(state, notifications)
    writing = asyncio.Lock()

    async def metrics(request: web.Request) -> web.StreamResponse:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Of very many paths it takes seconds: one at a time, and beside the event loop.
        async with writing:
            text = await asyncio.to_thread(VerdictText, state)
        try:
            health = await asyncio.to_thread(encode, health_registry)
            response = web.StreamResponse(headers={"Content-Type": content_type})
            response.content_length = text.octets() + len(health)
            await response.prepare(request)
            if request.method != "HEAD":
                pieces = text.pieces()
                while piece := await asyncio.to_thread(next, pieces, b""):
                    await response.write(piece)
                await response.write(health)
            await response.write_eof()
            return response
        finally:
            text.close()

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="healthy\n")

    async def ready(_: web.Request) -> web.Response:
        missing = not_ready(state)
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(STATIC / "index.html")

    app = web.Application(middlewares=[errors_as_json])
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [
            web.get("/", page),
            web.get("/metrics", metrics),
            web.get("/-/healthy", healthy),
            web.get("/-/ready", ready),
            web.static("/static", STATIC),
            *Api(fleet, state).routes(),
            *more,
        ]
    )
    return app


def not_ready(state: StateView) -> str:
    """What is missing before verdicts can be trusted to exist; empty where nothing is."""
    if state.evaluated_ns is not None:
        return ""
    down = [f"{site} ({source.reason})" for site, source in state.sources.items() if not source.up]
    return "no evaluation yet" + (f"; agents not read: {', '.join(down)}" if down else "")


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error is a JSON document that says what was wrong and what would be accepted."""
    try:
        return await handler(request)
    except BadQueryError as error:
        return _error(400, str(error))
    except Refusal as error:
        response = _error(error.status, str(error))
        response.headers.update(error.headers)
        return response
    except web.HTTPNotFound:
        return _error(404, f"there is no {request.path[:200]}")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = _error(405, f"{error.method} is not accepted here: {allowed}")
        response.headers["Allow"] = allowed
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _error(error.status, error.reason)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _error(500, "the collector has failed to answer; its log says why")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"status": status, "message": message}}, status=status)


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """What a browser must and must not do with our answers."""
    for name, value in SECURITY_HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-cache")
