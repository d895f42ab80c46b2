"""Names of targets, looked up again and again in the background: a bad one harms nobody, a changed one is followed."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agent.runtime.logs import RateLimited
from agent.runtime.quantities import Endpoint

_AGAIN_S: Final = 30.0

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
        names = []
        for row in rows:
            host = self._endpoints[row].host
            if _is_address(host):
                self._take(row, [host])  # a thousand of them need no thread each
            else:
                names.append(row)
        await asyncio.gather(*(self._resolve(row) for row in names))

    async def keep_resolving(self) -> None:
        """Look up the names among the endpoints, and what is not known, again and again."""
        while True:
            await asyncio.sleep(_AGAIN_S)
            again = [
                row
                for row, endpoint in self._endpoints.items()
                if row not in self._addresses or not _is_address(endpoint.host)
            ]
            for row in again:
                await self._resolve(row)

    async def _resolve(self, row: int) -> None:
        endpoint = self._endpoints.get(row)
        if endpoint is None:
            return
        try:
            answers = await _look_up(endpoint.host)
        except OSError as error:
            if row not in self._addresses:
                log.warning("cannot resolve %s, trying again: %s", endpoint.host, error)
        else:
            if self._endpoints.get(row) == endpoint:
                self._take(row, answers)

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _look_up(host: str) -> list[str]:
    """The addresses of a name, best first; an address is its own.

    Raises:
        OSError: there is none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    addresses = []
    for _, _, _, _, name in found:
        address, scope = str(name[0]), name[3] if len(name) == 4 else 0
        addresses.append(f"{address}%{scope}" if scope and "%" not in address else address)
    return addresses
