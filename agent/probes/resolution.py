"""Names of targets, looked up again and again in the background: a bad one harms nobody, a changed one is followed."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from agent.runtime.quantities import Endpoint

_AGAIN_S: Final = 30.0

log = logging.getLogger(__name__)


class Resolver:
    """Looks up endpoints until it is cancelled.

    Args:
        endpoints: by row.
        found: called with a row and its address, at first and whenever it changes; may raise OSError where the
            address is of no use.
    """

    def __init__(self, endpoints: Sequence[Endpoint], found: Callable[[int, str], None]) -> None:
        self._endpoints = endpoints
        self._found = found
        self.addresses: list[str | None] = [None] * len(endpoints)

    async def resolve(self) -> None:
        """Look up everything once; a failure is said where it begins and leaves what was known before."""
        await asyncio.gather(*(self._resolve(row) for row in range(len(self._endpoints))))

    async def keep_resolving(self) -> None:
        """Look up the names among the endpoints again and again."""
        names = [row for row, endpoint in enumerate(self._endpoints) if not _is_address(endpoint.host)]
        while True:
            await asyncio.sleep(_AGAIN_S)
            unknown = [row for row, address in enumerate(self.addresses) if address is None]
            for row in sorted({*names, *unknown}):
                await self._resolve(row)

    async def _resolve(self, row: int) -> None:
        endpoint, known = self._endpoints[row], self.addresses[row]
        try:
            answers = await _look_up(endpoint.host)
            if known not in answers:
                self._found(row, answers[0])
                self.addresses[row] = answers[0]
                if known is not None:
                    log.info("%s is now at %s, was at %s", endpoint.host, answers[0], known)
        except OSError as error:
            if known is None:
                log.warning("cannot resolve %s, trying again: %s", endpoint.host, error)


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
    if _is_address(host):
        return [host]  # a thousand of them need no thread each
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    addresses = []
    for _, _, _, _, name in found:
        address, scope = str(name[0]), name[3] if len(name) == 4 else 0
        addresses.append(f"{address}%{scope}" if scope and "%" not in address else address)
    return addresses
