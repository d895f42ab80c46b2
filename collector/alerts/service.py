"""All channels together: what the program starts, wakes after an evaluation, and stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

import aiohttp

from collector.alerts.alertmanager import Replica
from collector.alerts.counts import NotificationCounts
from collector.alerts.dispatcher import Dispatcher
from collector.alerts.outbox import Notification, Outbox, announcements
from collector.alerts.webhook import WebhookChannel, WebhookTarget
from collector.documents import Names
from collector.sla.breach import Breach, BreachEvent


class Alerts:
    """Tells Alertmanagers and webhooks; each by a task of its own, so that one that hangs delays nobody.

    Args:
        webhooks: who is told of events.
        alertmanagers: addresses of all replicas.
        outbox: where events wait.
        breaches: reads the breaches as they stand: the open ones and those closed within the last quarter of an hour.
        names: what people call sites and tiers.
        page_url: how people reach the page.
        now_ns: Unix wall time.

    Attributes:
        counts: what /metrics shows.
    """

    def __init__(
        self,
        webhooks: Sequence[WebhookTarget],
        alertmanagers: Sequence[str],
        outbox: Outbox,
        breaches: Callable[[], Iterable[Breach]],
        names: Names,
        page_url: str,
        now_ns: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self.counts = NotificationCounts()
        self._webhooks = webhooks
        self._alertmanagers = alertmanagers
        self._outbox = outbox
        self._breaches = breaches
        self._names = names
        self._page_url = page_url
        self._now_ns = now_ns
        self._rng = rng
        self._workers: list[Dispatcher | Replica] = []

    def announcements(self, events: Iterable[BreachEvent]) -> list[Notification]:
        """The rows to write in the transaction that changes the breaches."""
        channels = [target.channel for target in self._webhooks]
        return announcements(events, channels, self._names, self._page_url, self._now_ns())

    def wake(self) -> None:
        """That transaction is done: tell now. Returns at once."""
        for worker in self._workers:
            worker.wake()

    async def run(self) -> None:
        """Tell until cancelled; what was not told by then is told after the next start."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            self._workers = [
                *(
                    Dispatcher(
                        WebhookChannel(target, session, self._now_ns),
                        self._outbox,
                        self.counts,
                        self._now_ns,
                        self._rng,
                    )
                    for target in self._webhooks
                ),
                *(
                    Replica(
                        url,
                        session,
                        self._breaches,
                        self._names,
                        self._page_url,
                        self.counts,
                        self._now_ns,
                        self._rng,
                    )
                    for url in self._alertmanagers
                ),
            ]
            for worker in self._workers:
                tasks.create_task(worker.run(), name=worker.channel)
