"""The agent's API as the collector or an engineer with the token reads it, over real HTTP from a real agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import aiohttp
import pytest

from agent.core.flight import counted
from agent.core.ledger import PathLabels
from agent.core.outcome import Outcome
from agent.program import Agent
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import load
from agent.settings import AgentSettings
from tests.support.processes import eventually, free_port

TOKEN = "a-token-of-the-tests-0123456789"
SENT = 40


def configured(folder: Path, http: int, token: str | None = TOKEN) -> Agent:
    """An agent that probes itself by STAMP and by TCP."""
    return Agent(load(written(folder, http, token), AgentSettings), folder=folder)


def written(folder: Path, http: int, token: str | None = TOKEN) -> Path:
    """Its configuration."""
    port, closed = free_port(SOCK_DGRAM), free_port(SOCK_DGRAM)
    text = f"""
site: here
listen: 127.0.0.1:{http}
clock: {{source: declared, error_bound: 50us}}
reflector: {{listen: ["127.0.0.1:{port}"], allow: [127.0.0.1]}}
paths:
  - {{target: self, address: "127.0.0.1:{port}", interval: 10ms, timeout: 200ms, limits: {{forward: < 1s}}}}
  - {{target: gone, address: "127.0.0.1:{closed}", interval: 10ms, timeout: 50ms, limits: {{forward: < 1s}}}}
  - {{target: self, kind: tcp, address: "127.0.0.1:{http}", interval: 50ms, timeout: 1s, limits: {{round_trip: < 1s}}}}
