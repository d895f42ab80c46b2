"""How long windows of very many paths are read anew: of some of them in each evaluation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.core.outcome import Outcome
from collector import asked_windows, windows
from collector.sla.counts import Reading
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.observation import Observation
from collector.sla.verdict import PathKey
from collector.sla.window import Window
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, reading
from tests.support.evaluated import MINUTE_NS, Observed, observed
from tests.support.fleets import FLEET

CITY = PathKey("wuhan", "guanggu", "city", "telecom", "stamp", 0)
HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 30_000_000 * MINUTE_NS
MINUTES = 360
LONG = Window(3 * 3600 * SECOND_NS)
KEPT_NS = LONG.longest_ns // 100


@pytest.fixture(autouse=True)
def _one_path_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (windows, asked_windows):
        monkeypatch.setattr(module, "PATHS_AT_ONCE", 1)


def readings() -> list[Reading]:
    """One of each path at the end of each minute: one has 1,000 packets in each, the other one more in each."""
    begin_s = (NOW_NS - MINUTES * MINUTE_NS) / SECOND_NS
    found = []
    for minute in range(MINUTES + 1):
        at_s = begin_s + 60 * minute
        of_city = reading(at_s, epoch=begin_s, path=CITY, limit=CITY_LIMIT, within=minute * (minute + 1) // 2)
        found += [of_city, reading(at_s, epoch=begin_s, path=HUB, limit=HUB_LIMIT, within=1000 * minute)]
    return [replace(one, minima_ns={}) for one in found]


async def at(now_ns: int, at_hand: Observed) -> Observation:
    """What is observed of the long window at a time."""
    return await at_hand.windows.observe(LONG, np.full(len(at_hand.plan.paths), now_ns), now_ns)


def counted(seen: Observation, at_hand: Observed) -> list[int]:
    """Packets of both paths, forward."""
    rows = [at_hand.plan.rows[path] for path in (CITY, HUB)]
    return [int(number) for number in seen.outcomes[rows, 0, Outcome.WITHIN]]


def expected(ends_ns: int) -> list[int]:
    """The same of a window that ends with a whole minute."""
    last = MINUTES - (NOW_NS - ends_ns) // MINUTE_NS
    return [sum(range(last - 179, last + 1)), 180_000]


def checked(tmp_path: Path, check: Callable[[Observed], Awaitable[None]]) -> None:
    """Run a check on a collector that has all readings."""

    async def look() -> None:
        calendar = MaintenanceCalendar()
        async with observed(tmp_path / "state", FLEET, readings(), NOW_NS, calendar) as at_hand:
            await check(at_hand)

    asyncio.run(look())


def test_the_last_one_stands_until_the_next_one_is_whole(tmp_path: Path) -> None:
    """A path is read in each evaluation, however often it asks; what there is then is one window of all paths."""

    async def check(at_hand: Observed) -> None:
        begun_ns = NOW_NS - 20 * MINUTE_NS
        first = await at(begun_ns, at_hand)
        assert counted(first, at_hand) == expected(begun_ns)
        due_ns = begun_ns + 2 * MINUTE_NS + SECOND_NS
        assert await at(begun_ns + KEPT_NS - 1, at_hand) is first
        assert await at(due_ns, at_hand) is first
        assert await at(due_ns, at_hand) is first
        second = await at(due_ns + 10 * SECOND_NS, at_hand)
        assert set(second.end_ns.tolist()) == {begun_ns + 2 * MINUTE_NS}
        assert set((second.end_ns - second.begin_ns).tolist()) == {180 * MINUTE_NS}
        assert counted(second, at_hand) == expected(begun_ns + 2 * MINUTE_NS)
        # it lags since it was begun, not since it was whole
        assert await at(due_ns + KEPT_NS - 1, at_hand) is second
        assert await at(due_ns + KEPT_NS, at_hand) is second
        assert await at(due_ns + KEPT_NS + 1, at_hand) is not second

    checked(tmp_path, check)


def test_it_lags_for_ten_minutes_more_at_most(tmp_path: Path) -> None:
    """Where evaluations are far apart, all of it is read at once then."""

    async def check(at_hand: Observed) -> None:
        begun_ns = NOW_NS - 20 * MINUTE_NS
        first = await at(begun_ns, at_hand)
        assert await at(begun_ns + KEPT_NS, at_hand) is first
        late_ns = begun_ns + KEPT_NS + 10 * MINUTE_NS
        second = await at(late_ns, at_hand)
        assert counted(second, at_hand) == expected(late_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS)
        assert await at(late_ns + KEPT_NS - 1, at_hand) is second

    checked(tmp_path, check)
