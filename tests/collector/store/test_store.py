"""The store: what goes in comes out, after a restart too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import URL

from agent.core.outcome import Direction
from agent.core.throughput.result import Floor
from collector.alerts.gathering import Waiting
from collector.alerts.outbox import Notification
from collector.sla.breach import Breach, BreachClosed, BreachKey, BreachOpened, Watch
from collector.sla.counts import NOTHING, DirectionCounts, Reading
from collector.store.exceptions import StoreError
from collector.store.store import Store
from tests.support.counting import CITY_LIMIT, OTHER_PATH, PATH, SECOND_NS, Block, blocks_of, reading
from tests.support.ledgers import totals
from tests.support.verdicts import HUB_PATH, LINE_PATH, NOW_NS, breach, closed, line_judgement

KEY = BreachKey(HUB_PATH, Direction.FORWARD, "detection")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the state is."""
    return tmp_path / "state.sqlite"


def told(number: int, channel: str = "webhook:noc") -> Notification:
    """Something to tell."""
    return Notification(f"{channel}/b{number}/opened", channel, '{"n":1}', NOW_NS)


async def ingested(store: Store, *readings: Reading) -> list[Block]:
    """What readings have added."""
    return blocks_of(await store.ledger.ingest(readings), store.numbers)


async def recalled(store: Store, since_ns: int = 0) -> list[Block]:
    """What is remembered, in order."""
    blocks = blocks_of((await store.recall(since_ns)).slices, store.numbers)
    return sorted(blocks, key=lambda block: block.end_ns)


async def test_the_first_reading_is_a_block_and_the_next_one_its_difference(store: Store) -> None:
    """Both are of one minute, which is what is remembered."""
    (first,) = await ingested(store, reading(110, within=90))
    (second,) = await ingested(store, reading(120, within=190, lost=2))
    assert first.directions[Direction.FORWARD].outcomes == (90, 0, 0, 0, 0)
    assert second.directions[Direction.FORWARD].outcomes == (100, 0, 0, 2, 0)
    (minute,) = await recalled(store)
    assert minute.directions[Direction.FORWARD].outcomes == (190, 0, 0, 2, 0)
    assert (minute.start_ns, minute.end_ns) == (first.start_ns, second.end_ns)
    assert minute.limits == first.limits


async def test_the_same_reading_again_adds_nothing(store: Store) -> None:
    """Nor does an older one."""
    await store.ledger.ingest([reading(120, within=90)])
    assert await ingested(store, reading(120, within=90)) == []
    assert await ingested(store, reading(110, within=80)) == []
    assert (await totals(store))[PATH][0] == 90


async def test_an_empty_reading_is_no_transaction(store: Store) -> None:
    """An agent without paths."""
    assert await ingested(store) == []


async def test_paths_are_kept_apart(store: Store) -> None:
    """A reading of one says nothing of the other."""
    await store.ledger.ingest(
        [reading(110, within=10), reading(110, within=20, path=OTHER_PATH, limit=CITY_LIMIT)]
    )
    (block,) = await ingested(store, reading(120, within=25, path=OTHER_PATH, limit=CITY_LIMIT))
    assert (block.path, block.sent, block.limits[Direction.REVERSE]) == (OTHER_PATH, 5, CITY_LIMIT)
    found = await totals(store)
    assert (found[PATH][0], found[OTHER_PATH][0]) == (10, 25)
    assert found[OTHER_PATH][1][Direction.FORWARD].packets == 25


async def test_a_restart_goes_on_where_it_ended(where: Path | URL) -> None:
    """Readings, blocks with their limits, open breaches and runs are found again; the sum does not change."""
    first = await Store.open(where)
    await first.ledger.ingest([reading(110, within=90), reading(110, within=5, path=OTHER_PATH)])
    opened = breach()
    other = BreachKey(HUB_PATH, Direction.REVERSE, "detection")
    await first.record([opened], {KEY: Watch(opened, 2), other: Watch(None, 1)}, [told(1)])
    before = await recalled(first)
    await first.close()
    second = await Store.open(where)
    assert await recalled(second) == before
    assert (await second.recall(0)).watches == {KEY: Watch(opened, 2), other: Watch(None, 1)}
    (block,) = await ingested(second, reading(120, within=100))
    assert block.directions[Direction.FORWARD].outcomes == (10, 0, 0, 0, 0)
    await second.close()