"""
    if token is not None:
        (folder / "token").write_text(token + "\n", encoding="ascii")
        (folder / "token").chmod(0o600)
        text += "api: {token_file: token}\n"
    file = folder / "agent.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@contextlib.asynccontextmanager
async def reading(agent: Agent, http: int, token: str = TOKEN) -> AsyncIterator[aiohttp.ClientSession]:
    """The agent runs and has measured; a client that has the token."""
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{http}", headers=headers) as client:
            await eventually(lambda: _recorded(agent), "packets are recorded")
            yield client
    finally:
        stop.set()
        assert await running


async def _recorded(agent: Agent) -> bool:
    return agent.recorder.packets > SENT


async def document(client: aiohttp.ClientSession, url: str) -> Any:
    """A JSON answer."""
    async with client.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_what_is_recorded_is_what_is_counted(tmp_path: Path) -> None:
    """After the end the record of every path has exactly the outcomes of its ledger, direction by direction."""
    http = free_port()
    agent = configured(tmp_path, http)
    async with reading(agent, http):
        pass
    for recorded, path in zip(agent.recorded, agent.paths, strict=True):
        records = agent.recorder.between(0, 1 << 62, recorded.number)
        found = counted(records)
        assert len(records) == path.ledger.sent
        for index, (_, ledger) in enumerate(path.ledger.directions()):
            assert [found[outcome][index] for outcome in Outcome] == list(ledger.outcomes)


async def test_statistics_and_packets_agree(tmp_path: Path) -> None:
    """The overview's exact quantiles are those of the packets; both formats hold the same; times are UTC."""
    http = free_port()
    agent = configured(tmp_path, http)
    async with reading(agent, http) as client:
        overview = await document(client, "/api/v1/paths?interval=5m")
        assert overview["interval_ns"] == 300 * 10**9
        stamp, gone, tcp = overview["paths"]
        assert (stamp["target"], gone["target"], tcp["kind"]) == ("self", "gone", "tcp")
        assert gone["directions"]["forward"]["delay"] is None
        assert tcp["directions"]["forward"]["delay"] is None
        assert tcp["directions"]["round_trip"]["delay"]["packets"] > 0

        until = datetime.now(UTC).isoformat()
        query = f"/api/v1/packets?target=self&kind=stamp&to={until.replace('+', '%2B')}"
        packets = await document(client, query)
        columns = packets["columns"]
        rows = [dict(zip(columns, row, strict=True)) for row in packets["packets"]]
        assert len(rows) >= stamp["packets"]
        first = rows[: stamp["packets"]]
        # until the reflector knows how late its replies leave it vouches for no time
        trusted = [row for row in first if row["uncertainty_ns"] is not None]
        for direction, of_direction in (("forward", trusted), ("round_trip", first)):
            delays = sorted(row[f"{direction}_ns"] for row in of_direction)
            delay = stamp["directions"][direction]["delay"] or {"packets": 0}
            assert delay["packets"] == len(delays)
            if delays:
                assert (delay["min_ns"], delay["p50_ns"]) == (delays[0], delays[(len(delays) + 1) // 2 - 1])
        for row in rows:
            assert row["round_trip_ns"] == row["forward_ns"] + row["reverse_ns"]
            assert row["uncertainty_ns"] is None or row["uncertainty_ns"] >= 100_000
            assert row["forward_lower_ns"] <= row["forward_upper_ns"] <= row["round_trip_ns"]
            assert 0 <= row["reverse_lower_ns"] <= row["reverse_upper_ns"]
        assert packets["floors_ns"] == {"forward": 0, "reverse": 0}
        # the sender leaves out its number 1, the reflector leaves out none
        assert [row["reflector_sequence"] for row in rows[:3]] == [0, 1, 2]
        assert stamp["recorded"]["octets"] == 42 * stamp["recorded"]["packets"]
        kept = sum(path["recorded"]["packets"] for path in overview["paths"])
        assert kept == overview["recorder"]["packets"]
        async with client.get(query + "&format=csv") as response:
            assert response.content_type == "text/csv"
            lines = (await response.text()).splitlines()
        assert lines[0] == ",".join(columns)
        written_out = (
            {name: "" if found is None else str(found) for name, found in row.items()} for row in rows
        )
        assert lines[1:] == [",".join(row.values()) for row in written_out]

        between = f"target=gone&from={rows[0]['sent_ns']}&to={rows[-1]['sent_ns']}"
        lost = await document(client, f"/api/v1/packets?{between}")
        for row in lost["packets"]:
            values = dict(zip(lost["columns"], row, strict=True))
            assert values["forward_ns"] is values["round_trip_ns"] is None
            assert values["forward_lower_ns"] is values["reflector_sequence"] is None
            assert values["round_trip_outcome"] == "lost"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("/api/v1/paths?interval=5", "interval"),
        ("/api/v1/packets?target=self", "2 paths have these labels"),
        ("/api/v1/packets?target=nobody", "0 paths have these labels"),
        ("/api/v1/packets?target=gone&from=yesterday", "'yesterday' is no time"),
        ("/api/v1/packets?target=gone&format=arrow", "none of json, csv"),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words(tmp_path: Path, url: str, complaint: str) -> None:
    """With status 400 and what is accepted."""
    http = free_port()
    async with (
        reading(configured(tmp_path, http), http) as client,
        client.get(url) as response,
    ):
        assert response.status == 400
        assert complaint in (await response.json())["error"]


async def test_turns_of_lines(tmp_path: Path) -> None:
    """Those that are remembered, with the labels of their line; what has other labels is left out."""
    http = free_port()
    agent = configured(tmp_path, http)
    agent.turns.add(PathLabels("here", "there", "pilot", "", "throughput", 0), {"at_ns": 7})
    async with reading(agent, http) as client:
        (turn,) = (await document(client, "/api/v1/throughput/turns?target=there"))["turns"]
        assert (turn["target"], turn["tier"], turn["at_ns"]) == ("there", "pilot", 7)
        assert (await document(client, "/api/v1/throughput/turns?target=gone")) == {"turns": []}


async def test_only_who_has_the_token_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another token or none is refused, whatever is asked for; the token is in no log; /metrics stays open."""
    http = free_port()
    for wrong in ("", "another-token-0123456789", TOKEN + "x", "tökén"):
        async with reading(configured(tmp_path, http), http, wrong) as client:
            for url in (
                "/api/v1/paths",
                "/api/v1/packets?target=self",
                "/api/v1/throughput/turns",
                "/api/v1/nothing",
            ):
                async with client.get(url) as response:
                    assert response.status == 401
            async with client.get("/metrics") as response:
                assert response.status == 200
    assert TOKEN not in caplog.text


async def test_without_a_token_file_nobody_reads(tmp_path: Path) -> None:
    """It is off, and says how it is switched on."""
    http = free_port()
    async with (
        reading(configured(tmp_path, http, token=None), http) as client,
        client.get("/api/v1/paths") as response,
    ):
        assert response.status == 403
        assert "api.token_file" in json.loads(await response.text())["error"]


@pytest.mark.parametrize(
    ("token", "mode", "complaint"),
    [
        (TOKEN, 0o644, "others have access"),
        ("short", 0o600, "holds no token"),
        (f"{TOKEN} {TOKEN}", 0o600, "holds no token"),
        ("geheimnis-größer-als-nötig", 0o600, "not ASCII"),
        (None, 0o600, "No such file"),
    ],
)
def test_an_unusable_token_file_is_refused(
    tmp_path: Path, token: str | None, mode: int, complaint: str
) -> None:
    """By the check of the file, and without a word of the token."""
    file = written(tmp_path, free_port())
    (tmp_path / "token").unlink()
    if token is not None:
        (tmp_path / "token").write_text(token, encoding="utf-8")
        (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match=rf"api\.token_file: .*{complaint}") as refused:
        load(file, AgentSettings)
    assert token is None or token not in str(refused.value)
