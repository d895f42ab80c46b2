"""The ledger as it is read back: any window, whatever of it is settled, is the sum of its minutes."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import URL, func, select

from agent.core.outcome import Direction, Limit, Outcome
from collector.ledger.minutes import NO_MINIMUM, Minutes, by_direction
from collector.ledger.promises import Promises
from collector.ledger.sums import Sums, block_products, totals
from collector.sla.counts import Reading
from collector.sla.effective import PRODUCTS
from collector.store import schema
from collector.store.blocks import DAY, HOUR, Tiles, day_of
from collector.store.database import Database
from collector.store.store import Store
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, OTHER_PATH, PATH, reading
from tests.support.ledgers import FOREVER
from tests.support.traffic import readings

BEGIN = day_of(29_800_000)
"""A minute with which a day begins in Shanghai."""

MINUTE_S = 60
PAIRS = tuple(np.array(PRODUCTS).T)


def walk(rng: random.Random, minutes: int) -> list[list[Reading]]:
    """Readings of two paths every ten minutes or so; the limit of one changes on the way."""
    taken_s = BEGIN * MINUTE_S
    counted = dict.fromkeys((PATH, OTHER_PATH), 0)
    lost = 0
    found = []
    while taken_s < (BEGIN + minutes) * MINUTE_S:
        taken_s += rng.choice((10, 60, 900))
        lost += rng.randrange(2)
        limit = CITY_LIMIT if taken_s > (BEGIN + minutes / 2) * MINUTE_S else HUB_LIMIT
        for path in counted:
            counted[path] += rng.randrange(100)
        found.append(
            [
                reading(taken_s, epoch=BEGIN * MINUTE_S, within=counted[PATH], lost=lost),
                reading(
                    taken_s, epoch=BEGIN * MINUTE_S, within=counted[OTHER_PATH], path=OTHER_PATH, limit=limit
                ),
            ]
        )
    return found


def assert_equal(found: Sums, expected: Sums) -> None:
    """The same rows with the same sums."""
    for name in ("path", "terms", "covered_ms", "reach_s", "minima_us", "counts", "products"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


async def test_any_window_is_the_sum_of_its_minutes(store: Store) -> None:
    """Whether its hours are settled, settled by parts, or still in the journal; with the products of outcomes."""
    rng = random.Random(7)
    length = 3 * DAY
    for number, taken in enumerate(walk(rng, length)):
        await store.ledger.ingest(taken)
        if number % 40 == 0:
            await store.ledger.settle(BEGIN + rng.randrange(length))
    edges = [0, 1, 59, 60, 61, DAY, DAY + 1, 2 * DAY, 2 * DAY + 90, length - 30, length + 60]
    edges += [rng.randrange(length) for _ in range(8)]
    for first in edges:
        for last in edges:
            if first < last:
                window = BEGIN + first, BEGIN + last
                minutes = await store.ledger.minutes(*window)
                assert_equal(await store.ledger.sums(*window), Sums.of(minutes))


async def test_the_parts_of_a_window_make_it_up(store: Store) -> None:
    """Before and after hours are settled the parts sum to the window, none is in another block, and the products of
    blocks are those of their outcomes."""
    first, stop, span = BEGIN, BEGIN + 200, 7
    for taken in walk(random.Random(5), 200):
        await store.ledger.ingest(taken)
    numbers = sorted(store.numbers.keys)
    promised = list[dict[Direction, Limit]]([{} for _ in numbers])
    for settled in (BEGIN, BEGIN + 120):
        await store.ledger.settle(settled)
        whole = await store.ledger.sums(first, stop)
        parts, left_out = await store.ledger.parts(first, stop, span)
        assert not len(left_out)
        assert_equal(parts.starting(first).merged(), whole)
        assert all(minute % span == 0 or minute % HOUR == 0 for minute in parts.minute.tolist())
        assert any(minute % HOUR for minute in parts.minute.tolist())
        found = block_products(parts, numbers, store.numbers.limits, Promises(promised), span)
        for place, number in enumerate(numbers):
            mine = parts.take(parts.path == number)
            blocks: dict[int, Any] = {}
            for row in range(len(mine)):
                outcomes = by_direction(mine.counts)[row, :, : len(Outcome)]
                block = int(mine.minute[row]) // span
                blocks[block] = blocks.get(block, 0) + outcomes
            expected = sum(one[:, PAIRS[0]] * one[:, PAIRS[1]] for one in blocks.values())
            assert (found[place] == expected).all()


async def test_settling_changes_nothing_that_is_read(store: Store) -> None:
    """What is in blocks is what was in the journal, and the journal is shorter."""
    for taken in walk(random.Random(3), 600):
        await store.ledger.ingest(taken)
    window = BEGIN, BEGIN + 700
    before = await store.ledger.minutes(*window)
    await store.ledger.settle(BEGIN + 580)
    after = await store.ledger.minutes(*window)
    for name in ("path", "terms", "minute", "covered_ms", "reach_s", "minima_us", "counts"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), name)
    of_one = await store.ledger.minutes(*window, [store.numbers.paths[PATH]])
    assert set(of_one.path.tolist()) == {store.numbers.paths[PATH]}
    assert of_one.counts.sum() == before.counts[before.path == store.numbers.paths[PATH]].sum()


async def test_hours_can_be_settled_some_agents_at_a_time(store: Store) -> None:
    """Until none waits; meanwhile every window is what it was."""
    sites = [replace(PATH, source=f"site{number}") for number in range(5)]
    for path in sites:
        await store.ledger.ingest(
            [reading(BEGIN * MINUTE_S + 30, epoch=BEGIN * MINUTE_S, within=7, path=path)]
        )
    waiting = []
    for _ in range(3):
        waiting.append(await store.ledger.settle(BEGIN + HOUR, 2))
        assert (await store.ledger.sums(BEGIN, BEGIN + HOUR)).counts[:, 0].tolist() == [7] * 5
    assert waiting == [True, True, False]
    assert not await store.ledger.settle(BEGIN + HOUR, 2)


async def test_what_comes_late_into_an_hour_that_is_settled_is_in_all_its_sums(store: Store) -> None:
    """A former start's last reading, found after its hour and its day were closed."""
    began = BEGIN * MINUTE_S
    await store.ledger.ingest([reading(began + 30, epoch=began, within=10)])
    await store.ledger.ingest([reading(began + 90_000, epoch=began + 60, within=1)])
    await store.ledger.settle(BEGIN + 2 * DAY)
    await store.ledger.ingest([reading(began + 50, epoch=began, within=14)])
    await store.ledger.settle(BEGIN + 2 * DAY)
    for window, packets in (
        ((BEGIN, BEGIN + 1), 14),
        ((BEGIN, BEGIN + HOUR), 14),
        ((BEGIN, BEGIN + DAY), 14),
    ):
        found = await store.ledger.sums(*window)
        assert found.counts[:, 0].tolist() == [packets]
        assert_equal(found, Sums.of(await store.ledger.minutes(*window)))
    assert (await store.ledger.sums(BEGIN, BEGIN + 2 * DAY)).counts[:, 0].tolist() == [15]


