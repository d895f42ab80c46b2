"""`isochrone-agent doctor` as an operator runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.doctor.examination import AgentExamination
from agent.runtime.lifecycle import ExitStatus
from agent.runtime.settings import load
from agent.settings import AgentSettings
from tests.support.netns import joined_namespaces
from tests.support.processes import agent_command, eventually, free_port, running
from tests.support.requirements import require_root

SECRET = "sixteen-letters-and-more"
HOST = {
    "host.kernel",
    "host.clocksource",
    "host.virtualisation",
    "host.cpu_governor",
    "host.time_zone",
    "privilege.net_raw",
    "privilege.net_bind_service",
    "timestamps.kernel",
    "clock.source",
}


def doctor(*arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [*prefix, *map(str, agent_command("doctor", *arguments))]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def findings(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What it found, by id and subject."""
    return {(one["id"], one["subject"]): one for one in json.loads(done.stdout)["findings"]}


def problems(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The ids of what is a problem."""
    return {id_ for (id_, _), one in findings(done).items() if one["severity"] == "problem"}


def test_without_a_configuration_the_host_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """And the clock is held against the plan's own tiers."""
    status = main(["doctor", "--json"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert {one["id"] for one in document["findings"]} - {"service.unit"} == HOST | {"clock.limit"}
    limits = [one["subject"] for one in document["findings"] if one["id"] == "clock.limit"]
    assert limits == ["city < 1 ms", "province < 3 ms", "hub <= 10 ms"]
    assert (status == ExitStatus.FAILED) is (document["severity"] == "problem")
    assert printed.err == ""


async def test_a_good_host_has_no_problem_while_its_agent_runs(tmp_path: Path) -> None:
    """Its ports are its own, its targets answer, its files are secrets; and no secret is printed."""
    http, udp = free_port(), free_port()
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0o600)
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"site: s\nlisten: 127.0.0.1:{http}\nclock: {{source: declared, error_bound: 50us}}\n"
        f"reflector: {{listen: ['127.0.0.1:{udp}'], allow: [127.0.0.1]}}\napi: {{token_file: token}}\n"
        f"paths:\n- {{target: t, tier: city, address: '127.0.0.1:{udp}', limits: {{forward: '< 1ms'}}}}\n"
        f"- {{target: t, tier: city, kind: tcp, address: '127.0.0.1:{http}', limits: {{forward: '< 1ms'}}}}\n"
    )
    async with running(agent_command("run", "--config", config), tmp_path / "log") as agent:

        async def ready() -> bool:
            return "2 paths" in (tmp_path / "log").read_text()

        await eventually(ready, "the agent is ready")
        done = doctor("--config", config, "--json")
        assert agent.returncode is None
    assert done.returncode == ExitStatus.OK, done.stdout
    found = findings(done)
    assert found["port.listen", f"udp 127.0.0.1:{udp}"]["numbers"]["ours"] is True
    assert found["port.listen", f"tcp 127.0.0.1:{http}"]["numbers"]["pid"] == agent.pid
    assert found["target.reach", ""]["numbers"]["answered"] == 2
    assert found["timestamps.kernel", "stamp paths"]["severity"] == "ok"
    assert found["clock.limit", "city < 1 ms"]["severity"] == "ok"
    assert found["file.secret", f"api.token_file {tmp_path / 'token'}"]["severity"] == "ok"
    assert SECRET not in done.stdout + done.stderr


def test_everything_that_is_wrong_is_found_at_once(tmp_path: Path) -> None:
    """An address that is not ours, an open file of secrets, a missing one, a name, a reflector that is down."""
    require_root()
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0o644)
    config = tmp_path / "agent.yaml"
    config.write_text(
        "site: s\nlisten: 127.0.0.1:9461\nclock: {source: unsynchronised}\ncredentials: missing\n"
        "api: {token_file: token}\n"
        "throughput: {listen: ['198.51.100.7:9462'], allow: [127.0.0.1], token_file: token}\n"
        "throughput_paths: [{target: t, address: 'h:1', token_file: gone, direction: up, floors: {up: 1G}, "
        "slot: {every: 6h}}]\n"
        "reflector: {listen: ['198.51.100.7:862'], allow: [127.0.0.1]}\npaths:\n"
        f"- {{target: down, tier: city, address: '127.0.0.1:{free_port()}', limits: {{forward: '< 1ms'}}}}\n"
        "- {target: named, tier: hub, address: 'reflector.invalid', limits: {forward: '< 1ms'}}\n"
        "- {target: far, tier: hub, address: '203.0.113.1', limits: {forward: '<= 10ms'}, timeout: 200ms}\n"
    )
    with joined_namespaces() as (left, _):  # where neither a resolver nor a way to 203.0.113.1 is
        done = doctor("--config", config, "--json", prefix=tuple(left.command()))
    assert done.returncode == ExitStatus.FAILED
    found = findings(done)
    assert problems(done) >= {"port.listen", "file.secret", "name.resolution", "target.reach", "clock.limit"}
    assert found["name.resolution", "reflector.invalid"]["severity"] == "problem"
    silent = {
        subject.split()[0]: one["found"]["en"]
        for (id_, subject), one in found.items()
        if id_ == "target.reach"
    }
    assert silent["down"] == "no answer: port unreachable"
    assert silent["far"] == "the probe was not sent: enetunreach"
    assert sum(id_ == "file.secret" for id_, _ in found) == 4
    assert {found["port.listen", f"{one} 198.51.100.7:9462"]["severity"] for one in ("tcp", "udp")} == {
        "problem"
    }
    assert all(
        one["remedy"]["zh"] and one["remedy"]["en"] for one in found.values() if one["severity"] == "problem"
    )
    assert SECRET not in done.stdout + done.stderr


