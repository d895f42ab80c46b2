"""The control channel of throughput tests, over real HTTP from a real agent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from socket import SOCK_DGRAM

import aiohttp
import pytest

from agent.core import metrics
from agent.core.throughput.lease import (
    LEASES,
    Admittance,
    LeaseRequest,
    LeaseState,
    Protocol,
    Share,
    Way,
)
from agent.core.throughput.preamble import Preamble, PreambleKind
from agent.core.throughput.rates import Window
from agent.core.throughput.report import ServerReport
from agent.program import Agent, RestartNeeded
from agent.runtime.settings import load
from agent.settings import AgentSettings
from agent.throughput_documents import Grant, parse_grant, parse_state, serialise_request
from agent.throughput_settings import ThroughputServerSettings
from tests.support.exposition import value
from tests.support.processes import agent_command, eventually, free_port, running

TOKEN = "the-token-of-throughput-tests"
PEER, OTHER, MODEST, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.9.0.1"
SECOND_NS = 1_000_000_000
FLOOD_S = 1.5
CONNECTIONS = 8
MOST_GROWTH_KB = 40_000
ASKED = LeaseRequest(bytes(4), Protocol.TCP, 2 * SECOND_NS, down=Share(10**9, 10**9), streams=2)


def written(folder: Path, http: int, change: str = "") -> Path:
    """The configuration of an agent that grants tests and probes itself."""
    port, data_port = free_port(SOCK_DGRAM), free_port()
    (folder / "token").write_text(TOKEN + "\n", encoding="ascii")
    (folder / "token").chmod(0o600)
    file = folder / "agent.yaml"
    file.write_text(
        f"""
site: here
listen: 127.0.0.1:{http}
clock: {{source: declared, error_bound: 50us}}
reflector: {{listen: ["127.0.0.1:{port}"], allow: [127.0.0.1]}}
throughput:
  listen: ["127.0.0.1:{data_port}"]
  allow: [127.0.0.0/24]
  token_file: token
  per_day: 5GB
  {change}
paths:
  - {{target: self, address: "127.0.0.1:{port}", interval: 50ms, timeout: 2s, limits: {{forward: < 1s}}}}
