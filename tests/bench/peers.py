"""fping, ping and irtt doing the same beside us: what they cost, and what they report against the same capture."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.bench.capture import Capture, Seen, icmp, udp
from tests.bench.rig import Load, memory_mb, process
from tests.support.processes import free_port

_ECHO_REQUEST: Final = 8
_ECHO_REPLY: Final = 0
_ECHO: Final = struct.Struct(">BBHHH")
_IRTT_MAGIC: Final = b"\x14\xa7\x5b"
_IRTT_REQUEST: Final = 0
_IRTT_REPLY: Final = 2
_IRTT_SEQUENCE: Final = struct.Struct("<12xI")
_FPING_LINE: Final = re.compile(r": \[(\d+)\], .* bytes, ([0-9.]+) ms")
_PING_LINE: Final = re.compile(r"icmp_seq=(\d+) .*time=([0-9.]+) ms")
_NS_PER_MS: Final = 1e6
_MARGIN_S: Final = 10.0


class Journey(NamedTuple):
    """One packet's request and reply at the tap, Unix wall time in ns.

    Attributes:
        left, arrived: the request going out and coming in.
        answered, returned: the reply going out and coming in.
    """

    left: int
    arrived: int
    answered: int
    returned: int

    @property
    def forward(self) -> int:
        """How long the request was under way."""
        return self.arrived - self.left

    @property
    def reverse(self) -> int:
        """How long the reply was under way."""
        return self.returned - self.answered


class Journeys:
    """Journeys put together of what was seen of each packet, by a key of its own."""

    def __init__(self) -> None:
        self._legs: dict[int, dict[tuple[bool, bool], int]] = defaultdict(dict)

    def add(self, key: int, reply: bool, seen: Seen) -> None:
        """A packet went past the tap; of one that did so more than once the first time counts."""
        self._legs[key].setdefault((reply, seen.outgoing), seen.at_ns)

    def complete(self) -> dict[int, Journey]:
        """Those of which all four moments are known."""
        return {
            key: Journey(*(legs[leg] for leg in _LEGS))
            for key, legs in self._legs.items()
            if len(legs) == len(_LEGS)
        }


_LEGS: Final = ((False, True), (False, False), (True, True), (True, False))


def program(name: str) -> str | None:
    """Where a program is; None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


# Cost


def fping_cost_us(load: Load, seconds: float) -> float | None:
    """CPU per probe (µs) of fping at a load, from start to end; None where it is not installed."""
    command = _fping_of(load, seconds)
    if command is None:
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input="\n".join(load.addresses), text=True, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s / (int(command[3]) * load.targets) * 1e6


def fping_memory_mb(load: Load, seconds: float) -> float | None:
    """Resident memory (MB) of fping at a load, after a while; None where it is not installed."""
    command = _fping_of(load, seconds + _MARGIN_S)
    if command is None:
        return None
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdin is not None
        child.stdin.write("\n".join(load.addresses))
        child.stdin.close()
        time.sleep(seconds)
        return memory_mb(child.pid)
    finally:
        child.kill()
        child.wait()


def _fping_of(load: Load, seconds: float) -> list[str] | None:
    found = program("fping")
    if found is None:
        return None
    rounds = max(1, int(seconds * load.probes_per_second / load.targets))
    pace_ms = 1000 / load.probes_per_second  # between any two packets: evenly, as the agent sends
    return [found, "-q", "-c", str(rounds), "-p", f"{load.interval_us / 1000:g}", "-i", f"{pace_ms:g}"]


# Accuracy

Reported = Mapping[int, float]
"""The round trip (ns) that a program gives for each packet, by the packet's key."""


def fping_errors(count: int, interval_ms: float) -> list[float] | None:
    """How far (ns) the round trips that fping prints are off; None where it is not installed."""
    found = program("fping")
    if found is None:
        return None
    return _echo_errors(
        lambda target: [found, "-c", str(count), "-p", f"{interval_ms:g}", target], _FPING_LINE
    )


def ping_errors(count: int, interval_ms: float) -> list[float] | None:
    """How far (ns) the round trips that ping prints are off; None where it is not installed."""
    found = program("ping")
    if found is None:
        return None
    return _echo_errors(
        lambda target: [found, "-n", "-c", str(count), "-i", f"{interval_ms / 1000:g}", target], _PING_LINE
    )


def _echo_errors(command: Callable[[str], list[str]], line: re.Pattern[str]) -> list[float]:
    """What an ICMP program prints, to the microsecond, against the time from its request to the reply."""
    # an address that nobody else on this host is likely to ping at the moment
    target = f"127.{random.randint(100, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
    with Capture(icmp()) as capture:
        output = subprocess.run(command(target), capture_output=True, text=True, check=False).stdout
        packets = capture.packets()
    journeys = Journeys()
    for seen in packets:
        kind, _, _, _, sequence = _ECHO.unpack_from(seen.message)
        source, destination = seen.addresses
        if (kind, destination) == (_ECHO_REQUEST, target) or (kind, source) == (_ECHO_REPLY, target):
            journeys.add(sequence, kind == _ECHO_REPLY, seen)
    reported = {int(number): float(ms) * _NS_PER_MS for number, ms in line.findall(output)}
    return [
        reported[sequence] - (journey.returned - journey.left)
        for sequence, journey in journeys.complete().items()
        if sequence in reported
    ]


def irtt_errors(count: int, interval_ms: float) -> list[float] | None:
    """How far (ns) the round trips that irtt gives, less its server's own time, are off; None if not installed."""
    found = program("irtt")
    if found is None:
        return None
    port = free_port(socket.SOCK_DGRAM)
    duration = f"{count * interval_ms / 1000:g}s"
    with process([found, "server", "-b", f"127.0.0.1:{port}", "-i", "0"]), Capture(udp(port)) as capture:
        client = [
            found,
            "client",
            "-i",
            f"{interval_ms:g}ms",
            "-d",
            duration,
            "--wait=500ms",
            "-Q",
            "-o",
            "-",
        ]
        output = ""
        for _ in range(20):  # until the server listens
            output = subprocess.run(
                [*client, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False
            ).stdout
            if output:
                break
            time.sleep(0.1)
        packets = capture.packets()
    journeys = Journeys()
    for seen in packets:
        payload = seen.payload
        if payload.startswith(_IRTT_MAGIC) and payload[3] in (_IRTT_REQUEST, _IRTT_REPLY):
            journeys.add(_IRTT_SEQUENCE.unpack_from(payload)[0], payload[3] == _IRTT_REPLY, seen)
    trips = json.loads(output)["round_trips"]
    reported = {int(trip["seqno"]): float(trip["delay"]["rtt"]) for trip in trips if "rtt" in trip["delay"]}
    return [
        reported[sequence] - (journey.forward + journey.reverse)
        for sequence, journey in journeys.complete().items()
        if sequence in reported
    ]
