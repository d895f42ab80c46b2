"""The rota: lines are tested at their slots, one at a time, not while users need them, by a clock that tests turn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics
from agent.core.throughput.bystanders import InterfaceOctets
from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Packets, Rate
from agent.core.throughput.result import ErrorReason, Outcome, failed, judge
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import Attempt, Result, Untested
from agent.core.timestamps import SECOND_NS
from agent.throughput.rota import Rota, Surroundings
from agent.throughput.trial import try_line
from agent.throughput_settings import ThroughputPathSettings
from tests.support.simulated import SimulatedAgent
from tests.support.throughput import TOKEN, granting, line_to

HOUR_NS = 3_600 * SECOND_NS
GBIT = 10**9


def outcome(line: ThroughputPathSettings, way: Way, rate: float) -> Outcome:
    floor = line.floor(way)
    cause = Cause.PATH_RATE if floor is not None and rate < floor.rate else Cause.PACING_CAP
    return judge(way, Rate(rate, rate, rate, 4), Packets(1448, 52), floor, cause)


@dataclass
class World:
    """A world whose time goes on only while somebody sleeps.

    Attributes:
        now_ns: both times.
        users: what users' traffic is, bit/s, at a time.
        rates: what tests find, one after the other, the last for ever; None: they are refused.
        tested: what was tested, and when.
    """

    now_ns: int = 0
    users: Callable[[int], float] = lambda _: 0.0
    rates: Sequence[float | None] = (2 * GBIT,)
    lasting_s: float = 10
    interface: str | None = "eth0"
    tested: list[tuple[str, float]] = None  # type: ignore[assignment]
    until_ns: int = 0
    done: asyncio.Event = None  # type: ignore[assignment]
    carried: float = 0

    def __post_init__(self) -> None:
        self.tested, self.done = [], asyncio.Event()

    def around(self) -> Surroundings:
        return Surroundings(
            self.time, self.time, self.sleep, self.octets, lambda _host, _port: self.interface
        )

    def time(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        if self.now_ns >= self.until_ns:
            self.done.set()
            await asyncio.Event().wait()
        self.pass_by(seconds)
        await asyncio.sleep(0)

    def pass_by(self, seconds: float) -> None:
        self.carried += self.users(self.now_ns) / 8 * seconds
        self.now_ns += round(seconds * SECOND_NS)

    def octets(self, name: str) -> InterfaceOctets | None:
        assert name != "broken"
        return InterfaceOctets(round(self.carried), 0, self.now_ns) if name == "eth0" else None

    async def test(self, line: ThroughputPathSettings, token: str) -> Attempt:
        assert token == TOKEN
        rate = self.rates[min(len(self.tested), len(self.rates) - 1)]
        self.tested.append((line.target, self.now_ns / SECOND_NS))
        self.pass_by(self.lasting_s)
        if rate is None:
            refused = {way: failed(way, ErrorReason.REFUSED, "busy") for way in line.direction.ways}
            return Trial(refused, retry_after_s=4.0)
        return Trial({way: outcome(line, way, rate) for way in line.direction.ways}, 1, self.now_ns)

    async def live(self, rota: Rota, seconds: float) -> None:
        """Let the rota run for so long."""
        self.until_ns = self.now_ns + round(seconds * SECOND_NS)
        self.done.clear()
        running = asyncio.create_task(rota.run())
        done = asyncio.create_task(self.done.wait())
        await asyncio.wait((running, done), return_when=asyncio.FIRST_COMPLETED)
        for task in (running, done):
            task.cancel()
        ended = await asyncio.gather(running, done, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) or one is True for one in ended), ended


def line(target: str = "there", **changes: object) -> ThroughputPathSettings:
    slot = {"every": "1h", "offsets": ["10m"], "jitter": "30s"}
    return line_to(9461, **{"target": target, "floors": {"down": "1G", "up": "1G"}, "slot": slot, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the token."""
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="ascii")
    (tmp_path / "token").chmod(0o600)
    return tmp_path


def rota_of(
    world: World,
    folder: Path,
    *lines: ThroughputPathSettings,
    test: Callable[[ThroughputPathSettings, str], Awaitable[Attempt]] | None = None,
) -> Rota:
    rota = Rota("here", test or world.test, random.Random(1), folder, world.around())
    rota.follow(lines)
    return rota


async def test_each_slot_has_a_test(folder: Path) -> None:
    """Soon after its beginning, at another time each, and counted once."""
    world = World()
    rota = rota_of(world, folder, line())
    await world.live(rota, 3 * 3600)
    times = [at % 3600 for _, at in world.tested]
    assert len(times) == 3
    assert all(602 <= at <= 634 for at in times)
    assert len(set(times)) == 3
    ((labels, record),) = rota.records
    assert (labels.source, labels.kind) == ("here", "throughput")
    assert record.counts[Way.DOWN, Result.PASS] == record.counts[Way.UP, Result.PASS] == 3
    assert record.latest[Way.UP].outcome.ip_layer is not None


