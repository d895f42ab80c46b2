"""The agent as a program: its commands, its end, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest

from agent.core import metrics
from agent.runtime.lifecycle import ExitStatus
from tests.support.exposition import assert_law, total, value
from tests.support.processes import agent_command, eventually, free_port, running
from tests.support.requirements import require_binary


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an agent command to its end."""
    return subprocess.run(
        list(map(str, agent_command(*arguments))), capture_output=True, text=True, timeout=30, check=False
    )


async def scrape(http: int) -> str | None:
    """The exposition of a running agent, None where nobody answers."""
    with contextlib.suppress(aiohttp.ClientError):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{http}/metrics") as response,
        ):
            assert response.status == 200
            return await response.text()
    return None


def answers(text: str) -> float:
    """How many probes of an exposition were answered in time."""
    return sum(
        total(text, metrics.PROBE_OUTCOMES, direction="round_trip", outcome=outcome)
        for outcome in ("within", "over", "uncertain")
    )


class Pair:
    """A target and a source, each an agent of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reflector = free_port(socket.SOCK_DGRAM)
        self.http = free_port()
        (folder / "target.yaml").write_text(
            "site: target\nclock: {source: declared, error_bound: 50us}\n"
            f'reflector: {{listen: ["127.0.0.1:{self.reflector}"], allow: [127.0.0.1]}}\n'
        )
        (folder / "source.yaml").write_text(
            f"site: source\nlisten: 127.0.0.1:{self.http}\nclock: {{source: declared, error_bound: 50us}}\n"
            f"paths:\n- {{target: target, tier: city, address: '127.0.0.1:{self.reflector}', interval: 5ms, "
            "timeout: 300ms, limits: {forward: '< 1ms'}}\n"
        )

    def start(self, name: str) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """Run one of the two."""
        return running(
            agent_command("run", "--config", self.folder / f"{name}.yaml"), self.folder / f"{name}.log"
        )

    async def answered(self, at_least: int) -> bool:
        """Whether so many of the source's probes were answered within the limit."""
        text = await scrape(self.http)
        return text is not None and answers(text) >= at_least


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A source and a target, not yet started."""
    return Pair(tmp_path)


async def test_law_on_the_running_agent(pair: Pair) -> None:
    """What a scrape shows obeys the law at any moment, and health and readiness answer."""
    async with pair.start("target"), pair.start("source"), aiohttp.ClientSession() as session:
        await eventually(lambda: pair.answered(100), "answers")
        for _ in range(5):
            text = await scrape(pair.http)
            assert text is not None
            assert_law(text)
        for path in ("healthy", "ready"):
            async with session.get(f"http://127.0.0.1:{pair.http}/-/{path}") as response:
                assert response.status == 200


async def test_promtool_has_no_complaint(pair: Pair) -> None:
    """`promtool check metrics` accepts the exposition of sender and reflector without a word."""
    promtool = require_binary("promtool")
    async with pair.start("target"), pair.start("source"):
        await eventually(lambda: pair.answered(20), "answers")
        text = await scrape(pair.http)
    assert text is not None
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_sigterm_drains(pair: Pair) -> None:
    """SIGTERM stops sending, waits for what is under way, and ends with status 0 and the law closed at zero."""
    async with pair.start("target"), pair.start("source") as source:
        await eventually(lambda: pair.answered(50), "answers")
        source.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(source.wait(), 10) == 0
    assert "0 in flight, conservation law holds" in (pair.folder / "source.log").read_text()


async def test_kill_and_restart(pair: Pair) -> None:
    """After kill -9 the agent starts again from zero, says so by its start time, and the law holds anew."""
    async with pair.start("target"):
        async with pair.start("source") as source:
            await eventually(lambda: pair.answered(100), "answers")
            before = await scrape(pair.http)
            source.kill()
            await source.wait()
        async with pair.start("source"):
            await eventually(lambda: pair.answered(20), "answers again")
            after = await scrape(pair.http)
    assert before is not None
    assert after is not None
    assert_law(after)
    assert value(after, metrics.PROCESS_START) > value(before, metrics.PROCESS_START)
    lost = total(after, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="lost")
    assert lost == 0


async def test_reflector_killed_and_restarted(pair: Pair) -> None:
    """While the target is dead its loss has no proven direction; when it is back, answers resume by themselves."""
    async with pair.start("source"):
        async with pair.start("target") as target:
            await eventually(lambda: pair.answered(100), "answers")
            target.kill()
            await target.wait()
        await asyncio.sleep(0.5)
        async with pair.start("target"):
            text = await scrape(pair.http)
            assert text is not None
            enough = int(answers(text)) + 20
            await eventually(lambda: pair.answered(enough), "answers after the restart")
            text = await scrape(pair.http)
    assert text is not None
    assert total(text, metrics.PROBE_OUTCOMES, direction="forward", outcome="unattributed") > 0
    assert total(text, metrics.PROBE_OUTCOMES, direction="reverse", outcome="lost") == 0
    assert_law(text)


async def test_probe_stamp(pair: Pair) -> None:
    """`probe stamp --json` measures so many probes and says everything that is known."""
    async with pair.start("target"), pair.start("source"):
        await eventually(lambda: pair.answered(1), "target answers")
        target = f"127.0.0.1:{pair.reflector}"
        done = await asyncio.to_thread(
            command,
            "probe",
            "stamp",
            target,
            "--count",
            "200",
            "--interval",
            "1ms",
            "--clock-error",
            "50us",
            "--json",
        )
        people = await asyncio.to_thread(
            command, "probe", "stamp", target, "--count", "3", "--interval", "1ms", "--limit", "< 1s"
        )
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["sent"], found["answered"], found["in_flight"], found["law"]) == (200, 200, 0, "holds")
    assert found["clock"] == {
        "source": "declared",
        "synchronized": True,
        "error_bound_seconds": 50e-6,
        "explanation": "",
    }
    assert found["reflector"]["stateful"] is True
    assert 0 < found["directions"]["round_trip"]["delay"]["p50_seconds"] < 0.02
    assert found["directions"]["forward"]["proven"]["most_seconds"] < 0.05
    assert people.returncode == 0
    assert "3 sent, 3 answered, 0 lost" in people.stdout
    assert "within/within" in people.stdout


@pytest.mark.parametrize("count", [5, 2000])
async def test_nobody_reads_on(pair: Pair, count: int) -> None:
    """A reader that has had enough (`| head -2`) ends the probing soon, without a word of complaint."""
    async with pair.start("target"):
        process = await asyncio.create_subprocess_exec(
            *agent_command(
                "probe", "stamp", f"127.0.0.1:{pair.reflector}", "--count", str(count), "--interval", "1ms"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        _, complaint = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode in (ExitStatus.OK, ExitStatus.FAILED)
    assert complaint == b""


def test_a_full_disk_is_said() -> None:
    """What cannot be written is said in one line, not in a traceback."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            list(
                map(str, agent_command("probe", "stamp", "127.0.0.1:9", "--count", "1", "--timeout", "50ms"))
            ),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (ExitStatus.USAGE, "cannot write: No space left on device\n")