async def test_old_minutes_are_let_go_and_their_days_stay(store: Store) -> None:
    """No hour of them is left in the database; the sum of a whole day is what it was."""
    for taken in walk(random.Random(5), 2 * DAY):
        await store.ledger.ingest(taken)
    await store.ledger.settle(BEGIN + 3 * DAY)
    before = await store.ledger.sums(BEGIN, BEGIN + DAY)
    await store.ledger.forget(BEGIN + DAY)
    assert len(await store.ledger.minutes(BEGIN, BEGIN + DAY)) == 0
    assert len(await store.ledger.minutes(BEGIN + DAY, BEGIN + 2 * DAY)) > 0
    assert_equal(await store.ledger.sums(BEGIN, BEGIN + DAY), before)


async def test_arrays_are_in_the_order_of_the_paths_and_hold_what_counts_against_the_promise(
    store: Store,
) -> None:
    """A path that nothing is known of is zero; a limit that was not the promised one says nothing of it."""
    rng = random.Random(1)
    for taken in walk(rng, 300):
        await store.ledger.ingest(taken)
    unknown = 4711
    numbers = [store.numbers.paths[OTHER_PATH], unknown, store.numbers.paths[PATH]]
    sums = await store.ledger.sums(BEGIN, BEGIN + 400)
    promised = [dict.fromkeys((Direction.FORWARD, Direction.REVERSE), CITY_LIMIT), {}, {}]
    found = totals(sums, numbers, store.numbers.limits, Promises(promised))
    everything = totals(sums, numbers, store.numbers.limits)
    assert found.outcomes.shape == (3, 3, len(Outcome))
    assert found.outcomes[1].sum() == found.delays[1].sum() == found.covered_ms[1].sum() == 0
    assert found.minima_us[1].tolist() == [NO_MINIMUM] * 3
    np.testing.assert_array_equal(found.outcomes[2], everything.outcomes[2])
    changed = sums.path == numbers[0]
    city = [
        store.numbers.limits[one][Direction.FORWARD] == CITY_LIMIT for one in sums.terms[changed].tolist()
    ]
    assert sorted(city) == [False, True]
    assert 0 < found.outcomes[0, 0].sum() < everything.outcomes[0, 0].sum()
    assert found.covered_ms[0, 0] < everything.covered_ms[0, 0] == found.covered_ms[0, 2]
    assert found.outcomes[0, 2].tolist() == everything.outcomes[0, 2].tolist()
    minutes = await store.ledger.minutes(BEGIN, BEGIN + 400, [numbers[2]])
    outcomes = minutes.counts[:, 1 : 1 + len(Outcome)]
    np.testing.assert_array_equal(found.products[2, 0], (outcomes.T @ outcomes)[PAIRS])
    assert (totals(sums, [], {}).outcomes.shape, totals(Sums.empty(), [5], {}).sent.tolist()) == (
        (0, 3, 5),
        [0],
    )


