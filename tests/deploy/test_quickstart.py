"""`make run` as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.quickstart.ports import free_addresses, moved
from tests.support.requirements import require_binary


def play(*arguments: str, wait_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Play the quickstart to its end."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.quickstart", *arguments],
        capture_output=True,
        text=True,
        timeout=wait_s,
        check=False,
    )


def assert_held(done: subprocess.CompletedProcess[str]) -> None:
    """The story held, and the law with it."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^story +held$", done.stdout, re.MULTILINE)
    assert re.search(r"^conservation law +held", done.stdout, re.MULTILINE)


@pytest.mark.timeout(150)
def test_the_story_holds() -> None:
    """All PASS, one direction degrades, its breach alone opens, is announced, and closes: status 0."""
    done = play("--seconds", "70", "--lang", "en")
    assert_held(done)
    assert "1 opened, 1 closed" in done.stdout
    assert "2 delivered, 0 badly signed" in done.stdout


@pytest.mark.timeout(120)
def test_without_any_clock() -> None:
    """City and Yichang are proven by the round trip, Qingyang is not, and the reasons say so."""
    done = play("--seconds", "30", "--clock", "unsynchronised", "--lang", "en")
    assert_held(done)
    assert "0 opened, 0 closed" in done.stdout
    assert re.search(r"qingyang forward: INDETERMINATE: .*not synchronised", done.stdout)
    assert re.search(r"guanggu forward: PASS: .*round trip", done.stdout)
    assert re.search(r"yichang forward: PASS: .*round trip less the fibre floor", done.stdout)


@pytest.mark.timeout(150)
def test_through_prometheus() -> None:
    """With a real Prometheus between agents and collector the same story holds."""
    require_binary("prometheus")
    assert_held(play("--seconds", "70", "--prometheus"))


@pytest.mark.timeout(60)
def test_too_short_for_the_story() -> None:
    """A run that ends before its story says where it stopped, and fails."""
    done = play("--seconds", "3", "--lang", "en")
    assert done.returncode == 1
    assert "NOT played to its end, it stopped at: waiting for the first verdicts" in done.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends it with a summary and status 0; even killed, it leaves no process behind."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "deploy.quickstart", "--lang", "en"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "page: http://127.0.0.1:" in process.stdout.readline()
    time.sleep(2)
    children = children_with(str(tmp_path))
    assert len(children) >= 5
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    if number is signal.SIGINT:
        assert process.returncode == 0
        assert "conservation law" in output
        assert not list(tmp_path.iterdir())
    deadline = time.monotonic() + 15
    while children_with(str(tmp_path)):
        assert time.monotonic() < deadline, "processes left behind"
        time.sleep(0.1)


def children_with(text: str) -> list[int]:
    """Processes that name this text in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = entry.joinpath("cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found


def test_taken_ports_are_moved() -> None:
    """An address whose port is taken is replaced wherever it stands; the others stay."""
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        first, second = (f"127.0.0.1:{one.getsockname()[1]}" for one in (taken, free))
        free.close()
        text = f"a: {first}\nb: [{second}, {first}]\n"
        addresses = free_addresses([text])
        assert addresses[second] == second
        assert addresses[first] != first
        assert moved(text, addresses) == f"a: {addresses[first]}\nb: [{second}, {addresses[first]}]\n"
