"""One test from its lease to its outcomes.

    lease ── sockets ── data flows ── decided, or time is over ── the server's half ── outcomes

Both ways run at once and stay so until both are decided: a line that is tested both ways carries both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from agent.core.throughput.cause import (
    Cause,
    DatagramCounts,
    HostLoad,
    Pressure,
    cause_of_datagrams,
    cause_of_streams,
)
from agent.core.throughput.lease import LeaseRequest, LeaseState, Protocol, Way
from agent.core.throughput.rates import (
    WINDOW_NS,
    Decision,
    Layer,
    Packets,
    Window,
    after_ramp,
    decide,
    goodput_of,
    is_steady,
)
from agent.core.throughput.report import ServerReport
from agent.core.throughput.result import ErrorReason, Outcome, failed, judge
from agent.core.throughput.trial import Trial
from agent.core.timestamps import SECOND_NS
from agent.runtime.line_settings import Mode
from agent.throughput.child import EngineProcess
from agent.throughput.control_client import ControlClient, NoTest
from agent.throughput.data_sockets import open_all
from agent.throughput.plan import Ended, EnginePlan, EngineReport, WayPlan, WayReport
from agent.throughput_documents import Grant
from agent.throughput_settings import ThroughputPathSettings

_REPORTED_WITHIN_S: Final = 4.0
_LOOK_AGAIN_S: Final = (0.05, 0.15, 0.3, 0.5, 1.0)
_WHOLE: Final = 0.9
_UNHEARD_NS: Final = 2 * WINDOW_NS
_NOWHERE: Final = HostLoad(elapsed_ns=1)


async def try_line(line: ThroughputPathSettings, token: str) -> Trial:
    """Test a line once; whatever fails is an outcome.

    Args:
        line: what to test and how.
        token: with which the target grants tests.
    """
    test = None
    try:
        async with ControlClient(line.address, token) as control:
            test = _Test(line, control)
            return await test.run()
    except NoTest as error:
        outcomes = {
            way: failed(way, error.reason, error.detail, line.floor(way)) for way in line.direction.ways
        }
        began_ns, ended_ns = (None, None) if test is None else (test.began_ns, test.ended_ns)
        return Trial(outcomes, began_ns, ended_ns, retry_after_s=error.retry_after_s)


class _Test:
    """One test under way.

    Attributes:
        began_ns, ended_ns: when data flowed, Unix wall time; None: none has, or it still does.
    """

    def __init__(self, line: ThroughputPathSettings, control: ControlClient) -> None:
        self._line = line
        self._control = control
        self._ways = line.direction.ways
        self._capacity = line.mode is Mode.CAPACITY
        shares = {way: share for way in self._ways if (share := line.share(way)) is not None}
        self._shares = shares
        self._engine: EngineProcess | None = None
        self.began_ns: int | None = None
        self.ended_ns: int | None = None

    async def run(self) -> Trial:
        """Have a lease, test, and give it back."""
        line = self._line
        request = LeaseRequest(
            bytes(4),
            line.protocol,
            line.longest,
            self._shares.get(Way.DOWN),
            self._shares.get(Way.UP),
            line.streams,
            exclusive=self._capacity,
        )
        grant = await self._control.ask(request)
        try:
            return await self._with_lease(grant)
        except BaseException:
            await self._control.give_back(grant)
            raise

    async def _with_lease(self, grant: Grant) -> Trial:
        line, address = self._line, self._control.address
        plan = EnginePlan(
            line.protocol,
            6 if ":" in address else 4,
            grant.token,
            line.longest,
            line.streams,
            {
                way: WayPlan(way is Way.UP, share, not self._capacity, self._capacity)
                for way, share in self._shares.items()
            },
        )
        try:
            engine = self._engine = await EngineProcess.start(plan, self._look)
        except OSError as error:
            raise NoTest(ErrorReason.INTERNAL, f"no process for the test: {error.strerror}") from None
        try:
            sockets = await open_all(grant, address, line.protocol, self._ways, line.streams)
            for (way, stream), one in sockets.items():
                engine.hand_over(way, stream, one)
            engine.begin()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((grant.stop_by_ns + SECOND_NS) / SECOND_NS):
                    await engine.ended()
        finally:
            await engine.stop()
            self.ended_ns = time.time_ns()
        if not engine.complete:
            raise NoTest(ErrorReason.INTERNAL, "the test's process has ended early")
        server = await self._server_report(grant)
        if server.error:
            raise NoTest(ErrorReason.BROKEN_OFF, f"the server says: {server.error}")
        report = engine.report
        return Trial(
            {way: self._outcome(way, report, server) for way in self._ways},
            self.began_ns,
            self.ended_ns,
            {way: told.octets for way, told in report.ways.items()},
            {way: self._windows(way, report.ways[way], server) for way in self._ways},
            report.host,
            server.host,
            report.cpu_ns,
            {
                way: counts
                for way in self._ways
                if (counts := _datagrams(way, report.ways[way], server)) is not None
            },
            {way: _pressures(way, report.ways[way], server) for way in self._ways},
            {
                way: server.congestion_control if way is Way.DOWN else report.ways[way].congestion_control
                for way in self._ways
            },
        )

    def _look(self, report: EngineReport) -> None:
        """End the test as soon as all of it is decided."""
        if self.began_ns is None:
            # the first report comes with the first window
            self.began_ns = time.time_ns() - WINDOW_NS
        # of all ways by the same moment: what was decided of one before the others may be open again
        if self._engine is not None and all(self._is_decided(way, report) for way in self._ways):
            for way in self._ways:
                self._engine.end(way)

    def _is_decided(self, way: Way, report: EngineReport) -> bool:
        told = report.ways.get(way)
        if told is None or told.packets is None:
            return False
        windows = after_ramp(told.windows, told.min_rtt_ns or 0)
        if self._capacity:
            return is_steady(windows)
        floor = self._line.floor(way)
        rate = goodput_of(windows)
        if floor is None or rate is None:
            return False
        at_layer = rate.scaled(told.packets.at(floor.layer, 1.0))
        if floor.layer is Layer.IP:
            at_layer = at_layer.raised(_acknowledgements(way, report))
        return decide(at_layer, floor.rate, floor.tolerance) is not Decision.GO_ON

    async def _server_report(self, grant: Grant) -> ServerReport:
        """The server's half, once its test is over; as far as it is where that does not come."""
        end = time.monotonic() + _REPORTED_WITHIN_S
        for attempt in range(1_000):
            try:
                state, report = await self._control.look(grant)
            except NoTest as error:
                raise NoTest(ErrorReason.BROKEN_OFF, error.detail) from None
            if state.ended:
                if state is LeaseState.EXPIRED and report.host is None and not report.received:
                    raise NoTest(ErrorReason.BROKEN_OFF, "the server has no results")
                return report
            if time.monotonic() > end:
                break
            await asyncio.sleep(_LOOK_AGAIN_S[min(attempt, len(_LOOK_AGAIN_S) - 1)])
        await self._control.give_back(grant)
        with contextlib.suppress(NoTest):
            # what it says now that it had to be ended
            _, report = await self._control.look(grant)
        return report

    def _windows(self, way: Way, told: WayReport, server: ServerReport) -> Sequence[Window]:
        """Those of the receiver: its own, or what it has told the sender by which the test was ended, unless the path
        has kept back the end of that."""
        heard = told.windows
        if way is Way.DOWN or (heard and not _go_on(server.received, heard)):
            return heard
        return server.received

    def _outcome(self, way: Way, report: EngineReport, server: ServerReport) -> Outcome:
        told = report.ways[way]
        floor = self._line.floor(way)
        windows = self._windows(way, told, server)
        if told.ended not in (Ended.TOLD, Ended.DONE):
            # of the last window, which the end has cut short, nothing is told
            lasted_ns = windows[-1].end_ns - windows[0].begin_ns + WINDOW_NS if windows else 0
            if told.ended != Ended.PEER or lasted_ns < _WHOLE * self._line.longest:
                return failed(way, ErrorReason.BROKEN_OFF, _BROKEN_OFF.get(told.ended, told.ended), floor)
        packets = (server.sent_packets if way is Way.DOWN else told.packets) or told.packets
        if packets is None:
            return failed(way, ErrorReason.EMPTY, "nothing has come", floor)
        # by the same ramp as when it was ended: a longer one would leave fewer windows, which prove less
        rate = goodput_of(after_ramp(windows, told.min_rtt_ns or 0))
        cause = self._cause(way, told, report.host, server, packets)
        return judge(way, rate, packets, floor, cause, _acknowledgements(way, report))

    def _cause(
        self,
        way: Way,
        told: WayReport,
        host: HostLoad | None,
        server: ServerReport,
        packets: Packets,
    ) -> Cause | None:
        down = way is Way.DOWN
        sender, receiver = (server.host, host) if down else (host, server.host)
        sender = sender or _NOWHERE
        if self._line.protocol is Protocol.TCP:
            pace = packets.goodput(self._shares[way].rate)
            return cause_of_streams(_pressures(way, told, server), sender, receiver, pace)
        counts = _datagrams(way, told, server)
        if counts is None:
            return None
        return cause_of_datagrams(counts, sender, receiver, told.queueing_ns)


