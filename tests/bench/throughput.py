"""Throughput tests over veth, beside iperf3 in the same run: rate and CPU of TCP, UDP at 10 Gbit/s, both ways at once,
what a test does to the latency of others, whether 9.9 Gbit/s are told from 10, and how far off the capacity is that is
told of a shaped line (as root).

CPU is that of both ends' processes, after the ramp; iperf3 tells its own (`cpu_utilization_percent`). Rates, CPU and
UDP's own loss are medians of three, of TCP ours and the peer's in turn, for a machine that has other work is not the
same twice.

iperf3 is measured where hosts begin with Reno: it asks for CUBIC when it is connected already, and would keep what a
host that begins with BBR does to pace it, at a third of its rate. Ours begin with whatever this host does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from tests.bench.capture import NotPermitted
from tests.bench.report import Row
from tests.bench.rig import process
from tests.bench.throughput_rig import Line, line
from tests.support.netns import Namespace, joined_namespaces

_TURNS: Final = 3
_GIGABIT: Final = 1e9
_GIGABYTE: Final = 1e9
_IPERF3_PORT: Final = 5_201
_STARTS_S: Final = 5.0
_UDP_RATE: Final = 10
_CEILING: Final = "200G"
_CONGESTION_CONTROL: Final = "cubic"
"""That of our streams; iperf3 left to itself would take the host's."""
_BEGINS_WITH: Final = "net.ipv4.tcp_congestion_control"
_DOWN, _UP = 10.5, 1.05
_QUIETER: Final = 2.0
_FLOOR: Final = 10
_LINE: Final = 1
_FRAME: Final = 1514 / 1500


class Transfer(NamedTuple):
    """What one measurement gave.

    Attributes:
        gigabits: goodput, a second.
        cpu_s: of both ends, for each 10^9 octets.
    """

    gigabits: float
    cpu_s: float


def run(seconds: float) -> list[Row]:
    """Measure and give the rows.

    Raises:
        NotPermitted: not root, who may make namespaces.
    """
    if os.geteuid() != 0:
        raise NotPermitted("network namespaces need root")
    whole_s = max(3, int(seconds / _TURNS))
    with joined_namespaces() as (client, server), line(client, server) as ours:
        rows = []
        for streams in (1, 4):
            rows += _tcp_rows(ours, client, server, streams, whole_s)
        for streams in (1, 2):
            rows += _udp_rows(ours, client, server, streams, whole_s)
        rows += _both_ways(ours, max(4, whole_s))
        rows += _latency_rows(ours, max(4, whole_s))
        rows += _deficit_rows(ours, max(4, whole_s))
        rows += _capacity_rows(ours, max(4, whole_s))
    return rows


def _tcp_rows(ours: Line, client: Namespace, server: Namespace, streams: int, seconds: int) -> list[Row]:
    def own() -> Transfer:
        options = ("--mode", "capacity", "--ceiling-down", _CEILING, "--streams", str(streams))
        return transfer_of(_tested(ours, "down", seconds, *options))

    def peer() -> Transfer:
        options = ("-P", str(streams), "-C", _CONGESTION_CONTROL)
        with _beginning_unpaced(client, server):
            return iperf3_transfer(_iperf3(client, server, seconds, *options))

    mine, theirs = _in_turn(own, peer)
    name = "1 stream" if streams == 1 else f"{streams} streams"
    rate, cpu = (median(each[which] for each in mine) for which in range(2))
    their_rate, their_cpu = (median(each[which] for each in theirs) if theirs else None for which in range(2))
    note = f"{_TURNS} in turn, down, {seconds} s at most: {_told(mine)}; iperf3 {_told(theirs)}"
    return [
        Row(
            f"throughput: TCP, {name}",
            *(rate, "Gbit/s", their_rate, "iperf3", their_rate, note),
            at_least=True,
        ),
        Row(
            f"throughput: CPU of TCP, {name}",
            *(cpu, "s/GB", None if their_cpu is None else their_cpu / 2, "iperf3", their_cpu),
            note="both ends' processes; the bar is half of the peer's",
        ),
    ]


