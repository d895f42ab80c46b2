"""How far what is reported lies from what the kernel saw: the agent in all directions, and irtt, fping and ping.

The truth is a packet capture of our own on loopback (`tests.bench.capture`), which sees each packet twice, going out
and coming in, and each with a time of the kernel's. With the request leaving at L and arriving at A, the reply leaving
at L' and arriving at A', all by the capture:

    forward     reported T2 - T1 against A - L
    reverse     reported T4 - T3 against A' - L'
    round trip  the sum of both against (A - L) + (A' - L'): the network's, without the reflector's own time. The same
                truth is irtt's, which subtracts its server's time likewise; for fping and ping, which cannot know what
                the far end takes, it is A' - L, so nothing that they do not claim to measure is held against them.

What this number means: T2 and T4 are the kernel's only receive stamp, which the capture shows too, so of them the
number tests that the right stamp was put to the right packet. T1 is the driver's transmit stamp and L the tap's, two
readings of the clock on one way out: between them lies what the tap and the driver do, half a microsecond and more
where caches are cold. A T1 between L and A is right as far as anybody can tell; the number nevertheless takes L for the
truth, so it is the most that the error can be, with the instrument's own disturbance in it: two thirds of it pass
before the driver is called (PROFILE.md). The least that it can be, how far the reported delay lies outside of
0 .. A - L, is given in the note as *proven*: so it is where the kernel's T1 was not used and user space's stands in for
it. T3 is what the reflector wrote into the packet, unless the next reply tells better: where that is a user-space time,
all that passes until the packet leaves is error of the reverse delay, and shows.

The agent also states how far its one-way delays may be off. How often the truth lay further away than that is a row
of its own; for it the clocks are declared exact to 1 µs, as they are: both are this host's.

Idle, nothing else runs by our doing. Loaded, two Python threads of the probing agent's process never wait, and one more
process spins on a core; beside the peers, which have no threads to burden, two processes spin.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS
from tests.bench import peers
from tests.bench.capture import Capture, Seen, udp
from tests.bench.peers import Journey, Journeys
from tests.bench.recorded_agent import FIELDS
from tests.bench.report import Row
from tests.bench.rig import Load, Waiting, process, rig

LOAD: Final = Load(10, 1_000)
PEER_INTERVAL_MS: Final = 3.0
BARS_US: Final = {"idle": 2.0, "loaded": 5.0}
_BUSY_THREADS: Final = 2
_SPIN: Final = (sys.executable, "-c", "while True: pass")
_SHARE: Final = 0.5
_PEER_SHARE: Final = 0.6
_PEERS: Final[dict[str, Callable[[int, float], list[float] | None]]] = {
    "irtt": peers.irtt_errors,
    "fping": peers.fping_errors,
    "ping": peers.ping_errors,
}
_REQUEST: Final = struct.Struct(">I10xH")
_REPLY: Final = struct.Struct(">14xH8xI")

Errors = NDArray[np.float64]


def run(
    seconds: float, load: Load = LOAD, settle_s: float = 1.0, bars_us: Mapping[str, float] = BARS_US
) -> list[Row]:
    """Measure and give the rows, under each condition that has a bar."""
    return [
        row
        for condition, bar_us in bars_us.items()
        for row in _under(condition, bar_us, _SHARE * seconds, load, settle_s)
    ]


def _under(condition: str, bar_us: float, seconds: float, load: Load, settle_s: float) -> list[Row]:
    loaded = condition == "loaded"
    with _spinning(1 if loaded else 0):
        found, waited = _agent(load, seconds, settle_s, _BUSY_THREADS if loaded else 0)
    notes = {
        name: f"{noted(errors)}; {proven(found.proven[name])}; {waited}"
        for name, errors in found.errors.items()
    }
    rows = [
        Row(
            f"agent: {name} error p99, {condition}",
            p99_us(found.errors[name]),
            "µs",
            bar_us,
            note=notes[name],
        )
        for name in ("forward", "reverse")
    ]
    ours = p99_us(found.errors["round_trip"])
    with _spinning(2 if loaded else 0):
        for peer, errors_of in _PEERS.items():
            measured = errors_of(
                max(2, int(_PEER_SHARE * seconds * 1000 / PEER_INTERVAL_MS)), PEER_INTERVAL_MS
            )
            theirs = None if measured is None else np.array(measured)
            note = notes["round_trip"] + ("" if theirs is None else f"; {peer}: {noted(theirs)}")
            value = None if theirs is None else p99_us(theirs)
            rows.append(
                Row(f"agent: round trip error p99, {condition}", ours, "µs", bar_us, peer, value, note)
            )
    delays = 2 * len(found.errors["forward"])
    share = 100 * found.outside / max(1, delays)
    note = f"{found.outside} of {delays} one-way delays; clocks declared exact to 1 µs"
    rows.append(Row(f"agent: truth outside the stated error, {condition}", share, "%", note=note))
    return rows


def _agent(load: Load, seconds: float, settle_s: float, threads: int) -> tuple[Compared, str]:
    """What the agent found of every probe against what the capture saw of it; and how it waited for a core."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.npy"
        command = [sys.executable, "-m", "tests.bench.recorded_agent", str(record), str(threads)]
        with rig(load, command, error_bound="1us") as running:
            time.sleep(settle_s)
            with Capture(udp(running.port), _waiting(load, seconds)) as capture:
                waiting = Waiting.of(running.sender)
                time.sleep(seconds)
                waited = Waiting.of(running.sender).since(waiting)
                packets = capture.packets()
        return compared(np.load(record), journeys_of(packets, running.port)), waited


