"""The STAMP sender: many paths, few sockets, one timer, and everything done for many packets at once.

Time goes in beats. On each beat the packets that are due until the next one are written beforehand, what has come in
is taken, and what has timed out is given up. In between only the system call that sends is made: packets that are due
within the same millisecond, or quarter of the shortest interval, leave together; never more, and what is overdue is
not sent at all. Replies can wait for the beat, for the kernel has taken the time of their arrival.

Paths are sent from one socket per address family and code point and told apart by their session identifier.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import random
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from agent.core.histogram import BUCKETS, Histogram
from agent.core.interval import UNKNOWN_NS, Integers
from agent.core.ledger import Ledgers, PathLedger, buckets_of
from agent.core.measurement import Measurements, Probes
from agent.core.schedule import PeriodicStreams, spread_phases
from agent.core.session import ReplyFate, SenderSessions
from agent.core.timestamps import ntp_from_ns
from agent.net.datagram import TimestampedSocket, encode_address
from agent.net.local_clock import LocalClock
from agent.net.timer import WakeUp
from agent.probes.outlet import Outlet
from agent.probes.replies import ReplyReader
from agent.settings import PathSettings

_BUNCH_NS: Final = 1_000_000
_BUNCHES_PER_INTERVAL: Final = 4
_LONGEST_BEAT_NS: Final = 20_000_000
_SHORTEST_BEAT_NS: Final = 1_000_000
_QUEUED_OCTETS: Final = 2 * 1024
"""What a reply and a transmit time take of a socket's receive buffer, while they wait for the beat."""
_OVERDUE_NS: Final = 20_000_000
_RESOLVE_AGAIN_S: Final = 30.0
_UNRESOLVED: Final = -1
_SECOND_NS: Final = 1_000_000_000

log = logging.getLogger(__name__)