def _udp_rows(ours: Line, client: Namespace, server: Namespace, streams: int, seconds: int) -> list[Row]:
    options = ("--protocol", "udp", "--streams", str(streams), "--floor-down", f"{_UDP_RATE}G")
    rates, losses, verdicts, lost = [], [], [], []
    for _ in range(_TURNS):
        outcome = _tested(ours, "down", seconds, *options)["ways"]["down"]
        rates.append((outcome["ip_layer"] or {"bits_per_second": 0.0})["bits_per_second"] / _GIGABIT)
        verdicts.append(f"{rates[-1]:.2f} {outcome['verdict']}, {outcome['cause']}")
        counts = outcome["attempts"][0]["datagrams"]
        never_left = max(0, counts["meant"] - counts["sent"])
        losses.append(100 * (counts["overflowed"] + never_left) / max(1, counts["meant"]))
        lost.append(f"{never_left} and {counts['overflowed']} of {counts['meant']}")
    peer = None
    if shutil.which("iperf3"):
        each = f"{_UDP_RATE / streams:g}G"
        asked = ("-u", "-P", str(streams), "-b", each, "-l", "1448")
        ended = _iperf3(client, server, seconds, *asked)["end"]["sum"]
        peer = ended["bits_per_second"] * (1 - ended["lost_percent"] / 100) / _GIGABIT
    note = f"at the IP layer, paced {_UDP_RATE * 1.04:g}: {'; '.join(verdicts)}"
    name = "1 stream" if streams == 1 else f"{streams} streams"
    return [
        Row(
            f"throughput: UDP, {name}",
            *(median(rates), "Gbit/s", float(_UDP_RATE), "iperf3", peer, note),
            at_least=True,
        ),
        Row(
            f"throughput: UDP's own loss, {name}",
            *(median(losses), "%", 0.05),
            note=f"never left, and had no room at the receiver: {'; '.join(lost)}",
        ),
    ]


def _both_ways(ours: Line, seconds: int) -> list[Row]:
    found = ours.test(
        *("--floor-down", f"{_DOWN}G", "--floor-up", f"{_UP}G", "--seconds", str(seconds)),
        *("--no-retest", "--no-latency", "--above", "2", "--streams", "2"),
    )
    rows = []
    for way, floor in (("down", _DOWN), ("up", _UP)):
        outcome = found["ways"][way]
        rate = (outcome["ip_layer"] or {"bits_per_second": 0.0})["bits_per_second"] / _GIGABIT
        note = f"2 streams each way, at the IP layer: {outcome['verdict']}, {outcome['cause']}"
        rows.append(Row(f"throughput: both at once, {way}", rate, "Gbit/s", floor, note=note, at_least=True))
    return rows


def _latency_rows(ours: Line, seconds: int) -> list[Row]:
    found = ours.test(
        *("--floor-down", "1G", "--floor-up", "100M", "--seconds", str(seconds)),
        *("--no-retest", "--streams", "1"),
    )
    idle, loaded = (found["latency"][phase]["round_trip"] for phase in ("idle", "under_load"))
    if idle is None or loaded is None:
        return []
    p99, quiet = loaded["p99_seconds"] * 1e6, idle["p99_seconds"] * 1e6
    note = (
        f"during verify of 1 + 0.1 Gbit/s, {loaded['samples']} probes; idle p50 {idle['p50_seconds'] * 1e6:.1f}, "
        f"under load {loaded['p50_seconds'] * 1e6:.1f} µs; the bar is twice the idle p99"
    )
    return [Row("throughput: latency p99 meanwhile", p99, "µs", _QUIETER * quiet, "idle", quiet, note)]


def _deficit_rows(ours: Line, seconds: int) -> list[Row]:
    told = []
    for share, verdict in ((1.0, "pass"), (0.99, "fail")):
        _shape(ours.server, share * _FLOOR * _GIGABIT)
        for _ in range(_TURNS):
            outcome = _tested(ours, "down", seconds, "--floor-down", f"{_FLOOR}G")["ways"]["down"]
            rate = (outcome["ip_layer"] or {"bits_per_second": 0.0})["bits_per_second"] / _GIGABIT
            told.append((outcome["verdict"] == verdict, f"{rate:.3f} {outcome['verdict']}"))
    right = sum(each for each, _ in told) / len(told)
    note = f"a shaper at {_FLOOR}, and at {0.99 * _FLOOR:g}, Gbit/s: {', '.join(said for _, said in told)}"
    return [Row(f"throughput: 1 % less than {_FLOOR} told", right, "of runs", 1.0, note=note, at_least=True)]