async def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """A target that keeps it waiting is given up and said to be; what was found by then is told."""
    config = tmp_path / "agent.yaml"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        config.write_text(
            "site: s\nclock: {source: declared, error_bound: 50us}\npaths:\n- {target: t, tier: city, "
            f"address: '127.0.0.1:{mute.getsockname()[1]}', timeout: 5s, limits: {{forward: '< 1ms'}}}}\n"
        )
        begun = time.monotonic()
        found = await AgentExamination(load(config, AgentSettings), config).run(total_s=0.5)
        assert time.monotonic() - begun < 5
    unfinished = {one.subject for one in found if one.id == "doctor.unfinished"}
    assert unfinished >= {"targets", "clock"}
    assert any(one.id == "socket.receive_buffer" for one in found)


def test_who_lacks_a_privilege_is_told_which(tmp_path: Path) -> None:
    """Without capabilities, where ping sockets are not allowed either."""
    require_root()
    config = tmp_path / "agent.yaml"
    config.write_text(
        "site: s\nclock: {source: declared, error_bound: 50us}\n"
        "reflector: {listen: ['127.0.0.1:862'], allow: [127.0.0.1]}\n"
        "paths:\n- {target: t, kind: icmp, address: 127.0.0.1, limits: {round_trip: '< 1ms'}}\n"
    )
    tmp_path.chmod(0o755)
    with joined_namespaces() as (left, _):
        left.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=1 0")
        prefix = left.command("setpriv", "--bounding-set=-all", "--inh-caps=-all")
        done = doctor("--config", config, "--json", prefix=tuple(prefix))
    assert problems(done) >= {
        "privilege.net_raw",
        "privilege.net_bind_service",
        "port.listen",
        "target.reach",
    }


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("site: s\nspeed: fast\n", "agent.yaml:2: speed")]
)
def test_what_cannot_be_looked_at_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    """A configuration that is no good is for `check`; its mistakes are told with their lines."""
    config = tmp_path / "agent.yaml"
    if text is not None:
        config.write_text(text)
    assert main(["doctor", "--config", str(config)]) == ExitStatus.USAGE
    printed = capsys.readouterr()
    assert (printed.out, said in printed.err) == ("", True)


def test_a_person_reads_it_in_either_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chinese unless asked otherwise, and what is bad at the end."""
    config = tmp_path / "agent.yaml"
    config.write_text("site: s\nreflector: {listen: ['198.51.100.7'], allow: [127.0.0.1]}\n")
    for arguments, line, ends in (
        ((), "✗ 故障 port.listen udp 198.51.100.7:862", "正常"),
        (("--lang", "en"), "✗ problem port.listen udp 198.51.100.7:862", "ok"),
    ):
        assert main(["doctor", "--config", str(config), *arguments]) == ExitStatus.FAILED
        printed = capsys.readouterr().out
        assert line in printed
        assert printed.rstrip().endswith(ends)
