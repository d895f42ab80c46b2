"""Alertmanager: replicas that take, refuse and hang; then the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import Any

import aiohttp
import pytest

from agent.core.outcome import Direction
from collector.alerts.alertmanager import Replica, alert, worth_telling
from collector.alerts.counts import NotificationCounts, Result
from collector.sla.breach import Breach
from tests.support.alertmanager import alertmanager
from tests.support.processes import eventually, free_port
from tests.support.receiver import Receiver, receiving
from tests.support.verdicts import CUT_OFF, NAMES, NOW_NS, SECOND_NS, breach, closed

PAGE = "http://noc.example:9460"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


class Bench:
    """One replica's teller, and the breaches that it reads."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        repeat_s: float = 60,
        timeout_s: float = 5,
        live: bool = False,
    ) -> None:
        self.breaches: Sequence[Breach] = ()
        self.counts = NotificationCounts()
        self.replica = Replica(
            url,
            session,
            lambda: self.breaches,
            NAMES,
            PAGE,
            self.counts,
            time_ns if live else lambda: NOW_NS,
            random.Random(3),
            repeat_s=repeat_s,
            timeout_s=timeout_s,
        )


@contextlib.asynccontextmanager
async def telling(*replicas: Replica) -> AsyncIterator[None]:
    """Tell in the background."""
    tasks = [asyncio.create_task(replica.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_an_open_breach_is_an_alert_that_says_until_when_to_believe_it() -> None:
    """Labels name it for good; it ends by itself unless it is told again."""
    made = alert(breach(), NAMES, PAGE, NOW_NS + 240 * SECOND_NS)
    assert made["labels"] == {
        "alertname": "IsochroneBreach",
        "source": "wuhan",
        "target": "qingyang",
        "tier": "hub",
        "provider": "telecom",
        "kind": "stamp",
        "dscp": "0",
        "direction": "forward",
        "objective": "detection",
        "breach": "b000001",
    }
    assert made["startsAt"] == "2026-11-23T04:12:39.123Z"
    assert made["endsAt"] == "2026-11-23T04:19:59.123Z"
    assert made["generatorURL"] == "http://noc.example:9460/#breach-b000001"
    assert made["annotations"]["summary_zh"].startswith("时延违约：武汉 → 庆阳")
    assert made["annotations"]["summary_en"].startswith("Latency breach: Wuhan → Qingyang")
    assert "96.9 %" in made["annotations"]["reason_en"]


def test_a_closed_breach_keeps_its_labels_and_ends_when_it_closed() -> None:
    """Alertmanager knows an alert by its labels alone."""
    open_breach = breach()
    ended = alert(closed(open_breach), NAMES, PAGE, NOW_NS + SECOND_NS)
    assert ended["labels"] == alert(open_breach, NAMES, PAGE, NOW_NS)["labels"]
    assert ended["endsAt"] == "2026-11-23T04:15:59.123Z"
    assert "upper bound" in ended["annotations"]["reason_en"]


def test_a_breach_that_is_part_of_a_fault_says_which() -> None:
    """By a label that it keeps, so that a route can group by it, and in words."""
    for one in (breach(fault=CUT_OFF), closed(breach(fault=CUT_OFF))):
        told = alert(one, NAMES, PAGE, NOW_NS)
        assert told["labels"]["fault"] == "f1"
        assert told["annotations"]["fault_zh"].startswith("站点失联：庆阳")
        assert told["annotations"]["fault_en"].startswith("site cut off: Qingyang")
    assert "fault" not in alert(breach(), NAMES, PAGE, NOW_NS)["labels"]


def test_a_closed_breach_is_told_for_a_quarter_of_an_hour() -> None:
    """So that a replica that was away learns of it; after that the alert has long faded."""
    fresh = closed(breach(1), NOW_NS - 899 * SECOND_NS)
    old = closed(breach(2), NOW_NS - 900 * SECOND_NS)
    assert worth_telling([fresh, old, breach(3)], NOW_NS) == [fresh, breach(3)]


async def test_an_open_breach_is_told_again_and_again(session: aiohttp.ClientSession) -> None:
    """It is state: it is repeated for as long as it is true."""
    async with receiving(Receiver()) as receiver:
        bench = Bench(receiver.url, session, repeat_s=0.05)
        bench.breaches = [breach()]
        async with telling(bench.replica):
            await receiver.until(3)
    assert {request.path for request in receiver.received} == {"/api/v2/alerts"}
    assert bench.counts.of(bench.replica.channel, Result.DELIVERED) >= 2


async def test_a_change_is_told_at_once(session: aiohttp.ClientSession) -> None:
    """A wake-up does not wait for the next minute."""
    async with receiving(Receiver()) as receiver:
        bench = Bench(f"{receiver.url}/prefix/", session)
        async with telling(bench.replica):
            bench.breaches = [breach()]
            bench.replica.wake()
            await receiver.until(1)
    assert receiver.received[0].path == "/prefix/api/v2/alerts"
    (told,) = json.loads(receiver.received[0].body)
    assert told["labels"]["breach"] == "b000001"


async def test_where_nothing_is_wrong_nothing_is_said(session: aiohttp.ClientSession) -> None:
    """No breach, no request."""
    async with receiving(Receiver()) as receiver:
        assert await Bench(receiver.url, session).replica.tell()
    assert receiver.received == []


async def test_a_replica_that_hangs_delays_no_other(session: aiohttp.ClientSession) -> None:
    """Each replica has a task of its own, and every one is told."""
    async with receiving(Receiver(hanging=True)) as slow, receiving(Receiver()) as quick:
        hanging = Bench(slow.url, session, timeout_s=30)
        taking = Bench(quick.url, session)
        for bench in (hanging, taking):
            bench.breaches = [breach()]
        async with telling(hanging.replica, taking.replica):
            await slow.until(1)
            await quick.until(1)


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
async def test_a_refusal_is_counted_and_tried_again(
    status: int, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The first one is logged; so is the recovery."""
    async with receiving(Receiver(answers=[status, status])) as receiver:
        bench = Bench(receiver.url, session)
        bench.breaches = [breach()]
        with caplog.at_level("INFO"):
            assert not await bench.replica.tell()
            assert not await bench.replica.tell()
            assert await bench.replica.tell()
    assert bench.counts.of(bench.replica.channel, Result.FAILED) == 2
    assert caplog.text.count(f"answered {status}") == 1
    assert "takes alerts again" in caplog.text


async def test_a_replica_that_does_not_answer_in_time_is_a_failure(session: aiohttp.ClientSession) -> None:
    """The request ends by itself."""
    async with receiving(Receiver(hanging=True)) as receiver:
        bench = Bench(receiver.url, session, timeout_s=0.2)
        bench.breaches = [breach()]
        assert not await bench.replica.tell()


async def test_a_replica_that_comes_back_is_told_without_a_wake_up(session: aiohttp.ClientSession) -> None:
    """The task retries by itself within a second or so."""
    port = free_port()
    bench = Bench(f"http://127.0.0.1:{port}", session)
    bench.breaches = [breach()]

    async def failed() -> bool:
        return bench.counts.of(bench.replica.channel, Result.FAILED) >= 1

    async def told() -> bool:
        return bench.counts.of(bench.replica.channel, Result.DELIVERED) >= 1

    async with telling(bench.replica):
        await eventually(failed, "the first try fails")
        async with receiving(Receiver(), port=port):
            await eventually(told, "the alert is taken")


async def test_a_fault_of_ours_does_not_end_the_task(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is logged, and tried again when the state has changed."""
    async with receiving(Receiver()) as receiver:
        bench = Bench(receiver.url, session)
        bench.breaches = [replace(breach(), opened_ns=10**40)]
        async with telling(bench.replica):

            async def complained() -> bool:
                return "alerts cannot be written" in caplog.text

            await eventually(complained, "the fault is logged")
            bench.breaches = [breach()]
            await receiver.until(1)


async def test_many_breaches_go_in_several_requests(session: aiohttp.ClientSession) -> None:
    """A thousand alerts are no reason for a request that is refused for its size."""
    async with receiving(Receiver()) as receiver:
        bench = Bench(receiver.url, session)
        bench.breaches = [breach(number) for number in range(600)]
        assert await bench.replica.tell()
    sizes = [len(json.loads(request.body)) for request in receiver.received]
    assert sizes == [256, 256, 88]


def test_the_channel_shows_host_and_port_and_no_password(session: aiohttp.ClientSession) -> None:
    """What stands before the @ is a secret."""
    bench = Bench("https://user:very-secret@am.example/prefix", session)
    assert bench.replica.channel == "alertmanager:am.example:443"


ALERTMANAGER_CONFIG = """
route:
  receiver: hook
  group_by: [alertname, breach]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: hook
    webhook_configs: [{url: "%s/from-alertmanager", send_resolved: true}]
"""


def alerts_in(requests: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The alerts that Alertmanager sent on."""
    for request in requests:
        yield from json.loads(request.body)["alerts"]


async def test_a_real_alertmanager_receives_the_alert_and_its_resolution(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """It fires for the one direction with our words, and is resolved when the breach closes."""
    opened_ns = time_ns() - 60 * SECOND_NS
    open_breach = breach(direction=Direction.REVERSE, opened_ns=opened_ns)
    async with receiving(Receiver()) as hook, alertmanager(tmp_path, ALERTMANAGER_CONFIG % hook.url) as url:
        bench = Bench(url, session, live=True)
        bench.breaches = [open_breach]
        async with telling(bench.replica):
            await hook.until(1)
            (firing,) = alerts_in(hook.received)
            assert firing["status"] == "firing"
            assert firing["labels"]["alertname"] == "IsochroneBreach"
            assert firing["labels"]["direction"] == "reverse"
            assert "武汉 → 庆阳" in firing["annotations"]["summary_zh"]
            assert firing["generatorURL"].endswith("#breach-b000001")
            async with session.get(f"{url}/api/v2/alerts") as response:
                (held,) = await response.json()
            assert held["status"]["state"] == "active"

            bench.breaches = [closed(open_breach, time_ns())]
            bench.replica.wake()

            async def resolved() -> bool:
                return any(one["status"] == "resolved" for one in alerts_in(hook.received))

            await eventually(resolved, "the alert is resolved")
            async with session.get(f"{url}/api/v2/alerts") as response:
                assert await response.json() == []
    ended = [one for one in alerts_in(hook.received) if one["status"] == "resolved"]
    assert {one["fingerprint"] for one in ended} == {firing["fingerprint"]}


async def test_a_real_alertmanager_takes_a_path_without_provider(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """An empty label is no label; the alert is taken all the same."""
    one = breach(opened_ns=time_ns() - SECOND_NS)
    anonymous = replace(one, key=one.key._replace(path=replace(one.key.path, provider="")))
    async with receiving(Receiver()) as hook, alertmanager(tmp_path, ALERTMANAGER_CONFIG % hook.url) as url:
        bench = Bench(url, session, live=True)
        bench.breaches = [anonymous]
        assert await bench.replica.tell()
        await hook.until(1)
    (firing,) = alerts_in(hook.received)
    assert "provider" not in firing["labels"]
