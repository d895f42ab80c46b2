"""Through a Prometheus-compatible query API: the raw samples of each agent's latest scrape, exactly as scraped.

A range selector gives samples with the times of their scrapes, where an instant selector would give the last value of
up to five minutes ago as if it were new. Samples of one scrape share its time, so all that is read of an agent is of
one moment; there is no rate, no increase, nothing extrapolated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from agent.core import metrics
from collector.sources.samples import NEEDED, AgentReading, IncompleteError, Sample, agent_reading

_SITE_LABEL: Final = "site"
_LOOK_BACK_INTERVALS: Final = 3


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
    """

    def __init__(
        self, url: str, sites: Sequence[str], interval_ns: int, timeout_s: float, now_ns: Callable[[], int]
    ) -> None:
        self._url = url.rstrip("/")
        self._sites = sites
        self._now_ns = now_ns
        look_back_ms = _LOOK_BACK_INTERVALS * interval_ns // 1_000_000
        self._query = f'{{__name__=~"{"|".join(NEEDED)}",{_SITE_LABEL}!=""}}[{look_back_ms}ms]'
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))

    async def read(self) -> Sequence[AgentReading]:
        """The latest scrape of every agent."""
        try:
            series = await self._series()
        except TimeoutError:
            return self._all_unread("Prometheus does not answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._all_unread(f"Prometheus: {error or type(error).__name__}")
        by_site: dict[str, list[_Series]] = defaultdict(list)
        for one in series:
            by_site[one.site].append(one)
        return [self._agent(site, by_site.get(site, [])) for site in self._sites]

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _series(self) -> list[_Series]:
        """All series of all agents.

        Raises:
            ValueError: the answer is an error, or none of a query API.
            aiohttp.ClientError, OSError, TimeoutError: there is no answer.
        """
        now_s = self._now_ns() / 1e9
        data = {"query": self._query, "time": f"{now_s:.3f}"}
        async with self._session.post(f"{self._url}/api/v1/query", data=data) as response:
            text = await response.text(errors="replace")
        try:
            body = json.loads(text)
        except ValueError:
            raise ValueError(f"{response.status}: no query API answers there") from None
        if not isinstance(body, dict) or body.get("status") != "success":
            error = body.get("error", "no query API") if isinstance(body, dict) else "no query API"
            raise ValueError(f"{response.status}: {error}")
        try:
            return [
                _Series(
                    one["metric"]["__name__"],
                    one["metric"][_SITE_LABEL],
                    one["metric"],
                    round(float(at) * 1000),
                    float(value),
                )
                for one in body["data"]["result"]
                for at, value in one["values"][-1:]
            ]
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not the answer of a query API: {error!r}") from error

    def _agent(self, site: str, series: Sequence[_Series]) -> AgentReading:
        """The samples that share the time of the latest scrape."""
        scrapes = [one.taken_ms for one in series if one.name == metrics.PROCESS_START]
        if not scrapes:
            return AgentReading(
                site, up=False, reason="Prometheus has no recent scrape of it", taken_ns=self._now_ns()
            )
        latest = max(scrapes)
        samples = [Sample(one.name, one.labels, one.value) for one in series if one.taken_ms == latest]
        try:
            return agent_reading(site, samples, latest * 1_000_000)
        except IncompleteError as error:
            return AgentReading(site, up=False, reason=str(error), taken_ns=self._now_ns())

    def _all_unread(self, reason: str) -> list[AgentReading]:
        now_ns = self._now_ns()
        return [AgentReading(site, up=False, reason=reason, taken_ns=now_ns) for site in self._sites]
