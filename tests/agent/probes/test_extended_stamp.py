"""Extended STAMP sessions over loopback: signed, marked, large, with TLVs; before a real reflector."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli import main
from agent.core.authentication import Key, KeyRing
from agent.core.outcome import Outcome
from agent.core.stamp import MAX_PAYLOAD
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.probes.prober import Prober
from agent.probes.stamp import StampProbes
from agent.program import Agent
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from agent.settings import AgentSettings, PathSettings
from tests.support.probing import finish, measure, path
from tests.support.processes import eventually, free_port
from tests.support.reflectors import ANYBODY, reflector_on
from tests.support.requirements import require_ipv6
from tests.support.tlvs import KEY, OTHER_KEY

PROBES = 30
EVERYTHING = ["timestamp_information", "class_of_service", "direct_measurement"]
RING = KeyRing({7: (KEY,), 8: (OTHER_KEY,)})
NOBODY = replace(ANYBODY, allow=[])


def prober_of(paths: list[PathSettings], keys: KeyRing | None = None) -> Prober:
    """A prober with a trusted clock that ends by itself."""
    clock = LocalClock(DeclaredClock(50_000))
    return Prober(StampProbes(keys), "wuhan", paths, clock, random.Random(1), probes=PROBES)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_all_kinds_are_measured_side_by_side(host: str) -> None:
    """Plain, signed, marked, large and asking sessions to one reflector: every probe of each is answered, measured
    both ways and told of by the next; each report says what was asked and nothing else."""
    if ":" in host:
        require_ipv6()
    reflector = reflector_on(host, keys=RING, markable=(46,))
    address = f"{'[::1]' if ':' in host else host}:{reflector.sockets[0].address[1]}"
    how: dict[str, dict[str, object]] = {
        "plain": {},
        "signed": {"authenticated_ssid": 7},
        "asking": {"tlvs": EVERYTHING, "dscp": 46, "ecn": 2},
        "signed and asking": {"tlvs": EVERYTHING, "dscp": 46, "authenticated_ssid": 8, "packet_size": 500},
        "largest": {"packet_size": MAX_PAYLOAD, "follow_up": False},
        "bare": {"packet_size": 44, "follow_up": False},
    }
    prober = prober_of(
        [path("stamp", address, target=name, **changes) for name, changes in how.items()], RING
    )
    reflector.start()
    await measure(prober)
    reflector.close()
    assert prober.discarded == {}
    for probed in prober.paths:
        ledger = probed.ledger
        assert ledger.sent == PROBES == ledger.forward.outcomes[Outcome.WITHIN], probed.settings.target
        # the reflector vouches for nothing before it knows how late its replies leave: longer where it is kept waiting
        assert ledger.reverse.delay.total == ledger.forward.delay.total >= PROBES // 2
        said, asked = probed.report.document(), "asking" in probed.settings.target
        assert (said["remarked"], said["unanswered_tlvs"], said["tlv_faults"]) == ([], [], {})
        assert (said["timestamping"] or {}).get("receive_method") == ("software" if asked else None)
        assert (said["direct_measurement"] or {}).get("reflector_received") == (PROBES if asked else None)
    following = sum(probed.settings.follow_up for probed in prober.paths)
    assert prober.follow_ups["told"] + prober.follow_ups["untold"] == following * PROBES
    assert prober.follow_ups["told"] > following * PROBES // 2


async def test_who_has_not_signed_is_not_believed() -> None:
    """Replies that another key has signed, or none, answer nothing: all is lost, and counted by reason."""
    reflector = reflector_on("127.0.0.1", keys=KeyRing({7: (OTHER_KEY,)}))
    address = f"127.0.0.1:{reflector.sockets[0].address[1]}"
    settings = path("stamp", address, authenticated_ssid=7)
    forged = b"".join((bytes(3), b"\1", bytes(22), b"\0\7", bytes(84)))
    prober = prober_of([settings], RING)
    reflector.start()
    await prober.start()
    (outlet,) = prober.sockets
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(forged, ("127.0.0.1", outlet.address[1]))
        reflector.sockets[0]._socket.sendto(forged, ("127.0.0.1", outlet.address[1]))
    await finish(prober)
    reflector.close()
    (probed,) = prober.paths
    assert probed.ledger.round_trip.outcomes[Outcome.LOST] == PROBES
    assert prober.discarded == {"unknown": 1, "not_authentic": 1}
    assert reflector.results["not_authentic"] == PROBES


def keys_file(folder: Path, *keys: Key) -> None:
    """Credentials for session 7."""
    file = folder / "keys.yaml"
    file.touch(mode=0o600)
    listed = ", ".join(f"'hex:{key.secret.hex()}'" for key in keys)
    file.write_text(f"keys: {{7: [{listed}]}}\n")


async def test_an_agent_changes_its_keys_while_it_runs(tmp_path: Path) -> None:
    """A sender and a reflector in one agent: keys are rotated by reloads, a plain path becomes a signed one and back,
    and nothing is lost; the law holds to the end."""
    port = free_port(socket.SOCK_DGRAM)

    def settings(**changes: object) -> AgentSettings:
        probed = path("stamp", f"127.0.0.1:{port}", interval="20ms", **changes)
        return AgentSettings.model_validate(
            {
                "site": "here",
                "clock": {"source": "declared", "error_bound": "1us"},
                "reflector": {
                    "listen": [f"127.0.0.1:{port}"],
                    "allow": ["127.0.0.1"],
                    "credentials": Path("keys.yaml"),
                },
                "credentials": Path("keys.yaml"),
                "paths": (probed,),
            }
        )

    keys_file(tmp_path, KEY)
    wanted = [settings(authenticated_ssid=7)]
    agent = Agent(wanted[0], read=lambda: wanted[-1], folder=tmp_path)
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))

    async def answered_more() -> None:
        before = sum(agent.paths[0].ledger.round_trip.outcomes[: Outcome.LOST])

        async def more() -> bool:
            return sum(agent.paths[0].ledger.round_trip.outcomes[: Outcome.LOST]) > before + 5

        await eventually(more, "probes are answered")

    await answered_more()
    for keys in ((KEY, OTHER_KEY), (OTHER_KEY, KEY), (OTHER_KEY,)):
        keys_file(tmp_path, *keys)
        await agent.reload()
        await answered_more()
    for changes in ({}, {"tlvs": EVERYTHING}, {"authenticated_ssid": 7, "packet_size": 600}):
        wanted.append(settings(**changes))
        await agent.reload()
        await answered_more()
    stop.set()
    assert await running
    (probed,) = agent.paths
    assert probed.ledger.round_trip.outcomes[Outcome.LOST] == 0
    assert probed.ledger.broken_laws() == []
    assert probed.report.timestamping is not None


def test_a_signed_path_needs_its_key(tmp_path: Path) -> None:
    """Without a file, with a file that lacks the key, and twice as one session: each is told with its place."""
    keys_file(tmp_path, KEY)
    paths = "".join(
        f"  - {{target: t{ssid}, address: 127.0.0.1, authenticated_ssid: {ssid}, limits: {{forward: '< 1ms'}}}}\n"
        for ssid in (7, 8)
    )
    for credentials, said in (
        ("", "paths[1].authenticated_ssid: authenticated paths need credentials"),
        ("credentials: keys.yaml\n", "paths[1].authenticated_ssid: keys.yaml has no key for 8"),
        ("credentials: none.yaml\n", "none.yaml"),
    ):
        with pytest.raises(ConfigError) as error:
            parse(f"site: s\n{credentials}paths:\n{paths}", AgentSettings, "agent.yaml", tmp_path)
        assert said in str(error.value)
    same = paths.replace("ssid: 8", "ssid: 7")
    with pytest.raises(ConfigError, match="7 is already that of paths"):
        parse(f"site: s\ncredentials: keys.yaml\npaths:\n{same}", AgentSettings, "agent.yaml", tmp_path)


def test_a_single_run_says_what_the_session_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`probe stamp` signs, asks and fills up as it is told to; a session without a key, sizes that hold nothing and
    half a credential are refused with their reason."""
    keys_file(tmp_path, KEY)
    target = "127.0.0.1:9"
    credentials = ["--credentials", str(tmp_path / "keys.yaml")]
    for arguments, reason in (
        ([*credentials, "--ssid", "8"], "has no key for 8"),
        (["--ssid", "7"], "belong together"),
        (["--size", "66"], "--size: 66 octets do not hold"),
    ):
        assert main(["probe", "stamp", target, *arguments]) == 2
        assert reason in capsys.readouterr().err
    asked = [f"--tlv={name}" for name in EVERYTHING]
    short = ["--count", "1", "--timeout", "50ms", "--json"]
    assert main(["probe", "stamp", target, *credentials, "--ssid", "7", *asked, "--size", "300", *short]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["sent"], found["answered"], found["law"]) == (1, 0, "holds")
    assert found["session"]["timestamping"] is None
