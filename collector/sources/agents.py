"""Direct scrape: every agent's /metrics, all at once, none waiting for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from agent.core import metrics
from agent.core.throughput.lease import Way
from agent.core.throughput.turn import Result
from agent.runtime.line_settings import MAX_TESTED
from collector.ledger.minutes import WIDTH
from collector.sources.layout import Layout
from collector.sources.sample import IncompleteError
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse

_MAX_OCTETS: Final = 256 << 20
_LARGE_OCTETS: Final = 32 << 20
"""As much as two thousand paths tell."""

_LARGE_AT_A_TIME: Final = 2
"""So many that are larger: all that are read together must not take the memory of the host."""

_BUFFER_OCTETS: Final = 1 << 18
"""With less, reading is paused and resumed so often that it costs a third more."""

_AT_A_TIME: Final = 64
_ASKED: Final = [("name[]", name) for name in NEEDED]
"""Half of what an agent tells is not needed here; one that does not know this parameter tells it all the same."""

_PATH: Final = f"\n{metrics.PROBE_SENT}{{".encode()
_MOST_LINES: Final = 10 * WIDTH
"""Of a path: several times what an agent tells of one, and all its buckets twice."""

_SPARE_PATHS: Final = 20
"""As many lines as theirs may tell of the agent itself and of ways that were traced."""

_TESTED: Final = f"\n{metrics.THROUGHPUT_TESTS}{{".encode()
_LINES_OF_TESTED: Final = 20
"""For each of these, several times as many as an agent tells of what it tests."""

_MOST_TESTED: Final = MAX_TESTED * len(Way) * len(Result)


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
        self._layouts: dict[str, Layout] = {}
        self._latest: Layout | None = None
        # Not left to the connector: who waits for a connection of it is given up as if the agent did not answer.
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._large = asyncio.Semaphore(_LARGE_AT_A_TIME)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=_AT_A_TIME, resolver=resolver),
            read_bufsize=_BUFFER_OCTETS,
        )

    async def read(self) -> Sequence[AgentReading]:
        """Scrape every agent."""
        return await asyncio.gather(*(self._in_turn(site, address) for site, address in self._agents.items()))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _in_turn(self, site: str, address: str) -> AgentReading:
        # whoever answers at length waits for others that do, and holds what he has got until it is read
        async with self._turn, contextlib.AsyncExitStack() as turns:
            return await self._scrape(site, address, turns)

    async def _scrape(self, site: str, address: str, turns: contextlib.AsyncExitStack) -> AgentReading:
        try:
            # Who answers in an agent's place is not one: no redirection is followed, wherever it leads.
            asked = self._session.get(f"http://{address}/metrics", params=_ASKED, allow_redirects=False)
            async with asked as response:
                if response.status != 200:
                    return self._unread(site, f"{address} answers {response.status} {response.reason}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    if len(body) <= _LARGE_OCTETS < len(body) + len(chunk):
                        await turns.enter_async_context(self._large)
                    body += chunk
                    if len(body) > _MAX_OCTETS:
                        return self._unread(site, f"{address}: more than {_MAX_OCTETS >> 20} MiB")
            taken_ns = self._now_ns()
            # A thousand paths take a second where they are new: the page and the alerts must not wait for it.
            return await asyncio.to_thread(self._reading, site, body, taken_ns)
        except TimeoutError:
            return self._unread(site, f"{address} does not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            reason = f"{address}: {error or type(error).__name__}"
            return self._unread(site, reason, refused=_refused(error))
        except ValueError as error:
            return self._unread(site, f"{address}: not an agent's exposition: {error}")

    def _unread(self, site: str, reason: str, *, refused: bool = False) -> AgentReading:
        return AgentReading(site, up=False, reason=reason, taken_ns=self._now_ns(), refused=refused)

    def _reading(self, site: str, body: bytearray, taken_ns: int) -> AgentReading:
        known = self._layouts.get(site)
        found = None if known is None else known.read(body, taken_ns)
        if found is not None:
            self._latest = known
            return found
        _refuse_swollen(body)
        for find in (self._like_another, Layout.learned):
            layout = find(site, body)
            found = None if layout is None else layout.read(body, taken_ns)
            if layout is not None and found is not None:
                self._layouts[site] = self._latest = layout
                return found
        return agent_reading(site, parse(body.decode(), NEEDED), taken_ns)

    def _like_another(self, site: str, body: bytearray) -> Layout | None:
        return None if self._latest is None else self._latest.of_another(site, body)


def _refuse_swollen(body: bytearray) -> None:
    """Refuse, before anything is read of it, what would take a minute to be found to be no exposition.

    Other agents would be late meanwhile: what reads line by line holds the interpreter.

    Raises:
        IncompleteError: it has fewer lines than the counts of as many paths need, or far more than all of an agent's.
    """
    paths, lines = body.count(_PATH), body.count(b"\n")
    if lines < paths * WIDTH:
        raise IncompleteError(f"{lines} lines are too few for the counts of {paths} paths")
    of_tested = _LINES_OF_TESTED * min(body.count(_TESTED), _MOST_TESTED)
    if lines > (paths + _SPARE_PATHS) * _MOST_LINES + of_tested:
        raise IncompleteError(f"{lines} lines are too many for {paths} paths")


def _refused(error: Exception) -> bool:
    """Whether the host is there, and nothing listens on it."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, ConnectionRefusedError)