""",
        encoding="utf-8",
    )
    return file


@contextlib.asynccontextmanager
async def serving(folder: Path, change: str = "") -> AsyncIterator[tuple[Agent, int]]:
    """An agent that runs; it ends with its law kept."""
    http = free_port()
    file = written(folder, http, change)
    agent = Agent(load(file, AgentSettings), read=lambda: load(file, AgentSettings), folder=folder)
    stop = asyncio.Event()
    serving = asyncio.create_task(agent.run(stop))

    async def up() -> bool:
        return agent.paths[0].ledger.sent > 0

    try:
        await eventually(up, "the agent runs")
        yield agent, http
    finally:
        stop.set()
        assert await serving


def client_of(http: int, source: str = PEER, token: str | None = TOKEN) -> aiohttp.ClientSession:
    """A client at an address of loopback."""
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{http}",
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
        connector=aiohttp.TCPConnector(local_addr=(source, 0)),
    )


def granting(agent: Agent) -> ThroughputServerSettings:
    """What the agent grants."""
    assert agent.settings.throughput is not None
    return agent.settings.throughput


async def ask(client: aiohttp.ClientSession, request: LeaseRequest = ASKED) -> Grant:
    async with client.post(LEASES, data=serialise_request(request)) as response:
        data = await response.read()
        assert response.status == 201, data
        assert response.headers["Cache-Control"] == "no-store"
        grant = parse_grant(data)
        assert response.headers["Location"] == f"{LEASES}/{grant.id.hex()}"
        return grant


async def refused(
    client: aiohttp.ClientSession, data: bytes | None = None
) -> tuple[int, str | None, dict[str, str]]:
    """Status, Retry-After and document of a request that is refused."""
    body = serialise_request(ASKED) if data is None else data
    async with client.post(LEASES, data=body) as response:
        return response.status, response.headers.get("Retry-After"), await response.json()


async def state_of(client: aiohttp.ClientSession, grant: Grant) -> tuple[LeaseState, ServerReport]:
    async with client.get(f"{LEASES}/{grant.id.hex()}") as response:
        assert response.status == 200
        return parse_state(await response.read())


async def shown(http: int) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{http}/metrics") as response,
    ):
        return await response.text()


async def test_a_lease_from_grant_to_end(tmp_path: Path) -> None:
    """Granted once, seen by its peer with what the server tells, ended by him; the slot is free and counted so."""
    async with serving(tmp_path) as (agent, http), client_of(http) as client:
        assert agent.throughput is not None
        desk = agent.throughput.desk
        grant = await ask(client)
        (data,) = granting(agent).listen
        assert (grant.port, grant.start_by_ns, grant.stop_by_ns) == (data.port, 5 * SECOND_NS, 7 * SECOND_NS)
        assert await state_of(client, grant) == (LeaseState.GRANTED, ServerReport())
        status, retry_after, document = await refused(client)
        assert (status, document["reason"]) == (409, "busy")
        assert 8 <= int(retry_after or 0) <= 10
        hello = Preamble(PreambleKind.HELLO, Way.DOWN, 1, grant.id, bytes(16))
        proof = hello.challenge(bytes(16)).proof(grant.token)
        peer = bytes([127, 0, 0, 1])
        assert desk.admit(proof, peer, Protocol.TCP) is Admittance.ADMITTED
        assert desk.admit(proof, peer, Protocol.TCP) is Admittance.REPLAYED
        told = ServerReport(received=(Window(0, 5, 7),))
        desk.tell(grant.id, told)
        assert await state_of(client, grant) == (LeaseState.RUNNING, told)
        async with client.delete(f"{LEASES}/{grant.id.hex()}") as response:
            assert response.status == 204
        assert await state_of(client, grant) == (LeaseState.RELEASED, told)
        async with client.delete(f"{LEASES}/{grant.id.hex()}") as response:
            assert response.status == 204
        text = await shown(http)
    for name, labels, count in (
        (metrics.THROUGHPUT_REQUESTS, {"result": "granted"}, 1),
        (metrics.THROUGHPUT_REQUESTS, {"result": "busy"}, 1),
        (metrics.THROUGHPUT_REQUESTS, {"result": "unauthorised"}, 0),
        (metrics.THROUGHPUT_SOCKETS, {"result": "admitted"}, 1),
        (metrics.THROUGHPUT_SOCKETS, {"result": "replayed"}, 1),
        (metrics.THROUGHPUT_LEASES, {"state": "released"}, 1),
        (metrics.THROUGHPUT_RUNNING, {}, 0),
    ):
        assert value(text, name, **labels) == count, name
    assert TOKEN not in text
    assert grant.token.secret.hex() not in text


async def test_who_is_refused(tmp_path: Path) -> None:
    """401 without the token, 403 from elsewhere or for too much, 429 for more than a day's octets; nobody else's lease
    is there for anyone."""
    async with serving(tmp_path) as (_, http):
        async with client_of(http, token=None) as client:
            status, _, document = await refused(client)
            assert (status, document) == (401, {"error": "needs: Authorization: Bearer TOKEN"})
        async with client_of(http, token=TOKEN + "!") as client:
            assert (await refused(client))[0] == 401
        async with client_of(http, STRANGER) as client:
            assert (await refused(client))[:2] == (403, None)
        async with client_of(http) as client:
            larger = LeaseRequest(bytes(4), Protocol.TCP, 60 * SECOND_NS, down=Share(1, 1))
            status, _, document = await refused(client, serialise_request(larger))
            assert (status, document["reason"]) == (403, "over_limit")
            grant = await ask(client, LeaseRequest(bytes(4), Protocol.TCP, SECOND_NS, up=Share(1, 4 * 10**9)))
            peer = bytes([127, 0, 0, 1])
            async with client_of(http, OTHER) as other:
                for method in ("GET", "DELETE"):
                    for name in (grant.id.hex(), "00" * 8, "none"):
                        async with other.request(method, f"{LEASES}/{name}") as response:
                            assert response.status == 404
            assert (await state_of(client, grant))[0] is LeaseState.GRANTED
            too_much = LeaseRequest(peer, Protocol.TCP, SECOND_NS, up=Share(1, 2 * 10**9))
            status, retry_after, document = await refused(client, serialise_request(too_much))
            assert (status, document["reason"]) == (429, "over_cap")
            assert 0 < int(retry_after or 0) <= 86_400


async def test_bodies_that_are_none(tmp_path: Path) -> None:
    """What cannot be read is named, what is too long is not read to its end; both are counted."""
    bodies = (
        (b"", 400, "Invalid JSON"),
        (b'{"protocol": "tcp", "seconds": 1}', 400, "neither down nor up"),
        (b"[" * 4_000, 400, "Invalid JSON"),
        (b" " * 5_000, 413, "at most 4096 octets"),
    )
    async with serving(tmp_path) as (agent, http), client_of(http) as client:
        for body, status, error in bodies:
            found = await refused(client, body)
            assert (found[0], error in found[2]["error"]) == (status, True)
        assert agent.throughput is not None
        assert agent.throughput.requests["malformed"] == len(bodies)


async def test_a_body_that_never_ends(tmp_path: Path) -> None:
    """Who does not send what he has announced is answered after two seconds and disconnected."""
    async with serving(tmp_path) as (_, http):
        reader, writer = await asyncio.open_connection("127.0.0.1", http)
        head = f"POST {LEASES} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert b"408" in answer.splitlines()[0]
        writer.close()
        await writer.wait_closed()


async def test_too_often(tmp_path: Path) -> None:
    """Ten requests at once and one a second are looked at, right or wrong; others are not slowed by that."""
    async with serving(tmp_path) as (_, http):
        async with client_of(http, token=None) as client:
            found = [(await refused(client))[:2] for _ in range(14)]
        assert found[:10] == [(401, None)] * 10
        assert (429, "1") in found[10:]
        async with client_of(http, OTHER) as other:
            await ask(other)


async def test_without_a_server_there_is_nothing_to_ask(tmp_path: Path) -> None:
    """An agent that grants no tests has no such address, and says nothing of them in its metrics."""
    file = written(tmp_path, http := free_port())
    lines = [line for line in file.read_text().splitlines() if not line.startswith("  ") or "target" in line]
    file.write_text("\n".join(line for line in lines if not line.startswith("throughput")))
    agent = Agent(load(file, AgentSettings), folder=tmp_path)
    stop = asyncio.Event()
    serving = asyncio.create_task(agent.run(stop))

    async def answers() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with client_of(http) as client, client.post(LEASES) as response:
                return response.status == 404
        return False

    await eventually(answers, "the agent answers")
    assert "isochrone_throughput" not in await shown(http)
    stop.set()
    assert await serving


async def test_no_data_address_of_its_family(tmp_path: Path) -> None:
    """Where data sockets of the asker's IP version are served nowhere, nothing is granted."""
    async with serving(tmp_path) as (agent, http), client_of(http) as client:
        assert agent.throughput is not None
        agent.throughput._ports = {6: 9462}
        assert (await refused(client))[:2] == (403, None)
        assert agent.throughput.requests["no_address"] == 1