@pytest.mark.parametrize("first", [0, 1, 59, 60, 61, 1439, 1440])
@pytest.mark.parametrize("length", [1, 30, 59, 60, 61, 119, 120, 1440, 1441, 2880, 5000])
def test_tiles_make_up_a_window_without_gap_or_overlap(first: int, length: int) -> None:
    """Every minute once, whole days as days, and no more than two edges of less than an hour."""
    from_minute, to_minute = BEGIN + first, BEGIN + first + length
    tiles = Tiles.of(from_minute, to_minute)
    spans = [(day, day + DAY) for day in tiles.days]
    spans += [(hour, hour + HOUR) for hours in tiles.hours for hour in hours]
    spans = sorted([*spans, *tiles.edges])
    assert spans[0][0] == from_minute
    assert spans[-1][1] == to_minute
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert all(day == day_of(day) for day in tiles.days)
    assert len(tiles.edges) <= 2
    assert sum(end - begin for begin, end in tiles.edges) < 2 * HOUR


async def test_a_path_takes_one_block_an_hour(where: Path | URL) -> None:
    """And an agent one row of sums an hour and a day; the journal is empty once all is settled."""
    store = await Store.open(where)
    for taken in walk(random.Random(2), DAY):
        await store.ledger.ingest(taken)
    await store.ledger.settle(BEGIN + 2 * DAY)
    await store.close()
    database = await Database.open(where)
    async with database.reading() as connection:
        sizes = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (schema.journal, schema.hours, schema.sums, schema.heads)
        }
    await database.close()
    assert sizes["journal"] == 0
    assert sizes["heads"] == 1
    assert 2 * 24 <= sizes["hours"] <= 2 * 26 + 1
    assert 25 <= sizes["sums"] <= 28


async def test_what_is_gathered_is_the_same_in_fewer_rows(where: Path | URL) -> None:
    """One for each five minutes of an agent that are over; some agents at a time; what comes late is gathered later."""
    store = await Store.open(where)
    for site in ("a", "b", "c"):
        for taken in readings(site, 3, 17, 600, 60 * BEGIN):
            await store.ledger.ingest(taken)
    before = await store.ledger.minutes(0, FOREVER)
    assert await store.ledger.gather(BEGIN + 16, 2)
    assert not await store.ledger.gather(BEGIN + 16, 2)
    after = await store.ledger.minutes(0, FOREVER)
    await store.close()
    for one in fields(Minutes):
        np.testing.assert_array_equal(getattr(after, one.name), getattr(before, one.name))
    database = await Database.open(where)
    async with database.reading() as connection:
        rows = (await connection.execute(select(schema.journal.c.last_minute))).scalars().all()
    await database.close()
    ends = [BEGIN + 4, BEGIN + 9, BEGIN + 14, BEGIN + 15, BEGIN + 16]
    assert sorted(rows) == sorted(3 * ends)
