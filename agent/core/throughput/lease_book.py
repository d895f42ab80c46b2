"""The leases of one server: who may test now, and which data sockets belong to whom.

Nobody has a lease unless the rules let him: his address is listed, his test is no larger than any may be, a slot is
free and the rates of all together stay within the budget, and his address has not used up its day. What is granted
is charged to the day at once, and what was not transferred given back when the lease is released; who vanishes has
transferred all of it, unless no data socket of his was ever admitted.

A lease always ends: released, or by itself at `expires_ns`. An end frees its slot and its rate, once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.core.authentication import Key
from agent.core.networks import Network, Networks, subscriber_of
from agent.core.remembered import Remembered
from agent.core.throughput.lease import (
    ID_OCTETS,
    MAX_STREAMS,
    TOKEN_OCTETS,
    Admittance,
    Lease,
    LeaseRequest,
    LeaseState,
    Protocol,
    Refusal,
    RefusalReason,
    Way,
)
from agent.core.throughput.preamble import Preamble
from agent.core.timestamps import SECOND_NS

_DAY_NS: Final = 86_400 * SECOND_NS
_SHANGHAI_NS: Final = 8 * 3_600 * SECOND_NS
"""Days are those of Asia/Shanghai, as in all else that is reported; it has had no summer time since 1991."""


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """What this server grants.

    Attributes:
        allow: networks of peers; nobody else has a lease.
        slots: how many tests may run at once.
        budget: bit/s of all tests together, each way by itself; None: the slots are bound enough.
        rate_down, rate_up: bit/s, the most that one lease may have.
        longest_ns: the longest test.
        octets_per_day: of payload of both ways, for each IPv4 address and each IPv6 /64, in a day of Asia/Shanghai; a
            wall clock that is set over midnight begins one, and so does a start of the agent.
        streams: the most of one way.
        start_ns: how long after the grant data sockets are admitted.
        grace_ns: how long after the end of data the results are waited for.
        max_peers: whose days are remembered.
        max_ended: leases of which is known how they ended.
    """

    allow: Sequence[Network]
    slots: int = 1
    budget: int | None = None
    rate_down: int = 11_000_000_000
    rate_up: int = 11_000_000_000
    longest_ns: int = 30 * SECOND_NS
    octets_per_day: int = 200_000_000_000
    streams: int = MAX_STREAMS
    start_ns: int = 5 * SECOND_NS
    grace_ns: int = 3 * SECOND_NS
    max_peers: int = 4_096
    max_ended: int = 256

    def rate(self, way: Way) -> int:
        """The most that one lease may have, bit/s."""
        return self.rate_down if way is Way.DOWN else self.rate_up


@dataclass(slots=True)
class _Running:
    lease: Lease
    day: int
    taken: set[tuple[Way, int]] = field(default_factory=set)


@dataclass(slots=True)
class _Day:
    """What a peer has been charged on a day."""

    day: int
    octets: int = 0


class LeaseBook:
    """Grants leases and decides of data sockets, each time at a monotonic time (ns) that never falls.

    Args:
        rules: what is granted.
        draw: gives so many octets that nobody can guess.

    Attributes:
        requests: what was asked for, by result: granted, or why not.
        sockets: data sockets by what was decided of them.
        ended: leases that are over, by how they ended.
    """

    def __init__(self, rules: LeaseRules, draw: Callable[[int], bytes]) -> None:
        self._rules = rules
        self._allowed = Networks(rules.allow)
        self._draw = draw
        self._stranger = Key(draw(TOKEN_OCTETS))
        self._running: dict[bytes, _Running] = {}
        self._ended: OrderedDict[bytes, tuple[Lease, LeaseState]] = OrderedDict()
        self._days: Remembered[bytes, _Day] = Remembered(
            rules.max_peers, lambda day: day.day != self._today or not day.octets
        )
        self._today = 0
        self.requests: Counter[str] = Counter()
        self.sockets: Counter[Admittance] = Counter()
        self.ended: Counter[LeaseState] = Counter()

    def update(self, rules: LeaseRules) -> None:
        """Go on under other rules; leases that are granted stay as they are, and days as they were charged."""
        self._rules = rules
        self._allowed = Networks(rules.allow)

    def expected(self, now_ns: int) -> set[bytes]:
        """The addresses, of 4 or 16 octets, whose leases still admit data sockets; no others need be heard."""
        return {lease.request.peer for lease in self.running if now_ns < lease.start_by_ns}

    def grant(self, request: LeaseRequest, now_ns: int, unix_ns: int) -> Lease | Refusal:
        """Grant a lease, or say why not.

        Args:
            request: what is asked for.
            now_ns: monotonic.
            unix_ns: wall time, for the day alone.
        """
        self.expire(now_ns)
        self._today = _day_of(unix_ns)
        answer = self._refusal(request, now_ns, unix_ns) or self._granted(request, now_ns)
        self.requests[answer.reason.value if isinstance(answer, Refusal) else "granted"] += 1
        return answer

    def admit(self, proof: Preamble, peer: bytes, protocol: Protocol, now_ns: int) -> Admittance:
        """Decide of a data socket, and take its stream where it is admitted.

        That both nonces are this connection's is for the caller to see to: he compares the PROOF with the CHALLENGE
        (`answers`), or asks the `Cookies`.

        Args:
            proof: what came on it.
            peer: the address it comes from, 4 or 16 octets.
            protocol: of the socket.
        """
        self.expire(now_ns)
        decided = self._decided(proof, peer, protocol, now_ns)
        self.sockets[decided] += 1
        if decided is Admittance.ADMITTED:
            self._running[proof.lease].taken.add((proof.way, proof.stream))
        return decided

    def release(
        self,
        lease: bytes,
        now_ns: int,
        used: Mapping[Way, int] | None = None,
    ) -> bool:
        """End a lease; whoever runs its sockets has closed them before.

        Args:
            lease: its id.
            now_ns: monotonic.
            used: octets of payload that were transferred each way; None: not known, so all that was granted counts.

        Returns:
            Whether it was still running.
        """
        self.expire(now_ns)
        running = self._running.get(lease)
        if running is None:
            return False
        self._end(running, LeaseState.RELEASED, None if used is None else sum(used.values()))
        return True

    def expire(self, now_ns: int) -> list[Lease]:
        """End the leases whose time is over: those that expire, and those that nobody has started in time."""
        over = [running for running in self._running.values() if now_ns >= self._deadline_ns(running)]
        for running in over:
            self._end(running, LeaseState.EXPIRED, None)
        return [running.lease for running in over]

    @property
    def next_expiry_ns(self) -> int | None:
        """When the next lease is over unless it is released or started; None: there is none."""
        return min(map(self._deadline_ns, self._running.values()), default=None)

    @property
    def running(self) -> list[Lease]:
        """The leases that hold a slot."""
        return [running.lease for running in self._running.values()]

    def find(self, lease: bytes) -> tuple[Lease, LeaseState] | None:
        """A lease of an id, and how far it is; None: unknown, or forgotten."""
        running = self._running.get(lease)
        if running is None:
            return self._ended.get(lease)
        return running.lease, LeaseState.RUNNING if running.taken else LeaseState.GRANTED

    def octets_left(self, peer: bytes, unix_ns: int) -> int:
        """What a peer may still be granted today; below 0 where more was transferred than was granted."""
        charged = self._days.find(subscriber_of(peer))
        used = charged.octets if charged is not None and charged.day == _day_of(unix_ns) else 0
        return self._rules.octets_per_day - used

    def _refusal(self, request: LeaseRequest, now_ns: int, unix_ns: int) -> Refusal | None:
        """Why a request is refused; None: it is not."""
        if not self._allowed.contain(request.peer):
            return Refusal(RefusalReason.NOT_ALLOWED, "this address may not test here")
        too_large = self._too_large(request)
        if too_large is not None:
            return Refusal(RefusalReason.OVER_LIMIT, too_large)
        tomorrow_ns = _DAY_NS - (unix_ns + _SHANGHAI_NS) % _DAY_NS
        left = self.octets_left(request.peer, unix_ns)
        if request.octets > left:
            return Refusal(
                RefusalReason.OVER_CAP,
                f"{request.octets} octets are asked for, {max(0, left)} of {self._rules.octets_per_day} are left today",
                tomorrow_ns,
            )
        refusal = self._crowded(request, now_ns)
        if refusal is not None:
            return refusal
        if not self._charge(request):
            return Refusal(RefusalReason.FULL, "too many peers have tested today", tomorrow_ns)
        return None

    def _too_large(self, request: LeaseRequest) -> str | None:
        """Which limit no request may exceed this one does."""
        rules = self._rules
        if request.duration_ns > rules.longest_ns:
            return f"{_seconds(request.duration_ns)} are asked for, at most {_seconds(rules.longest_ns)}"
        if request.streams > rules.streams:
            return f"{request.streams} streams are asked for, at most {rules.streams}"
        for way, share in request.shares():
            most = rules.rate(way) if rules.budget is None else min(rules.rate(way), rules.budget)
            if share.rate > most:
                return f"{share.rate} bit/s {way} are asked for, at most {most}"
        if request.octets > rules.octets_per_day:
            return f"{request.octets} octets are asked for, at most {rules.octets_per_day} a day"
        return None

    def _crowded(self, request: LeaseRequest, now_ns: int) -> Refusal | None:
        """Who stands in the way, and until when: as many of those that end first must be gone as it takes."""
        leases = sorted(self.running, key=lambda lease: lease.expires_ns)
        reason = self._in_the_way(request, leases)
        if reason is None:
            return None
        free_ns = now_ns
        remaining = leases
        while remaining and self._in_the_way(request, remaining) is not None:
            free_ns, remaining = remaining[0].expires_ns, remaining[1:]
        alone = "" if len(leases) >= self._rules.slots else ", and an exclusive test has none beside it"
        detail = {
            RefusalReason.BUSY: f"{len(leases)} of {self._rules.slots} slots are taken{alone}",
            RefusalReason.OVER_BUDGET: f"the tests that run leave too little of {self._rules.budget} bit/s",
        }
        return Refusal(reason, detail[reason], free_ns - now_ns)

    def _in_the_way(self, request: LeaseRequest, leases: Sequence[Lease]) -> RefusalReason | None:
        """Why a request cannot be granted beside some leases; None: it can."""
        exclusive = request.exclusive or any(lease.request.exclusive for lease in leases)
        if len(leases) >= (1 if exclusive else self._rules.slots):
            return RefusalReason.BUSY
        if self._rules.budget is not None:
            for way, share in request.shares():
                others = sum(_rate(lease, way) for lease in leases)
                if others + share.rate > self._rules.budget:
                    return RefusalReason.OVER_BUDGET
        return None

    def _charge(self, request: LeaseRequest) -> bool:
        """Charge a request to its peer's day; False where no more peers can be remembered."""
        key = subscriber_of(request.peer)
        charged = self._days.find(key)
        if charged is None:
            return self._days.add(key, _Day(self._today, request.octets))
        if charged.day != self._today:
            charged.day, charged.octets = self._today, 0
        charged.octets += request.octets
        return True

    def _granted(self, request: LeaseRequest, now_ns: int) -> Lease:
        start_by_ns = now_ns + self._rules.start_ns
        stop_by_ns = start_by_ns + request.duration_ns
        lease = Lease(
            self._draw(ID_OCTETS),
            Key(self._draw(TOKEN_OCTETS)),
            request,
            now_ns,
            start_by_ns,
            stop_by_ns,
            stop_by_ns + self._rules.grace_ns,
        )
        self._running[lease.id] = _Running(lease, self._today)
        return lease

    def _decided(self, proof: Preamble, peer: bytes, protocol: Protocol, now_ns: int) -> Admittance:
        running = self._running.get(proof.lease)
        genuine = proof.proves(self._stranger if running is None else running.lease.token)
        if running is None:
            return Admittance.OVER if proof.lease in self._ended else Admittance.UNKNOWN
        if not genuine:
            return Admittance.FORGED
        request = running.lease.request
        if peer != request.peer or protocol is not request.protocol:
            return Admittance.ELSEWHERE
        if request.share(proof.way) is None or proof.stream >= request.streams:
            return Admittance.NOT_GRANTED
        if (proof.way, proof.stream) in running.taken:
            return Admittance.REPLAYED
        return Admittance.OVER if now_ns >= running.lease.start_by_ns else Admittance.ADMITTED

    def _deadline_ns(self, running: _Running) -> int:
        return running.lease.expires_ns if running.taken else running.lease.start_by_ns

    def _end(self, running: _Running, state: LeaseState, used: int | None) -> None:
        """Free what a lease holds, and settle what it was charged; without a data socket it has used nothing."""
        lease = running.lease
        used = used if running.taken else 0
        charged = self._days.find(subscriber_of(lease.request.peer))
        if used is not None and charged is not None and charged.day == running.day:
            charged.octets += used - lease.request.octets
        del self._running[lease.id]
        self._ended[lease.id] = lease, state
        while len(self._ended) > self._rules.max_ended:
            self._ended.popitem(last=False)
        self.ended[state] += 1


def _day_of(unix_ns: int) -> int:
    return (unix_ns + _SHANGHAI_NS) // _DAY_NS


def _rate(lease: Lease, way: Way) -> int:
    share = lease.request.share(way)
    return 0 if share is None else share.rate


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / SECOND_NS:g} s"
