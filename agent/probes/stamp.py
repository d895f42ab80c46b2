"""The STAMP sender: many paths, few sockets, one timer.

Paths are sent from one socket per address family and code point and told apart by their session identifier. Probes
that are due within the same millisecond, or quarter of the shortest interval, leave in one batch; never more, and
what is overdue by a whole interval is not sent at all.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import ipaddress
import logging
import random
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from agent.core.exceptions import WireError
from agent.core.histogram import Histogram
from agent.core.ledger import PathLedger
from agent.core.recent import RecentLags
from agent.core.schedule import PeriodicStream, spread_phases
from agent.core.session import Measurement, ReplyFate, SenderSession, Stamps
from agent.core.stamp import ReflectorPacket, SenderPacket
from agent.core.timestamps import ErrorEstimate, ns_from_ntp, ns_from_ptp
from agent.net.datagram import BATCH, Datagram, TimestampedSocket, encode_address
from agent.net.local_clock import LocalClock
from agent.net.timer import WakeUp
from agent.settings import PathSettings

_BUNCH_NS: Final = 1_000_000
_BUNCHES_PER_INTERVAL: Final = 4
_BUSY_PER_SECOND: Final = 2_000
_DRAIN_EVERY_NS: Final = 10_000_000
_SECOND_NS: Final = 1_000_000_000
_RESOLVE_AGAIN_S: Final = 30.0
_SEQUENCE_MASK: Final = 0xFFFF_FFFF

log = logging.getLogger(__name__)


class StampPath:
    """One path being probed: its settings, its counts, and where it stands."""

    def __init__(
        self, settings: PathSettings, site: str, ssid: int, record: Callable[[Measurement], None] | None
    ) -> None:
        self.settings = settings
        self.ssid = ssid
        self.ledger: PathLedger = settings.ledger(site)
        self.session = SenderSession(
            self.ledger, settings.timeout, 4 * settings.timeout // settings.interval + 16, record
        )
        self.stream = PeriodicStream(settings.interval, 0)
        self.outlet: _Outlet | None = None
        self.destination = b""

    @property
    def resolved(self) -> bool:
        """Whether the target's address is known."""
        return self.outlet is not None


class _Outlet:
    """A socket that several paths share, and what is known of its packets under way."""

    def __init__(self, family: socket.AddressFamily, dscp: int) -> None:
        self.socket = TimestampedSocket(family, dscp=dscp)
        self.paths: dict[int, StampPath] = {}
        self.due: list[tuple[StampPath, int, bytes]] = []
        self.unstamped: dict[int, tuple[SenderSession, int]] = {}
        self.lags = RecentLags()


