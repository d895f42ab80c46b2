"""The collector's HTTP server over a state that a test changes as it likes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from aiohttp import web
from prometheus_client import generate_latest

from collector.alerts.counts import NotificationCounts
from collector.web.app import create_app
from collector.web.exposition import registry
from collector.web.verdict_text import VerdictText
from collector.web.view import Fleet
from tests.support.verdicts import State, fleet


@contextlib.asynccontextmanager
async def serving(
    state: State,
    counts: NotificationCounts | None = None,
    shown: Fleet | None = None,
    port: int = 0,
    more: Iterable[web.RouteDef] = (),
) -> AsyncIterator[str]:
    """Serve on loopback; its address."""
    app = create_app(shown or fleet(), state, counts or NotificationCounts(), more)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


def text_of(state: State, counts: NotificationCounts) -> str:
    """What `/metrics` says, but for a server."""
    text = VerdictText(state)
    verdicts = b"".join(text.pieces())
    text.close()
    return (verdicts + generate_latest(registry(state, counts))).decode()
