"""Who has the ports that are to be listened at."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.ports import (
    Holder,
    Own,
    PortFacts,
    Protocol,
    gather_port,
    is_program,
    judge_port,
    try_bind,
)
from agent.runtime.quantities import Endpoint
from tests.support.processes import agent_command, eventually, free_port, running

AGENT = "isochrone-agent"
ENDPOINT = Endpoint("127.0.0.1", 862)


@pytest.mark.parametrize(
    ("facts", "severity", "words"),
    [
        (PortFacts(ENDPOINT, "udp"), Severity.OK, "free"),
        (PortFacts(ENDPOINT, "udp", errno.EADDRINUSE, Holder(True, 7, "python")), Severity.OK, "running"),
        (
            PortFacts(ENDPOINT, "udp", errno.EADDRINUSE, Holder(False, 7, "nc")),
            Severity.PROBLEM,
            "nc (pid 7)",
        ),
        (PortFacts(ENDPOINT, "udp", errno.EADDRINUSE, Holder(False, uid=33)), Severity.PROBLEM, "user 33"),
        (PortFacts(ENDPOINT, "udp", errno.EADDRINUSE), Severity.PROBLEM, "cannot be seen"),
        (PortFacts(ENDPOINT, "udp", errno.EACCES), Severity.PROBLEM, "may not"),
        (PortFacts(ENDPOINT, "udp", errno.EACCES, granted=True), Severity.OK, "the service's unit may"),
        (PortFacts(ENDPOINT, "udp", errno.EADDRNOTAVAIL), Severity.PROBLEM, "Cannot assign"),
        (PortFacts(ENDPOINT, "udp", -1), Severity.PROBLEM, "unknown host"),
    ],
)
def test_judgements(facts: PortFacts, severity: Severity, words: str) -> None:
    """What is taken is a problem unless it is ours."""
    found = judge_port(facts, AGENT)
    assert found.severity is severity
    assert words in found.found.en
    assert found.subject == "udp 127.0.0.1:862"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_port_of_somebody_else_is_named_with_its_process(protocol: Protocol) -> None:
    """This process's own, which runs no agent."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            taken.listen()
        endpoint = Endpoint("127.0.0.1", taken.getsockname()[1])
        facts = await gather_port(endpoint, protocol, Own(AGENT), None)
    assert facts.code == errno.EADDRINUSE
    assert facts.holder is not None
    assert not facts.holder.ours
    assert facts.holder.command
    assert facts.holder.pid is not None


async def test_a_port_is_left_as_it_was() -> None:
    """After the trial others can bind it, and an address of another host is refused."""
    port = free_port()
    assert (await gather_port(Endpoint("127.0.0.1", port), "tcp", Own(AGENT), None)).code == 0
    with socket.socket() as later:
        later.bind(("127.0.0.1", port))
    assert try_bind(Endpoint("198.51.100.7", 0), "udp") == errno.EADDRNOTAVAIL


async def test_the_running_agent_is_known_by_its_configuration(tmp_path: Path) -> None:
    """With ours it is ours; with another, somebody else's; unseen, it is still known by its health check."""
    http, reflector = Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port(socket.SOCK_DGRAM))
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"site: s\nlisten: {http}\nreflector: {{listen: ['{reflector}'], allow: [127.0.0.1]}}\n"
    )
    async with running(agent_command("run", "--config", config), tmp_path / "log") as process:

        async def up() -> bool:
            return try_bind(http, "tcp") == errno.EADDRINUSE

        await eventually(up, "the agent listens")
        for endpoint, protocol in ((reflector, "udp"), (http, "tcp")):
            assert protocol in ("udp", "tcp")
            kind: Protocol = "udp" if protocol == "udp" else "tcp"
            ours = await gather_port(endpoint, kind, Own(AGENT, config), http)
            assert ours.holder is not None
            assert (ours.holder.ours, ours.holder.pid) == (True, process.pid)
            theirs = await gather_port(endpoint, kind, Own(AGENT, tmp_path / "other.yaml"), http)
            assert theirs.holder is not None
            assert not theirs.holder.ours
            unseen = await gather_port(endpoint, kind, Own(AGENT, config), http, proc=tmp_path)
            assert unseen.holder is not None
            assert (unseen.holder.ours, unseen.holder.pid) == (True, None)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            [
                "/opt/isochrone/bin/python3",
                "/opt/isochrone/current/bin/isochrone-agent",
                "run",
                "--config",
                "x",
            ],
            True,
        ),
        ([sys.executable, "-m", "agent", "run", "--config", "x"], True),
        ([sys.executable, "-m", "agent", "doctor"], False),
        (["/usr/bin/isochrone-collector", "run"], False),
        (["vim", "notes", "about", "isochrone-agent", "run"], False),
        ([], False),
    ],
)
def test_command_lines(command: list[str], expected: bool) -> None:
    """Only what runs the program is the program."""
    assert is_program(command, AGENT) is expected