class StampProber:
    """Probes all paths until it is stopped.

    Args:
        site: the label `source`.
        paths: what to probe.
        clock: the quality of the local clock.
        rng: draws the phases.
        record: called with every probe's measurement.
        probes: stop sending after so many probes of each path; None: never.
    """

    def __init__(
        self,
        site: str,
        paths: Sequence[PathSettings],
        clock: LocalClock,
        rng: random.Random,
        *,
        record: Callable[[Measurement], None] | None = None,
        probes: int | None = None,
    ) -> None:
        self.paths = [StampPath(settings, site, number, record) for number, settings in enumerate(paths, 1)]
        self.send_lag = Histogram()
        self.discarded: Counter[str] = Counter()
        self._clock = clock
        self._rng = rng
        self._probes = probes
        shortest_ns = min((settings.interval for settings in paths), default=_BUNCH_NS)
        self._bunch_ns = max(1, min(_BUNCH_NS, shortest_ns // _BUNCHES_PER_INTERVAL))
        # The kernel has taken the time of what arrives, so where there is much of it, it can wait to be looked at
        # together: that is twice as cheap as waking up for each.
        self._busy = sum(_SECOND_NS / settings.interval for settings in paths) >= _BUSY_PER_SECOND
        self._next_drain_ns = 0
        self._outlets: dict[tuple[socket.AddressFamily, int], _Outlet] = {}
        self._timer = WakeUp()
        self._schedule: list[tuple[int, int, StampPath]] = []
        self._deadlines: dict[int, deque[tuple[int, SenderSession, int, _Outlet, int]]] = {}
        self._estimates: dict[int, ErrorEstimate] = {}
        self._resolver: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The sockets in use."""
        return [outlet.socket for outlet in self._outlets.values()]

    async def start(self) -> None:
        """Resolve the targets and begin to send; a name that cannot be resolved is tried again in the background."""
        await asyncio.gather(*(self._resolve(path) for path in self.paths))
        now_ns = time.monotonic_ns()
        phases = spread_phases([path.settings.interval for path in self.paths], self._rng)
        for path, phase in zip(self.paths, phases, strict=True):
            path.stream.due_ns = now_ns + phase
            self._deadlines.setdefault(path.settings.timeout, deque())
        self._schedule = [(path.stream.due_ns, path.ssid, path) for path in self.paths]
        heapq.heapify(self._schedule)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._timer.fileno(), self._wake)
        self._resolver = loop.create_task(self._keep_resolving(), name="resolve targets")
        self._set_timer()

    async def stop(self) -> None:
        """Stop sending, wait until every probe under way is answered or given up, and close the sockets."""
        self._schedule.clear()
        await self.idle()
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.gather(self._resolver, return_exceptions=True)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._timer.fileno())
        self._timer.close()
        for outlet in self._outlets.values():
            loop.remove_reader(outlet.socket.fileno())
            outlet.socket.close()

    async def idle(self) -> None:
        """Wait until nothing is left to send and nothing is under way."""
        while self._schedule or any(self._deadlines.values()):
            self._idle.clear()
            self._set_timer()
            await self._idle.wait()

    # Sending

    def _wake(self) -> None:
        self._timer.acknowledge()
        now_ns = time.monotonic_ns()
        if self._busy and now_ns >= self._next_drain_ns:
            self._next_drain_ns = now_ns + _DRAIN_EVERY_NS
            self._drain_all()
        self._send_due(now_ns)
        self._expire(now_ns)
        self._set_timer()
        if not self._schedule and not any(self._deadlines.values()):
            self._idle.set()

    def _set_timer(self) -> None:
        """Wake up for the next send or timeout, on a grid so that what is close leaves together."""
        times = [queue[0][0] for queue in self._deadlines.values() if queue]
        if self._schedule:
            times.append(self._schedule[0][0])
        if times:
            self._timer.at(-(-min(times) // self._bunch_ns) * self._bunch_ns)

    def _send_due(self, now_ns: int) -> None:
        schedule = self._schedule
        while schedule and schedule[0][0] <= now_ns:
            due_ns, ssid, path = schedule[0]
            skipped = path.stream.advance(now_ns)
            if skipped:
                path.ledger.not_sent["overdue"] += skipped
            self.send_lag.observe(now_ns - due_ns - skipped * path.stream.interval_ns)
            if path.outlet is None:
                path.ledger.not_sent["unresolved"] += 1
            else:
                self._compose(path, path.outlet)
            if self._probes is not None and self._spent(path):
                heapq.heappop(schedule)
            else:
                heapq.heapreplace(schedule, (path.stream.due_ns, ssid, path))
        for outlet in self._outlets.values():
            if outlet.due:
                self._flush(outlet, now_ns)

    def _spent(self, path: StampPath) -> bool:
        """Whether a path has used up its share of a limited run; what was refused counts too, what was skipped not."""
        refused = path.ledger.not_sent.total() - path.ledger.not_sent["overdue"]
        pending = 0 if path.outlet is None else sum(entry[0] is path for entry in path.outlet.due)
        return path.ledger.sent + refused + pending >= (self._probes or 0)

    def _compose(self, path: StampPath, outlet: _Outlet) -> None:
        sequence, wire = path.session.next_probe(time.time_ns())
        packet = SenderPacket(sequence & _SEQUENCE_MASK, wire, self._clock.estimate_wire, path.ssid)
        outlet.due.append((path, sequence, packet.serialise()))

    def _flush(self, outlet: _Outlet, now_ns: int) -> None:
        due, outlet.due = outlet.due, []
        results = outlet.socket.send([(payload, path.destination, b"") for path, _, payload in due])
        for (path, sequence, _), transmit_id in zip(due, results, strict=True):
            if transmit_id < 0:
                reason = errno.errorcode.get(-transmit_id, "error").lower()
                path.ledger.not_sent[reason] += 1
                continue
            path.session.sent(sequence)
            outlet.unstamped[transmit_id] = (path.session, sequence)
            timeout_ns = path.settings.timeout
            probe = (now_ns + timeout_ns, path.session, sequence, outlet, transmit_id)
            self._deadlines[timeout_ns].append(probe)

    def _expire(self, now_ns: int) -> None:
        due = [queue for queue in self._deadlines.values() if queue and queue[0][0] <= now_ns]
        if not due:
            return
        # What has arrived counts as arrived, however late this loop comes to look at it.
        if not self._busy:
            self._drain_all()
        for queue in due:
            while queue and queue[0][0] <= now_ns:
                _, session, sequence, outlet, transmit_id = queue.popleft()
                session.expired(sequence)
                outlet.unstamped.pop(transmit_id, None)

    # Receiving

    def _drain_all(self) -> None:
        for outlet in self._outlets.values():
            self._drain(outlet)

    def _drain(self, outlet: _Outlet) -> None:
        """Drain both queues: transmit times first, for the replies are measured from them."""
        while self._take_stamps(outlet) >= BATCH:
            pass
        while self._take_replies(outlet) >= BATCH:
            pass

    @staticmethod
    def _take_stamps(outlet: _Outlet) -> int:
        taken = 0
        for transmit_id, transmitted_ns in outlet.socket.transmit_stamps():
            taken += 1
            probe = outlet.unstamped.pop(transmit_id, None)
            if probe is not None:
                lag_ns = probe[0].transmitted(probe[1], transmitted_ns)
                if lag_ns is not None:
                    outlet.lags.observe(lag_ns)
        return taken

    def _take_replies(self, outlet: _Outlet) -> int:
        taken = 0
        now_ns = time.monotonic_ns()
        for datagram in outlet.socket.receive():
            taken += 1
            try:
                self._reply(outlet, datagram, now_ns)
            except WireError:
                self.discarded["malformed"] += 1
        return taken

    def _reply(self, outlet: _Outlet, datagram: Datagram, now_ns: int) -> None:
        packet = ReflectorPacket.parse(datagram.payload)
        path = outlet.paths.get(packet.ssid)
        if path is None or path.destination != datagram.source:
            self.discarded["unknown"] += 1
            return
        stamping_ns = outlet.lags.bound_ns
        t4_ns = datagram.received_ns
        if t4_ns is None:
            t4_ns, stamping_ns = time.time_ns(), None
        estimate = self._estimates.get(packet.error_estimate)
        if estimate is None:
            estimate = ErrorEstimate.from_wire(packet.error_estimate)
            if len(self._estimates) < 1024:
                self._estimates[packet.error_estimate] = estimate
        decode = ns_from_ptp if estimate.ptp else ns_from_ntp
        local_ns, remote_ns = self._clock.bound_ns, estimate.bound_ns
        fate = path.session.replied(
            packet.sender_sequence,
            packet.sender_timestamp,
            packet.sequence,
            Stamps(
                decode(packet.receive_timestamp, t4_ns),
                decode(packet.timestamp, t4_ns),
                t4_ns,
                None if local_ns is None or remote_ns is None else local_ns + remote_ns,
            ),
            stamping_ns,
            now_ns,
        )
        if fate is ReplyFate.UNKNOWN:
            self.discarded["unknown"] += 1

    # Names

    async def _resolve(self, path: StampPath) -> None:
        """Look up one target and give it a socket; a failure is said once and leaves the path unresolved."""
        endpoint = path.settings.address
        try:
            address = await _look_up(endpoint.host)
            family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
            outlet = self._outlet(family, path.settings.dscp)
            path.destination = encode_address(address, endpoint.port)
        except OSError as error:
            log.warning(
                "target %s: cannot resolve %s, trying again: %s", path.settings.target, endpoint.host, error
            )
            return
        outlet.paths[path.ssid] = path
        path.outlet = outlet

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE_AGAIN_S)
            await asyncio.gather(*(self._resolve(path) for path in self.paths if not path.resolved))

    def _outlet(self, family: socket.AddressFamily, dscp: int) -> _Outlet:
        outlet = self._outlets.get((family, dscp))
        if outlet is None:
            outlet = self._outlets[family, dscp] = _Outlet(family, dscp)
            if not self._busy:
                asyncio.get_running_loop().add_reader(outlet.socket.fileno(), self._drain, outlet)
        return outlet


async def _look_up(host: str) -> str:
    """The first address of a name; an address is its own.

    Raises:
        OSError: there is none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    address = str(found[0][4][0])
    scope = found[0][4][3] if len(found[0][4]) == 4 else 0
    return f"{address}%{scope}" if scope and "%" not in address else address
