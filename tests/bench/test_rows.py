"""The benches themselves, with loads so small that they say nothing about speed."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from agent.core.interval import UNKNOWN_NS
from agent.core.throughput.cause import Cause
from tests.bench import (
    accuracy,
    agent_cost,
    evaluation,
    exposition,
    false_loss,
    fleet,
    footprint,
    growth,
    ingestion,
    ledger_disk,
    ledger_read,
    throughput,
    throughput_causes,
)
from tests.bench.capture import Seen
from tests.bench.departures import Departures
from tests.bench.peers import Journey
from tests.bench.report import Row, table
from tests.bench.rig import Load, Rig, rig
from tests.support.requirements import require_binary, require_root

_SMALL = Load(20, 400)
_MS = 1_000_000
_SESSION = 7


def _assert_well_formed(rows: list[Row]) -> None:
    assert rows
    printed = table(rows).splitlines()
    assert len(printed) == len(rows) + 1
    for row in rows:
        assert row.name
        assert row.unit
        assert row.note
        assert math.isfinite(row.value)
        assert row.value >= 0
        if row.bar is not None:
            assert row.reached is (row.value >= row.bar if row.at_least else row.value <= row.bar)
        if row.peer_value is not None:
            assert row.peer is not None
            assert row.peer_value > 0
        assert json.loads(json.dumps(row.as_json(), allow_nan=False))["ratio"] == row.ratio


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    """Two agents that all benches here share: starting them is most of the time."""
    with rig(_SMALL) as both:
        yield both


@pytest.fixture
def shared(running: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Benches find the agents running that they would start, whatever load they name."""
    for bench in (agent_cost, growth, false_loss, footprint, exposition):
        monkeypatch.setattr(bench, "rig", lambda load: contextlib.nullcontext(running))


@pytest.mark.usefixtures("shared")
def test_agent_cost() -> None:
    """The cost bench gives a row for each kind of probe with its bar, and fping beside it."""
    rows = agent_cost.run(0.4, _SMALL, settle_s=0.0)
    _assert_well_formed(rows)
    assert [(row.bar, row.peer) for row in rows] == [(10.0, "fping")] * 2


@pytest.mark.usefixtures("shared")
def test_growth() -> None:
    """The growth bench gives a row for each number of targets and compares the dearest with the cheapest."""
    rows = growth.run(0.4, (10, 20), 400, settle_s=0.0)
    _assert_well_formed(rows)
    costs = [row.value for row in rows[:2]]
    assert rows[2].value == max(costs) / min(costs)


def test_accuracy() -> None:
    """The accuracy bench finds the same probes in the agent's record and in its capture."""
    require_root()
    rows = accuracy.run(0.4, _SMALL, 0.1, {"idle": 2.0})
    _assert_well_formed(rows)
    assert {row.peer for row in rows} == {None, "irtt", "fping", "ping"}
    assert all("no sample" not in row.note.partition(";")[0] for row in rows)


@pytest.mark.usefixtures("shared")
def test_false_loss() -> None:
    """The false-loss bench counts no loss on loopback, and sees in its capture what the agent sends."""
    require_root()
    rows = false_loss.run(0.5, _SMALL, settle_s=0.0, least_seconds=0.5)
    _assert_well_formed(rows)
    assert rows[0].value == 0
    assert rows[1].value > 0


@pytest.mark.usefixtures("shared")
def test_footprint() -> None:
    """The footprint bench gives memory and start as positive numbers."""
    rows = footprint.run(0.2, {20: 1000.0}, (1,), 1)
    _assert_well_formed(rows)
    assert all(row.value > 0 for row in rows)


@pytest.mark.usefixtures("shared")
def test_exposition() -> None:
    """The exposition bench gives the time of a scrape and the lateness meanwhile."""
    require_root()
    _assert_well_formed(exposition.run(0.5, (_SMALL,), settle_s=0.0))


def test_ledger_disk() -> None:
    """The disk bench gives a row for each rate, and more packets take more room."""
    rows = ledger_disk.run(0.1, (600, 6), 2, 1)
    _assert_well_formed(rows)
    assert rows[0].value > rows[1].value > 0


def test_ledger_read() -> None:
    """The bench of reading back gives how long it takes to take in, to settle and to read each window."""
    rows = ledger_read.run(0.1, 2, 3)
    _assert_well_formed(rows)
    assert len(rows) == 5
    assert all(row.value > 0 for row in rows)


def test_ingestion() -> None:
    """The bench of scrapes gives a row for each number of paths, and a bar for the largest."""
    rows = ingestion.run(0.1, (2, 5))
    _assert_well_formed(rows)
    assert [row.bar for row in rows] == [None, 50]


def test_evaluation() -> None:
    """The bench of evaluations gives a row for each number of paths, and a bar for the largest; and one of a delay
    variation."""
    rows = evaluation.run(0.1, (20, 200), 20, 3)
    _assert_well_formed(rows)
    assert [row.bar for row in rows] == [None, 1, None]


def test_fleet() -> None:
    """The simulated fleet is scraped by the real collector, whose ledger has what the fleet has counted."""
    rows = fleet.run(0.1, ((3, 4),), interval_s=0.5)
    _assert_well_formed(rows)
    assert len(rows) == 4


