"""The generic webhook against a real HTTP server that takes, fails, hangs, redirects and has gone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns

import aiohttp
import pytest
from standardwebhooks import Webhook

from collector.alerts.counts import NotificationCounts
from collector.alerts.dispatcher import Dispatcher
from collector.alerts.outbox import Notification
from collector.alerts.signature import parse_secret
from collector.alerts.webhook import Gone, Refused, Taken, WebhookChannel, WebhookTarget
from tests.support.outbox import MemoryOutbox
from tests.support.processes import free_port
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOTE = Notification(
    "webhook:noc/b1/opened", "webhook:noc", '{"event":"breach_opened","zh":"时延超限"}', time_ns()
)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


def channel(url: str, session: aiohttp.ClientSession, timeout_s: float = 5) -> WebhookChannel:
    """A signed channel whose path and query are secrets."""
    target = WebhookTarget("noc", f"{url}/hook/very-secret?token=very-secret", (parse_secret(SECRET),))
    return WebhookChannel(target, session, time_ns, timeout_s)


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_2xx_means_taken(status: int, session: aiohttp.ClientSession) -> None:
    """The receiver gets the body as it is, and may say so in any way."""
    async with receiving(Receiver(status)) as receiver:
        assert await channel(receiver.url, session).deliver(NOTE) == Taken()
    (request,) = receiver.received
    assert (request.path, request.query) == ("/hook/very-secret", "token=very-secret")
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(request.body)["zh"] == "时延超限"


async def test_the_signature_is_what_the_reference_library_wants(session: aiohttp.ClientSession) -> None:
    """A receiver verifies the very octets that came over the wire; the id is the same at every try."""
    async with receiving(Receiver()) as receiver:
        posting = channel(receiver.url, session)
        await posting.deliver(NOTE)
        await posting.deliver(NOTE)
    for request in receiver.received:
        assert Webhook(SECRET).verify(request.body, dict(request.headers))["event"] == "breach_opened"
        assert request.headers["webhook-id"] == "b1_opened"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
async def test_anything_else_is_tried_again_and_no_redirect_is_followed(
    status: int, session: aiohttp.ClientSession
) -> None:
    """A redirect would hand the signed message to somebody whom the operator did not name."""
    answering = Receiver(status, headers={"Location": "/elsewhere", "Retry-After": "120"})
    async with receiving(answering) as receiver:
        answer = await channel(receiver.url, session).deliver(NOTE)
    assert answer == Refused(f"answered {status}", 120)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("7", 7), ("99999999", 86_400), ("-3", 0), ("soon", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
async def test_how_long_the_receiver_asks_for_is_bounded(
    header: str, wait_s: float, session: aiohttp.ClientSession
) -> None:
    """A receiver cannot silence us for more than a day, nor confuse us."""
    async with receiving(Receiver(503, headers={"Retry-After": header})) as receiver:
        answer = await channel(receiver.url, session).deliver(NOTE)
    assert answer == Refused("answered 503", wait_s)


async def test_410_means_never_again(session: aiohttp.ClientSession) -> None:
    """The one status that ends a channel."""
    async with receiving(Receiver(410)) as receiver:
        assert await channel(receiver.url, session).deliver(NOTE) == Gone()


async def test_a_receiver_that_hangs_is_given_up_in_time(session: aiohttp.ClientSession) -> None:
    """The try ends by itself, as a failure."""
    async with receiving(Receiver(hanging=True)) as receiver:
        answer = await channel(receiver.url, session, timeout_s=0.2).deliver(NOTE)
    assert answer == Refused("no answer in time")


@pytest.mark.parametrize(
    "make_url",
    [
        lambda: f"http://127.0.0.1:{free_port()}",
        lambda: "http://name.invalid",
    ],
    ids=["nobody listens", "no such name"],
)
async def test_what_cannot_be_reached_is_said_without_the_address(
    make_url: type[str], session: aiohttp.ClientSession
) -> None:
    """The reason names what is wrong, and neither path nor query."""
    answer = await channel(make_url(), session).deliver(NOTE)
    assert isinstance(answer, Refused)
    assert answer.reason in (
        "cannot connect: connection refused",
        "its name cannot be resolved",
        "no answer in time",
    )


async def test_a_connection_cut_in_the_middle_is_a_failure_like_any_other(
    session: aiohttp.ClientSession,
) -> None:
    """A receiver that closes without an answer is tried again."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await channel(f"http://127.0.0.1:{port}", session).deliver(NOTE)
    assert isinstance(answer, Refused)
    assert answer.reason in (
        "closed the connection without an answer",
        "cannot connect: connection reset by peer",
        "failed: ClientOSError",
    )


async def test_no_log_line_holds_a_secret(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither address nor key is shown, whatever goes wrong, in logs, rows or representations."""
    outbox = MemoryOutbox()
    outbox.add([NOTE])
    posting = channel(f"http://127.0.0.1:{free_port()}", session)
    dispatcher = Dispatcher(posting, outbox, NotificationCounts(), time_ns, random.Random(1))
    with caplog.at_level("DEBUG"):
        await dispatcher.deliver_due()
    shown = caplog.text + repr(posting.target) + str(outbox.rows)
    assert "webhook:noc (127.0.0.1): not delivered (try 1 of 10): cannot connect: connection refused" in shown
    assert "very-secret" not in shown
    assert "MfKQ9r8" not in shown
    assert repr(parse_secret(SECRET)) not in shown


async def test_a_receiver_that_recovers_gets_what_it_missed(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Two failures, then success: the same message three times, taken once."""
    outbox = MemoryOutbox()
    outbox.add([NOTE])
    now_ns = time_ns()

    async def no_pause(_: float) -> None:
        return None

    async with receiving(Receiver(answers=[500, 503])) as receiver:
        dispatcher = Dispatcher(
            channel(receiver.url, session),
            outbox,
            NotificationCounts(),
            lambda: now_ns,
            random.Random(1),
            no_pause,
        )
        while (wait_s := await dispatcher.deliver_due()) is not None:
            now_ns += int(wait_s * 1e9) + 1
    assert len(receiver.received) == 3
    assert {request.headers["webhook-id"] for request in receiver.received} == {"b1_opened"}
    assert outbox.rows[1].delivered_ns is not None
