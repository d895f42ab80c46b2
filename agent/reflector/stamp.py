"""The STAMP Session-Reflector on its sockets.

Few requests at a time are answered one by one, many as columns: arrays cost as much for one packet as for fifty. Both
ways do the same.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from agent.core.admission import VERDICTS, Admission, AdmissionRules, Verdict
from agent.core.budget import CpuBudget
from agent.core.reflection import Reflection, ReflectionResult, ReflectorMode
from agent.core.timestamps import SECOND_NS, ErrorEstimate, ntp_from_ns, ntp_from_ns_of
from agent.net.datagram import Datagram, TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.reflector.outlet import PORT, Outlet
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint

_FEW: Final = 10
_UNKNOWN_TTL: Final = 0
_UNSYNCHRONISED: Final = ErrorEstimate.of_bound(None).wire
_ADMITTED: Final = VERDICTS.index(Verdict.ADMITTED)


class ReflectorBindError(IsochroneError):
    """The reflector cannot listen where it is told to."""


class StampReflector:
    """Answers probes on all its addresses until it is closed.

    T3 is a user-space time, written as late as can be; how late packets really leave after it is measured by their
    transmit stamps, and its 99th percentile is added to the clock's error in the Error Estimate.

    Args:
        endpoints: addresses, not names, and ports; port 0 for one of the kernel's choice.
        mode: stateful or stateless.
        clock: the quality of the local clock.
        rules: who is answered, and how often.
        max_sessions: how many sessions are remembered in stateful mode.
        cpu_percent: of one core, what answering may cost. Beyond it only known sources that keep within half of their
            rate are answered; where even reading what comes exceeds it threefold, nothing is read for a moment.

    Raises:
        ReflectorBindError: an endpoint is no address or is taken.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        mode: ReflectorMode,
        clock: LocalClock,
        rules: AdmissionRules,
        *,
        max_sessions: int = 65_536,
        cpu_percent: int = 100,
    ) -> None:
        self._results: Counter[str] = Counter({result.value: 0 for result in ReflectionResult})
        self._reflection = Reflection(mode, max_sessions)
        self._budget = CpuBudget(cpu_percent)
        self._clock = clock
        self._outlets: list[Outlet] = []
        self._resting: asyncio.TimerHandle | None = None
        for endpoint in endpoints:
            try:
                self._outlets.append(Outlet(endpoint))
            except (OSError, ValueError) as error:
                self._close_sockets()
                raise ReflectorBindError(f"reflector: cannot listen on {endpoint}: {error}") from error
        listening = {outlet.socket.address[1] for outlet in self._outlets}
        self._admission = Admission(replace(rules, reflector_ports=rules.reflector_ports | listening))

    @property
    def sockets(self) -> list[TimestampedSocket]:
        """The listening sockets."""
        return [outlet.socket for outlet in self._outlets]

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return self._reflection.sessions

    @property
    def results(self) -> Counter[str]:
        """How many datagrams have reached the sockets, by `ReflectionResult`."""
        counted = self._results.copy()
        counted[ReflectionResult.OVERFLOWED] += sum(outlet.socket.dropped for outlet in self._outlets)
        return counted

    @property
    def lag_ns(self) -> int | None:
        """How long after T3 replies really leave: the 99th percentile of the latest; None while not known."""
        return max((outlet.lags.bound_ns or 0 for outlet in self._outlets), default=0) or None

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._resting = None
        for outlet in self._outlets:
            asyncio.get_running_loop().add_reader(outlet.socket.fileno(), self._readable, outlet)

    def close(self) -> None:
        """Stop answering."""
        if self._resting is not None:
            self._resting.cancel()
        self._stop_reading()
        self._close_sockets()

    def _stop_reading(self) -> None:
        for outlet in self._outlets:
            asyncio.get_running_loop().remove_reader(outlet.socket.fileno())

    def _close_sockets(self) -> None:
        self._results[ReflectionResult.OVERFLOWED] += sum(outlet.socket.dropped for outlet in self._outlets)
        for outlet in self._outlets:
            outlet.socket.close()
        self._outlets.clear()

    def _readable(self, outlet: Outlet) -> None:
        begun_ns = time.thread_time_ns()
        if count := outlet.socket.fetch():
            now_ns = time.monotonic_ns()
            if count <= _FEW:
                self._answer_few(outlet, now_ns)
            else:
                self._answer_many(outlet, now_ns)
        # most have come by now: whoever waits for them is woken twice for each packet
        outlet.take_stamps()
        now_ns = time.monotonic_ns()
        self._budget.spend(time.thread_time_ns() - begun_ns, now_ns)
        if rest_ns := self._budget.rest_ns(now_ns):
            self._stop_reading()
            self._resting = asyncio.get_running_loop().call_later(rest_ns / SECOND_NS, self.start)

    def _answer_few(self, outlet: Outlet, now_ns: int) -> None:
        pressed = self._budget.is_spent(now_ns)
        admitted: list[Datagram] = []
        for datagram in outlet.socket.fetched():
            # of what was cut it is only known that it was longer
            octets = len(datagram.payload) + datagram.truncated
            verdict = self._admission.decide(
                datagram.source[outlet.address],
                octets,
                now_ns,
                port=int.from_bytes(datagram.source[PORT], "big"),
                pressed=pressed,
            )
            if verdict is Verdict.ADMITTED:
                admitted.append(datagram)
            else:
                self._results[verdict] += 1
        if admitted:
            self._answer(outlet, admitted)

    def _answer(self, outlet: Outlet, admitted: Iterable[Datagram]) -> None:
        """Answer one by one."""
        estimate = self._estimate(outlet)
        replies = [self._reflect(outlet, datagram, estimate) for datagram in admitted]
        self._count(len(replies), outlet.send(replies))

    def _reflect(self, outlet: Outlet, datagram: Datagram, estimate: int) -> tuple[bytearray, bytes, bytes]:
        if datagram.received_ns is None:
            # Without the kernel's stamp T2 is only as good as this program is quick: it vouches for nothing.
            received_ns, estimate = time.time_ns(), _UNSYNCHRONISED
        else:
            received_ns = datagram.received_ns
        reply = self._reflection.reply(
            datagram.payload,
            datagram.source,
            datagram.local,
            _UNKNOWN_TTL if datagram.ttl is None else datagram.ttl,
            ntp_from_ns(received_ns),
            estimate,
            light=self._admission.is_twamp_light(datagram.source[outlet.address]),
        )
        return reply, datagram.source, datagram.local

    def _answer_many(self, outlet: Outlet, now_ns: int) -> None:
        requests = outlet.socket.fetched_requests()
        addresses = requests.sources[:, outlet.address]
        verdicts = self._admission.decide_all(
            addresses,
            requests.octets + requests.truncated,
            now_ns,
            ports=requests.sources[:, PORT].copy().view(">u2")[:, 0],
            pressed=self._budget.is_spent(now_ns),
        )
        admitted = verdicts == _ADMITTED
        if not admitted.all():
            for verdict, count in zip(VERDICTS, np.bincount(verdicts).tolist(), strict=False):
                if count and verdict is not Verdict.ADMITTED:
                    self._results[verdict] += count
        light = self._admission.are_twamp_light(addresses)
        if light is not None and (light & admitted).any():
            datagrams = outlet.socket.fetched()
            self._answer(outlet, [datagrams[at] for at in np.flatnonzero(light & admitted).tolist()])
            admitted &= ~light
        which = np.flatnonzero(admitted)
        if not len(which):
            return
        outlet.load(which, requests.payloads, requests.octets[which])
        sources, answers = requests.sources[which], requests.answers[which]
        received_ns = requests.received_ns[which]
        estimates = np.full(len(which), self._estimate(outlet), np.uint16)
        if not received_ns.all():
            estimates[received_ns == 0] = _UNSYNCHRONISED
            received_ns[received_ns == 0] = time.time_ns()
        self._reflection.reply_all(
            outlet.packets[: len(which)],
            sources,
            answers,
            np.maximum(requests.ttls[which], _UNKNOWN_TTL),
            ntp_from_ns_of(received_ns),
            estimates,
        )
        self._count(len(which), outlet.send_loaded(sources, answers))

    def _count(self, replies: int, taken: int) -> None:
        self._results[ReflectionResult.REFLECTED] += taken
        self._results[ReflectionResult.SEND_FAILED] += replies - taken

    def _estimate(self, outlet: Outlet) -> int:
        """The Error Estimate for now: the clock's error and how late replies leave after T3; unknown if either is."""
        clock_ns, lag_ns = self._clock.bound_ns, outlet.lags.bound_ns
        return _error_estimate(None if clock_ns is None or lag_ns is None else clock_ns + lag_ns)


@functools.lru_cache(maxsize=256)
def _error_estimate(bound_ns: int | None) -> int:
    return ErrorEstimate.of_bound(bound_ns).wire
