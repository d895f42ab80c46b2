"""Direct scrape: every agent's /metrics, all at once, none waiting for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse

_MAX_OCTETS: Final = 256 << 20
_CHUNK_OCTETS: Final = 1 << 16
_AT_A_TIME: Final = 64


class AgentsSource:
    """Scrapes the agents.

    Args:
        agents: HOST:PORT by site.
        timeout_s: after which an agent counts as not answering.
        now_ns: Unix wall time.
        resolver: looks names up; None: the system does.
    """

    def __init__(
        self,
        agents: Mapping[str, str],
        timeout_s: float,
        now_ns: Callable[[], int],
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._agents = agents
        self._now_ns = now_ns
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=_AT_A_TIME, resolver=resolver),
        )

    async def read(self) -> Sequence[AgentReading]:
        """Scrape every agent."""
        return await asyncio.gather(*(self._scrape(site, address) for site, address in self._agents.items()))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _scrape(self, site: str, address: str) -> AgentReading:
        try:
            async with self._session.get(f"http://{address}/metrics") as response:
                if response.status != 200:
                    return self._unread(site, f"{address} answers {response.status} {response.reason}")
                body = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK_OCTETS):
                    body += chunk
                    if len(body) > _MAX_OCTETS:
                        return self._unread(site, f"{address}: more than {_MAX_OCTETS >> 20} MiB")
            taken_ns = self._now_ns()
            # A thousand paths take a second: the page and the alerts must not wait for it.
            return await asyncio.to_thread(_reading, site, body, taken_ns)
        except TimeoutError:
            return self._unread(site, f"{address} does not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            reason = f"{address}: {error or type(error).__name__}"
            return self._unread(site, reason, refused=_refused(error))
        except ValueError as error:
            return self._unread(site, f"{address}: not an agent's exposition: {error}")

    def _unread(self, site: str, reason: str, *, refused: bool = False) -> AgentReading:
        return AgentReading(site, up=False, reason=reason, taken_ns=self._now_ns(), refused=refused)


def _refused(error: Exception) -> bool:
    """Whether the host is there, and nothing listens on it."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, ConnectionRefusedError)


def _reading(site: str, body: bytearray, taken_ns: int) -> AgentReading:
    return agent_reading(site, parse(body.decode(), NEEDED), taken_ns)
