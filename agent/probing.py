"""All that an agent probes: one prober for each kind, started, changed and drained together."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agent.core.flight import FlightRecorder
from agent.core.histogram import Histogram
from agent.core.ledger import PathLabels
from agent.core.session_report import SessionReport
from agent.net.datagram import TimestampedSocket
from agent.net.interfaces import interface_towards
from agent.net.local_clock import LocalClock
from agent.probes.icmp import IcmpProbes
from agent.probes.probed import OutletKind, ProbedPath
from agent.probes.prober import Prober
from agent.probes.routes import TracedFlow
from agent.probes.stamp import StampProbes
from agent.probes.tcp import TcpProbes
from agent.runtime.probe_address import KINDS, ProbeKind
from agent.settings import AgentSettings, PathSettings

_ANY_PORT: Final = 9
_ROWS_PER_KIND: Final = 1 << 24
"""Every kind of probe has a table of rows of its own, and all share a recorder."""


class Recorded(NamedTuple):
    """A path whose packets are recorded; see `agent.api.RecordedPath`."""

    number: int
    labels: PathLabels
    one_way: bool
    report: SessionReport
    floors_ns: tuple[int, int]


class Probing:
    """The probers of an agent.

    Args:
        settings: the paths, and where their keys are.
        clock: the quality of the local clock.
        rng: draws the phases.
        recorder: takes every packet.
        folder: of the files that the settings name.

    Attributes:
        probers: by kind.

    Raises:
        ConfigError: the credentials file is no good.
    """

    def __init__(
        self,
        settings: AgentSettings,
        clock: LocalClock,
        rng: random.Random,
        recorder: FlightRecorder,
        folder: Path,
    ) -> None:
        self._folder = folder
        self._stamp = StampProbes(settings.keys(folder))
        outlets: dict[ProbeKind, OutletKind] = {
            "stamp": self._stamp,
            "icmp": IcmpProbes(),
            "tcp": TcpProbes(),
        }
        self.probers = {
            kind: Prober(
                outlets[kind],
                settings.site,
                _of_kind(kind, settings),
                clock,
                rng,
                record=functools.partial(recorder.add, first_path=number * _ROWS_PER_KIND),
            )
            for number, kind in enumerate(KINDS)
        }

    def without_room(self, settings: AgentSettings) -> Sequence[ProbeKind]:
        """The kinds that would have had more paths since the start than there are rows."""
        return [
            kind for kind, prober in self.probers.items() if not prober.has_room_for(_of_kind(kind, settings))
        ]

    async def renew_keys(self, settings: AgentSettings) -> None:
        """Read the credentials file anew; raises ConfigError where it is no good."""
        self._stamp.renew_keys(await asyncio.to_thread(settings.keys, self._folder))

    async def start(self) -> None:
        """Begin to probe."""
        await asyncio.gather(*(prober.start() for prober in self.probers.values()))

    async def update(self, settings: AgentSettings) -> None:
        """Go on with these paths; those that stay keep their counts and their sessions."""
        for kind, prober in self.probers.items():
            await prober.update(_of_kind(kind, settings))

    async def stop(self) -> None:
        """Send no more, and wait until every probe under way is answered or given up."""
        await asyncio.gather(*(prober.stop() for prober in self.probers.values()))

    async def close(self) -> None:
        """Close all sockets."""
        for prober in self.probers.values():
            await prober.close()

    async def failure(self) -> BaseException:
        """Why one of the probers cannot go on, as soon as one cannot."""
        failing = [asyncio.create_task(prober.failure()) for prober in self.probers.values()]
        try:
            done, _ = await asyncio.wait(failing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in failing:
                task.cancel()
        return next(iter(done)).result()

    def begin_load(self, target: str, host: str, through: Container[str] = frozenset()) -> None:
        """A throughput test fills the lines to a target or host from now on, and the way to others."""
        for prober in self.probers.values():
            prober.begin_load(target, host, time.time_ns(), through)

    async def hosts_through(self, interface: str) -> Container[str]:
        """The addresses to which paths are sent by way of an interface."""
        hosts = {host for prober in self.probers.values() for host in prober.hosts.values()}
        return await asyncio.to_thread(
            lambda: {host for host in hosts if interface_towards(host, _ANY_PORT) == interface}
        )

    def end_load(self, target: str, host: str, until_ns: int) -> None:
        """It does so until then (Unix wall time)."""
        for prober in self.probers.values():
            prober.end_load(target, host, until_ns)

    def settle(self) -> None:
        """Count what has been sent up to now."""
        for prober in self.probers.values():
            prober.settle()

    def give_way(self) -> None:
        """Let what is overdue be sent; for whoever keeps the event loop busy for long."""
        for prober in self.probers.values():
            prober.give_way()

    @property
    def paths(self) -> Sequence[ProbedPath]:
        """All paths, those of a kind together."""
        return [path for prober in self.probers.values() for path in prober.paths]

    @property
    def recorded(self) -> list[Recorded]:
        """All paths, with the numbers under which the recorder knows them."""
        return [
            Recorded(
                number * _ROWS_PER_KIND + path.ledger.row,
                path.ledger.labels,
                prober.one_way,
                path.report,
                (path.ledger.forward.promise.floor_ns, path.ledger.reverse.promise.floor_ns),
            )
            for number, prober in enumerate(self.probers.values())
            for path in prober.paths
        ]

    @property
    def routed(self) -> Mapping[PathLabels, tuple[int, Callable[[], TracedFlow | None]]]:
        """Whose way is traced, how often (interval in ns), and by which five-tuple."""
        prober = self.probers["stamp"]
        return {
            path.ledger.labels: (path.settings.route, functools.partial(prober.flow, path))
            for path in prober.paths
            if path.settings.route is not None and path.gone_ns is None
        }

    @property
    def send_lag(self) -> Histogram:
        """How late probes were sent."""
        lags = Histogram()
        for prober in self.probers.values():
            lags.merge(prober.send_lag)
        return lags

    @property
    def discarded(self) -> dict[tuple[str, str], int]:
        """What came and was no reply to a probe, by kind of probe and reason."""
        return {
            (kind, reason): count
            for kind, prober in self.probers.items()
            for reason, count in prober.discarded.items()
        }

    @property
    def follow_ups(self) -> dict[str, int]:
        """Replies of which the next one should tell when they left, by whether it did."""
        return self.probers["stamp"].follow_ups

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """Those of all probers."""
        return [own for prober in self.probers.values() for own in prober.sockets]


def _of_kind(kind: ProbeKind, settings: AgentSettings) -> list[PathSettings]:
    return [path for path in settings.paths if path.kind == kind]
