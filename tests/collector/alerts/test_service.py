"""All channels together, on the real store: what is written with a breach is told, and told once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import time_ns

import pytest

from collector.alerts.counts import Result
from collector.alerts.service import Alerts
from collector.alerts.webhook import WebhookTarget
from collector.documents import utc_time
from collector.sla.breach import Breach, BreachClosed, BreachEvent, BreachOpened
from collector.store.store import Store
from tests.support.processes import eventually
from tests.support.receiver import Receiver, receiving
from tests.support.verdicts import NAMES, breach, closed


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A fresh state file."""
    opened = await Store.open(tmp_path / "state.sqlite")
    yield opened
    await opened.close()


class Collector:
    """The part of the collector that changes breaches: writes them with their announcements, then wakes the alerts."""

    def __init__(self, store: Store, webhooks: dict[str, str], alertmanagers: Sequence[str] = ()) -> None:
        self.store = store
        self.breaches: dict[str, Breach] = {}
        targets = [WebhookTarget(name, url) for name, url in webhooks.items()]
        self.alerts = Alerts(
            targets,
            alertmanagers,
            store,
            self.breaches.values,
            NAMES,
            "http://page",
            time_ns,
            random.Random(9),
        )

    async def decide(self, event: BreachEvent) -> None:
        """One evaluation that changes one breach."""
        self.breaches[event.breach.id] = event.breach
        await self.store.record([event.breach], {}, self.alerts.announcements([event]))
        self.alerts.wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The alerts' tasks."""
        task = asyncio.create_task(self.alerts.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_breach_and_its_end_are_told_to_everybody(store: Store) -> None:
    """A webhook gets two events, an Alertmanager the state."""
    async with receiving(Receiver(204)) as hook, receiving(Receiver()) as alertmanager:
        collector = Collector(store, {"noc": hook.url}, [alertmanager.url])
        async with collector.running():
            await collector.decide(BreachOpened(breach()))
            await hook.until(1)
            await alertmanager.until(1)
            ended = closed(breach(), time_ns())
            assert ended.closed_ns is not None
            await collector.decide(BreachClosed(ended))
            await hook.until(2)

            async def resolved() -> bool:
                told = json.loads(alertmanager.received[-1].body)
                return bool(told[0]["endsAt"] == utc_time(ended.closed_ns or 0))

            await eventually(resolved, "Alertmanager is told of the end")
    assert [json.loads(one.body)["event"] for one in hook.received] == ["breach_opened", "breach_closed"]


async def test_a_webhook_that_hangs_delays_nobody_else(store: Store) -> None:
    """Neither the decision, nor the other webhook, nor Alertmanager."""
    async with (
        receiving(Receiver(hanging=True)) as slow,
        receiving(Receiver()) as quick,
        receiving(Receiver()) as alertmanager,
    ):
        collector = Collector(store, {"slow": slow.url, "quick": quick.url}, [alertmanager.url])
        async with collector.running():
            await collector.decide(BreachOpened(breach()))
            await slow.until(1)
            await quick.until(1)
            await alertmanager.until(1)


async def test_what_was_decided_while_nobody_told_is_told_after_the_next_start(store: Store) -> None:
    """A collector killed between its decision and the delivery makes up for it."""
    async with receiving(Receiver()) as hook:
        await Collector(store, {"noc": hook.url}).decide(BreachOpened(breach()))
        assert hook.received == []
        async with Collector(store, {"noc": hook.url}).running():
            await hook.until(1)


async def test_a_restart_tells_nothing_twice(store: Store) -> None:
    """What was delivered stays delivered, even if the same event is decided again."""
    async with receiving(Receiver()) as hook:
        first = Collector(store, {"noc": hook.url})
        async with first.running():
            await first.decide(BreachOpened(breach(1)))

            async def delivered() -> bool:
                return first.alerts.counts.of("webhook:noc", Result.DELIVERED) == 1

            await eventually(delivered, "the first event is delivered")
        second = Collector(store, {"noc": hook.url})
        async with second.running():
            await second.decide(BreachOpened(breach(1)))
            await second.decide(BreachOpened(breach(2)))
            await hook.until(2)
    assert [json.loads(one.body)["id"] for one in hook.received] == ["b000001", "b000002"]


async def test_the_row_is_marked_by_what_the_receiver_said(store: Store) -> None:
    """A failure is kept with its reason for the next start; 410 ends the row."""
    async with receiving(Receiver(500)) as failing, receiving(Receiver(410)) as gone:
        collector = Collector(store, {"failing": failing.url, "gone": gone.url})
        async with collector.running():
            await collector.decide(BreachOpened(breach()))

            async def answered() -> bool:
                counts = collector.alerts.counts
                return bool(
                    counts.of("webhook:failing", Result.FAILED)
                    and counts.of("webhook:gone", Result.ABANDONED)
                )

            await eventually(answered, "both have answered")
    (row,) = await store.pending("webhook:failing")
    assert row.attempts == 1
    assert row.next_attempt_ns > row.notification.created_ns + 4_000_000_000
    assert await store.pending("webhook:gone") == []


async def test_a_collector_without_channels_tells_nobody(store: Store) -> None:
    """No webhook, no Alertmanager: no row, no task, no error."""
    collector = Collector(store, {})
    async with collector.running():
        await collector.decide(BreachOpened(breach()))
    assert collector.alerts.announcements([BreachOpened(breach())]) == []
