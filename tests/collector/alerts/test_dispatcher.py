"""The dispatcher on a fake clock: when it tries, when it gives up, and what it never does."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from collector.alerts.counts import NotificationCounts, Result
from collector.alerts.dispatcher import JITTER, RETRY_S, Dispatcher
from collector.alerts.outbox import Notification, announcements
from collector.alerts.webhook import Answer, Gone, Refused, Taken, WebhookTarget
from collector.sla.breach import BreachClosed, BreachOpened
from tests.support.outbox import MemoryOutbox
from tests.support.processes import eventually
from tests.support.verdicts import NAMES, NOW_NS, SECOND_NS, breach, closed

CHANNEL = "webhook:noc"
TARGET = WebhookTarget("noc", "http://noc.example/hook/very-secret?token=very-secret")


@dataclass
class FakeReceiver:
    """Answers as told and notes what it was sent."""

    answer: Callable[[Notification], Answer] = lambda _: Taken()
    told: list[str] = field(default_factory=list)
    target: WebhookTarget = TARGET

    async def deliver(self, notification: Notification) -> Answer:
        """Note and answer."""
        self.told.append(notification.message_id)
        return self.answer(notification)


class Bench:
    """A dispatcher with everything around it faked."""

    def __init__(self, receiver: FakeReceiver | None = None, outbox: MemoryOutbox | None = None) -> None:
        self.receiver = receiver or FakeReceiver()
        self.outbox = outbox or MemoryOutbox()
        self.counts = NotificationCounts()
        self.now_ns = NOW_NS
        self.pauses: list[float] = []
        self.dispatcher = Dispatcher(
            self.receiver, self.outbox, self.counts, lambda: self.now_ns, random.Random(5), self.pause
        )

    async def pause(self, seconds: float) -> None:
        """Note the pause; give others a turn, as a real one would."""
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def open(self, *numbers: int) -> None:
        """Write the rows of breaches that opened one after the other."""
        for number in numbers:
            event = BreachOpened(breach(number))
            self.outbox.add(announcements([event], [CHANNEL], NAMES, "http://page", self.now_ns))

    def close(self, number: int) -> None:
        """Write the row of a closed breach."""
        event = BreachClosed(closed(breach(number)))
        self.outbox.add(announcements([event], [CHANNEL], NAMES, "http://page", self.now_ns))

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND_NS)


async def test_what_is_due_is_delivered_once() -> None:
    """A second pass finds nothing to do."""
    bench = Bench()
    bench.open(1, 2)
    assert await bench.dispatcher.deliver_due() is None
    assert await bench.dispatcher.deliver_due() is None
    assert bench.receiver.told == ["b000001_opened", "b000002_opened"]
    assert bench.counts.of(CHANNEL, Result.DELIVERED) == 2
    assert bench.pauses == []


async def test_the_same_event_is_not_announced_twice() -> None:
    """A row whose key is there already is not written again, so a repeated event tells nobody anything."""
    bench = Bench()
    bench.open(1)
    await bench.dispatcher.deliver_due()
    bench.open(1)
    await bench.dispatcher.deliver_due()
    assert bench.receiver.told == ["b000001_opened"]


async def test_a_restart_forgets_nothing_and_repeats_nothing() -> None:
    """Another dispatcher on the same rows delivers what is left, and only that."""
    refusing = FakeReceiver(
        lambda one: Refused("answered 500") if one.message_id.startswith("b000002") else Taken()
    )
    before = Bench(refusing)
    before.open(1, 2)
    await before.dispatcher.deliver_due()
    after = Bench(outbox=before.outbox)
    assert await after.dispatcher.deliver_due() == pytest.approx(5, rel=JITTER)
    assert after.receiver.told == []
    after.after(6)
    assert await after.dispatcher.deliver_due() is None
    assert after.receiver.told == ["b000002_opened"]


class SlowReceiver(FakeReceiver):
    """Answers once it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.released = asyncio.Event()

    async def deliver(self, notification: Notification) -> Answer:
        """Note, wait and answer."""
        self.asked.set()
        await self.released.wait()
        return await super().deliver(notification)


