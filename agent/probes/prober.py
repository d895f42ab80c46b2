"""Probing many paths by few sockets, everything done for many packets at once, whatever the kind of probe.

Time goes in beats. On each beat the packets that are due until the next one are written beforehand, what has come in
is taken, and what has timed out is given up. A thread of its own sends the packets when they are due
(`agent.probes.pump`): those within the same millisecond, or a little less, leave together, and what is overdue is not
sent at all. Replies can wait for the beat, for the kernel has taken the time of their arrival.

Paths of one address family that are marked alike, and ask for the like, share a socket.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Container, Hashable, Sequence
from typing import Any, Final

import numpy as np

from agent.core.histogram import BUCKETS, Histogram
from agent.core.interval import Integers
from agent.core.ledger import Ledgers, buckets_of
from agent.core.measurement import Measurements, Probes
from agent.core.probe_ring import with_room
from agent.core.schedule import Streams, spread_phases
from agent.core.session import Replies, ReplyFate, SenderSessions
from agent.net.addresses import decode_address, encode_address
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.planned import OVERDUE, PlannedOutlet
from agent.probes.probed import OutletKind, ProbedPath
from agent.probes.pump import Pump
from agent.probes.resolution import Resolver, family_of
from agent.probes.routes import TracedFlow
from agent.probes.timeouts import Timeouts
from agent.runtime.pace import LONGEST_BEAT_NS, MAX_PATHS
from agent.runtime.quantities import Endpoint
from agent.settings import PathSettings

_BUNCH_NS: Final = 1_000_000
_SHORTEST_BEAT_NS: Final = 1_000_000
_UNRESOLVED: Final = -1
_NOT_PERMITTED: Final = -2
_UNSENDABLE: Final = {_UNRESOLVED: "unresolved", _NOT_PERMITTED: "not_permitted"}
_RESOLVED_AT_ONCE_S: Final = 1.0
_SECOND_NS: Final = 1_000_000_000


class Prober:
    """Probes all paths until it is stopped. Each path has a row of its own in every table, and keeps it.

    Args:
        kind: what packets look like and how replies are read.
        site: the label `source`.
        paths: what to probe.
        clock: the quality of the local clock.
        rng: draws the phases, and seeds what draws the send times.
        record: called with the measurements of all probes.
        probes: stop sending after so many probes of each path; None: never.

    Attributes:
        one_way: whether one-way delays are measured.
        ledgers, sessions: the counts and the sessions of all paths.
        send_lag: how late probes were sent.
        discarded: datagrams that were no reply to a probe, by reason.
    """

    def __init__(
        self,
        kind: OutletKind,
        site: str,
        paths: Sequence[PathSettings],
        clock: LocalClock,
        rng: random.Random,
        *,
        record: Callable[[Measurements], None] = lambda measurements: None,
        probes: int | None = None,
    ) -> None:
        self.one_way = kind.one_way
        self.ledgers = Ledgers(max(1, len(paths)))
        self.sessions = SenderSessions(self.ledgers, clock.steps, record, one_way=kind.one_way)
        self.send_lag = Histogram()
        self.discarded: Counter[str] = Counter()
        self._kind = kind
        self._site = site
        self._clock = clock
        self._rng = rng
        self._probes = probes
        self._rows: list[ProbedPath] = []
        self._loaded: dict[tuple[str, str], Integers] = {}
        self._timeouts = Timeouts()
        self._outlet_of: Integers = np.zeros(0, np.int64)
        self._streams = Streams(rng.getrandbits(128))
        self._outlets: dict[tuple[socket.AddressFamily, Hashable], PlannedOutlet[Any]] = {}
        self._destinations = Destinations()
        self._resolver = Resolver(self._found)
        self._beat_ns = LONGEST_BEAT_NS
        self._beating = False
        self._next_beat: asyncio.TimerHandle | None = None
        self._looking: set[asyncio.Task[None]] = set()
        self._pump: Pump | None = None
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        self._idle = asyncio.Event()
        for settings in paths:
            self._open(settings)

    @property
    def paths(self) -> list[ProbedPath]:
        """What is probed, and what was and still has probes under way."""
        now_ns = time.monotonic_ns()
        return [
            path
            for path in self._rows
            if path.gone_ns is None or path.ledger.in_flight or now_ns < path.gone_ns
        ]

    @property
    def follow_ups(self) -> dict[str, int]:
        """How many replies were and were not told of by the next one."""
        found: Counter[str] = Counter()
        for outlet in self._outlets.values():
            found.update(outlet.follow_ups)
        return dict(found)

    def flow(self, path: ProbedPath) -> TracedFlow | None:
        """The five-tuple that a path's packets have; None while its target's address is not known."""
        number = int(self._outlet_of[path.ledger.row])
        if number < 0:
            return None
        (socket_, *_) = list(self._outlets.values())[number].sockets
        host, port = decode_address(self._destinations.address(path.ledger.row))
        return TracedFlow(socket_.address[1], Endpoint(host, port), path.settings.dscp)

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The sockets in use that give the kernel's times."""
        return [socket_ for outlet in self._outlets.values() for socket_ in outlet.sockets]

    async def start(self) -> None:
        """Resolve the targets and begin to send; a name that takes long or is unknown is waited for by nobody."""
        loop = asyncio.get_running_loop()
        self._pump = Pump(lambda error: loop.call_soon_threadsafe(self._fail, error))
        await self._begin(self._rows)
        self._looking.add(loop.create_task(self._resolver.keep_resolving(), name="resolve targets"))
        self._pump.start()
        self._beating = True
        self._beat()

    def has_room_for(self, paths: Sequence[PathSettings]) -> bool:
        """Whether these paths can be probed from now on: each that is new takes a row, whose number is its SSID, and
        none is given to another."""
        known = {path.settings.identity() for path in self.paths}
        new = sum(settings.identity() not in known for settings in paths)
        return len(self._rows) + new <= MAX_PATHS

    async def update(self, paths: Sequence[PathSettings]) -> None:
        """Probe these paths from now on; what stays keeps its counts and its session.

        A path is the same where its labels are; where other settings of it have changed it goes on under the new ones.
        Of a path that is gone what is planned is still sent, and it is shown until nothing of it is under way: where
        it is wanted again by then, it goes on, for there are never two of the same labels.
        """
        wanted = {settings.identity(): settings for settings in paths}
        known = {path.settings.identity(): path for path in self.paths}
        gone = [path for identity, path in known.items() if identity not in wanted and path.gone_ns is None]
        planned_ns = time.monotonic_ns() + 2 * LONGEST_BEAT_NS
        for path in gone:
            path.gone_ns = planned_ns + path.settings.timeout
        self._streams.stop([path.ledger.row for path in gone])
        self._resolver.forget(path.ledger.row for path in gone)
        for outlet in self._outlets.values():
            for path in gone:
                outlet.leave(path.ledger.row)
        begun = [self._open(settings) for identity, settings in wanted.items() if identity not in known]
        for identity, path in known.items():
            settings = wanted.get(identity)
            if settings is None:
                continue
            returns, path.gone_ns = path.gone_ns is not None, None
            if self._change(path, settings) or returns:
                begun.append(path)
        await self._begin(begun)

    def _open(self, settings: PathSettings) -> ProbedPath:
        path = ProbedPath(settings, settings.ledger(self._site, self.ledgers, time.time_ns()))
        self.sessions.open(path.ledger, settings.timeout, settings.pace().window)
        self._rows.append(path)
        row = path.ledger.row
        self._timeouts.set(row, settings.timeout)
        self._outlet_of = with_room(self._outlet_of, row + 1)
        self._outlet_of[row] = _UNRESOLVED
        return path

    def _change(self, path: ProbedPath, settings: PathSettings) -> bool:
        """Go on with a path under other settings, if they are; whether its schedule or its address is another."""
        before, path.settings = path.settings, settings
        if settings == before:
            return False
        path.ledger.promise(*settings.promises())
        self.sessions.change(path.ledger, settings.timeout, settings.pace().window)
        self._timeouts.set(path.ledger.row, settings.timeout)
        if settings.address != before.address:
            # what is sent to where it was before would be counted for where it is now
            self._streams.stop([path.ledger.row])
            self._outlet_of[path.ledger.row], path.resolved = _UNRESOLVED, False
        return settings.sending() != before.sending()

    async def _begin(self, begun: Sequence[ProbedPath]) -> None:
        """Look up where paths are, and send to them from now on, each at a phase of its own."""
        for path in begun:
            self._resolver.look_up(path.ledger.row, path.settings.address)
        looking = asyncio.create_task(self._resolver.resolve([path.ledger.row for path in begun]))
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)
        await asyncio.wait((looking,), timeout=_RESOLVED_AT_ONCE_S)
        intervals_ns = [path.settings.interval for path in begun]
        now_ns = time.monotonic_ns()
        first_ns = [now_ns + phase for phase in spread_phases(intervals_ns, self._rng)]
        schedules = [path.settings.schedule for path in begun]
        self._streams.set(
            [path.ledger.row for path in begun], schedules, intervals_ns, first_ns, self._probes
        )
        self._choose_pace()
        if self._beating:
            if self._next_beat is not None:
                self._next_beat.cancel()
            self._beat()

    def _choose_pace(self) -> None:
        """Take the lengths of a bunch and of a beat from what is probed now, and how fast."""
        intervals_ns = [path.settings.interval for path in self._rows if path.gone_ns is None]
        if self._pump is not None:
            shortest_ns = min(intervals_ns, default=_SECOND_NS)
            # a whole number of them in the shortest interval, so that its probes leave evenly
            self._pump.bunch_ns = shortest_ns // -(-shortest_ns // _BUNCH_NS)
        per_second = sum(_SECOND_NS / interval_ns for interval_ns in intervals_ns)
        room = min((outlet.waiting_room for outlet in self._outlets.values()), default=0)
        if room and per_second:
            # replies can wait, all of them coming to one outlet, until its room for them is full
            fitting_ns = int(room / per_second * _SECOND_NS)
            self._beat_ns = max(_SHORTEST_BEAT_NS, min(LONGEST_BEAT_NS, fitting_ns))

    async def stop(self) -> None:
        """Stop sending, wait until every probe under way is answered or given up, and close."""
        self._streams.stop()
        for outlet in self._outlets.values():
            outlet.forget_unsent()
        if self._pump is not None:
            await asyncio.to_thread(self._pump.stop)
        await self.idle()
        self._release(time.monotonic_ns())
        await self.close()

    async def close(self) -> None:
        """Close the sockets at once, whatever is under way; closing again changes nothing."""
        if self._next_beat is not None:
            self._next_beat.cancel()
        for looking in self._looking:
            looking.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        if self._pump is not None:
            await asyncio.to_thread(self._pump.stop)
        for outlet in self._outlets.values():
            outlet.close()

    async def idle(self) -> None:
        """Wait until nothing is left to send and nothing is under way.

        Raises:
            Exception: what ended the sending, should it have ended by itself.
        """
        while self._streams.next_due_ns is not None or self._busy:
            if self._failure is not None:
                raise self._failure
            self._idle.clear()
            await self._idle.wait()

    async def failure(self) -> Exception:
        """Wait for the sending to end by itself, which it should not, and give what ended it."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    def give_way(self) -> None:
        """Let what is overdue be sent; for whoever keeps the event loop busy for long, every now and then."""
        if self._pump is not None:
            self._pump.give_way()

    def settle(self) -> None:
        """Count what has been sent up to now."""
        for outlet in self._outlets.values():
            self._settle(outlet)

    # Load

    @property
    def hosts(self) -> dict[int, str]:
        """The address to which each path is sent, by row; of those that are known."""
        known = [path.ledger.row for path in self._rows if self._outlet_of[path.ledger.row] >= 0]
        return {row: decode_address(self._destinations.address(row))[0] for row in known}

    def begin_load(self, target: str, host: str, now_ns: int, through: Container[str] = frozenset()) -> None:
        """A throughput test fills the line to a target from now on (Unix wall time), and the way to some hosts."""
        hosts = self.hosts if through else {}
        rows = [
            path.ledger.row
            for path in self._rows
            if target == path.settings.target
            or host == path.settings.address.host
            or hosts.get(path.ledger.row) in through
        ]
        self._loaded[target, host] = np.array(rows, np.int64)
        self.sessions.loads.begin(self._loaded[target, host], now_ns)

    def end_load(self, target: str, host: str, until_ns: int) -> None:
        """It does so until then, which may still come (Unix wall time)."""
        self.sessions.loads.end(self._loaded.pop((target, host)), until_ns)

    # The clockwork

    @property
    def _busy(self) -> bool:
        """Whether something waits to be sent, to be counted as sent, or for its reply."""
        return bool(self._timeouts) or any(outlet.pending for outlet in self._outlets.values())

    def _beat(self) -> None:
        try:
            self._count_and_plan()
        except (
            Exception
        ) as error:  # whoever is told of measurements may fail; without a next beat all would be silent
            self._fail(error)

    def _count_and_plan(self) -> None:
        now_ns = time.monotonic_ns()
        for outlet in self._outlets.values():
            self._drain(outlet, now_ns)
        self._give_up(now_ns)
        self._plan(now_ns)
        next_due_ns = self._streams.next_due_ns
        if self._busy or next_due_ns is not None:
            wait_ns = self._beat_ns
            if next_due_ns is not None and not self._busy:
                wait_ns = max(wait_ns, next_due_ns - now_ns - self._beat_ns)
            loop = asyncio.get_running_loop()
            self._next_beat = loop.call_later(wait_ns / _SECOND_NS, self._beat)
        else:
            self._idle.set()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._failed.set()
        self._idle.set()

    # Sending

    def _plan(self, now_ns: int) -> None:
        """Write the packets that are due until the beat after the next one."""
        due = self._streams.take(now_ns, now_ns + 2 * self._beat_ns)
        for row, missed in due.missed.items():
            self._rows[row].ledger.not_sent["overdue"] += missed
        if len(due.rows) == 0:
            return
        outlets = self._outlet_of[due.rows]
        for state, reason in _UNSENDABLE.items():
            for row in due.rows[outlets == state].tolist():
                self._rows[row].ledger.not_sent[reason] += 1
        for number, outlet in enumerate(self._outlets.values()):
            chosen = outlets == number
            if chosen.any():
                probes = self.sessions.begin(due.rows[chosen])
                outlet.plan(probes, due.times_ns[chosen])
        if self._pump is not None:
            self._pump.wake()

    def _settle(self, outlet: PlannedOutlet[Any]) -> None:
        """Count what was sent since the last time, and wait for its replies."""
        taken, not_sent = outlet.settle()
        for row, code in not_sent:
            reason = "overdue" if code == OVERDUE else errno.errorcode.get(code, "error").lower()
            self._rows[row].ledger.not_sent[reason] += 1
            if code == OVERDUE:
                self._streams.give_back(row)
        if taken is None:
            return
        self.sessions.sent(taken.probes, taken.wall_ns, taken.wire)
        lags_ns = taken.sent_ns - taken.due_ns
        counts = np.bincount(buckets_of(lags_ns), minlength=BUCKETS)
        self.send_lag.merge(Histogram(counts.tolist(), int(lags_ns.sum())))
        self._timeouts.await_replies(taken.probes, int(taken.sent_ns[-1]))

    # Receiving

    def _drain(self, outlet: PlannedOutlet[Any], now_ns: int) -> None:
        """Take what has come to a socket.

        Every reply is read before it is looked up what was sent, and when: so none is unknown for having been quick.
        """
        more = True
        while more:
            more = outlet.receive()
            self._settle(outlet)
            self._clock.watch()
            outlet.take_stamps(self.sessions)
            self._judge(outlet, outlet.replies(self.discarded), now_ns)

    def _judge(self, outlet: PlannedOutlet[Any], replies: Replies, now_ns: int) -> None:
        if len(replies.rows):
            fates = self.sessions.replied(replies, outlet.departure_ns, now_ns)
            if unknown := int(np.count_nonzero(fates == ReplyFate.UNKNOWN)):
                self.discarded["unknown"] += unknown

    def _release(self, now_ns: int, probes: Probes | None = None) -> None:
        """Judge replies to these probes, or all, that are held back for what a later one may say."""
        for outlet in self._outlets.values():
            self._judge(outlet, outlet.release(probes), now_ns)

    def _give_up(self, now_ns: int) -> None:
        for probes in self._timeouts.over(now_ns):
            self._release(now_ns, probes)
            self.sessions.expired(probes)

    # Names

    def _found(self, row: int, address: str) -> None:
        """Send a path to an address from now on; its socket is opened on first use."""
        path, family = self._rows[row], family_of(address)
        key = family, self._kind.group(path.settings)
        if key not in self._outlets:
            try:
                outlet = self._kind(family, path.settings, self._destinations, self._clock)
            except PermissionError:
                self._outlet_of[row] = _NOT_PERMITTED
                raise
            self._outlets[key] = outlet
            self._choose_pace()
            if self._pump is not None:
                self._pump.add(outlet)
        self._destinations.set(row, encode_address(address, path.settings.address.port))
        self._outlets[key].serve(row, path.settings, path.report)
        number = list(self._outlets).index(key)
        for other, outlet in enumerate(self._outlets.values()):
            if other != number:
                outlet.leave(row)
        self._outlet_of[row] = number
        path.resolved = True
