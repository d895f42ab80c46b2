"""The running agent: prober, reflector, clock and HTTP server, from start to a drained end."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.clock_choice import clock_of
from agent.connections import bind
from agent.core.flight import FlightRecorder
from agent.core.histogram import Histogram
from agent.core.ledger import PathLabels
from agent.core.route_history import RouteHistory
from agent.core.throughput.turn import LineRecord
from agent.core.throughput.turn_history import TurnHistory
from agent.net.card_stamps import least_method
from agent.net.clocks.card import CardChoice, choose_card
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.net.timer import sharpen_timers
from agent.probes.probed import ProbedPath
from agent.probes.routes import Routes
from agent.probing import Probing, Recorded
from agent.reflector.stamp import StampReflector
from agent.runtime.exceptions import IsochroneError
from agent.runtime.lifecycle import on_reload
from agent.runtime.memory import begin_collecting, give_back
from agent.runtime.pace import MAX_PATHS
from agent.runtime.supervision import Supervision
from agent.settings import AgentSettings
from agent.throughput.rota import Rota
from agent.throughput_settings import ThroughputPathSettings

if TYPE_CHECKING:
    from agent.core.throughput.turn import Attempt
    from agent.serving import Serving
    from agent.throughput.rota import LineTest
    from agent.throughput_api import ThroughputControl

log = logging.getLogger(__name__)

_FIXED: Final = ("site", "listen", "clock", "hardware_timestamps", "recorder", "api")
_FIXED_OF_REFLECTOR: Final = ("listen", "sessions", "max_sessions", "cpu")

_FORGET_EVERY_S: Final = 10.0
_SHORT_TURN_S: Final = 0.00005


class RestartNeeded(IsochroneError):
    """New settings cannot be taken over by a running agent."""


class Agent:
    """One agent; `run` lasts until the event it is given is set.

    Args:
        settings: what it does.
        rng: draws the phases.
        read: reads the settings anew, for a reload; raises IsochroneError where they are no good.
        folder: of the files that the settings name.
        supervision: who is told how it goes.

    Raises:
        ReflectorBindError: the reflector's address cannot be used.
        ConfigError: the credentials file is no good, or that of a token.
    """

    def __init__(
        self,
        settings: AgentSettings,
        rng: random.Random | None = None,
        read: Callable[[], AgentSettings] | None = None,
        folder: Path = Path(),
        supervision: Supervision | None = None,
    ) -> None:
        self.settings = settings
        self._folder = folder
        self._read = read or (lambda: settings)
        self._supervision = supervision or Supervision()
        self.card = choose_card() if settings.hardware_timestamps else CardChoice(None, "switched off")
        self.clock = LocalClock(
            clock_of(settings.clock), longest_sample_ns=_longest_sample_ns(settings), card=self.card.clock
        )
        rng = rng or random.Random()
        self.recorder = FlightRecorder(settings.recorder.length, settings.recorder.memory)
        self.probing = Probing(settings, self.clock, rng, self.recorder, folder)
        self.reflector = (
            None
            if settings.reflector is None
            else StampReflector(
                settings.reflector.listen,
                settings.reflector.sessions,
                self.clock,
                settings.reflector.rules(),
                keys=settings.reflector.keys(folder),
                markable=settings.reflector.dscp,
                max_sessions=settings.reflector.max_sessions,
                cpu_percent=settings.reflector.cpu,
            )
        )
        self._routes = Routes(rng)
        self._rota = Rota(settings.site, _try_line, rng, folder, load=self._load)
        self._rota.follow(settings.throughput_paths)
        self._follow_routes()
        self._serving: Serving | None = None
        self._ready = False
        self._reloading: set[asyncio.Task[None]] = set()
        # one after the other: of two at a time neither would be swapped at once
        self._taking_over = asyncio.Lock()

    async def reload(self) -> None:
        """Read the settings anew and go on under them; paths that stay keep their counts and their sessions.

        Raises:
            IsochroneError: the settings are no good, or something has changed that only a restart can change
                (RestartNeeded); nothing is taken over then.
        """
        async with self._taking_over:
            self._supervision.reloading()
            try:
                await self._take_over(await asyncio.to_thread(self._read))
            finally:
                self._supervision.ready(self._in_short)

    async def _take_over(self, settings: AgentSettings) -> None:
        changed = _changed(self.settings, settings)
        if changed:
            raise RestartNeeded(f"changed, and can only be changed by a restart: {', '.join(changed)}")
        for kind in self.probing.without_room(settings):
            raise RestartNeeded(
                f"more than {MAX_PATHS} {kind} paths since the start: only a restart can add more"
            )
        # the same file may hold other keys
        reflecting = settings.reflector
        keys = None if reflecting is None else await asyncio.to_thread(reflecting.keys, self._folder)
        granting = settings.throughput
        token = "" if granting is None else await asyncio.to_thread(granting.token, self._folder)
        await self.probing.renew_keys(settings)
        self.settings = settings
        self.clock.steps.remember_for(_longest_sample_ns(settings))
        if self.reflector is not None and reflecting is not None:
            self.reflector.update(reflecting.rules(), keys, reflecting.dscp)
        if self._serving is not None and granting is not None:
            self._serving.update(granting, token)
        logging.getLogger().setLevel(settings.log_level.upper())
        await self.probing.update(settings)
        self._follow_routes()
        self._rota.follow(settings.throughput_paths)
        log.info("reloaded: %d paths", len(settings.paths))

    async def run(self, stop: asyncio.Event) -> bool:
        """Measure and reflect until `stop` is set, then drain: every probe under way is answered or given up.

        Returns:
            Whether the conservation law held to the end, with nothing left in flight.

        Raises:
            HttpBindError: the HTTP address cannot be used.
            ThroughputBindError: nor that of the data sockets.
        """
        sharpen_timers()
        await self.clock.refresh()
        keep_clock = asyncio.create_task(self.clock.keep_fresh(), name="read the clock")
        forget = asyncio.create_task(self._forget(), name="forget old packets")
        follow_routes = asyncio.create_task(self._routes.run(), name="follow routes")
        test_lines = asyncio.create_task(self._rota.run(), name="test lines")
        sockets: Sequence[socket.socket] = ()
        try:
            if self.settings.listen is not None:
                sockets = await bind(self.settings.listen)
            async with self._taking_over:  # a reload that is asked for meanwhile follows
                on_reload(self._reload_soon)
                if self.reflector is not None:
                    self.reflector.start()
                await self.probing.start()
                if sockets:
                    made = await asyncio.to_thread(_imported_serving)
                    self._serving = made(self, self.settings, self._folder)
                    await self._serving.start(sockets)
            self._ready = True
            begin_collecting()
            give_back()
            self._supervision.ready(self._in_short)
            log.info("%s, clock %s", self._in_short, self.clock.quality.source)
            log.info("hardware timestamps: %s", self.card.explanation)
            async with self._supervision.kept_alive():
                await self._until(stop)
            self._ready = False
            self._supervision.stopping()
            follow_routes.cancel()
            test_lines.cancel()
            await self.probing.stop()
            return self._report()
        finally:
            keep_clock.cancel()
            forget.cancel()
            follow_routes.cancel()
            test_lines.cancel()
            await asyncio.gather(follow_routes, test_lines, return_exceptions=True)
            await self.probing.close()
            if self.reflector is not None:
                self.reflector.close()
            if self._serving is not None:
                await self._serving.close()
            for one in sockets:
                one.close()
            if self.card.clock is not None:
                self.card.clock.close()

    @property
    def _in_short(self) -> str:
        reflecting = 0 if self.reflector is None else len(self.reflector.sockets)
        return f"site {self.settings.site}: {len(self.paths)} paths, {reflecting} reflector sockets"

    async def _load(self, line: ThroughputPathSettings, interface: str | None, until_ns: int | None) -> None:
        """A throughput test fills a line, and what else leaves by its interface, from now on, or does so until then."""
        if until_ns is None:
            through = frozenset[str]() if interface is None else await self.probing.hosts_through(interface)
            self.probing.begin_load(line.target, line.address.host, through)
        else:
            self.probing.end_load(line.target, line.address.host, until_ns)

    def serve_load(self, peer: str, until_ns: int) -> None:
        """A test of another agent fills the line to him until then."""
        self.probing.begin_load("", peer)
        self.probing.end_load("", peer, until_ns)

    def give_way(self) -> None:
        """Let what is overdue be sent; for whoever keeps the event loop busy for long."""
        self.probing.give_way()

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
        failing = asyncio.create_task(self.probing.failure())
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
            for path in self.paths
            for equation in path.ledger.broken_laws()
        ]
        sent = sum(path.ledger.sent for path in self.paths)
        in_flight = sum(path.ledger.in_flight for path in self.paths)
        log.info(
            "drained: %d probes sent, %d in flight, conservation law %s", sent, in_flight, broken or "holds"
        )
        return not broken and in_flight == 0

    def _follow_routes(self) -> None:
        self._routes.follow(self.probing.routed)

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_EVERY_S)
            self.recorder.forget(time.time_ns())

    # What the API shows

    @property
    def recorded(self) -> list[Recorded]:
        """All paths, with the numbers under which the recorder knows them."""
        return self.probing.recorded

    @property
    def routes(self) -> Sequence[tuple[PathLabels, RouteHistory]]:
        """What is known of the ways of paths that are traced."""
        return list(self._routes.histories.items())

    @property
    def turns(self) -> TurnHistory:
        """The latest turns of the lines that are tested."""
        return self._rota.history

    # What /metrics shows

    @property
    def lines(self) -> Sequence[tuple[PathLabels, LineRecord]]:
        """What has come of throughput tests of lines."""
        return self._rota.records

    @property
    def paths(self) -> Sequence[ProbedPath]:
        """All paths, those of a kind together."""
        return self.probing.paths

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
        return self.probing.send_lag

    @property
    def discarded_replies(self) -> dict[tuple[str, str], int]:
        """What came and was no reply to a probe, by kind of probe and reason."""
        return self.probing.discarded

    @property
    def follow_ups(self) -> dict[str, int]:
        """Replies of which the next one should tell when they left, by whether it did."""
        return self.probing.follow_ups

    @property
    def reflected(self) -> dict[str, int]:
        """Datagrams that reached the reflector, by result."""
        return {} if self.reflector is None else dict(self.reflector.results)

    @property
    def http_closed(self) -> dict[str, int]:
        """Connections to the HTTP server that were not kept, by reason."""
        return {} if self._serving is None else self._serving.closed

    @property
    def throughput(self) -> ThroughputControl | None:
        """Who grants throughput tests; None: nobody, or nothing is served yet."""
        return None if self._serving is None else self._serving.throughput

    @property
    def not_ready(self) -> str:
        """Why the agent is not ready; empty where it is."""
        return "" if self._ready else "starting"

    @property
    def transmit_stamps(self) -> str:
        """Where transmit times come from."""
        return least_method(one.transmit_method for one in self._sockets)

    @property
    def receive_stamps(self) -> str:
        """Where receive times come from."""
        return least_method(one.receive_method for one in self._sockets)

    @property
    def plan_version(self) -> str:
        """The plan that the configuration was compiled from."""
        return self.settings.plan_version

    def settle(self) -> None:
        """Count what has been sent up to now."""
        self.probing.settle()

    def monotonic_ns(self) -> int:
        """The time by which recent minima are judged."""
        return time.monotonic_ns()

    @property
    def _sockets(self) -> list[TimestampedSocket]:
        reflecting = [] if self.reflector is None else self.reflector.sockets
        return [*self.probing.sockets, *reflecting]


def _imported_serving() -> type[Serving]:
    """Import what serves, in a thread, while probes are sent: those wait for the interpreter's lock only shortly."""
    turn_s = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN_S)
    try:
        from agent.serving import Serving
    finally:
        sys.setswitchinterval(turn_s)
    return Serving


async def _try_line(line: ThroughputPathSettings, token: str) -> Attempt:
    """Test a line once; what that needs is imported when it is needed, for that is rare."""
    test = await asyncio.to_thread(_imported_test)
    return await test(line, token)


def _imported_test() -> LineTest:
    from agent.throughput.trial import try_line

    return try_line


def _changed(before: AgentSettings, after: AgentSettings) -> list[str]:
    """What differs of that which only a restart can change."""
    changed = [name for name in _FIXED if getattr(before, name) != getattr(after, name)]
    listening, to_listen = (one.throughput and one.throughput.listen for one in (before, after))
    if listening != to_listen:
        changed.append("throughput.listen")
    if before.reflector is None or after.reflector is None:
        return [*changed, "reflector"] if before.reflector is not after.reflector else changed
    return changed + [
        f"reflector.{name}"
        for name in _FIXED_OF_REFLECTOR
        if getattr(before.reflector, name) != getattr(after.reflector, name)
    ]


def _longest_sample_ns(settings: AgentSettings) -> int:
    """How long a packet may take whose times must not cross a step of the clock."""
    return 2 * max((path.timeout for path in settings.paths), default=0)
