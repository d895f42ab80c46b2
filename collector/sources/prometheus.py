"""Through a Prometheus-compatible query API: the raw samples of each agent's latest scrape, exactly as scraped.

A range selector gives samples with the times of their scrapes, where an instant selector would give the last value of
up to five minutes ago as if it were new. Samples of one scrape share its time, so all that is read of an agent is of
one moment; there is no rate, no increase, nothing extrapolated.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from agent.core import metrics
from agent.runtime.wording import one_line
from collector.sources.samples import MAX_STORED, NEEDED, AgentReading, IncompleteError, Sample, agent_reading

log = logging.getLogger(__name__)

_SITE_LABEL: Final = "site"
_LOOK_BACK_INTERVALS: Final = 3
_LAST_MS: Final = MAX_STORED // 1_000_000


@dataclass(frozen=True, slots=True)
class _Series:
    """The last sample of a series, with the time of its scrape (Unix, ms: what Prometheus keeps)."""

    name: str
    site: str
    labels: Mapping[str, str]
    taken_ms: int
    value: float


class PrometheusSource:
    """Reads what a Prometheus has scraped of the agents.

    The scrape config must keep the agents' own labels (`honor_labels: true`) and carry their site as `site`, as
    `/sd/prometheus` does.

    Args:
        url: base of the HTTP API.
        sites: the sites that have an agent.
        interval_ns: how often the source is read; a scrape older than three times this is not looked for.
        timeout_s: after which the API counts as not answering.
        now_ns: Unix wall time.
        resolver: looks names up; None: the system does.
    """

    def __init__(
        self,
        url: str,
        sites: Sequence[str],
        interval_ns: int,
        timeout_s: float,
        now_ns: Callable[[], int],
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._sites = sites
        self._now_ns = now_ns
        look_back_ms = _LOOK_BACK_INTERVALS * interval_ns // 1_000_000
        self._query = f'{{__name__=~"{"|".join(NEEDED)}",{_SITE_LABEL}!=""}}[{look_back_ms}ms]'
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s), connector=aiohttp.TCPConnector(resolver=resolver)
        )

    async def read(self) -> Sequence[AgentReading]:
        """The latest scrape of every agent."""
        try:
            return await self._agents(self._now_ns())
        except TimeoutError:
            return self._all_unread("Prometheus does not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._all_unread(f"Prometheus: {error or type(error).__name__}")

    async def read_at(self, at_ns: int) -> Sequence[AgentReading] | None:
        """The scrape of every agent that was the latest at a time (Unix wall time); None: there is no answer."""
        try:
            return await self._agents(at_ns)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("Prometheus gives no answer for the past: %s", error or type(error).__name__)
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _agents(self, at_ns: int) -> list[AgentReading]:
        status, text = await self._answer(at_ns)
        return readings_of(status, text, self._sites, self._now_ns())

    async def _answer(self, at_ns: int) -> tuple[int, str]:
        """Status and text of what the API answers for a time.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: there is no answer.
        """
        data = {"query": self._query, "time": f"{at_ns / 1e9:.3f}"}
        async with self._session.post(f"{self._url}/api/v1/query", data=data) as response:
            return response.status, await response.text(errors="replace")

    def _all_unread(self, reason: str) -> list[AgentReading]:
        now_ns = self._now_ns()
        return [
            AgentReading(site, up=False, reason=reason, taken_ns=now_ns, blind=True) for site in self._sites
        ]


def readings_of(status: int, text: str, sites: Sequence[str], now_ns: int) -> list[AgentReading]:
    """What an answer of the query API says of each site.

    Args:
        status, text: of the answer.
        sites: those that have an agent.
        now_ns: Unix wall time.

    Raises:
        ValueError: the answer is an error, or none of a query API.
    """
    by_site: dict[str, list[_Series]] = defaultdict(list)
    for one in _series(status, text):
        by_site[one.site].append(one)
    return [_agent(site, by_site.get(site, []), now_ns) for site in sites]


def _series(status: int, text: str) -> list[_Series]:
    """All series of all agents; raises as `readings_of` does."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{status}: no query API answers there") from None
    if not isinstance(body, dict) or body.get("status") != "success":
        error = body.get("error", "no query API") if isinstance(body, dict) else "no query API"
        raise ValueError(f"{status}: {one_line(str(error))}")
    try:
        return [
            _Series(labels["__name__"], labels[_SITE_LABEL], labels, _milliseconds(at), float(value))
            for one in body["data"]["result"]
            for labels in [_labels(one["metric"])]
            for at, value in one["values"][-1:]
        ]
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not the answer of a query API: {error!r}") from error


def _labels(labels: dict[str, str]) -> dict[str, str]:
    """Labels that are text, and such as can be written again."""
    for name, value in labels.items():
        if not isinstance(value, str):
            raise TypeError(f"label {name} is no text: {value!r}")
        value.encode()
    return labels


def _milliseconds(seconds: object) -> int:
    """A time in Unix ms, as Prometheus keeps it."""
    milliseconds = round(float(str(seconds)) * 1000)
    if not 0 <= milliseconds <= _LAST_MS:
        raise ValueError(f"{seconds} is no time")
    return milliseconds


def _agent(site: str, series: Sequence[_Series], now_ns: int) -> AgentReading:
    """The samples that share the time of the latest scrape."""
    scrapes = [one.taken_ms for one in series if one.name == metrics.PROCESS_START]
    if not scrapes:
        return AgentReading(site, up=False, reason="Prometheus has no recent scrape of it", taken_ns=now_ns)
    latest = max(scrapes)
    samples = [Sample(one.name, one.labels, one.value) for one in series if one.taken_ms == latest]
    try:
        return agent_reading(site, samples, latest * 1_000_000)
    except IncompleteError as error:
        return AgentReading(site, up=False, reason=str(error), taken_ns=now_ns)