def _capacity_rows(ours: Line, seconds: int) -> list[Row]:
    _shape(ours.server, _LINE * _GIGABIT)
    rows = []
    for protocol in ("tcp", "udp"):
        options = ("--mode", "capacity", "--protocol", protocol, "--streams", "1")
        found = _tested(ours, "down", seconds, *options, "--ceiling-down", f"{2 * _LINE}G")
        rate = found["ways"]["down"]["ip_layer"]["bits_per_second"] / _GIGABIT
        off = 100 * abs(rate / _LINE - 1)
        note = f"{rate:.3f} Gbit/s at the IP layer, of a shaper's {_LINE}, {found['ways']['down']['cause']}"
        rows.append(Row(f"throughput: capacity, {protocol.upper()}, off by", off, "%", 2.0, note=note))
    return rows


def _shape(end: Namespace, rate: float) -> None:
    """Let no more leave an end than a rate at the IP layer, bit/s; a qdisc counts the Ethernet header too."""
    bucket = ("burst", "4mb", "limit", "16mb")
    shaper = ("tbf", "rate", f"{round(rate * _FRAME / 1e3)}kbit", *bucket)
    end.run("tc", "qdisc", "replace", "dev", end.interface, "root", *shaper)


def transfer_of(document: dict[str, Any]) -> Transfer:
    """What a document of `probe throughput` says of the way down."""
    outcome = document["ways"]["down"]
    assert outcome["goodput"] is not None, outcome
    hosts = outcome["attempts"][0]["hosts"].values()
    rate = outcome["goodput"]["bits_per_second"]
    cpu_s = sum(host["cpu_seconds"] / host["seconds"] for host in hosts if host is not None)
    return Transfer(rate / _GIGABIT, cpu_s / (rate / 8 / _GIGABYTE))


def iperf3_transfer(document: dict[str, Any]) -> Transfer:
    """What a document of iperf3 says."""
    ended = document["end"]
    rate = ended["sum_received"]["bits_per_second"]
    used = ended["cpu_utilization_percent"]
    cpu_s = (used["host_total"] + used["remote_total"]) / 100
    return Transfer(rate / _GIGABIT, cpu_s / (rate / 8 / _GIGABYTE))


def _tested(ours: Line, way: str, seconds: int, *options: str) -> dict[str, Any]:
    return ours.test("--direction", way, "--seconds", str(seconds), "--no-latency", "--no-retest", *options)


def _in_turn(
    own: Callable[[], Transfer], peer: Callable[[], Transfer]
) -> tuple[list[Transfer], list[Transfer]]:
    mine, theirs = [], []
    for _ in range(_TURNS):
        mine.append(own())
        if shutil.which("iperf3"):
            theirs.append(peer())
    return mine, theirs


def _iperf3(client: Namespace, server: Namespace, seconds: int, *options: str) -> dict[str, Any]:
    """One measurement of iperf3, from the server's end to the client's."""
    with process(server.command("iperf3", "-s", "-1")):
        end = time.monotonic() + _STARTS_S
        while time.monotonic() < end and not _listens(server):
            time.sleep(0.05)
        command = client.command("iperf3", "-c", server.ipv4, "-J", "-R", "-t", str(seconds), *options)
        done = subprocess.run(command, capture_output=True, timeout=seconds + 20, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in document, document["error"]
    return document


@contextlib.contextmanager
def _beginning_unpaced(*ends: Namespace) -> Iterator[None]:
    """Have connections begin with a congestion control that does not pace."""
    usual = [end.run("sysctl", "-n", _BEGINS_WITH).strip() for end in ends]
    try:
        for end in ends:
            end.run("sysctl", "-qw", f"{_BEGINS_WITH}=reno")
        yield
    finally:
        for end, name in zip(ends, usual, strict=True):
            end.run("sysctl", "-qw", f"{_BEGINS_WITH}={name}")


def _listens(server: Namespace) -> bool:
    lines = server.run("cat", "/proc/net/tcp6", "/proc/net/tcp").splitlines()
    port = f":{_IPERF3_PORT:04X}"
    return any(port in line and " 0A " in line for line in lines)


def _told(transfers: Sequence[Transfer]) -> str:
    return ", ".join(f"{each.gigabits:.1f}" for each in transfers) or "not installed"
