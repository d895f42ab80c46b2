"""Whether a test says rightly why a line was no faster: seventeen set-ups, each three times.

The set-ups are of namespaces: shaped by TBF or HTB, far (a process that carries packets later), lossy, with small
buffers, with a sender or a receiver that has too little CPU, or one that is stopped half of the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from agent.core.throughput.cause import Cause
from tests.bench.capture import NotPermitted
from tests.bench.report import Row
from tests.bench.throughput_rig import Line, line
from tests.support.distance import distant
from tests.support.netns import Namespace, joined_namespaces
from tests.support.throughput import engines

RUNS: Final = 3
BAR: Final = 45 / 51
_SMALL: Final = "4096 65536 262144"
_HOGS: Final = 4
_STOPPED_S: Final = 0.03

Ends = tuple[Namespace, Namespace]
Prepare = Callable[[Namespace, Namespace], contextlib.AbstractContextManager[Ends]]


@contextlib.contextmanager
def _as_it_is(client: Namespace, server: Namespace) -> Iterator[Ends]:
    yield client, server


def _shaped(rate: str, limit: str, *, up: bool = False, delay_ms: float = 0) -> Prepare:
    """No more than a rate leaves the server, or up the client, with a queue of some length."""

    @contextlib.contextmanager
    def prepared(client: Namespace, server: Namespace) -> Iterator[Ends]:
        with distant(client, server, delay_ms) if delay_ms else _as_it_is(client, server) as ends:
            end = ends[0] if up else ends[1]
            tbf = ("tbf", "rate", rate, "burst", "64kb", "limit", limit)
            end.run("tc", "qdisc", "replace", "dev", end.interface, "root", *tbf)
            yield ends

    return prepared


@contextlib.contextmanager
def _htb(client: Namespace, server: Namespace) -> Iterator[Ends]:
    dev = ("dev", server.interface)
    server.run("tc", "qdisc", "replace", *dev, "root", "handle", "1:", "htb", "default", "1")
    server.run("tc", "class", "add", *dev, "parent", "1:", "classid", "1:1", "htb", "rate", "500mbit")
    server.run("tc", "qdisc", "add", *dev, "parent", "1:1", "pfifo", "limit", "200")
    yield client, server


def _far(delay_ms: float, loss: float = 0.0, window: str = "", buffer: str = "") -> Prepare:
    """Far away, with loss, a small window at the client or small send buffers at the server."""

    @contextlib.contextmanager
    def prepared(client: Namespace, server: Namespace) -> Iterator[Ends]:
        if window:
            client.run("sysctl", "-qw", f"net.ipv4.tcp_rmem={window}")
        if buffer:
            server.run("sysctl", "-qw", f"net.ipv4.tcp_wmem={buffer}")
        with distant(client, server, delay_ms, loss) as ends:
            yield ends

    return prepared


@contextlib.contextmanager
def _in_order(client: Namespace, server: Namespace) -> Iterator[Ends]:
    """Packets are taken in by the sender's core, as by a card of one queue. A veth pair between two cores would reorder
    them: what acknowledgements let go leaves from another core than what the sender writes."""
    for end in (client, server):
        end.run("sh", "-c", f"echo 1 >/sys/class/net/{end.interface}/queues/rx-0/rps_cpus")
    yield client, server


@contextlib.contextmanager
def _hogged(core: int) -> Iterator[None]:
    """A core that has other work."""
    with contextlib.ExitStack() as stack:
        for _ in range(_HOGS):
            command = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
            hog = stack.enter_context(subprocess.Popen(command))
            stack.callback(hog.kill)
        yield


@contextlib.contextmanager
def _stopping(running: Line) -> Iterator[None]:
    """The server's child is stopped half of the time: it is late for reasons of its own."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.is_set():
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in engines(running.agent):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(_STOPPED_S)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One set-up.

    Attributes:
        name: in words.
        cause: that is to be named.
        options: of the test.
        prepare: makes the line.
        client_core, server_core: the only core of an end; None: any.
        hogged: which of the cores has other work.
        stopping: whether the sender is stopped half of the time.
        up: whether the way up is tested, instead of down.
    """

    name: str
    cause: Cause
    options: str
    prepare: Prepare = _as_it_is
    client_core: int | None = None
    server_core: int | None = None
    hogged: int | None = None
    stopping: bool = False
    up: bool = field(default=False)


SCENARIOS: Final = (
    Scenario("shaped, short queue", Cause.PATH_RATE, "--streams 1 1G", _shaped("500mbit", "250kb")),
    Scenario("shaped, 4 streams", Cause.PATH_RATE, "1G", _shaped("500mbit", "250kb")),
    Scenario("shaped, deep queue", Cause.PATH_RATE, "--streams 1 1G", _shaped("500mbit", "10mb")),
    Scenario("shaped up", Cause.PATH_RATE, "1G", _shaped("500mbit", "250kb", up=True), up=True),
    Scenario("HTB", Cause.PATH_RATE, "1G", _htb),
    Scenario("shaped, UDP", Cause.PATH_RATE, "--protocol udp --streams 1 200M", _shaped("100mbit", "200kb")),
    Scenario("shaped, 10 ms away", Cause.PATH_RATE, "500M", _shaped("200mbit", "500kb", delay_ms=5)),
    Scenario("loss, 10 ms away", Cause.PATH_LOSS, "--streams 1 1G", _far(5, loss=0.02)),
    Scenario("loss, UDP", Cause.PATH_LOSS, "--protocol udp --streams 1 100M", _far(1, loss=0.02)),
    Scenario("small window, 10 ms away", Cause.RECEIVER_WINDOW, "--streams 1 500M", _far(5, window=_SMALL)),
    Scenario("small buffer, 10 ms away", Cause.SEND_BUFFER, "--streams 1 500M", _far(5, buffer=_SMALL)),
    Scenario("small buffers, 20 ms away", Cause.SEND_BUFFER, "--streams 4 500M", _far(10, buffer=_SMALL)),
    Scenario("starved sender", Cause.HOST_STARVED, "--streams 1 20G", client_core=1, server_core=0, hogged=0),
    Scenario(
        "starved receiver", Cause.HOST_STARVED, "--streams 1 20G", client_core=0, server_core=1, hogged=0
    ),
    Scenario(
        "sender at its limit", Cause.SENDER_CPU, "--streams 1 90G", _in_order, client_core=1, server_core=0
    ),
    Scenario("stopped sender", Cause.APPLICATION, "--streams 1 4G", stopping=True),
    Scenario("nothing in the way", Cause.PACING_CAP, "1G"),
)


def run(seconds: float, runs: int = RUNS, scenarios: tuple[Scenario, ...] = SCENARIOS) -> list[Row]:
    """Run all and give the share that was named rightly, and what was not.

    Raises:
        NotPermitted: not root, who may make namespaces.
    """
    if os.geteuid() != 0:
        raise NotPermitted("network namespaces need root")
    right, total = 0, 0
    wrong: Counter[str] = Counter()
    for scenario in scenarios:
        for said, outcome in causes(scenario, max(3, min(6, int(seconds))), runs):
            total += 1
            if said == scenario.cause:
                right += 1
            else:
                wrong[f"{scenario.name}: {said}"] += 1
                why = json.dumps(outcome["attempts"][0])
                print(f"{scenario.name}: {said}, not {scenario.cause}: {why}", file=sys.stderr, flush=True)
    missed = ", ".join(f"{count} × {what}" for what, count in wrong.items()) or "none missed"
    note = f"{right} of {total} runs of {len(scenarios)} set-ups; {missed}"
    return [Row("throughput: cause named rightly", right / total, "of runs", BAR, note=note, at_least=True)]


def causes(scenario: Scenario, seconds: int, runs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each run says, and all that it tells; of one without a cause, its error."""
    way = "up" if scenario.up else "down"
    *options, floor = scenario.options.split()
    pinned = [
        () if core is None else ("taskset", "-c", str(core))
        for core in (scenario.client_core, scenario.server_core)
    ]
    with contextlib.ExitStack() as stack:
        client, server = stack.enter_context(joined_namespaces())
        client, server = stack.enter_context(scenario.prepare(client, server))
        running = stack.enter_context(line(client, server, *pinned))
        if scenario.hogged is not None:
            stack.enter_context(_hogged(scenario.hogged))
        if scenario.stopping:
            stack.enter_context(_stopping(running))
        for _ in range(runs):
            found = running.test(
                *("--direction", way, f"--floor-{way}", floor, "--seconds", str(seconds)),
                *("--no-latency", "--no-retest", *options),
            )
            outcome = found["ways"][way]
            yield outcome["cause"] or outcome["error"] or "unknown", outcome
