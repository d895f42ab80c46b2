"""Health, errors and headers of the collector's HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest

from collector.sla.verdict import Judgement
from tests.support.collector_web import serving
from tests.support.verdicts import Source, State


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


async def test_ready_only_after_the_first_evaluation_and_says_what_is_missing(
    session: aiohttp.ClientSession,
) -> None:
    """Until then 503, with the agents that cannot be read; healthy all the while."""
    state = State(
        sources={"wuhan": Source(), "yichang": Source(up=False, reason="connection refused")},
        evaluated_ns=None,
    )
    async with serving(state) as url:
        async with session.get(f"{url}/-/ready") as response:
            assert response.status == 503
            assert await response.text() == (
                "no evaluation yet; agents not read: yichang (connection refused)\n"
            )
        async with session.get(f"{url}/-/healthy") as response:
            assert response.status == 200
        state.evaluated_ns = 1
        async with session.get(f"{url}/-/ready") as response:
            assert (response.status, await response.text()) == (200, "ready\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nowhere", 404, "there is no /nowhere"),
        ("GET", "/static/../app.py", 404, "there is no /app.py"),
        ("GET", "/static/%2e%2e/app.py", 404, "there is no"),
        ("GET", "/static/", 403, "Forbidden"),
        ("POST", "/api/v1/verdicts", 405, "POST is not accepted here: GET, HEAD"),
        ("DELETE", "/", 405, "DELETE is not accepted here: GET, HEAD"),
    ],
)
async def test_errors_are_json_and_say_what_would_be_right(
    method: str, path: str, status: int, message: str, session: aiohttp.ClientSession
) -> None:
    """Whatever is asked, the answer can be read by a program and by a person."""
    async with serving(State()) as url, session.request(method, url + path) as response:
        assert response.status == status
        error = (await response.json())["error"]
        assert error["status"] == status
        assert message in error["message"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_fault_of_ours_is_logged_and_not_shown(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns that we have failed; the traceback stays in the log."""

    class Broken(State):
        @property
        def judgements(self) -> Sequence[Judgement]:
            raise RuntimeError("inner-workings")

        @judgements.setter
        def judgements(self, _: Sequence[Judgement]) -> None:
            return None

    async with serving(Broken()) as url, session.get(f"{url}/api/v1/verdicts") as response:
        assert response.status == 500
        assert "inner-workings" not in await response.text()
    assert "inner-workings" in caplog.text


@pytest.mark.parametrize(
    "path", ["/", "/static/page.js", "/static/page.css", "/api/v1/verdicts", "/metrics", "/nowhere"]
)
async def test_every_answer_confines_the_browser(path: str, session: aiohttp.ClientSession) -> None:
    """Only this server's own files, no other origin, no guessing of types, nothing cached unasked."""
    async with serving(State()) as url, session.get(url + path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_page_is_made_of_our_own_files_only(session: aiohttp.ClientSession) -> None:
    """No address of anybody else, no inline script or style."""
    async with serving(State()) as url:
        for path in ("/", "/static/page.js", "/static/messages.js", "/static/page.css", "/static/icon.svg"):
            async with session.get(url + path) as response:
                assert response.status == 200
                text = (await response.text()).replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text
            assert "https:" not in text
            assert "innerHTML" not in text
            assert "<script>" not in text
            assert "style=" not in text
