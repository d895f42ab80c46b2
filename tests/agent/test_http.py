"""Who may have the agent's settings read anew over HTTP."""

from __future__ import annotations

import aiohttp
import pytest

from agent.connections import bind
from agent.http import create_app, serve
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint
from tests.support.netns import joined_namespaces
from tests.support.processes import free_port

TOKEN = "0123456789abcdef"


async def asked(url: str, authorization: str | None = None) -> int:
    """The status of a request for a reload."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/-/reload", headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_this_host_may_ask_for_a_reload(host: str) -> None:
    """Over loopback no token is needed; what is refused is said."""
    port, reloads = free_port(), 0

    async def reload() -> None:
        nonlocal reloads
        reloads += 1
        if reloads == 2:
            raise IsochroneError("no good")

    server = await serve(
        create_app(lambda names: iter(()), lambda: None, reload, lambda: ""), await bind(Endpoint(host, port))
    )
    try:
        local = "[::1]" if host == "::1" else "127.0.0.1"
        assert await asked(f"http://{local}:{port}") == 200
        assert await asked(f"http://{local}:{port}") == 400
    finally:
        await server.close()
    assert reloads == 2


async def test_others_need_the_token() -> None:
    """From another host only who bears the API's token; nobody where there is none."""
    with joined_namespaces() as (left, right):
        for token, authorization, expected in (
            (None, f"Bearer {TOKEN}", 403),
            (TOKEN, None, 403),
            (TOKEN, "Bearer another-of-16-letters", 403),
            (TOKEN, f"Bearer {TOKEN}", 200),
        ):
            reloads = 0

            async def reload() -> None:
                nonlocal reloads
                reloads += 1

            app = create_app(lambda names: iter(()), lambda: None, reload, lambda: "", token)
            port = free_port()
            with left.entered():
                server = await serve(app, await bind(Endpoint("0.0.0.0", port)))
            try:
                with right.entered():
                    assert await asked(f"http://{left.ipv4}:{port}", authorization) == expected
            finally:
                await server.close()
            assert reloads == (expected == 200)