async def test_only_minutes_of_the_time_asked_for_are_recalled(store: Store) -> None:
    """And what is older can be forgotten, without the last reading being forgotten with it."""
    for taken in (110, 120, 130, 3700):
        await store.ledger.ingest([reading(taken, within=taken)])
    first, *between, last = await recalled(store, 125 * SECOND_NS)
    assert (first.start_ns // SECOND_NS, first.end_ns // SECOND_NS, first.sent) == (120, 180, 10)
    assert (last.start_ns // SECOND_NS, last.end_ns // SECOND_NS, last.sent) == (3660, 3700, 3570)
    assert {block.sent for block in between} == {0}
    await store.ledger.settle(120)
    await store.ledger.forget(60)
    assert [block.end_ns // SECOND_NS for block in await recalled(store)] == [3660, 3700]
    (block,) = await ingested(store, reading(3710, within=3711))
    assert block.sent == 11


async def test_a_closed_breach_is_no_longer_watched_and_still_listed(store: Store) -> None:
    """With both of its judgements."""
    opened = breach(opened_ns=NOW_NS - SECOND_NS)
    await store.record([opened], {KEY: Watch(opened)}, [])
    assert await store.recent_breaches(0, 10) == [opened]
    done = closed(opened)
    await store.record([done], {KEY: Watch()}, [])
    assert (await store.recall(0)).watches == {}
    assert await store.recent_breaches(0, 10) == [done]
    assert await store.recent_breaches(NOW_NS + 1, 10) == []


async def test_open_breaches_are_listed_first_and_closed_ones_up_to_a_number(store: Store) -> None:
    """An open one is never left out."""
    many = [closed(breach(number), NOW_NS + number) for number in range(5)]
    standing = breach(99, direction=Direction.REVERSE, opened_ns=1)
    await store.record([*many, standing], {}, [])
    assert [one.id for one in await store.recent_breaches(NOW_NS + 100, 0)] == ["b000099"]
    assert [one.id for one in await store.recent_breaches(0, 2)] == ["b000099", "b000004", "b000003"]


async def test_what_is_told_is_told_once(store: Store) -> None:
    """A key that is there already is not written again."""
    await store.record([], {}, [told(1), told(1)])
    await store.record([], {}, [told(1), told(2)])
    assert [row.notification.key for row in await store.pending("webhook:noc")] == [
        "webhook:noc/b1/opened",
        "webhook:noc/b2/opened",
    ]
    assert await store.pending("webhook:other") == []


async def test_a_row_of_the_outbox_lives_until_it_is_delivered_or_abandoned(store: Store) -> None:
    """Failures move its next attempt."""
    await store.record([], {}, [told(1), told(2), told(3)])
    first, second, third = await store.pending("webhook:noc")
    assert (first.attempts, first.next_attempt_ns) == (0, NOW_NS)
    await store.record_delivered(first.id, NOW_NS + 1)
    await store.record_failed(second.id, NOW_NS + 5, "answered 500")
    await store.record_abandoned(third.id, "gone")
    (left,) = await store.pending("webhook:noc")
    assert (left.id, left.attempts, left.next_attempt_ns) == (second.id, 1, NOW_NS + 5)
    assert left.notification == second.notification


async def test_what_waits_to_be_told_is_in_the_database(store: Store) -> None:
    """With its breach as it is by then; what is told waits no more, and what waits is no message of any channel's."""
    opened, over = breach(1), closed(breach(2))
    both = [Waiting(BreachOpened(opened), NOW_NS - 1), Waiting(BreachClosed(over), NOW_NS)]
    assert await store.waiting() == []
    await store.record([opened, over], {KEY: Watch(opened)}, [], both)
    await store.record([], {KEY: Watch(opened)}, [], both)
    assert await store.waiting() == both
    assert await store.pending("webhook:noc") == []
    await store.record([], {KEY: Watch(opened)}, [told(1)], both[:1])
    assert await store.waiting() == both[:1]
    assert len(await store.pending("webhook:noc")) == 1


async def test_counters_that_fall_without_a_restart_are_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be, so somebody should know."""
    await store.ledger.ingest([reading(110, within=90)])
    (block,) = await ingested(store, reading(120, within=10))
    assert block.directions[Direction.FORWARD].outcomes == (10, 0, 0, 0, 0)
    assert "counters fell" in caplog.text


async def test_the_sum_of_nothing_is_nothing(store: Store) -> None:
    """A new file."""
    assert await totals(store) == {}
    assert (await store.recall(0)).watches == {}
    assert NOTHING.packets == 0


async def test_a_file_of_something_else_is_refused(file: Path) -> None:
    """Not a database, another program's database, and one of another version; none is changed."""
    file.write_bytes(b"not a database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(StoreError, match="not usable as a state"):
        await Store.open(file)
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"not a state file of this program.*bookmarks"):
        await Store.open(file)
    file.unlink()
    await (await Store.open(file)).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="state of version 9999, this program has version 0005"):
        await Store.open(file)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Rather than made: the operator has mistyped it."""
    with pytest.raises(StoreError, match="nowhere"):
        await Store.open(tmp_path / "nowhere" / "state.sqlite")


async def test_a_line_is_stored_with_its_floor_and_its_evidence(store: Store) -> None:
    """Turns counted against a floor are those of that floor after a restart too, and a breach keeps its last test."""
    floors = {Direction.REVERSE: Floor(1e9), Direction.FORWARD: Floor(1e8)}
    turns = {**dict.fromkeys(Direction, NOTHING), Direction.REVERSE: DirectionCounts((1, 2, 0, 0, 0))}
    await store.ledger.ingest([Reading(LINE_PATH, 100.0, 110 * SECOND_NS, 3, 0, turns, floors)])
    opening = line_judgement()
    broken = Breach("b1", BreachKey(LINE_PATH, opening.direction, opening.objective), NOW_NS, opening)
    await store.record([broken], {}, [])
    assert await store.recent_breaches(0, 10) == [broken]
    await store.numbers.learn()
    (minute,) = await recalled(store)
    assert minute.limits == floors
    assert minute.directions == turns
