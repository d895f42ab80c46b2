"""Direct scrape of agents that answer, fail, hang and are not there."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from aiohttp import web

from agent.core.outcome import Direction
from collector.sources.agents import AgentsSource
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse
from tests.support.counting import OTHER_PATH, PATH
from tests.support.processes import free_port
from tests.support.receiver import Receiver, receiving
from tests.support.simulated import MetricsServer, SimulatedAgent, SimulatedPath, showing

NOW_NS = 1_700_000_500_000_000_000


async def read(agents: dict[str, str], timeout_s: float = 5.0) -> dict[str, AgentReading]:
    """One reading of these agents, by site."""
    clock = itertools.count(NOW_NS)
    source = AgentsSource(agents, timeout_s, lambda: next(clock))
    try:
        return {one.site: one for one in await source.read()}
    finally:
        await source.close()


async def test_an_agent_is_read_at_the_time_of_the_collector() -> None:
    """All its paths in one reading, with the time at which the answer was there."""
    agent = SimulatedAgent([SimulatedPath(late_forward=0.5)])
    agent.run(100)
    async with showing(MetricsServer(agent)) as server:
        one = (await read({"wuhan": server.address}))["wuhan"]
    assert (one.up, one.reason, one.taken_ns) == (True, "", NOW_NS)
    (reading,) = one.readings
    assert list(reading.directions[Direction.FORWARD].outcomes) == agent.paths[0].ledger.forward.outcomes


async def test_an_agent_is_asked_for_no_more_than_is_needed() -> None:
    """What it tells then is read alike, scrape after scrape, and is less than half of all."""
    agent = SimulatedAgent([SimulatedPath(late_forward=0.5), SimulatedPath(OTHER_PATH)])
    async with showing(MetricsServer(agent)) as server:
        source = AgentsSource({"wuhan": server.address}, 5.0, lambda: NOW_NS)
        for probes in (10, 100, 1000):
            agent.run(probes)
            (one,) = await source.read()
            text = agent.exposition()
            assert [*one.readings] == [*agent_reading("wuhan", parse(text, NEEDED), NOW_NS).readings]
            assert len(agent.exposition(NEEDED)) < 0.6 * len(text)
        await source.close()


async def test_agents_that_count_alike_are_each_read_as_their_own() -> None:
    """What was learned of one serves the next, and is given up where paths change."""
    agents = {
        site: SimulatedAgent([SimulatedPath(replace(PATH, source=site), late_forward=0.2)], seed=seed)
        for seed, site in enumerate(("wuhan", "beijing"))
    }
    async with (
        showing(MetricsServer(agents["wuhan"])) as one,
        showing(MetricsServer(agents["beijing"])) as two,
    ):
        source = AgentsSource({"wuhan": one.address, "beijing": two.address}, 5.0, lambda: NOW_NS)
        for turn in range(3):
            for site, agent in agents.items():
                if turn == 2:
                    agent.paths = [*agent.paths, SimulatedPath(replace(OTHER_PATH, source=site))]
                agent.run(50)
            for read in await source.read():
                expected = agent_reading(read.site, parse(agents[read.site].exposition(), NEEDED), NOW_NS)
                assert [*read.readings] == [*expected.readings]
        await source.close()


async def test_one_agent_that_is_down_hides_no_other() -> None:
    """Every site is answered for, the missing one with its reason."""
    agent = SimulatedAgent([SimulatedPath()])
    async with showing(MetricsServer(agent)) as server:
        found = await read({"wuhan": server.address, "beijing": f"127.0.0.1:{free_port()}"})
    assert found["wuhan"].up
    assert not found["beijing"].up
    assert found["beijing"].readings == ()
    assert "127.0.0.1" in found["beijing"].reason
    assert found["beijing"].refused


async def test_an_agent_that_hangs_is_given_up() -> None:
    """After the time-out, and it says so."""
    receiver = Receiver(hanging=True)
    async with receiving(receiver):
        found = await read({"wuhan": receiver.url.removeprefix("http://")}, timeout_s=0.2)
    assert not found["wuhan"].up
    assert "does not answer in time" in found["wuhan"].reason
    assert not found["wuhan"].refused


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_an_error_is_no_exposition(status: int) -> None:
    """Even with one in its body."""
    async with showing(MetricsServer(SimulatedAgent([SimulatedPath()]), status=status)) as server:
        one = (await read({"wuhan": server.address}))["wuhan"]
    assert (one.up, one.readings) == (False, ())
    assert str(status) in one.reason


@pytest.mark.parametrize("text", ["<html>Welcome to nginx!</html>", "isochrone_probe_sent_total{} x\n", "\n"])
async def test_something_else_at_the_address_is_no_agent(text: str) -> None:
    """Whatever it answers, nothing is made up for it."""
    async with showing(MetricsServer(text=text)) as server:
        one = (await read({"wuhan": server.address}))["wuhan"]
    assert (one.up, one.readings) == (False, ())
    assert "not an agent's exposition" in one.reason


async def test_the_agent_of_another_site_is_not_this_one() -> None:
    """A mistaken address must not count one site's packets as another's."""
    agent = SimulatedAgent([SimulatedPath()])
    async with showing(MetricsServer(agent)) as server:
        one = (await read({"beijing": server.address}))["beijing"]
    assert not one.up
    assert "the agent of wuhan, not of beijing" in one.reason


async def test_an_answer_that_breaks_off_is_not_counted() -> None:
    """Half an exposition is none."""
    agent = SimulatedAgent([SimulatedPath()])
    body = agent.exposition().encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        one = (await read({"wuhan": f"127.0.0.1:{port}"}))["wuhan"]
    assert (one.up, one.readings) == (False, ())


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers at the address, the collector's memory has a bound."""
    monkeypatch.setattr("collector.sources.agents._MAX_OCTETS", 1 << 20)
    async with showing(MetricsServer(text="# padding\n" * 200_000)) as server:
        one = (await read({"wuhan": server.address}))["wuhan"]
    assert not one.up
    assert "more than 1 MiB" in one.reason