class StampPath:
    """One path being probed: its settings, its counts, and where it stands."""

    def __init__(self, settings: PathSettings, ledger: PathLedger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.resolved = False


class StampProber:
    """Probes all paths until it is stopped. The row of a path is its place among the paths; its SSID is one more.

    Args:
        site: the label `source`.
        paths: what to probe.
        clock: the quality of the local clock.
        rng: draws the phases.
        record: called with the measurements of all probes.
        probes: stop sending after so many probes of each path; None: never.

    Attributes:
        ledgers, sessions: the counts and the sessions of all paths.
        send_lag: how late probes were sent.
        discarded: datagrams that were no reply to a probe, by reason.
    """

    def __init__(
        self,
        site: str,
        paths: Sequence[PathSettings],
        clock: LocalClock,
        rng: random.Random,
        *,
        record: Callable[[Measurements], None] = lambda measurements: None,
        probes: int | None = None,
    ) -> None:
        self.ledgers = Ledgers(max(1, len(paths)))
        self.sessions = SenderSessions(self.ledgers, record)
        self.paths = [StampPath(settings, settings.ledger(site, self.ledgers)) for settings in paths]
        for path in self.paths:
            self.sessions.open(path.ledger, path.settings.timeout, _window(path.settings))
        self.send_lag = Histogram()
        self.discarded: Counter[str] = Counter()
        self._clock = clock
        self._rng = rng
        self._probes = probes
        self._intervals_ns = [settings.interval for settings in paths]
        self._timeouts_ns: Integers = np.array([settings.timeout for settings in paths], np.int64)
        self._bunch_ns = max(
            1, min([_BUNCH_NS, *(each // _BUNCHES_PER_INTERVAL for each in self._intervals_ns)])
        )
        self._streams = PeriodicStreams([], 0, [])
        self._outlets: dict[tuple[socket.AddressFamily, int], Outlet] = {}
        self._outlet_of: Integers = np.full(len(paths), _UNRESOLVED)
        self._replies = ReplyReader(len(paths), clock)
        self._under_way: dict[int, deque[tuple[int, Probes]]] = {}
        self._beat_ns = _LONGEST_BEAT_NS
        self._next_beat_ns = 0
        self._timer = WakeUp()
        self._resolver: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The sockets in use."""
        return [outlet.socket for outlet in self._outlets.values()]

    async def start(self) -> None:
        """Resolve the targets and begin to send; a name that cannot be resolved is tried again in the background."""
        await asyncio.gather(*(self._resolve(path) for path in self.paths))
        phases = spread_phases(self._intervals_ns, self._rng)
        self._streams = PeriodicStreams(self._intervals_ns, time.monotonic_ns(), phases, self._probes)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._timer.fileno(), self._wake)
        self._resolver = loop.create_task(self._keep_resolving(), name="resolve targets")
        self._set_timer()

    async def stop(self) -> None:
        """Stop sending, wait until every probe under way is answered or given up, and close the sockets."""
        self._streams.stop()
        for outlet in self._outlets.values():
            outlet.forget_unsent()
        await self.idle()
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.gather(self._resolver, return_exceptions=True)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._timer.fileno())
        self._timer.close()
        for outlet in self._outlets.values():
            outlet.socket.close()

    async def idle(self) -> None:
        """Wait until nothing is left to send and nothing is under way."""
        while self._streams.next_due_ns is not None or self._busy:
            self._idle.clear()
            self._set_timer()
            await self._idle.wait()

    def settle(self) -> None:
        """Count what has been sent up to now."""
        for outlet in self._outlets.values():
            self._settle(outlet)

    # The clockwork

    @property
    def _busy(self) -> bool:
        """Whether something waits to be sent, to be counted as sent, or for its reply."""
        return any(self._under_way.values()) or any(outlet.pending for outlet in self._outlets.values())

    def _wake(self) -> None:
        now_ns = time.monotonic_ns()
        self._send_due(now_ns)
        if now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + self._beat_ns
            self.settle()
            self._take_replies(now_ns)
            self._give_up(now_ns)
            self._plan(now_ns)
            self._send_due(now_ns)
        self._set_timer()
        if not self._busy and self._streams.next_due_ns is None:
            self._idle.set()

    def _set_timer(self) -> None:
        """Wake up for the next send, on a grid so that what is close leaves together, or else for the next beat."""
        planned = [due_ns for outlet in self._outlets.values() if (due_ns := outlet.next_due_ns) is not None]
        if planned:  # before the next beat
            self._timer.at(-(-min(planned) // self._bunch_ns) * self._bunch_ns)
        elif self._busy:
            self._timer.at(self._next_beat_ns)
        elif (next_due_ns := self._streams.next_due_ns) is not None:
            self._timer.at(max(self._next_beat_ns, next_due_ns))
        else:
            self._timer.acknowledge()

    # Sending

    def _plan(self, now_ns: int) -> None:
        """Write the packets that are due until the next beat."""
        due = self._streams.take(now_ns, self._next_beat_ns)
        for row, missed in due.missed.items():
            self.paths[row].ledger.not_sent["overdue"] += missed
        if len(due.rows) == 0:
            return
        outlets = self._outlet_of[due.rows]
        for row in due.rows[outlets == _UNRESOLVED].tolist():
            self.paths[row].ledger.not_sent["unresolved"] += 1
        for number, outlet in enumerate(self._outlets.values()):
            chosen = outlets == number
            if chosen.any():
                probes = self.sessions.begin(due.rows[chosen])
                outlet.plan(probes, due.times_ns[chosen], self._clock.estimate_wire)

    def _send_due(self, now_ns: int) -> None:
        for outlet in self._outlets.values():
            if (due_ns := outlet.next_due_ns) is not None and due_ns <= now_ns:
                for row in outlet.skip(now_ns - _OVERDUE_NS):
                    self.paths[row].ledger.not_sent["overdue"] += 1
                    self._streams.remaining[row] += 1
                wall_ns = time.time_ns()
                outlet.send(now_ns, wall_ns, ntp_from_ns(wall_ns))

    def _settle(self, outlet: Outlet) -> None:
        """Count what was sent since the last time, and wait for its replies."""
        taken, refused = outlet.settle()
        for row, code in refused:
            self.paths[row].ledger.not_sent[errno.errorcode.get(code, "error").lower()] += 1
        if taken is None:
            return
        self.sessions.sent(taken.probes, taken.wall_ns, taken.wire)
        lags_ns = taken.sent_ns - taken.due_ns
        counts = np.bincount(buckets_of(lags_ns), minlength=BUCKETS)
        self.send_lag.merge(Histogram(counts.tolist(), int(lags_ns.sum())))
        timeouts_ns = self._timeouts_ns[taken.probes.rows]
        last_ns = int(taken.sent_ns[-1])
        for timeout_ns in set(timeouts_ns.tolist()):
            same = timeouts_ns == timeout_ns
            probes = Probes(taken.probes.rows[same], taken.probes.sequences[same])
            self._under_way.setdefault(timeout_ns, deque()).append((last_ns + timeout_ns, probes))

    # Receiving

    def _take_replies(self, now_ns: int) -> None:
        """Drain both queues of every socket: transmit times first, for the replies are measured from them."""
        for outlet in self._outlets.values():
            while outlet.take_stamps(self.sessions) >= outlet.socket.batch:
                pass
            arrived = outlet.socket.batch
            while arrived >= outlet.socket.batch:
                arrivals = outlet.socket.receive_arrays()
                arrived = len(arrivals.octets)
                if arrived:
                    replies = self._replies.read(arrivals, self.discarded)
                    stamping_ns = outlet.lags.bound_ns
                    fates = self.sessions.replied(
                        replies, UNKNOWN_NS if stamping_ns is None else stamping_ns, now_ns
                    )
                    if unknown := int(np.count_nonzero(fates == ReplyFate.UNKNOWN)):
                        self.discarded["unknown"] += unknown

    def _give_up(self, now_ns: int) -> None:
        for queue in self._under_way.values():
            while queue and queue[0][0] <= now_ns:
                self.sessions.expired(queue.popleft()[1])

    # Names

    async def _resolve(self, path: StampPath) -> None:
        """Look up one target and give it a socket; a failure is said once and leaves the path unresolved."""
        endpoint, row = path.settings.address, path.ledger.row
        try:
            address = await _look_up(endpoint.host)
            family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
            number = self._outlet(family, path.settings.dscp)
            self._replies.expect(row, encode_address(address, endpoint.port))
        except OSError as error:
            log.warning(
                "target %s: cannot resolve %s, trying again: %s", path.settings.target, endpoint.host, error
            )
            return
        self._outlet_of[row] = number
        path.resolved = True

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE_AGAIN_S)
            await asyncio.gather(*(self._resolve(path) for path in self.paths if not path.resolved))

    def _outlet(self, family: socket.AddressFamily, dscp: int) -> int:
        """The number of the socket for these packets; it is opened on first use."""
        if (family, dscp) not in self._outlets:
            outlet = self._outlets[family, dscp] = Outlet(family, dscp, self._replies.destinations)
            self._beat_ns = min(self._beat_ns, self._longest_beat_ns(outlet.socket))
        return list(self._outlets).index((family, dscp))

    def _longest_beat_ns(self, outlet: TimestampedSocket) -> int:
        """How long replies can wait, all of them coming to one socket, before half of its buffer is full."""
        per_second = sum(_SECOND_NS / interval_ns for interval_ns in self._intervals_ns)
        fitting = outlet.receive_buffer_octets / 2 / _QUEUED_OCTETS
        return max(_SHORTEST_BEAT_NS, int(fitting / per_second * _SECOND_NS))


def _window(settings: PathSettings) -> int:
    """How many probes must be remembered: those of four timeouts, and those planned beforehand."""
    return (4 * settings.timeout + 2 * _LONGEST_BEAT_NS) // settings.interval + 16


async def _look_up(host: str) -> str:
    """The first address of a name; an address is its own.

    Raises:
        OSError: there is none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    address = str(found[0][4][0])
    scope = found[0][4][3] if len(found[0][4]) == 4 else 0
    return f"{address}%{scope}" if scope and "%" not in address else address
