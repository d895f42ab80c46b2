"""Names that have been looked up already: nobody waits for the system's resolver a second time."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from aiohttp.abc import AbstractResolver, ResolveResult

from agent.runtime.doctor.reach import NameAnswer


class KnownNames(AbstractResolver):
    """Answers with what is known of a name; of others, that there is no such name."""

    def __init__(self, answers: Mapping[str, NameAnswer]) -> None:
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: none are known.
        """
        known = self._answers.get(host, NameAnswer()).addresses
        if not known:
            raise OSError(f"{host} was not resolved")
        return [
            ResolveResult(
                hostname=host,
                host=address.partition("%")[0],
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in known
        ]

    async def close(self) -> None:
        """There is nothing to be closed."""