async def test_those_who_answer_at_length_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are; all are read, and none holds up those who follow."""
    monkeypatch.setattr("collector.sources.agents._LARGE_OCTETS", 100)
    agent = SimulatedAgent([SimulatedPath()])
    async with showing(MetricsServer(agent)) as server, showing(MetricsServer(text="#\n" * 300)) as other:
        sites = {"wuhan": server.address} | {f"other{number}": other.address for number in range(5)}
        found = await read(sites)
    assert [one.up for one in found.values()] == [True, *[False] * 5]
    assert not any("in time" in one.reason for one in found.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('isochrone_probe_sent_total{source="wuhan",target="t",kind="stamp",dscp="0"} 1\n', "too few"),
        ("# nothing to tell\n", "too many"),
        ("\n", "too many"),
    ],
)
async def test_what_is_too_much_to_read_line_by_line_is_not_read(text: str, said: str) -> None:
    """Half a million lines are refused at a glance: to read them would take as long as reading a thousand agents."""
    async with showing(MetricsServer(text="#\n" + text * 500_000)) as server:
        one = (await read({"wuhan": server.address}))["wuhan"]
    assert not one.up
    assert said in one.reason


async def test_bytes_that_are_no_text_are_refused() -> None:
    """Not a crash."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x80")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert not (await read({"wuhan": f"127.0.0.1:{port}"}))["wuhan"].up


async def test_no_redirection_is_followed() -> None:
    """Whoever answers in an agent's place might send the collector anywhere, even to a true exposition."""
    agent = SimulatedAgent([SimulatedPath()])
    agent.run(10)

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://{true.address}/metrics")

    app = web.Application()
    app.router.add_get("/metrics", elsewhere)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with showing(MetricsServer(agent)) as true:
            one = (await read({"wuhan": "{}:{}".format(*runner.addresses[0][:2])}))["wuhan"]
            assert (one.up, true.requests) == (False, 0)
        assert one.reason.endswith("answers 302 Found")
    finally:
        await runner.cleanup()
