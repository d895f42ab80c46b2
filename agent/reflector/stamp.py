"""The STAMP Session-Reflector on its sockets.

Few requests at a time are answered one by one, many as columns: arrays cost as much for one packet as for fifty. Both
ways do the same.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.admission import VERDICTS, Admission, AdmissionRules, Verdict
from agent.core.authentication import KeyRing
from agent.core.budget import CpuBudget
from agent.core.claims import Signed, claims, claims_of, prove, prove_all
from agent.core.exceptions import NotAuthentic
from agent.core.reflection import (
    SSID_COLUMN,
    Reflection,
    ReflectionResult,
    ReflectorMode,
    Request,
    RequestColumns,
    Taker,
)
from agent.core.rounds import in_rounds
from agent.core.stamp import BASE_OCTETS
from agent.core.timestamps import SECOND_NS, ErrorEstimate, ntp_from_ns, ntp_from_ns_of
from agent.net.arrivals import Datagram, Requests
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.reflector.outlet import BATCH, PORT, Outgoing, Outlet
from agent.reflector.timestamping import timestamping_of
from agent.runtime.exceptions import IsochroneError
from agent.runtime.quantities import Endpoint

_FEW: Final = 10
_UNKNOWN_TTL: Final = 0
_UNMARKED: Final = 0
_NEWCOMERS: Final = 64
"""Of how many requests from unknown sources signatures are verified in a full batch, which says that there is more to
come than is read: a flood of forgeries costs little more than any other, and newcomers still get in."""
_UNSYNCHRONISED: Final = ErrorEstimate.of_bound(None).wire
_ADMITTED, _NOT_AUTHENTIC, _OVER_BUDGET = (
    np.uint8(VERDICTS.index(verdict))
    for verdict in (Verdict.ADMITTED, Verdict.NOT_AUTHENTIC, Verdict.OVER_BUDGET)
)


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
        keys: verify requests of authenticated mode, which are answered wherever they come from; None: nobody has one.
        markable: DSCPs that a reply may carry where a Class of Service TLV asks for one; best effort always.
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
        keys: KeyRing | None = None,
        markable: Collection[int] = (),
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
                self._outlets.append(Outlet(endpoint, clock.card))
            except (OSError, ValueError) as error:
                self._close_sockets()
                raise ReflectorBindError(f"reflector: cannot listen on {endpoint}: {error}") from error
        listening = {outlet.socket.address[1] for outlet in self._outlets}
        self._listening = frozenset(listening)
        self._rules = rules
        self._admission = self._admitting(rules)
        self.update(rules, keys, markable)

    def _admitting(self, rules: AdmissionRules) -> Admission:
        return Admission(replace(rules, reflector_ports=rules.reflector_ports | self._listening))

    def update(self, rules: AdmissionRules, keys: KeyRing | None, markable: Collection[int]) -> None:
        """Go on under other rules, with other keys; sessions and counts stay.

        Where the rules change, every source's bucket begins full, as if it had not been here.
        """
        if rules != self._rules:
            self._rules = rules
            self._admission = self._admitting(rules)
        self._keys = self._reflection.keys = keys
        self._reflection.allow_markings(markable)

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
            outlet.lookout.start(functools.partial(self._look, outlet))

    def close(self) -> None:
        """Stop answering."""
        if self._resting is not None:
            self._resting.cancel()
        self._stop_reading()
        self._close_sockets()

    def _stop_reading(self) -> None:
        for outlet in self._outlets:
            outlet.lookout.stop()

    def _close_sockets(self) -> None:
        self._results[ReflectionResult.OVERFLOWED] += sum(outlet.socket.dropped for outlet in self._outlets)
        for outlet in self._outlets:
            outlet.close()
        self._outlets.clear()

    def _look(self, outlet: Outlet) -> None:
        begun_ns = time.thread_time_ns()
        if count := outlet.socket.fetch():
            if outlet.is_followed:
                outlet.take_stamps()
            self._reflection.timestamping = timestamping_of(self._clock.quality)
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
        else:
            outlet.lookout.looked(count, now_ns)

    def _answer_few(self, outlet: Outlet, now_ns: int) -> None:
        pressed = self._budget.is_spent(now_ns)
        admitted: list[tuple[Datagram, Signed | None]] = []
        for datagram in outlet.socket.fetched():
            address = datagram.source[outlet.address]
            signed = None
            if self._keys is not None and claims(
                datagram.payload, listed=self._admission.is_allowed(address)
            ):
                signed = self._prove(datagram.payload, address, self._keys, pressed=pressed)
            if isinstance(signed, Verdict):
                verdict = signed
            else:
                verdict = self._admission.decide(
                    address,
                    # of what was cut it is only known that it was longer
                    len(datagram.payload) + datagram.truncated,
                    now_ns,
                    port=int.from_bytes(datagram.source[PORT], "big"),
                    authentic=signed is not None,
                    pressed=pressed,
                )
                if verdict is Verdict.ADMITTED:
                    admitted.append((datagram, signed))
                    continue
            self._results[verdict] += 1
        if admitted:
            self._answer(outlet, admitted)

    def _prove(
        self, payload: memoryview, address: bytes, keys: KeyRing, *, pressed: bool
    ) -> Signed | Verdict:
        """Verify what claims to be signed; the verdict on what is not, or on what there is no time to verify."""
        if pressed and not self._admission.remembers(address):
            return Verdict.OVER_BUDGET
        try:
            return prove(payload, keys)
        except NotAuthentic:
            return Verdict.NOT_AUTHENTIC

    def _answer(self, outlet: Outlet, admitted: Sequence[tuple[Datagram, Signed | None]]) -> None:
        """Answer one by one."""
        estimate = self._estimate(outlet)
        rounds = [range(len(admitted))]
        if any(len(datagram.payload) > BASE_OCTETS for datagram, _ in admitted):
            rounds = self._rounds(
                [(datagram.source, bytes(datagram.payload[SSID_COLUMN])) for datagram, _ in admitted]
            )
        for number, places in enumerate(rounds):
            if number:
                outlet.take_stamps()
            replies = [self._reflect(outlet, *admitted[place], estimate) for place in places]
            self._count(len(replies), outlet.send(replies))

    def _rounds(self, sessions: Sequence[Hashable]) -> list[range]:
        """The places of requests in the order in which they are answered; what is between the rounds is sent.

        Args:
            sessions: whose each request is.
        """
        # nothing is told of what left where nothing is remembered, and where more waits than is read there is no time
        if self._reflection.mode is ReflectorMode.STATELESS or len(sessions) == BATCH:
            return [range(len(sessions))]
        return in_rounds(sessions)

    def _reflect(self, outlet: Outlet, datagram: Datagram, signed: Signed | None, estimate: int) -> Outgoing:
        address, received_ns = datagram.source[outlet.address], datagram.received_ns
        taker = Taker.CARD if datagram.by_card else Taker.KERNEL
        if received_ns is None:
            # Without the kernel's stamp T2 is only as good as this program is quick: it vouches for nothing.
            received_ns, estimate, taker = time.time_ns(), _UNSYNCHRONISED, Taker.PROGRAM
        request = Request(
            datagram.payload,
            datagram.source,
            datagram.local,
            address,
            _UNKNOWN_TTL if datagram.ttl is None else datagram.ttl,
            datagram.traffic_class or _UNMARKED,
            ntp_from_ns(received_ns),
            estimate,
            taker,
            signed is None and self._admission.is_twamp_light(address),
            signed,
        )
        return Outgoing(self._reflection.reply(request), datagram.source, datagram.local)

    def _answer_many(self, outlet: Outlet, now_ns: int) -> None:
        requests = outlet.socket.fetched_requests()
        addresses = requests.sources[:, outlet.address]
        pressed = self._budget.is_spent(now_ns)
        proofs, made = self._prove_all(requests, addresses, pressed=pressed)
        authentic = np.zeros(len(addresses), np.bool_)
        authentic[list(proofs)] = True
        verdicts = self._admission.decide_all(
            addresses,
            requests.octets + requests.truncated,
            now_ns,
            ports=requests.sources[:, PORT].copy().view(">u2")[:, 0],
            authentic=authentic,
            made=made,
            pressed=pressed,
        )
        admitted = verdicts == _ADMITTED
        if not admitted.all():
            for verdict, count in zip(VERDICTS, np.bincount(verdicts).tolist(), strict=False):
                if count and verdict is not Verdict.ADMITTED:
                    self._results[verdict] += count
        light = self._admission.are_twamp_light(addresses)
        by_itself = authentic if light is None else authentic | light
        if (by_itself & admitted).any():
            datagrams = outlet.socket.fetched()
            self._answer(
                outlet,
                [(datagrams[at], proofs.get(at)) for at in np.flatnonzero(by_itself & admitted).tolist()],
            )
            admitted &= ~by_itself
        which = np.flatnonzero(admitted)
        if len(which) == 0:
            return
        if requests.octets[which].max() <= BASE_OCTETS:
            self._answer_columns(outlet, requests, which)
            return
        named = np.concatenate((requests.sources[which], requests.payloads[which, SSID_COLUMN]), axis=1)
        sessions: list[bytes] = named.view(f"V{named.shape[1]}")[:, 0].tolist()
        for number, places in enumerate(self._rounds(sessions)):
            if number:
                outlet.take_stamps()
            self._answer_columns(outlet, requests, which[places.start : places.stop])

    def _prove_all(
        self, requests: Requests, addresses: NDArray[np.uint8], *, pressed: bool
    ) -> tuple[dict[int, Signed], NDArray[np.uint8] | None]:
        """Verify what claims to be signed; of sources that are not known, no more than there is time for.

        Returns:
            What is proven, by index; and the verdicts on the rest of what claims, if anything does.
        """
        if self._keys is None:
            return {}, None
        claiming = claims_of(requests.payloads, requests.octets, self._admission.are_allowed(addresses))
        if not claiming.any():
            return {}, None
        made = np.where(claiming, _NOT_AUTHENTIC, _ADMITTED)
        if pressed or len(addresses) == BATCH:
            (unknown,) = np.nonzero(claiming & ~self._admission.remember_all(addresses))
            unverified = unknown if pressed else unknown[_NEWCOMERS:]
            made[unverified] = _OVER_BUDGET
            claiming[unverified] = False
        proofs = prove_all(requests.payloads, np.flatnonzero(claiming).tolist(), self._keys)
        made[list(proofs)] = _ADMITTED
        return proofs, made

    def _answer_columns(self, outlet: Outlet, requests: Requests, which: NDArray[np.intp]) -> None:
        """Answer together what is of unauthenticated mode and not from peers of TWAMP Light."""
        octets = requests.octets[which]
        outlet.load(which, requests.payloads, octets)
        sources, answers = requests.sources[which], requests.answers[which]
        received_ns = requests.received_ns[which]
        estimates = np.full(len(which), self._estimate(outlet), np.uint16)
        takers = np.full(len(which), Taker.KERNEL, np.int64)
        if requests.bounds_ns is not None:
            takers[requests.bounds_ns[which] > 0] = Taker.CARD
        unstamped = received_ns == 0
        if unstamped.any():
            takers[unstamped] = Taker.PROGRAM
            estimates[unstamped] = _UNSYNCHRONISED
            received_ns[unstamped] = time.time_ns()
        replies = self._reflection.reply_all(
            RequestColumns(
                outlet.packets[: len(which)],
                octets,
                sources,
                answers,
                sources[:, outlet.address],
                np.maximum(requests.ttls[which], _UNKNOWN_TTL),
                np.maximum(requests.traffic_classes[which], _UNMARKED),
                ntp_from_ns_of(received_ns),
                estimates,
                takers,
            )
        )
        self._count(len(which), outlet.send_loaded(sources, answers, replies))

    def _count(self, replies: int, taken: int) -> None:
        self._results[ReflectionResult.REFLECTED] += taken
        self._results[ReflectionResult.SEND_FAILED] += replies - taken

    def _estimate(self, outlet: Outlet) -> int:
        """The Error Estimate for now: the clock's error, how late replies leave after T3, and how well the card's times
        are known where it takes them; unknown if either of the former is."""
        clock_ns, lag_ns = self._clock.bound_ns, outlet.lags.bound_ns
        if clock_ns is None or lag_ns is None:
            return _error_estimate(None)
        return _error_estimate(clock_ns + lag_ns + outlet.socket.card_bound_ns)


@functools.lru_cache(maxsize=256)
def _error_estimate(bound_ns: int | None) -> int:
    return ErrorEstimate.of_bound(bound_ns).wire
