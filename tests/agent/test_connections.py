"""Connections to the agent's HTTP server: few, and none that says nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agent.connections import Closed, Connections, HttpBindError, bind
from agent.http import serve
from agent.runtime.quantities import Endpoint
from tests.support.processes import eventually, free_port

MOST_OF_ONE, MOST = 3, 5
LONG = 20_000_000


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Connections, int]]:
    """A server with room for five connections, three of one address."""
    app = web.Application()

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {len(await request.read())}")

    async def long(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LONG))

    app.router.add_route("*", "/", hello)
    app.router.add_get("/long", long)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    bounded = Connections(runner.server, MOST, MOST_OF_ONE)
    listening = await asyncio.get_running_loop().create_server(bounded, "127.0.0.1", port := free_port())
    try:
        yield bounded, port
    finally:
        listening.close()
        await runner.cleanup()


class Client:
    """A connection from an address of loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, port: int, source: str = "127.0.0.1") -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    async def get(self, *pieces: bytes) -> bytes:
        """What is answered to a request, sent in pieces: its body; empty where the connection is closed instead."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(0)
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            return await self.reader.readexactly(int(length.split()[1]))
        return b""

    async def is_closed(self) -> bool:
        """Waits until the other end has closed it."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read(1) == b""
        self.close()
        return True

    def close(self) -> None:
        self.writer.close()
        self.writer.transport.abort()


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_so_many_of_one_address_and_in_all() -> None:
    """Who has his own is refused more, others are served until all are taken; what is given back is there again."""
    async with serving() as (bounded, port):
        own = [await Client.at(port) for _ in range(MOST_OF_ONE)]
        assert [await one.get(GET) for one in own] == [b"hello 0"] * MOST_OF_ONE
        assert await (await Client.at(port)).is_closed()
        others = [await Client.at(port, f"127.0.0.{number}") for number in (2, 3)]
        assert [await one.get(GET) for one in others] == [b"hello 0"] * 2
        assert await (await Client.at(port, "127.0.0.4")).is_closed()
        assert bounded.closed == {Closed.TOO_MANY_OF_ONE: 1, Closed.TOO_MANY: 1}
        own[0].close()

        async def room() -> bool:
            return len(bounded) < MOST

        await eventually(room, "there is room")
        late = await Client.at(port, "127.0.0.4")
        assert await late.get(GET) == b"hello 0"
        for one in (*own, *others, late):
            one.close()

        async def empty() -> bool:
            return len(bounded) == 0

        await eventually(empty, "all are gone")


async def test_requests_in_pieces() -> None:
    """However a request comes, octet by octet or with its body and the next one, it is answered."""
    async with serving() as (bounded, port):
        client = await Client.at(port)
        assert await client.get(*(bytes([octet]) for octet in GET)) == b"hello 0"
        post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
        assert await client.get(post[:-2], post[-2:] + GET) == b"hello 5"
        assert await client.get() == b"hello 0"
        client.close()
        assert not bounded.closed


async def test_who_says_nothing_is_closed() -> None:
    """Nothing, or half of a head, for so long, and the connection is closed and counted; after a request it is not."""
    received: list[bytes] = []

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            received.append(data)

    bounded = Connections(Echo, silent_s=0.3)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(bounded, "127.0.0.1", port := free_port())
    silent, halting, asking = [await Client.at(port) for _ in range(3)]
    halting.writer.write(GET[:-1])
    asking.writer.write(GET)
    assert await silent.is_closed()
    assert await halting.is_closed()
    assert len(bounded) == 1
    assert bounded.closed == {Closed.SILENT: 2}
    asking.writer.write_eof()
    assert await asking.is_closed()
    assert sorted(received) == sorted([GET[:-1], GET])
    listening.close()
    for one in (silent, halting, asking):
        one.close()


async def test_a_slow_reader_is_waited_for() -> None:
    """An answer that the peer does not read yet is held back, and complete when he does."""
    async with serving() as (bounded, port):
        slow, quick = await Client.at(port), await Client.at(port)
        slow.writer.write(GET.replace(b"/ ", b"/long ", 1))
        head = await slow.reader.readuntil(b"\r\n\r\n")
        assert b"200" in head.splitlines()[0]
        assert await quick.get(GET) == b"hello 0"
        assert len(await slow.reader.readexactly(LONG)) == LONG
        assert not bounded.closed
        slow.close()
        quick.close()


async def test_who_comes_before_anything_is_served_waits() -> None:
    """A connection to an address that is taken is answered when something serves it; nobody else gets the address."""
    endpoint = Endpoint("127.0.0.1", free_port())
    sockets = await bind(endpoint)
    with pytest.raises(HttpBindError, match=f"http: cannot listen on {endpoint}"):
        await bind(endpoint)
    client = await Client.at(endpoint.port)
    early = asyncio.create_task(client.get(GET))
    app = web.Application()

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app.router.add_get("/", hello)
    server = await serve(app, sockets)
    try:
        async with asyncio.timeout(10):
            assert await early == b"hello"
    finally:
        client.close()
        await server.close()