async def test_reload(tmp_path: Path) -> None:
    """Who may test, how much, and with which token is taken over; where data sockets listen is not."""
    async with serving(tmp_path) as (agent, http):
        file = tmp_path / "agent.yaml"
        text = file.read_text()
        (tmp_path / "token").write_text("another-token-than-before\n")
        file.write_text(text.replace("per_day: 5GB", "per_day: 1GB\n  budget: 100M"))
        await agent.reload()
        async with client_of(http) as client:
            assert (await refused(client))[0] == 401
        async with client_of(http, token="another-token-than-before") as client:
            status, _, document = await refused(client)
            assert (status, document["error"]) == (
                403,
                "1000000000 bit/s down are asked for, at most 100000000",
            )
        (data,) = granting(agent).listen
        file.write_text(text.replace(str(data), f"127.0.0.1:{free_port()}"))
        with pytest.raises(RestartNeeded, match=r"throughput\.listen"):
            await agent.reload()


async def test_the_end_of_the_agent_ends_its_tests(tmp_path: Path) -> None:
    """A lease that runs when the agent is stopped is over with it."""
    async with serving(tmp_path) as (agent, http), client_of(http) as client:
        await ask(client)
    assert agent.throughput is not None
    assert agent.throughput.running == 0
    assert agent.throughput.ended == {"released": 1, "expired": 0}


