"""Names of targets, looked up again and again in the background: a bad one harms nobody, a changed one is followed.

A resolver may take half a minute to say that it knows nothing. So each name is asked for in a thread of its own, which
neither a reload nor the end of the program waits for; and those that are known have places of their own, where they do
not wait for those that are not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agent.runtime.apart import apart
from agent.runtime.hosts import addresses_of, is_address
from agent.runtime.logs import RateLimited
from agent.runtime.quantities import Endpoint

_AGAIN_S: Final = 30.0
_AT_ONCE: Final = 16
"""Names that are asked for at a time, of those that are looked up together."""

log = logging.getLogger(__name__)


class Resolver:
    """Looks up endpoints until it is cancelled.

    Args:
        found: called with a row and its address, at first and whenever it changes; may raise OSError where the
            address is of no use.
    """

    def __init__(self, found: Callable[[int, str], None]) -> None:
        self._found = found
        self._complain = RateLimited(log.warning)
        self._endpoints: dict[int, Endpoint] = {}
        self._addresses: dict[int, str] = {}
        # the rows that wait for what a name turns out to be
        self._asking: dict[str, set[int]] = {}
        self._failing: set[str] = set()

    def look_up(self, row: int, endpoint: Endpoint) -> None:
        """Look for an endpoint from now on; what is known of it is told again, of another one of the row forgotten."""
        before, known = self._endpoints.get(row), self._addresses.pop(row, None)
        self._endpoints[row] = endpoint
        if before == endpoint and known is not None:
            self._take(row, [known])

    def forget(self, rows: Iterable[int]) -> None:
        """Look no more for these."""
        for row in rows:
            self._endpoints.pop(row, None)

    async def resolve(self, rows: Iterable[int]) -> None:
        """Look these up once; a failure is said where it begins and leaves what was known before."""
        names: list[str] = []
        for row in rows:
            host = self._endpoints[row].host
            if is_address(host):
                self._take(row, [host])  # a thousand of them need no thread each
            elif host in self._asking:
                self._asking[host].add(row)
            else:
                self._asking[host] = {row}
                names.append(host)
        places = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._resolve(host, places) for host in names))

    async def keep_resolving(self) -> None:
        """Look up the names among the endpoints, and what is not known, again and again."""
        await asyncio.gather(self._keep_resolving(known=True), self._keep_resolving(known=False))

    async def _keep_resolving(self, *, known: bool) -> None:
        while True:
            await asyncio.sleep(_AGAIN_S)
            await self.resolve(
                [
                    row
                    for row, endpoint in self._endpoints.items()
                    if (row in self._addresses) is known and not (known and is_address(endpoint.host))
                ]
            )

    async def _resolve(self, host: str, places: asyncio.Semaphore) -> None:
        try:
            async with places:
                answers = await apart(addresses_of, host)
        except OSError as error:
            if host not in self._failing and not self._asking[host] <= self._addresses.keys():
                log.warning("cannot resolve %s, trying again: %s", host, error)
            self._failing.add(host)
        else:
            self._failing.discard(host)
            for row in self._asking[host]:
                endpoint = self._endpoints.get(row)
                if endpoint is not None and endpoint.host == host:
                    self._take(row, answers)
        finally:
            del self._asking[host]

    def _take(self, row: int, answers: Sequence[str]) -> None:
        """Stay with what is known where that is among the answers, else take the first."""
        host, known = self._endpoints[row].host, self._addresses.get(row)
        if known in answers:
            return
        try:
            self._found(row, answers[0])
        except OSError as error:
            # what keeps one path from being sent to may keep a thousand
            self._complain(str(error), f"cannot send to {host}, trying again: {error}")
            return
        self._addresses[row] = answers[0]
        if known is not None:
            log.info("%s is now at %s, was at %s", host, answers[0], known)


def family_of(address: str) -> socket.AddressFamily:
    """The address family of an address."""
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