def test_probe_of_silence() -> None:
    """A target that does not answer gives status 1, loss and no delay."""
    done = command(
        "probe",
        "stamp",
        f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
        *("--count", "3", "--interval", "1ms", "--timeout", "100ms", "--json"),
    )
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["sent"], found["answered"], found["directions"]["forward"]["unattributed"]) == (3, 0, 3)
    assert found["directions"]["round_trip"]["delay"] is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_closed_port_is_said(host: str) -> None:
    """Why nothing came is shown, as text and as JSON; that it was said changes neither outcome nor what is sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((host, 0))
        port = taken.getsockname()[1]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    quick = ("probe", "stamp", target, "--count", "40", "--interval", "1ms", "--timeout", "100ms")
    document, people = command(*quick, "--json"), command(*quick)
    assert (document.returncode, people.returncode) == (1, 1), document.stderr
    found = json.loads(document.stdout)
    assert (found["sent"], found["law"]) == (40, "holds")
    assert set(found["not_sent"]) <= {"overdue"}  # which are sent later
    assert found["directions"]["forward"]["unattributed"] == 40
    (error,) = found["icmp_errors"]
    assert (error["reason"], error["from"]) == ("port_unreachable", host)
    assert 1 <= error["count"] <= 40  # the kernel bounds how many it sends
    assert f"answered by ICMP: port unreachable, says {host}\n" in people.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["probe", "stamp", "127.0.0.1", "--count", "0"], "1 to 1000000"),
        (["probe", "stamp", "127.0.0.1", "--interval", "10"], "has no unit"),
        (["probe", "stamp", "127.0.0.1:99999"], "port above 65535"),
        (["probe", "stamp", "127.0.0.1", "--limit", "1ms"], "is no limit"),
        (
            ["probe", "stamp", "127.0.0.1", "--limit", "<= 4ms", "--floor", "4.13ms"],
            "--limit: impossible: the floor is 4.13 ms, the limit is <= 4 ms",
        ),
        (["probe", "stamp", "127.0.0.1", "--interval", "1us"], "out of range: at least 1ms and at most 1h"),
        (["probe", "icmp", "127.0.0.1", "--timeout", "2m"], "out of range: at least 1ms and at most 1m"),
        (
            ["probe", "stamp", "127.0.0.1", "--interval", "1ms", "--timeout", "1m"],
            "--timeout 1m with interval 1ms means to remember 262144 probes, at most 65536: a timeout of at most",
        ),
        (["probe", "stamp", "127.0.0.1:0"], "has port 0, where nobody can be reached: 1 to 65535"),
        (["probe", "tcp", "[::1]:0"], "has port 0, where nobody can be reached: 1 to 65535"),
        (["probe", "route", "127.0.0.1:0"], "has port 0, where nobody can be reached: 1 to 65535"),
        (["run", "--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["nonsense"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str) -> None:
    """Wrong usage exits with 2, says what is wrong, and shows no traceback."""
    done = command(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_everything(tmp_path: Path) -> None:
    """`check` names every problem with its line; a good file is ok, with what is probably not meant as a warning."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "site: s\nsite: t\npaths:\n- target: a\n  address: a\n  interval: 10\n  limits: {forward: '< 1ms'}\n  x: 1\n"
        "- target: b\n  address: b\n  limits: {forward: '< 1ms'}\n  floors: {forward: 2ms}\n"
    )
    done = command("check", "--config", bad)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "6", "8", "11"]
    assert "impossible" in lines[-1]
    good = tmp_path / "good.yaml"
    good.write_text(
        "site: s\npaths:\n- target: a\n  address: a\n  interval: 2s\n  limits: {forward: '< 1ms'}\n"
    )
    done = command("check", "--config", good)
    assert done.returncode == 0
    assert "warning: paths[0]: timeout 1s is not above interval 2s" in done.stdout
    path = "- {target: %s, address: a, dscp: %d, limits: {forward: '< 1ms'}}\n"
    good.write_text(
        "site: s\npaths:\n" + "".join(path % (name, dscp) for name, dscp in (("a", 0), ("b", 46), ("c", 0)))
    )
    told = command("check", "--config", good).stdout
    assert told.count("warning") == 1
    assert "warning: paths[2]: goes to a:862 from the same socket as paths[0]: of a reflector" in told
    impossible = tmp_path / "impossible.yaml"
    impossible.write_text(
        "site: s\npaths:\n- target: b\n  address: b\n  limits: {forward: '< 1ms'}\n  floors: {forward: 2ms}\n"
    )
    done = command("check", "--config", impossible)
    assert done.returncode == 2
    assert (
        "impossible.yaml:5: paths[0].limits.forward: impossible: light in fibre needs 2.00 ms" in done.stderr
    )


def test_ports_in_use(tmp_path: Path) -> None:
    """A taken UDP or TCP port ends the program with status 2 and the endpoint's name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        free = free_port(socket.SOCK_DGRAM)
        for reflector, http, named in (
            (udp.getsockname()[1], free_port(), udp.getsockname()[1]),
            (free, tcp.getsockname()[1], tcp.getsockname()[1]),
        ):
            config = tmp_path / "agent.yaml"
            config.write_text(
                f"site: s\nlisten: 127.0.0.1:{http}\n"
                f'reflector: {{listen: ["127.0.0.1:{reflector}"], allow: [127.0.0.1]}}\n'
            )
            done = command("run", "--config", config)
            assert done.returncode == 2
            assert f"cannot listen on 127.0.0.1:{named}" in done.stderr
            assert "Traceback" not in done.stderr
