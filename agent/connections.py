"""Connections to the agent's HTTP server, so few that they never cost the agent what it measures with.

A connection costs a file descriptor, of which a process has some thousand, and who only opens connections and says
nothing needs no token for it. So there are at most so many, of one address and in all, and one on which no request
has begun is closed after some seconds; after its first request aiohttp closes it when it idles.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from agent.core.networks import subscriber_of
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint

MOST: Final = 256
MOST_OF_ONE: Final = 32
SILENT_S: Final = 10.0
BACKLOG: Final = 128
_HEAD_END: Final = b"\r\n\r\n"


class HttpBindError(IsochroneError):
    """The HTTP server cannot listen where it is told to."""


async def bind(endpoint: Endpoint) -> list[socket.socket]:
    """Listen at an endpoint, at all addresses that its name has; who connects waits until he is served.

    Raises:
        HttpBindError: one is taken or is not ours.
    """
    listening: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            listening.append(socket.create_server(address, family=family, backlog=BACKLOG))
    except OSError as error:
        for one in listening:
            one.close()
        raise HttpBindError(f"http: cannot listen on {endpoint}: {error.strerror or error}") from error
    return listening


class Closed(StrEnum):
    """Why a connection was not kept: TOO_MANY in all, TOO_MANY_OF_ONE address, or SILENT."""

    TOO_MANY = "too_many"
    TOO_MANY_OF_ONE = "too_many_of_one"
    SILENT = "silent"


class Connections:
    """All connections of a server.

    Args:
        serve: makes what speaks HTTP on one of them.
        most: connections in all.
        most_of_one: of one IPv4 address or IPv6 /64.
        silent_s: after which one on which no request has come is closed.

    Attributes:
        closed: those that were not kept, by reason.
    """

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        silent_s: float = SILENT_S,
    ) -> None:
        self.closed: Counter[Closed] = Counter()
        self._serve = serve
        self._most = most
        self._most_of_one = most_of_one
        self._silent_s = silent_s
        self._open: Counter[bytes] = Counter()

    def __call__(self) -> asyncio.Protocol:
        """What a listening socket makes of a new connection."""
        return _Connection(self)

    def __len__(self) -> int:
        return self._open.total()

    def enter(self, subscriber: bytes) -> asyncio.Protocol | None:
        """Keep a connection of an address, and give what speaks on it; None: it is one too many."""
        if self._open[subscriber] >= self._most_of_one:
            self.closed[Closed.TOO_MANY_OF_ONE] += 1
            return None
        if len(self) >= self._most:
            self.closed[Closed.TOO_MANY] += 1
            return None
        self._open[subscriber] += 1
        return self._serve()

    def leave(self, subscriber: bytes) -> None:
        """It is gone."""
        self._open[subscriber] -= 1
        if not self._open[subscriber]:
            del self._open[subscriber]

    def await_request(self, transport: asyncio.Transport) -> asyncio.TimerHandle:
        """Close a connection unless this is cancelled in time."""
        return asyncio.get_running_loop().call_later(self._silent_s, self._close_silent, transport)

    def _close_silent(self, transport: asyncio.Transport) -> None:
        self.closed[Closed.SILENT] += 1
        transport.abort()


class _Connection(asyncio.Protocol):
    """One of them, from its first octet to its last: passes everything on to what speaks HTTP."""

    def __init__(self, all_of_them: Connections) -> None:
        self._all = all_of_them
        self._speaking: asyncio.Protocol | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._subscriber = b""
        self._tail = b""

    def connection_made(self, transport: Any) -> None:
        """Keep it, or close it before anything is read."""
        self._subscriber = _subscriber_of(transport)
        self._speaking = self._all.enter(self._subscriber)
        if self._speaking is None:
            transport.abort()
            return
        self._silence = self._all.await_request(transport)
        self._speaking.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets have come; with the end of a head the first request has."""
        if self._silence is not None:
            seen = self._tail + data
            self._tail = seen[1 - len(_HEAD_END) :]
            if _HEAD_END in seen:
                self._silence.cancel()
                self._silence = None
        if self._speaking is not None:
            self._speaking.data_received(data)

    def eof_received(self) -> bool | None:
        """No more will come."""
        return None if self._speaking is None else self._speaking.eof_received()

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        if self._speaking is not None:
            self._speaking.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._speaking is not None:
            self._speaking.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if self._silence is not None:
            self._silence.cancel()
        if self._speaking is not None:
            self._all.leave(self._subscriber)
            self._speaking.connection_lost(exc)


def _subscriber_of(transport: asyncio.Transport) -> bytes:
    """Whose a connection is; all that have no address of IP are one's."""
    try:
        return subscriber_of(ipaddress.ip_address(transport.get_extra_info("peername")[0]).packed)
    except (ValueError, TypeError, IndexError):
        return b""