def _waiting(load: Load, seconds: float) -> int:
    """How many packets pass the tap, each probe four times, and half as many again."""
    return int(6 * load.probes_per_second * seconds)


def journeys_of(packets: Sequence[Seen], port: int) -> dict[int, Journey]:
    """STAMP packets put together by session and sequence number: `key` of a record's row gives the same."""
    journeys = Journeys()
    for seen in packets:
        if reply := seen.ports[0] == port:
            ssid, sequence = _REPLY.unpack_from(seen.payload)
        else:
            sequence, ssid = _REQUEST.unpack_from(seen.payload)
        journeys.add(key(ssid - 1, sequence), reply, seen)
    return journeys.complete()


def key(row: int, sequence: int) -> int:
    """Names a probe."""
    return row << 32 | sequence


class Compared(NamedTuple):
    """What is reported against the capture.

    Attributes:
        errors: by direction, reported less true of each probe (ns).
        proven: by direction, how far the reported delay lies outside of what the capture leaves possible (ns).
        outside: of how many one-way delays the truth lies further away than the agent states.
    """

    errors: dict[str, Errors]
    proven: dict[str, Errors]
    outside: int


def compared(record: NDArray[np.int64], journeys: dict[int, Journey]) -> Compared:
    """Hold the rows of a record against the journeys of the same probes; what only one of them has is left out."""
    column = {name: record[:, place] for place, name in enumerate(FIELDS)}
    keys = [
        key(row, sequence)
        for row, sequence in zip(column["row"].tolist(), column["sequence"].tolist(), strict=True)
    ]
    chosen = np.array([place for place, each in enumerate(keys) if each in journeys], np.int64)
    seen = [journeys[keys[place]] for place in chosen.tolist()]
    truth = {
        "forward": np.array([journey.forward for journey in seen], np.int64),
        "reverse": np.array([journey.reverse for journey in seen], np.int64),
    }
    reported = {name: column[name][chosen] for name in truth}
    stated = column["uncertainty"][chosen]
    outside = sum(
        int(np.count_nonzero((np.abs(reported[name] - truth[name]) > stated) & (stated != UNKNOWN_NS)))
        for name in truth
    )
    truth["round_trip"] = truth["forward"] + truth["reverse"]
    reported["round_trip"] = reported["forward"] + reported["reverse"]
    errors = {name: (reported[name] - truth[name]).astype(np.float64) for name in truth}
    proven = {
        name: np.maximum(0.0, np.maximum(errors[name], -reported[name].astype(np.float64))) for name in truth
    }
    return Compared(errors, proven, outside)


def p99_us(errors: Errors) -> float:
    """The 99th percentile (µs) of how far they are off, whichever way; NaN of none."""
    return float(np.percentile(np.abs(errors), 99)) / 1e3 if len(errors) else float("nan")


def proven(errors: Errors) -> str:
    """Of how many an error is proven, and the 99th percentile of it."""
    share = 100 * np.count_nonzero(errors) / max(1, len(errors))
    return f"proven of {share:.2f} %, p99 {p99_us(errors):.2f} µs"


def noted(errors: Errors) -> str:
    """How many there are, the median and the greatest."""
    if not len(errors):
        return "no sample"
    size = np.abs(errors) / 1e3
    return f"{len(errors)} samples, p50 {np.median(size):.2f}, max {size.max():.1f} µs"


@contextlib.contextmanager
def _spinning(processes: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(process(_SPIN))
        yield
