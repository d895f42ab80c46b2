"""How a program ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from agent.runtime.exceptions import IsochroneError
from agent.runtime.lifecycle import ExitStatus, execute, note_reloads, on_reload, stop_requested


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop_requested(number: signal.Signals) -> None:
    """SIGTERM and SIGINT ask for an end, and asking twice is asking once."""
    event = stop_requested()
    assert not event.is_set()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(event.wait(), 5)
    os.kill(os.getpid(), number)
    await asyncio.sleep(0)
    assert event.is_set()


async def test_a_reload_asked_for_too_early_is_not_the_end() -> None:
    """What comes before anybody can reload is done once somebody can; what comes then, each time."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[None] = asyncio.Queue()
    before = signal.getsignal(signal.SIGHUP)
    try:
        note_reloads()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        on_reload(lambda: asked.put_nowait(None))
        assert asked.qsize() == 1
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(2):
            await asyncio.wait_for(asked.get(), 5)
        on_reload(lambda: asked.put_nowait(None))
        assert asked.empty()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)


def test_execute() -> None:
    """The status of a command is its own, whether it is a coroutine or not."""

    async def failed() -> int:
        return ExitStatus.FAILED

    assert execute(lambda: ExitStatus.OK) == 0
    assert execute(failed) == 1


def test_execute_what_can_be_mended(capsys: pytest.CaptureFixture[str]) -> None:
    """What the person can mend is told without a traceback and exits with 2."""

    def run() -> int:
        raise IsochroneError("port 9461 is taken")

    assert execute(run) == 2
    assert capsys.readouterr().err == "port 9461 is taken\n"


def test_execute_interrupted() -> None:
    """Ctrl-C outside the event loop ends with the shell's status for it."""

    def run() -> int:
        raise KeyboardInterrupt

    assert execute(run) == 130


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    """A terminal of another encoding than UTF-8 gets escapes, not a traceback."""
    program = (
        "from agent.runtime.lifecycle import execute\n"
        "def run():\n    print('\u5149\u8c37 \u2192 ok')\n    return 1\n"
        "raise SystemExit(execute(run))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"\\u5149\\u8c37 \\u2192 ok\n", b"")


def test_our_own_faults_show() -> None:
    """A fault of ours is not hidden."""

    def run() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(run)


def test_without_an_output() -> None:
    """A program that was started with its output closed ends as it would otherwise."""
    code = (
        "import sys\nfrom agent.runtime.lifecycle import execute\nsys.exit(execute(lambda: print('x') or 1))"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_closed_pipe(lines: int) -> None:
    """A reader that goes away early, such as `head`, is no reason to complain."""
    code = (
        "import sys\nfrom agent.runtime.lifecycle import execute\nsys.stdin.read()\n"
        f"sys.exit(execute(lambda: print('x\\n' * {lines}) or 0))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == ExitStatus.FAILED
