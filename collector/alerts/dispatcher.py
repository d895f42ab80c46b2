"""Delivers one channel's rows of the outbox, however often its receiver fails, and never twice at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from collector.alerts.counts import NotificationCounts, Result
from collector.alerts.outbox import Notification, Outbox, Pending
from collector.alerts.webhook import Answer, Gone, Refused, Taken, WebhookTarget

log = logging.getLogger(__name__)

RETRY_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Waits between tries; after the last one it is over. Source: Standard Webhooks, the recommended schedule."""

JITTER: Final = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STORE_RETRY_S = 5.0
_LAST_WORDS_S = 3.0
_SECOND_NS = 1_000_000_000


class Channel(Protocol):
    """Somebody to tell."""

    @property
    def target(self) -> WebhookTarget:
        """Who it is."""

    async def deliver(self, notification: Notification) -> Answer:
        """Try once; never raises for what the receiver does."""


class Dispatcher:
    """The one task that tells one receiver.

    Rows of the same breach stay in order: that a breach is over is not told before it was told to exist. A receiver
    that fails is left alone for a moment, which grows while it keeps failing, however many rows are due: an incident
    must not end in a flood.

    Args:
        now_ns: Unix wall time.
        rng: for the jitter that keeps many collectors from retrying at once.
        sleep: waits for so many seconds.
        last_words_s: how long a message that is on its way at the end is waited for, or the next start sends it again.
    """

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        counts: NotificationCounts,
        now_ns: Callable[[], int],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        last_words_s: float = _LAST_WORDS_S,
    ) -> None:
        self._receiver = channel
        self.channel = channel.target.channel
        self._outbox = outbox
        self._counts = counts
        self._now_ns = now_ns
        self._rng = rng
        self._sleep = sleep
        self._last_words_s = last_words_s
        self._woken = asyncio.Event()
        self._failures = 0
        self._gone = False
        counts.add_channel(self.channel)

    def wake(self) -> None:
        """There may be new rows."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            try:
                wait_s = await self.deliver_due()
            except Exception:
                # Whatever the store does, the task must live: a dead dispatcher is a silent one.
                log.exception("%s: the outbox cannot be read or written", self.channel)
                await self._sleep(_STORE_RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)

    async def deliver_due(self) -> float | None:
        """Try every row that is due, once.

        Returns:
            After how many seconds the next one is due; None where no row waits.
        """
        waiting: set[str] = set()
        next_ns: int | None = None
        for row in await self._outbox.pending(self.channel):
            subjects = row.notification.subjects
            if not waiting.isdisjoint(subjects):
                waiting |= subjects
                continue
            due_ns: int | None = row.next_attempt_ns
            if row.next_attempt_ns <= self._now_ns():
                due_ns = await self._try(row)
            if due_ns is not None:
                waiting |= subjects
                next_ns = due_ns if next_ns is None else min(next_ns, due_ns)
        return None if next_ns is None else max(0.0, (next_ns - self._now_ns()) / _SECOND_NS)

    async def _try(self, row: Pending) -> int | None:
        """Try one row.

        Returns:
            When it is due again (Unix ns); None where it is done with.
        """
        if self._gone:
            await self._abandon(row, "the receiver answered 410 before")
            return None
        await self._pause()
        telling = asyncio.create_task(self._tell(row), name=f"tell {self.channel}")
        try:
            return await asyncio.shield(telling)
        except asyncio.CancelledError:
            await asyncio.wait({telling}, timeout=self._last_words_s)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            raise

    async def _tell(self, row: Pending) -> int | None:
        """Send one row and write down what became of it; as `_try`."""
        answer = await self._receiver.deliver(row.notification)
        match answer:
            case Taken():
                await self._outbox.record_delivered(row.id, self._now_ns())
                self._failures = 0
                self._counts.count(self.channel, Result.DELIVERED)
                return None
            case Gone():
                self._gone = True
                log.error(
                    "%s answered 410: it wants no more messages; nothing is sent to it until the collector is "
                    "restarted",
                    self._receiver.target.shown,
                )
                await self._abandon(row, "the receiver answered 410")
                return None
            case Refused(reason, retry_after_s):
                return await self._refused(row, reason, retry_after_s)

    async def _refused(self, row: Pending, reason: str, retry_after_s: float) -> int | None:
        self._failures += 1
        if row.attempts >= len(RETRY_S):
            log.error(
                "%s: given up after %d tries: %s", self._receiver.target.shown, row.attempts + 1, reason
            )
            await self._abandon(row, reason)
            return None
        wait_s = max(RETRY_S[row.attempts], retry_after_s) * self._rng.uniform(1, 1 + JITTER)
        due_ns = self._now_ns() + int(wait_s * _SECOND_NS)
        await self._outbox.record_failed(row.id, due_ns, reason)
        self._counts.count(self.channel, Result.FAILED)
        log.warning(
            "%s: not delivered (try %d of %d): %s; next try in %.0f s",
            self._receiver.target.shown,
            row.attempts + 1,
            len(RETRY_S) + 1,
            reason,
            wait_s,
        )
        return due_ns

    async def _abandon(self, row: Pending, reason: str) -> None:
        await self._outbox.record_abandoned(row.id, reason)
        self._counts.count(self.channel, Result.ABANDONED)

    async def _pause(self) -> None:
        if self._failures:
            longest = min(_FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE_S)
            await self._sleep(longest * self._rng.uniform(0.5, 1))
