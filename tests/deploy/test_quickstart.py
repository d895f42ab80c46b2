"""`make run` as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
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
    assert_adds_up(done.stdout)


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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C or a closed terminal ends it with a summary and status 0; even killed, it leaves no process behind."""
    process = started(tmp_path)
    assert process.stdout is not None
    assert "page: http://127.0.0.1:" in process.stdout.readline()
    until(lambda: len(children_with(str(tmp_path))) >= 5, "all processes")
    until(lambda: "PASS" in process.stdout.readline(), "a verdict")  # type: ignore[union-attr]
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    if number is not signal.SIGKILL:
        assert process.returncode == 0
        assert_adds_up(output)
        assert not list(tmp_path.iterdir())
    until(lambda: not children_with(str(tmp_path)), "no process left behind")


@pytest.mark.timeout(60)
def test_ended_while_it_starts(tmp_path: Path) -> None:
    """Ctrl-C as soon as the first process runs: all end, without a traceback."""
    process = started(tmp_path)
    until(lambda: bool(children_with(str(tmp_path))), "the first process")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert re.search(r"^conservation law", output, re.MULTILINE)
    assert not list(tmp_path.iterdir())
    until(lambda: not children_with(str(tmp_path)), "no process left behind")


@pytest.mark.timeout(60)
def test_ended_while_it_loads(tmp_path: Path) -> None:
    """Ctrl-C before anything has started ends it quietly, with the status of an interrupted command."""
    process = started(tmp_path, "-X", "importtime")
    assert process.stdout is not None
    while "multidict" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in output


@pytest.mark.timeout(60)
@pytest.mark.parametrize("victim", ["deploy.quickstart.relay", "qingyang.yaml"])
def test_a_process_that_dies(tmp_path: Path, victim: str) -> None:
    """A process that does not live is named, all others end, and the status says that it failed."""
    process = started(tmp_path)
    until(lambda: bool(children_with(str(tmp_path), victim)), victim)
    os.kill(children_with(str(tmp_path), victim)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert re.search(
        r"^(relay|agent-qingyang) ended with status -9|^the relay has ended", output, re.MULTILINE
    )
    until(lambda: not children_with(str(tmp_path)), "no process left behind")


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A run without an end, its working files in a folder of the test's."""
    return subprocess.Popen(
        [sys.executable, "-u", *options, "-m", "deploy.quickstart", "--lang", "en"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )


def until(condition: Callable[[], bool], what: str, wait_s: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {wait_s} s: {what}"
        time.sleep(0.02)


def assert_adds_up(output: str) -> None:
    """The printed outcomes of each direction and what is in flight make up what was sent."""
    (sent,) = re.findall(r"^sent +(\d+)$", output, re.MULTILINE)
    in_flight = sum(map(int, re.findall(r"^  \w+ in flight +(\d+)$", output, re.MULTILINE)))
    sums = dict.fromkeys(("forward", "reverse", "round_trip"), in_flight)
    for direction, number in re.findall(r"^  \w+ (\w+) (?:\w+) +(\d+)$", output, re.MULTILINE):
        if direction in sums:
            sums[direction] += int(number)
    assert set(sums.values()) == {int(sent)}


def children_with(*texts: str) -> list[int]:
    """Processes that name all these texts in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = entry.joinpath("cmdline").read_bytes()
            except OSError:
                continue
            if all(text.encode() in command for text in texts):
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