def _acknowledgements(way: Way, report: EngineReport) -> float:
    """What a way carries beside its data, bit/s at the IP layer: up, what acknowledges the data that comes down.

    Down the like is left out: there it is little, and the other end's to know.
    """
    other = report.ways.get(Way.DOWN)
    return other.acknowledgements if way is Way.UP and other is not None else 0.0


def _go_on(windows: Sequence[Window], heard: Sequence[Window]) -> bool:
    """Whether a receiver has seen more than its sender has heard of, by its own clock."""
    return bool(windows) and windows[-1].end_ns - heard[-1].end_ns > _UNHEARD_NS


def _pressures(way: Way, told: WayReport, server: ServerReport) -> Sequence[Pressure]:
    """What stood in the way of a way's streams: their sender knows."""
    return server.pressures if way is Way.DOWN else told.pressures


def _datagrams(way: Way, told: WayReport, server: ServerReport) -> DatagramCounts | None:
    """What became of a way's datagrams: the sender knows what was meant and sent, the receiver the rest."""
    sent, received = told.datagrams, server.datagrams_up
    if way is Way.DOWN:
        sent, received = server.datagrams_down, told.datagrams
    if sent is None or received is None:
        return None
    return DatagramCounts(sent.meant, sent.sent, received.received, received.overflowed, received.expected)


_BROKEN_OFF: Final = {
    Ended.PEER: "the other end has gone away in the middle",
    Ended.SILENT: "the other end says nothing any more",
    Ended.EXCEEDED: "more has come than was asked for",
}