async def test_a_missed_floor_is_tested_again_at_once(folder: Path) -> None:
    """And counts as a violation with the second turn of three that finds it."""
    world = World(rates=(GBIT // 2,))
    rota = rota_of(world, folder, line(longest="20s"))
    await world.live(rota, 3600)
    assert [round(later - world.tested[0][1]) for _, later in world.tested] == [0, 10]
    ((_, record),) = rota.records
    assert record.counts[Way.DOWN, Result.UNCONFIRMED] == 1
    await world.live(rota, 3600)
    assert (len(world.tested), record.counts[Way.DOWN, Result.FAIL]) == (4, 1)


async def test_a_refused_test_comes_when_it_was_told_to(folder: Path) -> None:
    """Once, while the slot lasts."""
    world = World(rates=(None, 2 * GBIT), lasting_s=1)
    rota = rota_of(world, folder, line())
    await world.live(rota, 3600)
    assert world.tested[1][1] - world.tested[0][1] == pytest.approx(5)
    ((_, record),) = rota.records
    assert record.counts[Way.DOWN, Result.PASS] == 1


async def test_who_else_probes_the_line_is_told(folder: Path) -> None:
    """From 2 s before data may flow, through both tests, until 2 s after."""
    world = World(rates=(GBIT // 2,))
    told: list[tuple[float, float | None]] = []

    async def load(_line: ThroughputPathSettings, interface: str | None, until_ns: int | None) -> None:
        assert interface == "eth0"
        told.append((world.now_ns / SECOND_NS, None if until_ns is None else until_ns / SECOND_NS))

    rota = Rota("here", world.test, random.Random(1), folder, world.around(), load)
    rota.follow([line(longest="20s")])
    await world.live(rota, 3600)
    (begun, none), (ended, until) = told
    first, second = (at for _, at in world.tested)
    assert none is None
    assert begun == pytest.approx(first - 2)
    assert (ended, until) == (second + 10, second + 12)


async def test_users_come_first(folder: Path) -> None:
    """A test waits until they need the line no more, and is left out where they do until its slot is over."""
    world = World(users=lambda now_ns: 1e9 if now_ns < 635 * SECOND_NS else 1e6)
    rota = rota_of(world, folder, line(slot={"every": "1h", "offsets": ["10m"], "jitter": "40s"}))
    await world.live(rota, 3600)
    ((_, at),) = world.tested
    assert 637 <= at <= 648
    world.users = lambda _: 1e9
    await world.live(rota, 3600)
    ((_, record),) = rota.records
    assert (len(world.tested), record.untested[Untested.USERS_TRAFFIC]) == (1, 1)


async def test_an_interface_that_is_not_there_is_not_free(folder: Path) -> None:
    """What nothing is known of is not disturbed."""
    world = World(interface=None)
    rota = rota_of(
        world,
        folder,
        line(),
        line("named", users={"interface": "eth7"}, slot={"every": "1h", "offsets": ["20m"]}),
    )
    await world.live(rota, 3600)
    assert world.tested == []
    assert [record.untested[Untested.USERS_TRAFFIC] for _, record in rota.records] == [1, 1]


async def test_one_test_at_a_time(folder: Path) -> None:
    """A line whose slot was over when the test of another one ended is left out, and counted as late."""
    world = World(lasting_s=45)
    rota = rota_of(world, folder, line("a"), line("b"))
    await world.live(rota, 3600)
    assert len(world.tested) == 1
    assert sorted(record.untested[Untested.LATE] for _, record in rota.records) == [0, 1]


async def test_our_own_mistakes_are_errors(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A token that is not there, a test that raises: each an error with its reason, and the rota goes on."""

    async def broken(_line: ThroughputPathSettings, _token: str) -> Attempt:
        raise RuntimeError("no such thing")

    world = World()
    rota = rota_of(world, folder, line(), line("tokenless", token_file="nowhere"), test=broken)
    await world.live(rota, 2 * 3600)
    for _, record in rota.records:
        assert record.counts[Way.DOWN, Result.ERROR] + record.untested[Untested.LATE] == 2
        assert record.errors[Way.DOWN, ErrorReason.INTERNAL] >= 1
        assert record.latest == {}
    assert "RuntimeError: no such thing" in caplog.text


async def test_a_turn_that_fails_is_not_the_last(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong around one: the next slot has its test."""
    world = World()
    rota = rota_of(world, folder, line())
    world.interface = "broken"
    await world.live(rota, 3600)
    world.interface = "eth0"
    await world.live(rota, 3600)
    ((_, record),) = rota.records
    assert record.counts[Way.DOWN, Result.PASS] == 1
    assert "the turn failed" in caplog.text


async def test_a_reload_keeps_what_is_known(folder: Path) -> None:
    """Of a line whose floors stay, even if its slot is another; others begin anew or are gone."""
    world = World()
    rota = rota_of(world, folder, line("a"), line("b"))
    await world.live(rota, 3600)
    known = dict(rota.records)
    slot = {"every": "1h", "offsets": ["20m"]}
    changed = line("a", slot=slot)
    rota.follow([changed, line("c")])
    records = {labels.target: record for labels, record in rota.records}
    assert records["a"] is known[changed.labels("here")]
    assert set(records) == {"a", "c"}
    rota.follow([line("a", floors={"down": "2G", "up": "1G"})])
    assert sum(rota.records[0][1].counts.values()) == 0


async def test_the_clock_is_set_back(folder: Path) -> None:
    """The next slot is that of the clock as it is now."""
    world = World(now_ns=1_000 * HOUR_NS)
    rota = rota_of(world, folder, line())
    world.now_ns = 0
    await world.live(rota, 3600)
    assert len(world.tested) == 1


async def test_a_real_test(tmp_path: Path) -> None:
    """The engine is a test as the rota takes it: over loopback, both ways, counted and with a rate."""
    async with granting(tmp_path) as there:
        assert there.agent.throughput is not None
        filled: list[str] = []
        there.agent.throughput.desk.load = lambda peer, _until_ns: filled.append(peer)
        tried: list[Attempt] = []

        async def once(line: ThroughputPathSettings, token: str) -> Attempt:
            tried.append(await try_line(line, token))
            return tried[-1]

        world = World()
        rota = rota_of(world, tmp_path, line_to(there.http, longest="3s"), test=once)
        await world.live(rota, 3700)
    ((_, record),) = rota.records
    assert sum(record.counts.values()) == 2
    assert all(latest.outcome.goodput is not None for latest in record.latest.values()), record.said
    assert record.latest
    assert set(filled) == {"127.0.0.1"}
    ((labels, turn),) = rota.history.of({"target": "there"})
    assert labels.kind == "throughput"
    for way, told in turn["ways"].items():
        assert record.counts[Way(way), Result(told["result"])] == 1
        assert len(told["attempts"]) == len(tried)
        assert all(one["window_seconds"] for one in told["attempts"])


async def test_what_metrics_show(folder: Path) -> None:
    """Rate by layer, floor, cause, results and reasons of errors; of a line that was never measured no rate."""
    world = World(rates=(GBIT // 2, GBIT // 2, None))
    shown = SimulatedAgent([])
    rota = rota_of(world, folder, line(longest="20s"))
    shown.lines = list(rota.records)
    assert f"{metrics.THROUGHPUT}{{" not in shown.exposition()
    await world.live(rota, 2 * 3600)
    samples = [
        sample for family in text_string_to_metric_families(shown.exposition()) for sample in family.samples
    ]
    named = {
        "source": "here",
        "target": "there",
        "tier": "",
        "provider": "",
        "kind": "throughput",
        "dscp": "0",
    }
    ip_rate = GBIT // 2 * Packets(1448, 52).ip_layer(1.0)
    expected: list[tuple[str, dict[str, str], float]] = [
        (metrics.THROUGHPUT, {"direction": "down", "layer": "goodput"}, 5e8),
        (metrics.THROUGHPUT, {"direction": "up", "layer": "ip"}, ip_rate),
        (metrics.THROUGHPUT_FLOOR, {"direction": "up", "layer": "ip"}, 1e9),
        (metrics.THROUGHPUT_LIMITED_BY, {"direction": "down", "cause": "path_rate"}, 1),
        (metrics.THROUGHPUT_LIMITED_BY, {"direction": "down", "cause": "send_buffer"}, 0),
        (metrics.THROUGHPUT_TESTS, {"direction": "down", "result": "unconfirmed"}, 1),
        (metrics.THROUGHPUT_TESTS, {"direction": "down", "result": "error"}, 1),
        (metrics.THROUGHPUT_ERRORS, {"direction": "down", "reason": "refused"}, 1),
        (metrics.THROUGHPUT_UNTESTED, {"reason": "late"}, 0),
    ]
    for name, labels, value in expected:
        (found,) = [one.value for one in samples if one.name == name and one.labels == {**named, **labels}]
        assert found == pytest.approx(value)