async def test_a_message_on_its_way_at_the_end_is_not_told_again() -> None:
    """The end waits for its answer and writes it down; nothing else is begun."""
    receiver = SlowReceiver()
    bench = Bench(receiver)
    bench.open(1, 2)
    running = asyncio.create_task(bench.dispatcher.run())
    await receiver.asked.wait()
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    receiver.released.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert receiver.told == ["b000001_opened"]
    assert [row.delivered_ns is not None for row in bench.outbox.rows.values()] == [True, False]


async def test_a_receiver_that_hangs_does_not_hold_up_the_end() -> None:
    """Its message is told again by the next start."""
    receiver = SlowReceiver()
    outbox = Bench().outbox
    dispatcher = Dispatcher(
        receiver, outbox, NotificationCounts(), lambda: NOW_NS, random.Random(5), last_words_s=0.01
    )
    outbox.add(announcements([BreachOpened(breach(1))], [CHANNEL], NAMES, "http://page", NOW_NS))
    running = asyncio.create_task(dispatcher.run())
    await receiver.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert receiver.told == []
    assert all(row.delivered_ns is None for row in outbox.rows.values())


async def test_retries_follow_the_schedule_of_standard_webhooks_and_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Waits grow to a day, each up to a tenth longer; after ten tries it is over."""
    bench = Bench(FakeReceiver(lambda _: Refused("answered 500")))
    bench.open(1)
    waits = []
    with caplog.at_level(logging.WARNING):
        while (wait_s := await bench.dispatcher.deliver_due()) is not None:
            waits.append(wait_s)
            bench.after(wait_s + 0.001)
    assert len(waits) == len(RETRY_S) == 9
    for wait_s, scheduled_s in zip(waits, RETRY_S, strict=True):
        assert scheduled_s - 0.001 <= wait_s <= scheduled_s * (1 + JITTER)
    assert len(set(waits)) == len(waits)
    assert len(bench.receiver.told) == 10
    assert bench.outbox.rows[1].abandoned
    assert bench.counts.of(CHANNEL, Result.FAILED) == 9
    assert bench.counts.of(CHANNEL, Result.ABANDONED) == 1
    assert "given up after 10 tries: answered 500" in caplog.text
    assert "webhook:noc (noc.example)" in caplog.text
    assert "very-secret" not in caplog.text


async def test_not_before_it_is_due() -> None:
    """A pass before the time tries nothing and says how long it is."""
    bench = Bench(FakeReceiver(lambda _: Refused("answered 503")))
    bench.open(1)
    wait_s = await bench.dispatcher.deliver_due()
    assert wait_s is not None
    bench.after(wait_s / 2)
    assert await bench.dispatcher.deliver_due() == pytest.approx(wait_s / 2)
    assert len(bench.receiver.told) == 1


async def test_the_receiver_may_ask_for_more_patience() -> None:
    """Retry-After prolongs a wait and never shortens it."""
    bench = Bench(FakeReceiver(lambda _: Refused("answered 429", retry_after_s=1000)))
    bench.open(1)
    first = await bench.dispatcher.deliver_due()
    assert first is not None
    assert 1000 <= first <= 1100
    bench.after(first + 1)
    bench.receiver.answer = lambda _: Refused("answered 429", retry_after_s=1)
    second = await bench.dispatcher.deliver_due()
    assert second is not None
    assert second >= 300


async def test_the_end_of_a_breach_is_not_told_before_its_beginning() -> None:
    """While the beginning waits for its retry, the end waits behind it; other breaches do not."""
    bench = Bench(FakeReceiver(lambda one: Refused("x") if one.message_id == "b000001_opened" else Taken()))
    bench.open(1)
    bench.close(1)
    bench.open(2)
    wait_s = await bench.dispatcher.deliver_due()
    assert bench.receiver.told == ["b000001_opened", "b000002_opened"]
    bench.receiver.answer = lambda _: Taken()
    assert wait_s is not None
    bench.after(wait_s + 0.001)
    assert await bench.dispatcher.deliver_due() is None
    assert bench.receiver.told[2:] == ["b000001_opened", "b000001_closed"]


async def test_the_end_waits_behind_a_beginning_that_was_told_with_others() -> None:
    """In whichever place of a message the breach stands."""
    bench = Bench(FakeReceiver(lambda one: Refused("x") if one.message_id == "b000001_opened" else Taken()))
    events = [BreachOpened(breach(number)) for number in (1, 2)]
    bench.outbox.add(announcements(events, [CHANNEL], NAMES, "http://page", NOW_NS))
    bench.close(2)
    bench.close(3)
    await bench.dispatcher.deliver_due()
    assert bench.receiver.told == ["b000001_opened", "b000003_closed"]


async def test_a_failing_receiver_is_not_flooded() -> None:
    """With a hundred rows due, each failure makes the pause before the next try longer, up to a minute."""
    bench = Bench(FakeReceiver(lambda _: Refused("no answer in time")))
    bench.open(*range(1, 101))
    await bench.dispatcher.deliver_due()
    assert len(bench.receiver.told) == 100
    assert len(bench.pauses) == 99
    assert 0.5 <= bench.pauses[0] <= 1
    assert all(30 <= pause <= 60 for pause in bench.pauses[10:])


async def test_a_success_ends_the_pauses() -> None:
    """Once it takes something, the rest follows at once."""
    bench = Bench()
    answers: list[Answer] = [Refused("x"), Taken(), Taken(), Taken()]
    bench.receiver.answer = lambda _: answers.pop(0)
    bench.open(1, 2, 3, 4)
    await bench.dispatcher.deliver_due()
    assert len(bench.pauses) == 1


async def test_410_ends_a_channel_until_the_next_start(caplog: pytest.LogCaptureFixture) -> None:
    """What waits and what comes later is abandoned untried; only a new start asks again."""
    bench = Bench(FakeReceiver(lambda _: Gone()))
    bench.open(1, 2)
    await bench.dispatcher.deliver_due()
    bench.open(3)
    await bench.dispatcher.deliver_due()
    assert bench.receiver.told == ["b000001_opened"]
    assert all(row.abandoned for row in bench.outbox.rows.values())
    assert bench.counts.of(CHANNEL, Result.ABANDONED) == 3
    assert caplog.text.count("answered 410") == 1
    again = Bench(outbox=bench.outbox)
    again.open(4)
    await again.dispatcher.deliver_due()
    assert again.receiver.told == ["b000004_opened"]


async def test_a_store_that_fails_does_not_end_the_task(caplog: pytest.LogCaptureFixture) -> None:
    """The dispatcher says so, waits, and goes on when the store is back."""
    bench = Bench()
    bench.open(1)
    bench.outbox.broken = OSError("disk full")
    running = asyncio.create_task(bench.dispatcher.run())

    async def paused() -> bool:
        return len(bench.pauses) >= 2

    async def told() -> bool:
        return bench.receiver.told == ["b000001_opened"]

    try:
        await eventually(paused, "the dispatcher waits for the store")
        bench.outbox.broken = None
        await eventually(told, "the row is delivered")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert "the outbox cannot be read or written" in caplog.text


async def test_a_wake_up_delivers_what_is_new_at_once() -> None:
    """The task sleeps while nothing is due; a wake-up is all it takes."""
    bench = Bench()
    running = asyncio.create_task(bench.dispatcher.run())
    try:
        for number in (1, 2):
            bench.open(number)
            bench.dispatcher.wake()

            async def told(number: int = number) -> bool:
                return len(bench.receiver.told) == number

            await eventually(told, "the row is delivered")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_every_result_of_a_channel_is_shown_from_zero_on() -> None:
    """A counter that does not exist yet cannot be alerted on."""
    bench = Bench()
    assert list(bench.counts) == [(CHANNEL, result, 0) for result in sorted(Result)]
