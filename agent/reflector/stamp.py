"""The STAMP Session-Reflector on its sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from agent.core.exceptions import WireError
from agent.core.recent import RecentLags
from agent.core.reflection import Reflection, ReflectionResult, ReflectorMode
from agent.core.stamp import set_timestamp
from agent.core.timestamps import ErrorEstimate, ntp_from_ns
from agent.net.datagram import Datagram, TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.runtime.exceptions import IsochroneError
from agent.runtime.logs import RateLimited
from agent.runtime.quantities import Endpoint

_LAG_QUANTILE: Final = 0.99
_UNKNOWN_TTL: Final = 0
_MAX_UNSTAMPED: Final = 4096

log = logging.getLogger(__name__)


class ReflectorBindError(IsochroneError):
    """The reflector cannot listen where it is told to."""


class _Outlet:
    """One listening socket, and how late its replies leave after T3."""

    def __init__(self, endpoint: Endpoint) -> None:
        version = ipaddress.ip_address(endpoint.host).version
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        self.socket = TimestampedSocket(family, (endpoint.host, endpoint.port), answering=True)
        self.stamped: dict[int, int] = {}
        self.lags = RecentLags(quantile=_LAG_QUANTILE)


class StampReflector:
    """Answers probes on all its addresses until it is closed.

    T3 is a user-space time, written as late as can be; how late packets really leave after it is measured by their
    transmit stamps, and its 99th percentile is added to the clock's error in the Error Estimate.

    Args:
        endpoints: addresses, not names, and ports; port 0 for one of the kernel's choice.
        mode: stateful or stateless.
        clock: the quality of the local clock.

    Raises:
        ReflectorBindError: an endpoint is no address or is taken.
    """

    def __init__(self, endpoints: Sequence[Endpoint], mode: ReflectorMode, clock: LocalClock) -> None:
        self.results: Counter[str] = Counter({result.value: 0 for result in ReflectionResult})
        self._reflection = Reflection(mode)
        self._clock = clock
        self._outlets: list[_Outlet] = []
        self._complain = RateLimited(log.warning)
        for endpoint in endpoints:
            try:
                self._outlets.append(_Outlet(endpoint))
            except (OSError, ValueError) as error:
                self._close_sockets()
                raise ReflectorBindError(f"reflector: cannot listen on {endpoint}: {error}") from error

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The listening sockets."""
        return [outlet.socket for outlet in self._outlets]

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return self._reflection.sessions

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        for outlet in self._outlets:
            asyncio.get_running_loop().add_reader(outlet.socket.fileno(), self._readable, outlet)

    def close(self) -> None:
        """Stop answering."""
        for outlet in self._outlets:
            asyncio.get_running_loop().remove_reader(outlet.socket.fileno())
        self._close_sockets()

    def _close_sockets(self) -> None:
        for outlet in self._outlets:
            outlet.socket.close()

    def _readable(self, outlet: _Outlet) -> None:
        for transmit_id, transmitted_ns in outlet.socket.transmit_stamps():
            t3_ns = outlet.stamped.pop(transmit_id, None)
            if t3_ns is not None and transmitted_ns >= t3_ns:
                outlet.lags.observe(transmitted_ns - t3_ns)
        estimate = self._estimate(outlet)
        replies: list[tuple[bytearray, bytes, bytes]] = []
        for datagram in outlet.socket.receive():
            try:
                replies.append(self._reflect(datagram, estimate))
            except WireError as error:
                self.results[ReflectionResult.MALFORMED] += 1
                self._complain("malformed", f"malformed packet: {error}")
        if replies:
            self._send(outlet, replies)

    def _estimate(self, outlet: _Outlet) -> int:
        """The Error Estimate for now: the clock's error and how late replies leave after T3; unknown if either is."""
        clock_ns, lag_ns = self._clock.bound_ns, outlet.lags.bound_ns
        return ErrorEstimate.of_bound(None if clock_ns is None or lag_ns is None else clock_ns + lag_ns).wire

    def _reflect(self, datagram: Datagram, estimate: int) -> tuple[bytearray, bytes, bytes]:
        if datagram.received_ns is None:
            # Without the kernel's stamp T2 is only as good as this program is quick: it vouches for nothing.
            received_ns, estimate = time.time_ns(), ErrorEstimate.of_bound(None).wire
        else:
            received_ns = datagram.received_ns
        reply = self._reflection.reply(
            datagram.payload,
            datagram.source,
            datagram.local,
            _UNKNOWN_TTL if datagram.ttl is None else datagram.ttl,
            ntp_from_ns(received_ns),
            estimate,
        )
        return reply, datagram.source, datagram.local

    def _send(self, outlet: _Outlet, replies: list[tuple[bytearray, bytes, bytes]]) -> None:
        t3_ns = time.time_ns()
        stamp = ntp_from_ns(t3_ns)
        for reply, _, _ in replies:
            set_timestamp(reply, stamp)
        for transmit_id in outlet.socket.send(replies):
            if transmit_id < 0:
                self.results[ReflectionResult.SEND_FAILED] += 1
            else:
                self.results[ReflectionResult.REFLECTED] += 1
                outlet.stamped[transmit_id] = t3_ns
        while len(outlet.stamped) > _MAX_UNSTAMPED:
            # some packets never get a stamp; the oldest waits in vain
            del outlet.stamped[next(iter(outlet.stamped))]
