"""A collector killed at any moment: nothing counted twice, none forgotten, nothing announced twice.

What `kill -9` leaves behind is the files as they are at that moment. So they are copied before and after every
statement and every commit of a whole life of a collector; from each copy a new collector starts, sees the same agents
go on counting, and must come to the same end.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from agent.core.outcome import Direction
from collector.alerts.gathering import Gathering
from collector.alerts.outbox import announcements
from collector.sla.breach import Hysteresis, Watch
from collector.sla.counts import DirectionCounts, Reading
from collector.sla.verdict import PathKey, Verdict
from collector.store.store import Store
from tests.support.counting import OTHER_PATH, SECOND_NS, reading
from tests.support.ledgers import FOREVER, totals
from tests.support.verdicts import NAMES, advanced, judgement

CHANNELS = ("webhook:noc", "webhook:regulator")
NEEDED = {"detection": Hysteresis(2, 2)}
FILE = "state.sqlite"
TURN_NS = 10 * SECOND_NS
"""For so long what has opened waits to be told."""


def readings(turn: int) -> list[Reading]:
    """What the agents show in a turn; one of them restarts in the middle."""
    taken, restarted = 110 + 10 * turn, turn >= 3
    return [
        reading(taken, within=100 * (turn - 3 if restarted else turn), epoch=135.0 if restarted else 100.0),
        reading(taken, within=7 * turn, lost=turn, path=OTHER_PATH),
    ]


VERDICTS = [Verdict.PASS, Verdict.FAIL, Verdict.FAIL, Verdict.FAIL, Verdict.PASS, Verdict.PASS]


async def live(store: Store, first: int, last: int) -> None:
    """A collector's life from one turn to another: what `collector.program` does, without its clock."""
    watches = (await store.recall(0)).watches
    gathering = Gathering(TURN_NS, await store.waiting())
    for turn in range(first, last + 1):
        for one in readings(turn):
            await store.ledger.ingest([one])
        now_ns = (110 + 10 * turn) * SECOND_NS
        watches, events = advanced(watches, [judgement(VERDICTS[turn])], NEEDED, now_ns)
        gathering.take(events, now_ns)
        rows = announcements(gathering.due(now_ns), CHANNELS, NAMES, "http://page", now_ns)
        await store.record([happened.breach for happened in events], watches, rows, gathering.waiting)
        await store.ledger.gather(FOREVER)
    await store.ledger.settle(FOREVER)


Outcome = tuple[
    dict[PathKey, tuple[int, dict[Direction, DirectionCounts]]], list[str], list[tuple[bool, str]]
]


async def outcome(store: Store) -> Outcome:
    """What came of a life: all counts, all announcements, all breaches by how they were opened and whether closed."""
    announced = [
        row.notification.key.rsplit("/", 1)[1] for channel in CHANNELS for row in await store.pending(channel)
    ]
    breaches = [
        (one.closed_ns is not None, one.opening.verdict.name) for one in await store.recent_breaches(0, 100)
    ]
    return await totals(store), announced, breaches


class Images:
    """Copies of a folder, one for each moment at which its process might be killed."""

    def __init__(self, folder: Path, images: Path) -> None:
        self._folder = folder
        self._images = images
        self.turn = 0
        self.moments = 0
        self.made: list[tuple[Path, int]] = []
        self._seen: set[tuple[int, tuple[bytes, ...]]] = set()

    def take(self, *_: Any) -> None:
        """Copy the files as they are, where they are not as they were."""
        self.moments += 1
        content = tuple(
            file.read_bytes() for file in sorted(self._folder.iterdir()) if file.suffix != ".sqlite-shm"
        )
        if (self.turn, content) in self._seen:
            return
        self._seen.add((self.turn, content))
        image = self._images / f"{len(self.made):04}"
        shutil.copytree(self._folder, image)
        self.made.append((image, self.turn))

    @contextlib.contextmanager
    def at_every_moment(self) -> Iterator[None]:
        """Take an image before and after every statement, and at every commit."""
        names = ("before_cursor_execute", "after_cursor_execute", "commit")
        for name in names:
            event.listen(Engine, name, self.take)
        try:
            yield
        finally:
            for name in names:
                event.remove(Engine, name, self.take)


async def test_from_every_moment_a_new_collector_comes_to_the_same_end(tmp_path: Path) -> None:
    """Counts to the packet, one announcement per channel of the opening and the closing, one breach."""
    folder = tmp_path / "life"
    folder.mkdir()
    images = Images(folder, tmp_path / "images")
    last = len(VERDICTS) - 1
    with images.at_every_moment():
        store = await Store.open(folder / FILE)
        for turn in range(last + 1):
            images.turn = turn
            await live(store, turn, turn)
    expected = await outcome(store)
    await store.close()
    counted, announced, breaches = expected
    assert counted[OTHER_PATH][0] == readings(last)[1].sent
    assert counted[readings(0)[0].path][0] == 200 + 200, (
        "all of the first run that was read, and all of the second"
    )
    assert sorted(announced) == ["closed", "closed", "opened", "opened"]
    assert breaches == [(True, "FAIL")]
    assert images.moments > 200
    assert len(images.made) > 3 * len(VERDICTS)
    for image, turn in images.made:
        again = await Store.open(image / FILE)
        # The verdict of a turn that was interrupted after it was recorded counts once more: so it does in a real
        # restart, where the same minutes are judged again. Two more turns of what lasts settle the runs.
        await live(again, turn, last)
        for _ in range(2):
            await live(again, last, last)
        found_totals, found_announced, found_breaches = await outcome(again)
        await again.close()
        assert found_totals == counted, image
        assert sorted(found_announced) == sorted(announced), image
        assert found_breaches == breaches, image


async def test_an_open_breach_is_not_announced_again_by_the_next_collector(tmp_path: Path) -> None:
    """It is found open, and FAIL says nothing new of it."""
    store = await Store.open(tmp_path / FILE)
    await live(store, 0, 2)
    await store.close()
    store = await Store.open(tmp_path / FILE)
    watches = (await store.recall(0)).watches
    assert [watch.open is not None for watch in watches.values()] == [True]
    after, events = advanced(watches, [judgement(Verdict.FAIL)], NEEDED, 10**12)
    assert events == []
    assert after == {key: Watch(watch.open, 0) for key, watch in watches.items()}
    await store.close()
