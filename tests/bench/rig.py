"""Two agents on loopback, one that probes and one that reflects, and what the kernel and they themselves say of them.

Every target has an address of its own in 127/8, all of them answered by one reflector. The clocks are declared: both
agents share the host's.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final, Self

from agent.core import metrics
from tests.support.processes import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
_AGENT: Final = (sys.executable, "-m", "agent", "run", "--config")
_REFLECTOR: Final = """\
reflector:
  listen: ["0.0.0.0:{port}"]
  allow: [127.0.0.0/8]
  cpu: 100%
  rate: {{per_source: {rate}/s, burst: {rate}, global: {rate}/s, global_burst: {rate}}}
"""
_READY_WITHIN_S: Final = 90.0
_US_PER_SECOND: Final = 1_000_000
_CPU_CLOCK: Final = 2
_MEGABYTE: Final = 1e6
_CHUNK: Final = 1 << 20
_SAMPLE: Final = re.compile(
    rb"^(isochrone_probe_(?:sent|not_sent|outcomes|late|duplicates)_total|isochrone_probe_in_flight"
    rb"|isochrone_send_lag_seconds_bucket){([^}]*)} (\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is probed, and how fast.

    Attributes:
        targets: how many.
        probes_per_second: of all targets together.
        kind: of the probes: stamp or icmp.
    """

    targets: int
    probes_per_second: int
    kind: str = "stamp"

    @property
    def interval_us(self) -> int:
        """From probe to probe of one target."""
        return _US_PER_SECOND * self.targets // self.probes_per_second

    @property
    def addresses(self) -> list[str]:
        """One of each target."""
        return [f"127.{1 + n // 62_500}.{n // 250 % 250}.{n % 250 + 1}" for n in range(self.targets)]

    def __str__(self) -> str:
        return f"{self.targets} targets, {self.probes_per_second} probes/s"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a scrape says, of all paths together.

    Attributes:
        sums: of the samples, by name and labels but for those that name a path.
        seconds: from the request to the last octet.
        octets: length of the exposition.
        begun: monotonic time of the request, seconds.
    """

    sums: dict[tuple[str, str], float]
    seconds: float
    octets: int
    begun: float

    def total(self, name: str, *labels: str) -> float:
        """The sum of the samples of a name that have all these labels, written as in the exposition."""
        return sum(
            number
            for (having, of_sample), number in self.sums.items()
            if having == name and all(label in of_sample for label in labels)
        )

    @property
    def sent(self) -> float:
        """Probes that the kernel took."""
        return self.total(metrics.PROBE_SENT)

    @property
    def lost(self) -> float:
        """Probes that were given up."""
        return self.total(metrics.PROBE_OUTCOMES, 'direction="round_trip"', 'outcome="lost"')

    @property
    def not_sent(self) -> float:
        """Probes that were due and did not leave."""
        return self.total(metrics.PROBE_NOT_SENT)

    @property
    def in_flight(self) -> float:
        """Probes neither answered nor given up."""
        return self.total(metrics.PROBE_IN_FLIGHT)

    def lags_since(self, before: Counts | None = None) -> dict[float, float]:
        """How many probes left at most so many seconds late, cumulative; those after an earlier scrape."""
        found: dict[float, float] = {}
        for (name, labels), number in self.sums.items():
            if name == f"{metrics.SEND_LAG}_bucket":
                earlier = 0.0 if before is None else before.sums.get((name, labels), 0.0)
                found[float(labels.removeprefix('le="').removesuffix('"'))] = number - earlier
        return dict(sorted(found.items()))

    def assert_law(self) -> None:
        """The conservation law holds for the sums.

        Raises:
            AssertionError: it does not.
        """
        resolved = self.sent - self.in_flight
        for direction in ("forward", "round_trip"):
            counted = self.total(metrics.PROBE_OUTCOMES, f'direction="{direction}"')
            assert counted == resolved, f"{direction}: {counted:.0f} counted, {resolved:.0f} resolved"


def lag_quantile(cumulative: dict[float, float], quantile: float) -> float:
    """The upper edge (s) of the bucket that a quantile lies in; infinity in the last one."""
    total = max(cumulative.values(), default=0.0)
    return next((edge for edge, count in cumulative.items() if count >= quantile * total), 0.0)


def scrape(http: int) -> Counts:
    """Read /metrics to its end, then sum it up: the reading, which is timed, costs this host as little as can be."""
    begun = time.monotonic()
    pieces: list[bytes] = []
    # HTTP 1.0: the body is not in chunks, and ends where the connection does
    with socket.create_connection(("127.0.0.1", http), timeout=120) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        while piece := connection.recv(_CHUNK):
            pieces.append(piece)
    seconds = time.monotonic() - begun
    text = b"".join(pieces)
    assert text.startswith(b"HTTP/1.0 200 "), text[:100]
    sums: dict[tuple[str, str], float] = {}
    for name, found, number in _SAMPLE.findall(text):
        labels = found.decode()
        own = labels if labels.startswith("le=") else labels.partition('dscp="0"')[2].lstrip(",")
        sums[name.decode(), own] = sums.get((name.decode(), own), 0.0) + float(number)
    return Counts(sums, seconds, len(text), begun)


def cpu_s(pid: int) -> float:
    """CPU time of a process, all its threads, those that ended too: the clock that clock_getcpuclockid(3) gives."""
    return time.clock_gettime_ns(~pid << 3 | _CPU_CLOCK) / 1e9


def memory_mb(pid: int, field_name: str = "VmRSS") -> float:
    """Memory of a process in MB (10^6 octets); `VmHWM` for the most it ever was."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field_name:
            return int(value.split()[0]) * 1024 / _MEGABYTE
    raise ProcessLookupError(f"process {pid} has ended")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long the threads of a process that live have been running and ready to run, seconds.

    What is late on a host that has other work may be late for want of a core: that is no doing of the program's.
    """

    ran: float
    waited: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Until now (schedstat, Documentation/scheduler/sched-stats.rst)."""
        spent = [
            [int(number) for number in (task / "schedstat").read_text(encoding="ascii").split()]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        return cls(sum(each[0] for each in spent) / 1e9, sum(each[1] for each in spent) / 1e9)

    def since(self, earlier: Waiting) -> str:
        """In words, since an earlier reading."""
        return f"ran {self.ran - earlier.ran:.2f} s, waited {self.waited - earlier.waited:.2f} s for a core"


def receive_drops() -> int:
    """UDP datagrams that sockets of this host had no room for, since it started."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


@dataclass(frozen=True, slots=True)
class Rig:
    """Both agents, running.

    Attributes:
        load: what is probed.
        sender, reflector: their process ids.
        http: the sender's port for /metrics.
        port: the reflector's.
        ready_s: from the sender's start until it said that it was ready.
    """

    load: Load
    sender: int
    reflector: int
    http: int
    port: int
    ready_s: float

    def scrape(self) -> Counts:
        """The sender's counts."""
        return scrape(self.http)


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """CPU of a sender per probe, several times over.

    Attributes:
        us: each window's.
        probes_per_second: really sent.
        counts: the last scrape.
    """

    us: list[float] = field(default_factory=list)
    probes_per_second: float = 0.0
    counts: Counts = field(default_factory=lambda: Counts({}, 0.0, 0, 0.0))

    @property
    def median_us(self) -> float:
        """The window in the middle."""
        return median(self.us)

    def __str__(self) -> str:
        lost = f"{self.counts.lost:.0f} lost, {self.counts.not_sent:.0f} not sent"
        windows = f"{len(self.us)} windows {min(self.us):.1f}..{max(self.us):.1f} µs"
        return f"{self.probes_per_second:.0f} probes/s, {lost}, {windows}"


def probe_cost(rig: Rig, seconds: float, windows: int = 4) -> ProbeCost:
    """CPU of the whole sender over the probes that it sends, without the scrapes by which they are counted.

    A scrape counts at its beginning and costs CPU after that: so the rate is that between the beginnings of two
    scrapes, and the CPU that between the end of the first and the beginning of the second.
    """
    before = rig.scrape()
    readings = [(time.monotonic(), cpu_s(rig.sender))]
    for _ in range(windows):
        time.sleep(seconds / windows)
        readings.append((time.monotonic(), cpu_s(rig.sender)))
    after = rig.scrape()
    after.assert_law()
    rate = (after.sent - before.sent) / (after.begun - before.begun)
    us = [
        (cpu_to - cpu_from) / (rate * (to - since)) * _US_PER_SECOND
        for (since, cpu_from), (to, cpu_to) in pairwise(readings)
    ]
    return ProbeCost(us, rate, after)


@contextlib.contextmanager
def rig(load: Load, command: Sequence[str] = _AGENT, *, error_bound: str = "50us") -> Iterator[Rig]:
    """Start both agents and stop them.

    Args:
        load: what to probe.
        command: starts the sender once the name of its file is added.
        error_bound: of both clocks.
    """
    http, reflector_http, port = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
    clock = f"clock: {{source: declared, error_bound: {error_bound}}}\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reflecting = _REFLECTOR.format(port=port, rate=2 * load.probes_per_second)
        (folder / "reflector.yaml").write_text(
            f"site: targets\nlisten: 127.0.0.1:{reflector_http}\n{clock}{reflecting}"
        )
        (folder / "sender.yaml").write_text(
            f"site: bench\nlisten: 127.0.0.1:{http}\n{clock}paths:\n{paths(load, port)}"
        )
        with contextlib.ExitStack() as stack:
            reflector = stack.enter_context(process([*_AGENT, str(folder / "reflector.yaml")]))
            until(lambda: ready(reflector_http), "the reflector is ready", reflector)
            begun = time.monotonic()
            sender = stack.enter_context(process([*command, str(folder / "sender.yaml")]))
            until(lambda: ready(http), "the sender is ready", sender)
            yield Rig(load, sender.pid, reflector.pid, http, port, time.monotonic() - begun)


def paths(load: Load, port: int) -> str:
    """The paths of a load in an agent's file."""
    port_too = f":{port}" if load.kind == "stamp" else ""
    return "".join(
        f"- {{target: t{n}, tier: city, provider: telecom, kind: {load.kind}, address: '{address}{port_too}', "
        f"interval: {load.interval_us}us, timeout: 1s, limits: {{round_trip: '< 2ms'}}}}\n"
        for n, address in enumerate(load.addresses)
    )


@contextlib.contextmanager
def process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child without output; asked to end, then killed."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def ready(http: int) -> bool:
    """Whether an agent says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/-/ready", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str, child: subprocess.Popen[bytes]) -> None:
    """Wait for a child to bring a condition about.

    Raises:
        RuntimeError: the child ended, or time is over.
    """
    end = time.monotonic() + _READY_WITHIN_S
    while not condition():
        if child.poll() is not None:
            raise RuntimeError(f"ended with status {child.returncode} before: {what}")
        if time.monotonic() > end:
            raise RuntimeError(f"not within {_READY_WITHIN_S:g} s: {what}")
        time.sleep(0.02)
