"""The running agent: prober, reflector, clock and HTTP server, from start to a drained end."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from agent.core.histogram import Histogram
from agent.exposition import registry, render
from agent.http import create_app, serve
from agent.net.clock import Clock, DeclaredClock, UnsynchronisedClock
from agent.net.clocks.adjtimex import AdjtimexClock
from agent.net.clocks.automatic import AutomaticClock
from agent.net.clocks.chrony import ChronyClock
from agent.net.clocks.ptp import PtpClock
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.net.timer import sharpen_timers
from agent.probes.prober import ProbedPath, Prober
from agent.probes.stamp import StampOutlet
from agent.reflector.stamp import StampReflector
from agent.runtime.exceptions import IsochroneError
from agent.settings import (
    AdjtimexClockSettings,
    AgentSettings,
    AutomaticClockSettings,
    ChronyClockSettings,
    ClockSettings,
    DeclaredClockSettings,
    PtpClockSettings,
)

log = logging.getLogger(__name__)


_FIXED: Final = ("site", "listen", "clock", "reflector")


class RestartNeeded(IsochroneError):
    """New settings cannot be taken over by a running agent."""


def clock_of(settings: ClockSettings) -> Clock:
    """The clock that the settings name."""
    match settings:
        case AutomaticClockSettings(ptp_domain=domain):
            return AutomaticClock.usual(domain)
        case PtpClockSettings(ptp_domain=domain):
            return PtpClock(domain)
        case ChronyClockSettings():
            return ChronyClock()
        case AdjtimexClockSettings():
            return AdjtimexClock()
        case DeclaredClockSettings(error_bound=bound_ns):
            return DeclaredClock(bound_ns)
        case _:
            return UnsynchronisedClock()


class Agent:
    """One agent; `run` lasts until the event it is given is set.

    Args:
        settings: what it does.
        rng: draws the phases.
        read: reads the settings anew, for a reload; raises IsochroneError where they are no good.

    Raises:
        ReflectorBindError: the reflector's address cannot be used.
    """

    def __init__(
        self,
        settings: AgentSettings,
        rng: random.Random | None = None,
        read: Callable[[], AgentSettings] | None = None,
    ) -> None:
        self.settings = settings
        self._read = read or (lambda: settings)
        longest_ns = max((path.timeout for path in settings.paths), default=0)
        self.clock = LocalClock(clock_of(settings.clock), longest_sample_ns=2 * longest_ns)
        self.prober = Prober(StampOutlet, settings.site, settings.paths, self.clock, rng or random.Random())
        self.reflector = (
            None
            if settings.reflector is None
            else StampReflector(
                settings.reflector.listen,
                settings.reflector.sessions,
                self.clock,
                settings.reflector.rules(),
                max_sessions=settings.reflector.max_sessions,
                cpu_percent=settings.reflector.cpu,
            )
        )
        self._ready = False
        self._reloading: set[asyncio.Task[None]] = set()

    async def reload(self) -> None:
        """Read the settings anew and go on under them; paths that stay keep their counts and their sessions.

        Raises:
            IsochroneError: the settings are no good, or something has changed that only a restart can change
                (RestartNeeded); nothing is taken over then.
        """
        settings = await asyncio.to_thread(self._read)
        changed = [name for name in _FIXED if getattr(settings, name) != getattr(self.settings, name)]
        if changed:
            raise RestartNeeded(f"changed, and can only be changed by a restart: {', '.join(changed)}")
        self.settings = settings
        logging.getLogger().setLevel(settings.log_level.upper())
        await self.prober.update(settings.paths)
        log.info("reloaded: %d paths", len(settings.paths))

    async def run(self, stop: asyncio.Event) -> bool:
        """Measure and reflect until `stop` is set, then drain: every probe under way is answered or given up.

        Returns:
            Whether the conservation law held to the end, with nothing left in flight.

        Raises:
            HttpBindError: the HTTP address cannot be used.
        """
        sharpen_timers()
        await self.clock.refresh()
        keep_clock = asyncio.create_task(self.clock.keep_fresh(), name="read the clock")
        own = registry(self)
        app = create_app(lambda: render(self, own), self.reload, lambda: "" if self._ready else "starting")
        runner = None if self.settings.listen is None else await serve(app, self.settings.listen)
        try:
            if self.reflector is not None:
                self.reflector.start()
            await self.prober.start()
            self._ready = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload_soon)
            log.info(
                "site %s: %d paths, %d reflector sockets, clock %s",
                self.settings.site,
                len(self.prober.paths),
                0 if self.reflector is None else len(self.reflector.sockets),
                self.clock.quality.source,
            )
            await self._until(stop)
            self._ready = False
            await self.prober.stop()
            return self._report()
        finally:
            keep_clock.cancel()
            await self.prober.close()
            if self.reflector is not None:
                self.reflector.close()
            if runner is not None:
                await runner.cleanup()

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self._try_reload(), name="reload")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _try_reload(self) -> None:
        try:
            await self.reload()
        except IsochroneError as error:
            log.error("not reloaded, going on as before: %s", error)

    async def _until(self, stop: asyncio.Event) -> None:
        """Wait until the agent is to stop, or cannot go on."""
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(self.prober.failure())
        try:
            await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                raise failing.result()
        finally:
            stopping.cancel()
            failing.cancel()

    def _report(self) -> bool:
        """Say what was counted, and whether the law held to the end."""
        broken = [
            f"{path.settings.target}: {equation}"
            for path in self.prober.paths
            for equation in path.ledger.broken_laws()
        ]
        sent = sum(path.ledger.sent for path in self.prober.paths)
        in_flight = sum(path.ledger.in_flight for path in self.prober.paths)
        log.info(
            "drained: %d probes sent, %d in flight, conservation law %s", sent, in_flight, broken or "holds"
        )
        return not broken and in_flight == 0

    # What /metrics shows

    @property
    def paths(self) -> Sequence[ProbedPath]:
        """All paths."""
        return self.prober.paths

    @property
    def clock_source(self) -> str:
        """Where the clock's quality is taken from."""
        return self.clock.quality.source

    @property
    def clock_bound_ns(self) -> int | None:
        """How far the clock may be off UTC; None: not known."""
        return self.clock.bound_ns

    @property
    def clock_steps(self) -> int:
        """How often the clock was seen to be set."""
        return self.clock.steps.count

    @property
    def send_lag(self) -> Histogram:
        """How late probes were sent."""
        return self.prober.send_lag

    @property
    def discarded_replies(self) -> dict[str, int]:
        """Datagrams that were no reply to a probe, by reason."""
        return dict(self.prober.discarded)

    @property
    def reflected(self) -> dict[str, int]:
        """Datagrams that reached the reflector, by result."""
        return {} if self.reflector is None else dict(self.reflector.results)

    @property
    def transmit_stamps(self) -> str:
        """Where transmit times come from."""
        return _origin([one.kernel_transmit_stamps for one in self._sockets])

    @property
    def receive_stamps(self) -> str:
        """Where receive times come from."""
        return _origin([one.kernel_receive_stamps for one in self._sockets])

    @property
    def plan_version(self) -> str:
        """The plan that the configuration was compiled from."""
        return self.settings.plan_version

    def settle(self) -> None:
        """Count what has been sent up to now."""
        self.prober.settle()

    def monotonic_ns(self) -> int:
        """The time by which recent minima are judged."""
        return time.monotonic_ns()

    @property
    def _sockets(self) -> list[TimestampedSocket]:
        reflecting = [] if self.reflector is None else self.reflector.sockets
        return [*self.prober.sockets, *reflecting]


def _origin(kernel: list[bool]) -> str:
    return "kernel" if all(kernel) else "user"