def _request(at_ns: int, ssid: int = _SESSION) -> Seen:
    return Seen(at_ns, True, bytes(28) + struct.pack(">I10xH28x", 0, ssid))


def test_lateness_is_against_the_earliest_of_a_session() -> None:
    """A packet is late by how much it is out of step with the earliest of its own session."""
    packets = [
        _request(0),
        _request(100 * _MS),
        _request(203 * _MS),
        _request(50 * _MS, 8),
        _request(300 * _MS),
    ]
    left = Departures(packets, 100 * _MS)
    assert left.lags_ns.tolist() == [0, 0, 0, 3 * _MS, 0]


def test_an_early_packet_makes_the_others_late() -> None:
    """The first packet of a session need not be the one in time."""
    left = Departures([_request(2 * _MS), _request(100 * _MS), _request(200 * _MS)], 100 * _MS)
    assert left.lags_ns.tolist() == [2 * _MS, 0, 0]


def test_a_gap_is_told_by_when_its_packets_were_due() -> None:
    """What did not leave is found between what did, and not in other sessions."""
    left = Departures([_request(0), _request(401 * _MS), _request(400 * _MS, 8)], 100 * _MS)
    assert left.missing_ns.tolist() == [100 * _MS, 200 * _MS, 300 * _MS]


def test_the_largest_bunch_may_begin_anywhere() -> None:
    """A bunch is counted within any span of the length, not within slots of it."""
    times = [0, 900_000, 1_100_000, 1_800_000, 5_000_000]
    assert Departures([_request(at) for at in times], 100 * _MS).largest_bunch(_MS) == 3


def test_no_packet_is_no_bunch() -> None:
    """A capture that saw nothing gives nothing."""
    left = Departures([], 100 * _MS)
    assert (left.largest_bunch(_MS), len(left.lags_ns), len(left.missing_ns)) == (0, 0, 0)


def test_errors_are_against_the_capture() -> None:
    """A reported delay within what the capture leaves possible has an error, and none that is proven."""
    journeys = {accuracy.key(0, 5): Journey(1_000, 2_500, 10_000, 11_000)}
    record = np.array([[0, 5, 900, 9_000, 50], [0, 6, 1, 1, 50]], np.int64)
    found = accuracy.compared(record, journeys)
    assert {name: errors.tolist() for name, errors in found.errors.items()} == {
        "forward": [-600],
        "reverse": [8_000],
        "round_trip": [7_400],
    }
    assert [found.proven[name].tolist() for name in found.proven] == [[0], [8_000], [7_400]]
    assert found.outside == 2


@pytest.mark.parametrize("stated", [UNKNOWN_NS, 8_000])
def test_the_truth_may_lie_as_far_away_as_is_stated(stated: int) -> None:
    """A delay that is off by no more than the agent says, or of which it says nothing, is not outside."""
    journeys = {accuracy.key(0, 5): Journey(1_000, 2_500, 10_000, 11_000)}
    record = np.array([[0, 5, 900, 9_000, stated]], np.int64)
    assert accuracy.compared(record, journeys).outside == 0


def test_a_negative_delay_is_proven_wrong() -> None:
    """A packet cannot arrive before it left: a transmit time after the arrival is an error that the capture proves."""
    journeys = {accuracy.key(0, 5): Journey(1_000, 2_500, 10_000, 11_000)}
    record = np.array([[0, 5, -300, 500, 50]], np.int64)
    assert accuracy.compared(record, journeys).proven["forward"].tolist() == [300]


def test_transfers() -> None:
    """Ours and iperf3's documents are read as the same things: goodput, and CPU of both ends for each 10^9 octets."""
    host = {"cpu_seconds": 0.5, "seconds": 2.0}
    outcome = {
        "goodput": {"bits_per_second": 8e9},
        "attempts": [{"hosts": {"client": host, "server": {"cpu_seconds": 0.25, "seconds": 1.0}}}],
    }
    assert throughput.transfer_of({"ways": {"down": outcome}}) == (8.0, 0.5)
    used = {"host_total": 20.0, "remote_total": 30.0}
    ended = {"sum_received": {"bits_per_second": 8e9}, "cpu_utilization_percent": used}
    assert throughput.iperf3_transfer({"end": ended}) == (8.0, 0.5)


def test_throughput_causes() -> None:
    """The bench of causes gives the share that was named rightly, and names what was not."""
    require_root()
    require_binary("tc")
    (shaped,) = [scenario for scenario in throughput_causes.SCENARIOS if scenario.name == "HTB"]
    wrong = replace(shaped, name="anything", cause=Cause.APPLICATION)
    (row,) = throughput_causes.run(3, 1, (wrong,))
    _assert_well_formed([row])
    assert row.value == 0
    assert row.note.startswith("0 of 1 runs of 1 set-ups; 1 × anything: ")


def test_the_set_ups_of_causes() -> None:
    """There are seventeen, of different names, and between them every cause is to be named."""
    assert len({scenario.name for scenario in throughput_causes.SCENARIOS}) == 17
    assert {scenario.cause for scenario in throughput_causes.SCENARIOS} == set(Cause)
