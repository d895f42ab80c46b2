"""Gaps are filled from the past, in order, before the present is taken in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction
from collector.ledger.minutes import MINUTE_NS
from collector.sources.backfill import FARTHEST_NS, QUERIES_AT_ONCE, Backfilled
from collector.sources.samples import AgentReading
from collector.store.store import Store
from tests.support.counting import PATH, SECOND_NS, reading
from tests.support.ledgers import FOREVER, totals

INTERVAL_NS = 10 * SECOND_NS
BEGIN_NS = 1_790_000_005 * SECOND_NS


class Scraped:
    """A Prometheus that scraped an agent every ten seconds, but for the times it did not; and its clock.

    Attributes:
        answers: whether queries of the past are answered.
    """

    def __init__(self, *missing: range) -> None:
        self.now_ns = BEGIN_NS
        self.answers = True
        self.asked: list[int] = []
        self._missing = missing

    def scrape(self, at_ns: int) -> AgentReading:
        """The latest scrape of up to thirty seconds before; one more probe was counted each second."""
        for back in range(3):
            number = (at_ns - BEGIN_NS) // INTERVAL_NS - back
            taken_s = (BEGIN_NS + number * INTERVAL_NS) // SECOND_NS
            counted = 10 * number
            if number >= 0 and not any(number in missing for missing in self._missing):
                counts = reading(taken_s, epoch=BEGIN_NS / SECOND_NS, within=counted)
                return AgentReading("wuhan", True, "", taken_s * SECOND_NS, (counts,))
        return AgentReading("wuhan", False, "no recent scrape", at_ns)

    async def read(self) -> Sequence[AgentReading]:
        """Now; another site has no gap."""
        other = AgentReading("beijing", True, "", self.now_ns)
        return [self.scrape(self.now_ns), other]

    async def read_at(self, at_ns: int) -> Sequence[AgentReading] | None:
        """Then."""
        self.asked.append(at_ns)
        return [self.scrape(at_ns)] if self.answers else None

    async def close(self) -> None:
        """Nothing to close."""


def of_wuhan(found: Sequence[AgentReading]) -> list[int]:
    """Seconds since the begin at which the site with the gap was read."""
    return [(one.taken_ns - BEGIN_NS) // SECOND_NS for one in found if one.site == "wuhan"]


def source_after(scraped: Scraped, known_s: int, now_s: int) -> Backfilled:
    """A source that knew something long ago."""
    scraped.now_ns = BEGIN_NS + now_s * SECOND_NS
    known_ns = BEGIN_NS + known_s * SECOND_NS
    return Backfilled(scraped, {"wuhan": known_ns, "beijing": scraped.now_ns - SECOND_NS}, INTERVAL_NS)


async def test_a_gap_is_filled_minute_by_minute_before_the_present() -> None:
    """The last scrape of each minute, then the latest of all; afterwards nothing of the past is asked for."""
    scraped = Scraped()
    source = source_after(scraped, 0, 400)
    found = await source.read()
    assert [one.site for one in found][-2:] == ["wuhan", "beijing"]
    seconds = of_wuhan(found)
    assert seconds[-1] == 400
    assert [(BEGIN_NS // SECOND_NS + second) % 60 for second in seconds[:-1]] == [55] * (len(seconds) - 1)
    assert {b - a for a, b in pairwise(seconds[:-1])} == {60}
    asked = len(scraped.asked)
    scraped.now_ns += INTERVAL_NS
    assert of_wuhan(await source.read()) == [410]
    assert len(scraped.asked) == asked


async def test_a_long_gap_is_filled_by_turns_and_the_present_waits() -> None:
    """Not more queries a turn than are fair; every scrape in order."""
    scraped = Scraped()
    source = source_after(scraped, 0, 5000)
    seconds: list[int] = []
    turns = 0
    while not seconds or seconds[-1] < 5000:
        before = len(scraped.asked)
        seconds += of_wuhan(await source.read())
        assert len(scraped.asked) - before <= QUERIES_AT_ONCE
        turns += 1
    assert turns == 3
    assert seconds == sorted(set(seconds))
    assert len(seconds) == 5000 // 60 + 1


async def test_a_source_that_does_not_answer_for_the_past_is_asked_again() -> None:
    """The present is held back meanwhile: taken in first it would make the past too late."""
    scraped = Scraped()
    source = source_after(scraped, 0, 400)
    scraped.answers = False
    assert of_wuhan(await source.read()) == []
    scraped.answers = True
    assert of_wuhan(await source.read())[-1] == 400


async def test_minutes_in_which_nothing_was_scraped_are_passed_over() -> None:
    """Prometheus was away itself: what is left is one sum."""
    scraped = Scraped(range(1, 40))
    assert of_wuhan(await source_after(scraped, 0, 400).read()) == [400]


async def test_what_was_never_read_has_no_gap() -> None:
    """The first reading of an agent is taken as it is."""
    scraped = Scraped()
    scraped.now_ns += 400 * SECOND_NS
    assert of_wuhan(await Backfilled(scraped, {}, INTERVAL_NS).read()) == [400]
    assert scraped.asked == []


async def test_the_past_is_looked_for_as_far_back_as_is_reasonable() -> None:
    """The oldest part of a very long absence is one sum."""
    scraped = Scraped()
    source = source_after(scraped, 0, 8 * 24 * 3600)
    await source.read()
    assert 0 <= scraped.asked[0] - (scraped.now_ns - FARTHEST_NS) <= MINUTE_NS


@pytest.mark.parametrize("kill_after", [0, 1, 2])
async def test_a_collector_that_was_away_knows_every_minute_afterwards(
    tmp_path: Path, kill_after: int
) -> None:
    """As if it had never been away, also where it is killed while it catches up."""
    scraped = Scraped()
    store = await Store.open(tmp_path / "state.sqlite")

    async def turn(source: Backfilled) -> None:
        for one in await source.read():
            await store.ledger.ingest(one.readings)

    await turn(Backfilled(scraped, {}, INTERVAL_NS))
    scraped.now_ns += 4000 * SECOND_NS
    source = Backfilled(scraped, await store.ledger.last_taken_ns(), INTERVAL_NS)
    for _ in range(kill_after):
        await turn(source)
    await store.close()
    store = await Store.open(tmp_path / "state.sqlite")
    source = Backfilled(scraped, await store.ledger.last_taken_ns(), INTERVAL_NS)
    for _ in range(4):
        await turn(source)
    found = await store.ledger.minutes(0, FOREVER)
    assert (await totals(store))[PATH][1][Direction.FORWARD].packets == 4000
    assert set(found.counts[1:-1, 0].tolist()) == {60}
    assert set(found.covered_ms[1:-1].tolist()) == {60_000}
    await store.close()


@given(st.integers(121, 20_000), st.integers(0, 20_000), st.integers(0, 500))
async def test_readings_come_in_order_whatever_is_missing(gap_s: int, missing_s: int, lasts_s: int) -> None:
    """Never an older one after a newer one, and the present is the last."""
    scraped = Scraped(range(missing_s // 10, (missing_s + lasts_s) // 10))
    source = source_after(scraped, 0, gap_s)
    seconds: list[int] = []
    for _ in range(gap_s // 60 // QUERIES_AT_ONCE + 2):
        seconds += of_wuhan([one for one in await source.read() if one.up])
    assert seconds == sorted(seconds)
    (present,) = [one for one in await scraped.read() if one.site == "wuhan"]
    assert not present.up or seconds[-1:] == of_wuhan([present])
