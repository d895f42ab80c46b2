"""What the host goes through while a test runs, as /proc tells.

/proc/self/task/TID/schedstat   ns on a core, ns ready and waiting for one, time slices
/proc/stat, line `cpu`          ticks: user nice system idle iowait irq softirq steal …, of all cores
/proc/net/softnet_stat          a line for each core, in hexadecimal: packets taken, dropped for a full backlog, …
/proc/net/snmp, `Udp:`          RcvbufErrors: datagrams for which a socket had no room
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from agent.core.throughput.cause import HostLoad
from agent.core.timestamps import SECOND_NS

_STEAL: Final = 8
_TICK_NS: Final = SECOND_NS // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class HostReading:
    """The counters at one moment; 0 where the kernel does not tell.

    Attributes:
        at_ns: monotonic.
        threads: that transfer.
    """

    at_ns: int
    threads: int
    cpu_ns: int
    run_delay_ns: int
    steal_ns: int
    arrived: int
    dropped: int

    @classmethod
    def now(cls, threads: Iterable[int], now_ns: int, cpu_ns: int) -> Self:
        """Read them.

        Args:
            threads: native ids of those that transfer.
            now_ns: monotonic.
            cpu_ns: of the whole process.
        """
        waited_ns = [one for thread in threads if (one := _run_delay_ns(thread)) is not None]
        arrived, dropped = _softnet()
        return cls(
            now_ns,
            max(1, len(waited_ns)),
            cpu_ns,
            sum(waited_ns),
            _steal_ns(),
            arrived,
            dropped + _receive_errors(),
        )

    def since(self, earlier: HostReading) -> HostLoad:
        """What has happened since another reading."""
        return HostLoad(
            elapsed_ns=max(1, self.at_ns - earlier.at_ns),
            cpu_ns=max(0, self.cpu_ns - earlier.cpu_ns),
            run_delay_ns=max(0, self.run_delay_ns - earlier.run_delay_ns),
            threads=max(self.threads, earlier.threads),
            steal_ns=self.steal_ns - earlier.steal_ns,
            cores=os.cpu_count() or 1,
            arrived=self.arrived - earlier.arrived,
            dropped=self.dropped - earlier.dropped,
        )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _run_delay_ns(thread: int) -> int | None:
    """How long a thread has waited for a core; None: it has ended, or this kernel does not tell."""
    lines = _lines(f"/proc/self/task/{thread}/schedstat")
    return int(lines[0].split()[1]) if lines else None


def _steal_ns() -> int:
    for line in _lines("/proc/stat"):
        fields = line.split()
        if fields[0] == "cpu":
            return int(fields[_STEAL]) * _TICK_NS
    return 0


def _softnet() -> tuple[int, int]:
    cores = [line.split() for line in _lines("/proc/net/softnet_stat")]
    return sum(int(core[0], 16) for core in cores), sum(int(core[1], 16) for core in cores)


def _receive_errors() -> int:
    lines = [line.split() for path in ("/proc/net/snmp",) for line in _lines(path) if line.startswith("Udp:")]
    if len(lines) != 2 or "RcvbufErrors" not in lines[0]:
        return 0
    return int(lines[1][lines[0].index("RcvbufErrors")])
