"""A webhook receiver that checks the signature and keeps what it gets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web


class Receiver:
    """What has arrived.

    Args:
        key: the secret that messages are signed with.
        show: called with each genuine message.
    """

    def __init__(self, key: bytes, show: Callable[[dict[str, Any]], None]) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.refused = 0
        self._key = key
        self._show = show

    async def handle(self, request: web.Request) -> web.Response:
        """Take one message; the same one again is taken, and counted once."""
        body = await request.read()
        identifier = request.headers.get("webhook-id", "")
        signed = f"{identifier}.{request.headers.get('webhook-timestamp', '')}.".encode() + body
        signature = "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        if signature not in request.headers.get("webhook-signature", "").split():
            self.refused += 1
            return web.Response(status=401)
        if identifier not in self.messages:
            self.messages[identifier] = json.loads(body)
            self._show(self.messages[identifier])
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver, host: str, port: int) -> AsyncIterator[None]:
    """Serve a receiver at /hook."""
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
