"""What was scraped while nobody asked: read from the past before the present is taken in.

A Prometheus goes on scraping while the collector is away, or cannot reach it. The counters would tell the same sum
afterwards, but all of it in one minute; so the scrapes of the minutes between are asked for first, in order, one query
a minute, some at a time. A site whose past is not complete yet gets no present, or the past would be too late.

Where Prometheus has nothing of a minute, nothing is known of it, and the next one is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from collector.ledger.minutes import MINUTE_NS, minute_of
from collector.sources import Source
from collector.sources.samples import AgentReading

FARTHEST_NS: Final = 7 * 24 * 60 * MINUTE_NS
"""How far back a gap is filled; of a longer one the oldest part stays one sum."""

QUERIES_AT_ONCE: Final = 30
_FEWEST_MINUTES: Final = 2
_FEWEST_INTERVALS: Final = 3

log = logging.getLogger(__name__)


class PastSource(Source, Protocol):
    """A source that knows the past too."""

    async def read_at(self, at_ns: int) -> Sequence[AgentReading] | None:
        """The latest scrape of every agent at a time (Unix wall time); None: the source does not answer."""


class Backfilled:
    """A source whose gaps are filled.

    Args:
        source: what is read.
        known_ns: when the latest reading of each site that was counted was taken (Unix wall time).
        interval_ns: how often the source is read.
    """

    def __init__(self, source: PastSource, known_ns: Mapping[str, int], interval_ns: int) -> None:
        self._source = source
        self._known_ns = dict(known_ns)
        self._gap_ns = max(_FEWEST_MINUTES * MINUTE_NS, _FEWEST_INTERVALS * interval_ns)
        self._next_ns: dict[str, int] = {}

    async def read(self) -> Sequence[AgentReading]:
        """The latest scrape of every agent, after those of the past that are still to be read, in order."""
        present = await self._source.read()
        behind = {reading.site: reading.taken_ns for reading in present if self._is_behind(reading)}
        for site, now_ns in behind.items():
            first_ns = max(self._known_ns[site], now_ns - FARTHEST_NS)
            self._next_ns.setdefault(site, (minute_of(first_ns) + 1) * MINUTE_NS)
        past = await self._past(behind) if behind else []
        now = [one for one in present if one.site not in behind or self._next_ns[one.site] >= one.taken_ns]
        for reading in now:
            if reading.up:
                self._known_ns[reading.site] = max(reading.taken_ns, self._known_ns.get(reading.site, 0))
                self._next_ns.pop(reading.site, None)
        return [*past, *now]

    async def close(self) -> None:
        """Let go of the source."""
        await self._source.close()

    def _is_behind(self, reading: AgentReading) -> bool:
        known_ns = self._known_ns.get(reading.site)
        return reading.up and known_ns is not None and reading.taken_ns - known_ns > self._gap_ns

    async def _past(self, behind: Mapping[str, int]) -> list[AgentReading]:
        """The last scrapes of minutes between what is known of sites and what is read of them now."""
        found: list[AgentReading] = []
        for _ in range(QUERIES_AT_ONCE):
            waiting = {site for site, now_ns in behind.items() if self._next_ns[site] < now_ns}
            if not waiting:
                break
            at_ns = min(self._next_ns[site] for site in waiting)
            answer = await self._source.read_at(at_ns)
            if answer is None:
                break
            for site in waiting:
                if self._next_ns[site] == at_ns:
                    self._next_ns[site] += MINUTE_NS
            for reading in answer:
                if reading.site in waiting and reading.up and reading.taken_ns > self._known_ns[reading.site]:
                    self._known_ns[reading.site] = reading.taken_ns
                    found.append(reading)
        log.info("read %d scrapes of the past of %d agents", len(found), len(behind))
        return found
