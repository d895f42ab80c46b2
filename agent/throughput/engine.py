"""The child process of a test: takes its orders and its data sockets from a socket pair, transfers, tells, and ends.

    python -m agent.throughput.engine DESCRIPTOR

It ends with its parent, whatever happens to that: the kernel kills it (PR_SET_PDEATHSIG), and the socket pair's other
end is gone. With it all its sockets are.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.rates import WINDOW_NS
from agent.throughput.flow import Flow
from agent.throughput.host import HostReading
from agent.throughput.plan import RECORD_OCTETS, Ended, EnginePlan, EngineReport, WayReport
from agent.throughput.tcp import TcpReceiving, TcpSending
from agent.throughput.udp_receiving import UdpReceiving
from agent.throughput.udp_sending import UdpSending

_PR_SET_PDEATHSIG: Final = 1
_NICE: Final = 5
_LOOK_MS: Final = 10
_SWITCH_S: Final = 0.001


class Engine:
    """One test at one end.

    Args:
        control: the end of the socket pair.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._plan: EnginePlan | None = None
        self._sockets: dict[Way, dict[int, socket.socket]] = {way: {} for way in Way}
        self._accepts: dict[Way, dict[int, tuple[bytes, bytes]]] = {way: {} for way in Way}
        self._flows: dict[Way, Flow] = {}
        self._closed: dict[Way, WayReport] = {}
        self._ramp_over_ns = 0
        self._begun: HostReading | None = None
        self._last: HostReading | None = None

    def run(self) -> None:
        """Serve until the test is over, or the parent is gone."""
        while not self._over:
            if select.select([self._control], [], [], _LOOK_MS / 1e3)[0] and not self._obey():
                return
            self._look()
        with contextlib.suppress(OSError):
            self._control.send(self._report(over=True).serialise())

    @property
    def _over(self) -> bool:
        return bool(self._flows) and len(self._closed) == len(self._flows)

    def _obey(self) -> bool:
        """Take an order; False: the parent is gone."""
        record, descriptors, _, _ = socket.recv_fds(self._control, RECORD_OCTETS, 1)
        if not record:
            return False
        order = json.loads(record)
        match order["order"]:
            case "plan":
                self._plan = EnginePlan.parse(order)
            case "socket":
                self._take(order, socket.socket(fileno=descriptors[0]))
            case "begin":
                self._begin()
            case "end":
                flow = self._flows.get(Way(order["way"]))
                if flow is not None:
                    flow.end(Ended.TOLD)
        return True

    def _take(self, order: Mapping[str, Any], one: socket.socket) -> None:
        way, stream = Way(order["way"]), order["stream"]
        self._sockets[way][stream] = one
        if order.get("proof"):
            proof, accept = bytes.fromhex(order["proof"]), bytes.fromhex(order["accept"])
            self._accepts[way][stream] = proof, accept

    def _begin(self) -> None:
        assert self._plan is not None
        now_ns = time.monotonic_ns()
        for way in self._plan.ways:
            self._flows[way] = self._flow(self._plan, way)
        for flow in self._flows.values():
            flow.begin(now_ns)
        self._ramp_over_ns = now_ns + WINDOW_NS

    def _flow(self, plan: EnginePlan, way: Way) -> Flow:
        sockets = [self._sockets[way][stream] for stream in sorted(self._sockets[way])]
        sends = plan.ways[way].sends
        if plan.protocol is Protocol.TCP:
            return TcpSending(way, plan, sockets) if sends else TcpReceiving(way, plan, sockets)
        accepts = self._accepts[way]
        if sends:
            return UdpSending(way, plan, sockets, accepts)
        return UdpReceiving(way, plan, sockets, accepts)

    def _look(self) -> None:
        news = False
        for way, flow in self._flows.items():
            if way in self._closed:
                continue
            news |= flow.look(time.monotonic_ns())
            if flow.over and flow.ended:
                # what the sockets tell is gone when they are closed
                flow.report()
                flow.close()
                self._closed[way] = flow.report()
                news = True
        if news:
            self._read_host()
            with contextlib.suppress(BlockingIOError):
                self._control.send(self._report().serialise(), socket.MSG_DONTWAIT)

    def _read_host(self) -> None:
        """Read the host's counters while all threads are there, from the end of the ramp on."""
        now_ns = time.monotonic_ns()
        if now_ns < self._ramp_over_ns or self._closed or any(flow.ended for flow in self._flows.values()):
            return
        threads = [one for flow in self._flows.values() for one in flow.threads]
        reading = HostReading.now(threads, now_ns, time.process_time_ns())
        if self._begun is None:
            self._begun = reading
        self._last = reading

    def _report(self, *, over: bool = False) -> EngineReport:
        host = None
        if self._begun is not None and self._last is not None and self._last is not self._begun:
            host = self._last.since(self._begun)
        return EngineReport(
            {way: self._closed.get(way) or flow.report() for way, flow in self._flows.items()},
            host,
            time.process_time_ns(),
            over,
        )


def main() -> None:
    """Run one test."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's keys are for the parent
    with contextlib.suppress(PermissionError):  # as in a sandbox that forbids it
        os.nice(_NICE)
    sys.setswitchinterval(_SWITCH_S)
    # a parent that went before the kernel was asked to tell of that has closed its end of this
    with socket.socket(fileno=int(sys.argv[1])) as control:
        Engine(control).run()


if __name__ == "__main__":
    main()
