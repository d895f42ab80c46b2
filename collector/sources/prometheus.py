"""Through a Prometheus-compatible query API: the raw samples of each agent's latest scrape, exactly as scraped.

A range selector gives samples with the times of their scrapes, where an instant selector would give the last value of
up to five minutes ago as if it were new. Samples of one scrape share its time, so all that is read of an agent is of
one moment; there is no rate, no increase, nothing extrapolated.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver

from agent.core import metrics
from agent.core.metrics import LINE_KIND
from collector.sources.query_api import Access, Answer, QueryApi
from collector.sources.sample import MAX_STORED, IncompleteError, Sample
from collector.sources.samples import NEEDED, AgentReading, agent_reading

log = logging.getLogger(__name__)

_SITE_LABEL: Final = "site"
_LOOK_BACK_INTERVALS: Final = 3
_LAST_MS: Final = MAX_STORED // 1_000_000
_PLAIN: Final = Access()
_UNANSWERED: Final = (TimeoutError, aiohttp.ClientError, OSError, ValueError)


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
        access: how it is asked; its shards are of sites, so that an agent's samples come in one answer.
        resolver: looks names up; None: the system does.
    """

    def __init__(
        self,
        url: str,
        sites: Sequence[str],
        interval_ns: int,
        timeout_s: float,
        now_ns: Callable[[], int],
        access: Access = _PLAIN,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._shards = [some for first in range(access.shards) if (some := sites[first :: access.shards])]
        self._now_ns = now_ns
        self._look_back_ms = _LOOK_BACK_INTERVALS * interval_ns // 1_000_000
        self._api = QueryApi(url, access, timeout_s, resolver)
        self._delay_ns = access.delay_ns
        self._missing = ""
        self._telling: dict[str, float] = {}

    async def read(self) -> Sequence[AgentReading]:
        """The latest scrape of every agent."""
        at_ns = self._now_ns() - self._delay_ns
        found = await asyncio.gather(*(self._read(some, at_ns) for some in self._shards))
        return [one for shard in found for one in shard]

    async def read_at(self, at_ns: int) -> Sequence[AgentReading] | None:
        """The scrape of every agent that was the latest at a time (Unix wall time); None: there is no answer."""
        asked = [asyncio.ensure_future(self._agents(some, at_ns)) for some in self._shards]
        try:
            found = await asyncio.gather(*asked)
        except _UNANSWERED as error:
            log.warning("Prometheus gives no answer for the past: %s", error or type(error).__name__)
            return None
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return [one for shard in found for one in shard]

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _read(self, sites: Sequence[str], at_ns: int) -> Sequence[AgentReading]:
        try:
            return await self._agents(sites, at_ns)
        except TimeoutError:
            reason = "Prometheus does not answer in time"
        except _UNANSWERED as error:
            reason = f"Prometheus: {error or type(error).__name__}"
        now_ns = self._now_ns()
        return [AgentReading(site, up=False, reason=reason, taken_ns=now_ns, blind=True) for site in sites]

    async def _agents(self, sites: Sequence[str], at_ns: int) -> list[AgentReading]:
        answer = await self._api.ask(_query(sites, self._look_back_ms), at_ns)
        if answer.missing and answer.missing != self._missing:
            log.warning("Prometheus may leave something out: %s", answer.missing)
        self._missing = answer.missing
        now_ns = self._now_ns()
        return [self._whole(one, answer.missing, now_ns) for one in readings_of(answer, sites, now_ns)]

    def _whole(self, reading: AgentReading, missing: str, now_ns: int) -> AgentReading:
        """A reading whose agent does not leave out what it has told since it started: when its paths began to count.

        Without that their counts would be taken for those of another start, and all be counted once more.
        """
        starts = [one.epoch for one in reading.readings if one.since is not None]
        if starts:
            self._telling[reading.site] = starts[0]
        untold = [one for one in reading.readings if one.since is None and one.path.kind != LINE_KIND]
        if any(one.epoch == self._telling.get(reading.site) for one in untold):
            reason = f"{untold[0].path}: {metrics.PATH_START} missing: not all of a scrape is there yet"
            return _unread(reading.site, reason, missing, now_ns)
        return reading


def _query(sites: Sequence[str], look_back_ms: int) -> str:
    """The samples of the last so many ms of some agents."""
    names, wanted = "|".join(NEEDED), "|".join(map(_escaped, sites))
    return f'{{__name__=~"{names}",{_SITE_LABEL}=~"{wanted}"}}[{look_back_ms}ms]'


def _escaped(site: str) -> str:
    """A site as a regular expression (RE2) within a string."""
    return "".join(one if one.isalnum() or one in "_-" else f"\\\\{one}" for one in site)


def readings_of(answer: Answer, sites: Sequence[str], now_ns: int) -> list[AgentReading]:
    """What an answer of the query API says of each site.

    Args:
        answer: all of it; where something may be missing from it, an agent that is may be there all the same.
        sites: those that have an agent.
        now_ns: Unix wall time.

    Raises:
        ValueError: it has no samples of series.
    """
    by_site: dict[str, list[_Series]] = defaultdict(list)
    for one in _series(answer.result):
        by_site[one.site].append(one)
    return [_agent(site, by_site.get(site, []), answer.missing, now_ns) for site in sites]


def _series(result: Any) -> list[_Series]:
    """The last sample of all series that go on; NaN marks one that has ended.

    Raises:
        ValueError: these are none.
    """
    try:
        return [
            _Series(labels["__name__"], labels[_SITE_LABEL], labels, _milliseconds(at), _number(value))
            for one in result
            for labels in [_labels(one["metric"])]
            for at, value in one["values"][-1:]
            if not math.isnan(_number(value))
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


def _number(value: Any) -> float:
    """A number as Prometheus writes it; Python takes digits with underscores, too."""
    if "_" in str(value):
        raise ValueError(f"{value} is no number")
    return float(value)


def _milliseconds(seconds: object) -> int:
    """A time in Unix ms, as Prometheus keeps it."""
    milliseconds = round(float(str(seconds)) * 1000)
    if not 0 <= milliseconds <= _LAST_MS:
        raise ValueError(f"{seconds} is no time")
    return milliseconds


def _agent(site: str, series: Sequence[_Series], missing: str, now_ns: int) -> AgentReading:
    """The samples that share the time of the latest scrape."""
    scrapes = [one.taken_ms for one in series if one.name == metrics.PROCESS_START]
    if not scrapes:
        return _unread(site, "Prometheus has no recent scrape of it", missing, now_ns)
    latest = max(scrapes)
    samples = [Sample(one.name, one.labels, one.value) for one in series if one.taken_ms == latest]
    try:
        return agent_reading(site, samples, latest * 1_000_000)
    except IncompleteError as error:
        return _unread(site, str(error), missing, now_ns)


def _unread(site: str, reason: str, missing: str, now_ns: int) -> AgentReading:
    """An agent of which there is nothing, which says nothing of it where something is missing from the answer."""
    told = f"{reason}; {missing}" if missing else reason
    return AgentReading(site, up=False, reason=told, taken_ns=now_ns, blind=bool(missing))
