"""Log lines, and how few of them there are."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator

import pytest
from aiohttp import web

from agent.runtime.logs import RateLimited, configure


@pytest.fixture
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers.clear()  # or pytest's own would be closed by `configure`
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_root_logger")
def test_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A record is one line of key=value on standard error, in UTC, and its text cannot forge another."""
    configure("info")
    logging.getLogger("a.b").info("said %s", 'he "x"\nlevel=error \\ 武汉')
    logging.getLogger("a.b").debug("not this")
    written = capsys.readouterr()
    assert written.out == ""
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info logger=a\.b "
        r'message="said he \\"x\\"\\nlevel=error \\\\ 武汉"' + "\n",
        written.err,
    )


@pytest.mark.usefixtures("_root_logger")
def test_time_is_utc(capsys: pytest.CaptureFixture[str]) -> None:
    """The time is UTC to the millisecond, wherever the program runs."""
    configure("warning")
    record = logging.makeLogRecord(
        {"name": "a", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "x"}
    )
    record.created = 1_714_550_400.25
    record.msecs = 250.0
    logging.getLogger().handle(record)
    assert capsys.readouterr().err == 'time=2024-05-01T08:00:00.250Z level=warning logger=a message="x"\n'


@pytest.mark.usefixtures("_root_logger")
def test_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback stays on the line of its record."""
    configure("debug")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("a").exception("failed")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert 'message="failed" traceback="Traceback' in line
    assert line.endswith('RuntimeError: broken"\n')


@pytest.mark.usefixtures("_root_logger")
def test_configured_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Configuring again replaces: no line is written twice."""
    configure("info")
    configure("warning")
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert capsys.readouterr().err.count("\n") == 1


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate() -> None:
    """One message of a kind passes per period, and the next one says how many were held back."""
    lines: list[str] = []
    clock = _Clock()
    complain = RateLimited(lines.append, 60.0, clock)
    for kind in ("a", "a", "b", "a"):
        complain(kind, f"{kind} is bad")
    clock.now = 59.9
    complain("a", "a is bad")
    assert lines == ["a is bad", "b is bad"]
    clock.now = 60.0
    complain("a", "a is bad")
    complain("b", "b is bad")
    assert lines[2:] == ["a is bad (3 more like this since the last line)", "b is bad"]
    clock.now = 120.0
    complain("a", "a is bad")
    assert lines[4:] == ["a is bad"]


def test_many_kinds() -> None:
    """However many kinds there are, memory is bounded and new ones are still heard of, once per period."""
    lines: list[str] = []
    clock = _Clock()
    complain = RateLimited(lines.append, 60.0, clock)
    for number in range(5000):
        complain(str(number), f"{number} is bad")
    assert len(lines) == 1025
    clock.now = 60.0
    complain("new", "new is bad")
    assert lines[-1] == "new is bad"
    complain("4999", "4999 is bad")
    complain("1500", "1500 is bad")
    assert lines[-1] == "1500 is bad"


@pytest.mark.usefixtures("_root_logger")
async def test_strangers_cannot_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Malformed HTTP requests are said once, in a line without a traceback; a fault of our own is said in full."""
    configure("info")

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("our own fault")

    app = web.Application()
    app.router.add_get("/", broken)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    for request in [b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"] * 5 + [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    ]:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        assert await reader.readline()
        writer.close()
        await writer.wait_closed()
    await runner.cleanup()
    bad, own = capsys.readouterr().err.splitlines()
    assert "malformed HTTP request: LineTooLong" in bad
    assert "our own fault" in own
    assert "traceback=" in own
    assert "traceback=" not in bad


@pytest.mark.usefixtures("_root_logger")
async def test_who_hangs_up_is_no_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """Clients that leave in the middle of an answer are said once, in a line without a traceback."""
    configure("info")
    left, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await left.wait()
        try:
            while True:
                await response.write(bytes(1000))
                await asyncio.sleep(0)
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/", endless)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    for _ in range(3):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.readline()
        writer.transport.abort()
        left.set()
        await asyncio.wait_for(ended.wait(), 5)
        left.clear()
        ended.clear()
    await runner.cleanup()
    (line,) = capsys.readouterr().err.splitlines()
    assert "HTTP client gone before it had its answer" in line
    assert "traceback=" not in line
