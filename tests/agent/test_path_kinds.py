"""Paths of every kind: how their targets are written, and how one agent probes them side by side."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess

import pytest

from agent.core import metrics
from agent.exposition import registry, render
from agent.program import Agent
from agent.runtime.exceptions import ConfigError
from agent.runtime.probe_address import KINDS, format_address, parse_address
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from tests.support.exposition import assert_law, total, value
from tests.support.processes import agent_command, eventually, free_port
from tests.support.requirements import require_root

PATH = "  - {{target: t, kind: {kind}, address: '{address}', timeout: {timeout}, limits: {{forward: '< 100ms'}}}}\n"


def settings_of(kind: str, address: str, timeout: str = "1s") -> AgentSettings:
    """A file with one path."""
    text = "site: s\npaths:\n" + PATH.format(kind=kind, address=address, timeout=timeout)
    return parse(text, AgentSettings, "agent.yaml")


@pytest.mark.parametrize(
    ("kind", "address", "host", "port"),
    [
        ("stamp", "192.0.2.1", "192.0.2.1", 862),
        ("stamp", "[2001:db8::1]:8620", "2001:db8::1", 8620),
        ("icmp", "192.0.2.1", "192.0.2.1", 0),
        ("icmp", "2001:db8::1", "2001:db8::1", 0),
        ("icmp", "[2001:db8::1]", "2001:db8::1", 0),
        ("icmp", "host.example", "host.example", 0),
        ("tcp", "host.example:443", "host.example", 443),
    ],
)
def test_each_kind_has_its_own_form_of_address(kind: str, address: str, host: str, port: int) -> None:
    """A port is optional for stamp, needed for tcp, and none of icmp's; what is written is read the same."""
    (path,) = settings_of(kind, address).paths
    assert (path.kind, path.address.host, path.address.port) == (kind, host, port)
    assert parse_address(kind, format_address(kind, path.address)) == path.address


@pytest.mark.parametrize(
    ("kind", "address", "timeout", "complaint"),
    [
        ("icmp", "192.0.2.1:80", "1s", "has a port, where there is none"),
        ("icmp", "[2001:db8::1]:80", "1s", "has a port, where there is none"),
        ("tcp", "192.0.2.1", "1s", "has no port"),
        ("tcp", "192.0.2.1:80", "1001ms", "paths[0].timeout: 1001ms is too long for tcp"),
        ("udp", "192.0.2.1:80", "1s", '"udp" is not one of stamp, icmp, tcp'),
    ],
)
def test_what_a_kind_cannot_use_is_refused(kind: str, address: str, timeout: str, complaint: str) -> None:
    """The complaint names the line and what would be accepted."""
    with pytest.raises(ConfigError) as caught:
        settings_of(kind, address, timeout)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("agent.yaml:3: ")


def test_a_round_trip_limit_stands_for_either_direction() -> None:
    """Where only the round trip is promised, no direction may take longer than that, nor can it."""
    text = "site: s\npaths: [{target: t, kind: icmp, address: a, limits: {round_trip: '< 1ms'}}]"
    (path,) = parse(text, AgentSettings, "agent.yaml").paths
    assert [str(limit) for limit in path.limits.complete()] == ["< 1 ms"] * 3


def exposition(agent: Agent) -> str:
    """All that a scrape shows."""
    return "".join(render(agent, registry(agent)))


async def test_one_agent_probes_by_every_kind() -> None:
    """Kinds go on side by side under one law, each under its own label; a reload adds a kind and takes one away."""
    require_root()
    udp = free_port(socket.SOCK_DGRAM)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as service:
        path = "{{target: t, kind: {}, address: '{}', interval: 5ms, timeout: {}, limits: {{forward: '< 100ms'}}}}"
        written = {
            "stamp": path.format("stamp", f"127.0.0.1:{udp}", "5s"),
            "icmp": path.format("icmp", "127.0.0.1", "5s"),
            "tcp": path.format("tcp", f"127.0.0.1:{service.getsockname()[1]}", "1s"),
        }

        def settings(*kinds: str) -> AgentSettings:
            paths = ", ".join(written[kind] for kind in kinds)
            text = (
                f"site: s\nreflector: {{listen: ['127.0.0.1:{udp}'], allow: [127.0.0.1]}}\npaths: [{paths}]"
            )
            return parse(text, AgentSettings, "agent.yaml")

        found = [settings("stamp", "icmp", "tcp"), settings("stamp", "icmp")]
        agent = Agent(found[-1], random.Random(3), read=lambda: found[0])
        stop = asyncio.Event()
        running = asyncio.create_task(agent.run(stop))

        async def answered(*kinds: str) -> bool:
            text = exposition(agent)
            assert_law(text)
            return all(
                total(text, metrics.PROBE_OUTCOMES, kind=kind, direction="forward", outcome="within") >= 20
                for kind in kinds
            )

        await eventually(lambda: answered("stamp", "icmp"), "two kinds answer")
        await agent.reload()
        await eventually(lambda: answered(*KINDS), "all kinds answer")
        text = exposition(agent)
        assert value(text, metrics.TIMESTAMPING_INFO, transmit="kernel", receive="kernel") == 1
        assert value(text, metrics.DELAY_LIMIT, kind="tcp", direction="round_trip") == 0.2
        found[0] = settings("stamp")
        await agent.reload()
        stop.set()
        assert await running
    text = exposition(agent)
    assert_law(text)
    lost = {
        kind: total(text, metrics.PROBE_OUTCOMES, kind=kind, direction="round_trip", outcome="lost")
        for kind in KINDS
    }
    assert lost == dict.fromkeys(KINDS, 0)
    assert total(text, metrics.PROBE_IN_FLIGHT) == 0


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an agent command to its end."""
    return subprocess.run(
        list(map(str, agent_command("probe", *arguments))),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("kind", ["icmp", "tcp"])
def test_a_single_run_says_what_the_round_trip_proves(kind: str) -> None:
    """`probe` prints, for people and as JSON, the round trip and the bounds of both directions, and judges by them."""
    if kind == "icmp":
        require_root()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as service:
        target = "127.0.0.1" if kind == "icmp" else f"127.0.0.1:{service.getsockname()[1]}"
        quick = (target, "--count", "20", "--interval", "2ms")
        document = command(kind, *quick, "--limit", "< 100ms", "--json")
        people = command(kind, *quick, "--limit", "< 100ms")
        broken = command(kind, *quick, "--limit", "<= 1ns", "--json")
    assert (document.returncode, people.returncode, broken.returncode) == (0, 0, 1), document.stderr
    found = json.loads(document.stdout)
    assert (found["kind"], found["target"]) == (kind, target)
    assert (found["sent"], found["answered"], found["law"]) == (20, 20, "holds")
    assert found["directions"]["forward"]["delay"] is None
    assert found["directions"]["forward"]["outcomes"]["within"] == 20
    longest = found["directions"]["round_trip"]["delay"]["max_seconds"]
    assert found["directions"]["reverse"]["proven"] == {"least_seconds": 0, "most_seconds": longest}
    assert "20 sent, 20 answered, 0 lost" in people.stdout
    assert "within/within" in people.stdout
    assert "no common clock" not in people.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["icmp", "127.0.0.1:80"], "has a port, where there is none"),
        (["tcp", "127.0.0.1"], "has no port"),
        (["tcp", "127.0.0.1:80", "--timeout", "2s"], "too long for tcp"),
        (["icmp", "127.0.0.1", "--clock-error", "1us"], "unrecognized arguments"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str) -> None:
    """Wrong usage exits with 2 and says what is wrong."""
    done = command(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