# A flood


async def flood(http: int, source: str, token: str | None, body: bytes, end: float) -> dict[int, int]:
    """Ask as fast as one can, each time over a new connection; answers by status."""
    answers: dict[int, int] = {}
    loop = asyncio.get_running_loop()
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST {LEASES} HTTP/1.1\r\nHost: h\r\n{bearer}Content-Length: {len(body)}\r\n\r\n".encode()
    while loop.time() < end:
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", http, local_addr=(source, 0))
            try:
                writer.write(head + body)
                line = await reader.readline()
                if line:
                    status = int(line.split()[1])
                    answers[status] = answers.get(status, 0) + 1
            finally:
                writer.transport.abort()
    return answers


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def test_a_flood(tmp_path: Path) -> None:
    """Strangers, guessers and greedy holders of the token, all at once: each is turned away for its reason and at its
    rate, the agent grows by next to nothing, its own probes go on, and who asks modestly has his lease."""
    http = free_port()
    config = written(tmp_path, http, "slots: 64")
    request = serialise_request(ASKED)
    guesser = "127.0.0.66"
    async with running(agent_command("run", "--config", config), tmp_path / "log") as process:

        async def up() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return value(await shown(http), metrics.PROBE_SENT) > 0
            return False

        async def flooded() -> bool:
            return value(await shown(http), metrics.THROUGHPUT_REQUESTS, result="too_often") > 0

        await eventually(up, "the agent runs")
        probed = value(await shown(http), metrics.PROBE_SENT)
        before = resident_kb(process.pid)
        end = asyncio.get_running_loop().time() + FLOOD_S
        floods = [
            asyncio.create_task(flood(http, source, token, body, end))
            for source, token, body in (
                (STRANGER, TOKEN, request),
                (guesser, "guess" * 5, request),
                (OTHER, TOKEN, request),
                (OTHER, TOKEN, bytes(60_000)),
            )
            for _ in range(CONNECTIONS)
        ]
        await eventually(flooded, "the flood is under way")
        async with client_of(http, MODEST) as modest:
            grant = await ask(modest)
            async with modest.delete(f"{LEASES}/{grant.id.hex()}") as response:
                assert response.status == 204
        answers = await asyncio.gather(*floods)
        text = await shown(http)
        grown = resident_kb(process.pid) - before
        process.terminate()
        assert await process.wait() == 0
    by_strangers, by_guessers = answers[:CONNECTIONS], answers[CONNECTIONS : 2 * CONNECTIONS]
    by_greedy = answers[2 * CONNECTIONS :]
    assert {status for one in by_strangers for status in one} == {403}
    assert {status for one in by_guessers for status in one} <= {401, 429}
    # what is looked at: a burst of ten, and one a second
    assert sum(one.get(401, 0) for one in by_guessers) <= 10 + FLOOD_S + 2
    looked_at = sum(count for one in by_greedy for status, count in one.items() if status != 429)
    assert looked_at <= 10 + FLOOD_S + 2
    assert sum(one.get(201, 0) for one in by_greedy) <= 5, "a day's octets are 5 GB"
    turned_away = {
        reason: value(text, metrics.THROUGHPUT_REQUESTS, result=reason)
        for reason in ("too_often", "not_allowed")
    }
    assert turned_away["too_often"] > 100
    assert turned_away["not_allowed"] > 100
    assert grown < MOST_GROWTH_KB
    assert value(text, metrics.PROBE_SENT) > probed
    assert value(text, metrics.PROBE_OUTCOMES, direction="round_trip", outcome="lost") == 0
    assert "conservation law holds" in (tmp_path / "log").read_text()
