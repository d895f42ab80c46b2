"""Leases: granted within bounds, proven on every socket, always over in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.core.authentication import Key
from agent.core.throughput.lease import (
    Admittance,
    Directions,
    Lease,
    LeaseRequest,
    LeaseState,
    Protocol,
    Refusal,
    RefusalReason,
    Share,
    Way,
)
from agent.core.throughput.lease_book import LeaseBook, LeaseRules
from agent.core.throughput.preamble import Preamble, PreambleKind

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS
NOON_NS = 1_795_000_000 * SECOND_NS // (24 * HOUR_NS) * 24 * HOUR_NS + 4 * HOUR_NS
"""12:00 in Shanghai, 04:00 UTC."""
MBIT = 1_000_000
PEER, OTHER, STRANGER, LONG = (
    ip_address(text).packed for text in ("192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1")
)
RULES = LeaseRules([ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")], octets_per_day=1_000_000)
ASKED = LeaseRequest(PEER, Protocol.TCP, 10 * SECOND_NS, down=Share(1_000 * MBIT, 400_000), streams=2)


class Draw:
    """Octets that differ each time, and nobody would call random."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, octets: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(octets, "big")


def a_book(rules: LeaseRules = RULES) -> LeaseBook:
    return LeaseBook(rules, Draw())


def granted(book: LeaseBook, request: LeaseRequest = ASKED, now_ns: int = 0) -> Lease:
    answer = book.grant(request, now_ns, NOON_NS + now_ns)
    assert isinstance(answer, Lease), answer
    return answer


def refused(book: LeaseBook, request: LeaseRequest = ASKED, now_ns: int = 0) -> Refusal:
    answer = book.grant(request, now_ns, NOON_NS + now_ns)
    assert isinstance(answer, Refusal)
    return answer


def proof_of(lease: Lease, stream: int = 0, way: Way = Way.DOWN) -> Preamble:
    return Preamble(PreambleKind.HELLO, way, stream, lease.id, bytes(16)).proof(lease.token)


def admit(book: LeaseBook, proof: Preamble, now_ns: int = 0, peer: bytes = PEER) -> Admittance:
    return book.admit(proof, peer, Protocol.TCP, now_ns)


# What is asked for


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peer": b"123"}, "3 octets"),
        ({"streams": 0}, "0 streams"),
        ({"streams": 9}, "9 streams"),
        ({"duration_ns": 0}, "a duration of 0 ns"),
        ({"down": None}, "neither down nor up"),
    ],
)
def test_what_nobody_can_ask_for(change: dict[str, object], message: str) -> None:
    """A request for nothing, or for what cannot be, is none."""
    with pytest.raises(ValueError, match=message):
        replace(ASKED, **change)  # type: ignore[arg-type]


def test_shares_are_bounded() -> None:
    """A rate and a number of octets are at least 1, and no more than any network carries."""
    for rate, octets in ((0, 1), (10**12 + 1, 1), (1, 0), (1, 1 << 61)):
        with pytest.raises(ValueError, match="out of range"):
            Share(rate, octets)
    assert Share.lasting(8, 3 * SECOND_NS) == Share(8, 3)
    assert Share.lasting(1, SECOND_NS) == Share(1, 1)


def test_ways() -> None:
    """Down, up and both are what the shares say, and each way has another one."""
    up = replace(ASKED, down=None, up=Share(5, 7))
    both = replace(ASKED, up=Share(5, 7))
    assert [one.directions for one in (ASKED, up, both)] == list(Directions)
    assert [one.directions.ways for one in (ASKED, up, both)] == [(Way.DOWN,), (Way.UP,), tuple(Way)]
    assert both.octets == 400_007
    assert [way.other for way in Way] == [Way.UP, Way.DOWN]


# Who has a lease


def test_nobody_is_allowed_by_default() -> None:
    """Who is on no list has no lease, whatever he asks; an empty list is nobody's."""
    assert refused(a_book(), replace(ASKED, peer=STRANGER)).reason is RefusalReason.NOT_ALLOWED
    book = a_book(replace(RULES, allow=[]))
    assert refused(book) == Refusal(RefusalReason.NOT_ALLOWED, "this address may not test here")


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"duration_ns": 31 * SECOND_NS}, "31 s are asked for, at most 30 s"),
        ({"streams": 5}, "5 streams are asked for, at most 4"),
        ({"down": Share(11_000_000_001, 1)}, "11000000001 bit/s down are asked for, at most 11000000000"),
        ({"up": Share(2_000_000_001, 1)}, "2000000001 bit/s up are asked for, at most 2000000000"),
        ({"down": Share(1, 1_000_001)}, "1000001 octets are asked for, at most 1000000 a day"),
    ],
)
def test_no_lease_is_larger_than_any_may_be(change: dict[str, object], detail: str) -> None:
    """What exceeds a limit is refused with the limit, and without a time to come again."""
    book = a_book(replace(RULES, rate_up=2_000 * MBIT, streams=4))
    refusal = refused(book, replace(ASKED, **change))  # type: ignore[arg-type]
    assert refusal == Refusal(RefusalReason.OVER_LIMIT, detail)


def test_one_slot() -> None:
    """The second is told when the first is over at the latest, and comes in when it is released."""
    book = a_book()
    lease = granted(book)
    assert (lease.start_by_ns, lease.stop_by_ns, lease.expires_ns) == tuple(
        seconds * SECOND_NS for seconds in (5, 15, 18)
    )
    refusal = refused(book, replace(ASKED, peer=OTHER), SECOND_NS)
    assert refusal == Refusal(RefusalReason.BUSY, "1 of 1 slots are taken", 17 * SECOND_NS)
    assert book.release(lease.id, SECOND_NS)
    assert not book.release(lease.id, SECOND_NS)
    granted(book, replace(ASKED, peer=OTHER), SECOND_NS)
    assert book.requests == {"granted": 2, "busy": 1}


def test_a_budget() -> None:
    """Rates of a way add up to no more than the budget; the ways do not take from each other."""
    book = a_book(replace(RULES, slots=4, budget=2_500 * MBIT))
    first, second = granted(book), granted(book, replace(ASKED, peer=OTHER), SECOND_NS)
    third = replace(ASKED, peer=LONG)
    assert refused(book, third, 2 * SECOND_NS) == Refusal(
        RefusalReason.OVER_BUDGET, "the tests that run leave too little of 2500000000 bit/s", 16 * SECOND_NS
    )
    granted(book, replace(third, down=None, up=Share(2_500 * MBIT, 1)), 2 * SECOND_NS)
    assert book.release(first.id, 2 * SECOND_NS)
    granted(book, third, 2 * SECOND_NS)
    assert {lease.id for lease in book.running} > {second.id}
    assert refused(book, replace(ASKED, down=Share(2_501 * MBIT, 1))).reason is RefusalReason.OVER_LIMIT


def test_exclusive_means_alone() -> None:
    """An exclusive test waits until all others are over, and others wait for it, whatever slots there are."""
    book = a_book(replace(RULES, slots=4))
    alone = replace(ASKED, peer=OTHER, exclusive=True)
    granted(book)
    later = granted(book, replace(ASKED, peer=LONG), SECOND_NS)
    refusal = refused(book, alone, 2 * SECOND_NS)
    assert refusal.retry_after_ns == later.expires_ns - 2 * SECOND_NS
    assert refusal.detail == "2 of 4 slots are taken, and an exclusive test has none beside it"
    for lease in book.running:
        book.release(lease.id, 2 * SECOND_NS)
    granted(book, alone, 2 * SECOND_NS)
    assert refused(book, ASKED, 3 * SECOND_NS).reason is RefusalReason.BUSY


def test_a_days_octets() -> None:
    """A day's octets are used up by what is granted; at midnight in Shanghai, 12 h after noon, they are there again."""
    book = a_book(replace(RULES, slots=4))
    assert book.octets_left(PEER, NOON_NS) == 1_000_000
    first = granted(book)
    admit(book, proof_of(first))
    second = granted(book)
    assert book.octets_left(PEER, NOON_NS) == 200_000
    refusal = refused(book, now_ns=2 * SECOND_NS)
    assert refusal == Refusal(
        RefusalReason.OVER_CAP,
        "400000 octets are asked for, 200000 of 1000000 are left today",
        12 * HOUR_NS - 2 * SECOND_NS,
    )
    # others have days of their own
    granted(book, replace(ASKED, peer=OTHER), 2 * SECOND_NS)
    # what was not transferred comes back: of the second all, for it had no socket
    assert book.release(second.id, 3 * SECOND_NS)
    assert book.release(first.id, 3 * SECOND_NS, {Way.DOWN: 100_000})
    assert book.octets_left(PEER, NOON_NS) == 900_000
    assert book.octets_left(PEER, NOON_NS + 12 * HOUR_NS - 1) == 900_000
    assert book.octets_left(PEER, NOON_NS + 12 * HOUR_NS) == 1_000_000
    # a lease that outlives its day gives nothing back to the next one
    late = granted(book, now_ns=12 * HOUR_NS - SECOND_NS)
    admit(book, proof_of(late), 12 * HOUR_NS - SECOND_NS)
    granted(book, now_ns=12 * HOUR_NS + SECOND_NS)
    assert book.release(late.id, 12 * HOUR_NS + 2 * SECOND_NS, {Way.DOWN: 0})
    assert book.octets_left(PEER, NOON_NS + 12 * HOUR_NS + 2 * SECOND_NS) == 600_000


def test_who_vanishes_has_used_all() -> None:
    """A lease that expires with sockets, or is released without a word, was used up; one without a socket was not."""
    book = a_book()
    lease = granted(book)
    admit(book, proof_of(lease))
    assert book.next_expiry_ns == lease.expires_ns
    assert book.expire(lease.expires_ns - 1) == []
    assert book.expire(lease.expires_ns) == [lease]
    assert book.octets_left(PEER, NOON_NS) == 600_000
    unstarted = granted(book, now_ns=20 * SECOND_NS)
    assert book.next_expiry_ns == unstarted.start_by_ns
    assert book.expire(unstarted.start_by_ns) == [unstarted]
    assert book.octets_left(PEER, NOON_NS) == 600_000
    assert book.next_expiry_ns is None
    assert book.ended == {LeaseState.EXPIRED: 2}


def test_a_subscriber_has_one_day() -> None:
    """Another address of the same /64 has no other day."""
    book = a_book()
    request = replace(ASKED, peer=LONG)
    lease = granted(book, request)
    book.admit(proof_of(lease), LONG, Protocol.TCP, 0)
    assert book.release(lease.id, 1)
    assert book.octets_left(ip_address("2001:db8::99").packed, NOON_NS) == 600_000
    assert book.octets_left(ip_address("2001:db8:0:1::1").packed, NOON_NS) == 1_000_000


def test_the_table_of_days_is_bounded() -> None:
    """Where it is full of peers that have tested today, new ones are refused and none is forgotten."""
    book = a_book(replace(RULES, max_peers=2, slots=9))
    lease = granted(book)
    admit(book, proof_of(lease))
    assert refused(book, replace(ASKED, peer=OTHER)).reason is RefusalReason.FULL
    assert book.octets_left(PEER, NOON_NS) == 600_000
    granted(book, replace(ASKED, peer=OTHER), 12 * HOUR_NS)


def test_new_rules() -> None:
    """They hold from the next request on."""
    book = a_book()
    lease = granted(book)
    book.update(replace(RULES, allow=[ip_network("192.0.2.2/32")]))
    assert admit(book, proof_of(lease)) is Admittance.ADMITTED
    book.release(lease.id, 0)
    assert refused(book).reason is RefusalReason.NOT_ALLOWED


# Which sockets are admitted


def test_every_stream_once() -> None:
    """Each stream of a granted way is admitted once, and what is not granted never."""
    book = a_book()
    lease = granted(book)
    assert book.find(lease.id) == (lease, LeaseState.GRANTED)
    decided = [
        admit(book, proof_of(lease, 0)),
        admit(book, proof_of(lease, 1)),
        admit(book, proof_of(lease, 0)),
        admit(book, proof_of(lease, 2)),
        admit(book, proof_of(lease, 0, Way.UP)),
    ]
    assert decided == [
        Admittance.ADMITTED,
        Admittance.ADMITTED,
        Admittance.REPLAYED,
        Admittance.NOT_GRANTED,
        Admittance.NOT_GRANTED,
    ]
    assert book.find(lease.id) == (lease, LeaseState.RUNNING)
    assert book.sockets == Counter(decided)


def test_whose_socket_it_is() -> None:
    """A forged proof, another address, another protocol and an unknown lease are told apart, and take nothing."""
    book = a_book()
    lease = granted(book)
    proof = proof_of(lease)
    assert admit(book, replace(proof, tag=bytes(16))) is Admittance.FORGED
    assert admit(book, proof.accept(lease.token)) is Admittance.FORGED
    assert admit(book, replace(proof, lease=bytes(8)).proof(Key(bytes(16)))) is Admittance.UNKNOWN
    assert admit(book, proof, peer=OTHER) is Admittance.ELSEWHERE
    assert book.admit(proof, PEER, Protocol.UDP, 0) is Admittance.ELSEWHERE
    assert admit(book, proof) is Admittance.ADMITTED


def test_too_late() -> None:
    """After the start, after a release and after the expiry no socket is admitted."""
    book = a_book()
    lease = granted(book)
    assert admit(book, proof_of(lease, 0), lease.start_by_ns - 1) is Admittance.ADMITTED
    assert admit(book, proof_of(lease, 1), lease.start_by_ns) is Admittance.OVER
    assert admit(book, proof_of(lease, 1), lease.expires_ns) is Admittance.OVER
    assert book.find(lease.id) == (lease, LeaseState.EXPIRED)
    again = granted(book, now_ns=lease.expires_ns)
    book.release(again.id, lease.expires_ns)
    assert admit(book, proof_of(again), lease.expires_ns) is Admittance.OVER
    assert book.find(again.id) == (again, LeaseState.RELEASED)


def test_whose_sockets_may_come() -> None:
    """Only those of who has a lease, from its grant until its sockets have to be there, or until it is released."""
    book = a_book(replace(RULES, slots=2))
    assert not book.expected(0)
    lease, second = granted(book), granted(book)
    assert book.expected(lease.start_by_ns - 1) == {PEER}
    assert not book.expected(lease.start_by_ns)
    book.release(lease.id, 0)
    assert book.expected(0) == {PEER}
    book.release(second.id, 0)
    assert not book.expected(0)


def test_the_past_is_bounded() -> None:
    """Only so many ended leases are remembered; an older one is unknown."""
    book = a_book(replace(RULES, max_ended=2))
    leases = []
    for _ in range(3):
        leases.append(granted(book))
        book.release(leases[-1].id, 0)
    assert book.find(leases[0].id) is None
    assert book.find(leases[1].id) == (leases[1], LeaseState.RELEASED)
    assert admit(book, proof_of(leases[0])) is Admittance.UNKNOWN
    assert [state.ended for state in LeaseState] == [False, False, True, True]


def test_secrets_are_not_shown() -> None:
    """No repr of a lease has its token."""
    lease = granted(a_book())
    assert repr(lease.token.secret) not in repr(lease)
    assert len(lease.token.secret) == 16
    assert len(lease.id) == 8


# Whatever happens

asked = st.builds(
    LeaseRequest,
    st.sampled_from((PEER, OTHER, LONG)),
    st.just(Protocol.TCP),
    st.integers(1, 30).map(lambda seconds: seconds * SECOND_NS),
    st.builds(Share, st.integers(1, 1_000), st.just(1)),
    st.none() | st.builds(Share, st.integers(1, 1_000), st.just(1)),
    exclusive=st.booleans(),
)


@given(
    st.lists(st.tuples(asked, st.integers(0, 4), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 3),
    st.none() | st.integers(1_000, 2_000),
)
def test_who_comes_when_he_was_told_to_gets_in(
    asking: list[tuple[LeaseRequest, int, bool]], slots: int, budget: int | None
) -> None:
    """Whoever is in the way of a request, all of them are gone when it is told to come again; not one waits longer than
    the longest test takes."""
    book, now_ns = a_book(replace(RULES, slots=slots, budget=budget)), 0
    for request, later, starts in asking:
        now_ns += later * SECOND_NS
        answer = book.grant(request, now_ns, NOON_NS)
        if isinstance(answer, Refusal):
            assert answer.retry_after_ns is not None
            assert 0 < answer.retry_after_ns <= 38 * SECOND_NS
            now_ns += answer.retry_after_ns
            answer = book.grant(request, now_ns, NOON_NS)
        assert isinstance(answer, Lease)
        if starts:
            assert admit(book, proof_of(answer), now_ns, request.peer) is Admittance.ADMITTED


class LeasesInAnyOrder(RuleBasedStateMachine):
    """Requests, sockets, releases and time in any order, beside a model that only counts."""

    @initialize(
        slots=st.integers(1, 3),
        budget=st.none() | st.integers(500, 2_000),
        per_day=st.integers(1_000, 20_000),
    )
    def open(self, slots: int, budget: int | None, per_day: int) -> None:
        self.bounds = replace(
            RULES, slots=slots, budget=budget, octets_per_day=per_day, max_peers=4, max_ended=3
        )
        self.book = a_book(self.bounds)
        self.now_ns = 0
        self.leases: list[Lease] = []
        self.taken: set[tuple[bytes, Way, int]] = set()
        self.over: set[bytes] = set()
        self.moved: Counter[tuple[bytes, int]] = Counter()

    @property
    def unix_ns(self) -> int:
        return NOON_NS + self.now_ns

    def day(self, lease: Lease) -> int:
        return (NOON_NS + lease.granted_ns + 8 * HOUR_NS) // (24 * HOUR_NS)

    @rule(
        peer=st.sampled_from((PEER, OTHER, LONG, STRANGER)),
        down=st.none() | st.builds(Share, st.integers(1, 2_000), st.integers(1, 8_000)),
        up=st.none() | st.builds(Share, st.integers(1, 2_000), st.integers(1, 8_000)),
        streams=st.integers(1, 3),
        seconds=st.integers(1, 31),
        exclusive=st.booleans(),
    )
    def ask(
        self, peer: bytes, down: Share | None, up: Share | None, streams: int, seconds: int, exclusive: bool
    ) -> None:
        if down is None and up is None:
            return
        request = LeaseRequest(peer, Protocol.TCP, seconds * SECOND_NS, down, up, streams, exclusive)
        answer = self.book.grant(request, self.now_ns, self.unix_ns)
        if isinstance(answer, Lease):
            assert peer != STRANGER
            assert seconds <= 30
            self.leases.append(answer)
            self.moved[peer, self.day(answer)] += request.octets
        elif answer.reason in (RefusalReason.BUSY, RefusalReason.OVER_BUDGET):
            # who comes when he was told to is not refused for those who stood in his way
            assert answer.retry_after_ns is not None
            assert answer.retry_after_ns > 0
            assert self.now_ns + answer.retry_after_ns in {lease.expires_ns for lease in self.book.running}

    @rule(
        pick=st.integers(0, 1 << 16),
        stream=st.integers(0, 3),
        way=st.sampled_from(Way),
        peer=st.sampled_from((PEER, OTHER, LONG)),
        forge=st.booleans(),
    )
    def connect(self, pick: int, stream: int, way: Way, peer: bytes, forge: bool) -> None:
        if not self.leases:
            return
        lease = self.leases[pick % len(self.leases)]
        proof = proof_of(lease, stream, way)
        decided = admit(self.book, replace(proof, tag=bytes(16)) if forge else proof, self.now_ns, peer)
        may = (
            not forge
            and lease.id not in self.over
            and peer == lease.request.peer
            and stream < lease.request.streams
            and lease.request.share(way) is not None
            and self.now_ns < lease.start_by_ns
            and (lease.id, way, stream) not in self.taken
        )
        assert (decided is Admittance.ADMITTED) == may
        if may:
            self.taken.add((lease.id, way, stream))

    @rule(pick=st.integers(0, 1 << 16), used=st.none() | st.floats(0, 1))
    def release(self, pick: int, used: float | None) -> None:
        if not self.leases:
            return
        lease = self.leases[pick % len(self.leases)]
        moved = None
        if used is not None:
            moved = {way: int(share.octets * used) for way, share in lease.request.shares()}
        was_running = lease in self.book.running and not self.is_over(lease)
        assert self.book.release(lease.id, self.now_ns, moved) == was_running
        if was_running:
            if not self.started(lease):
                moved = {}
            if moved is not None:
                self.moved[lease.request.peer, self.day(lease)] -= lease.request.octets - sum(moved.values())
            self.over.add(lease.id)

    @rule(seconds=st.sampled_from((1, 3, 5, 20, 3_600)))
    def wait(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND_NS
        due = [lease for lease in self.leases if lease.id not in self.over and self.is_over(lease)]
        assert {lease.id for lease in self.book.expire(self.now_ns)} == {lease.id for lease in due}
        for lease in due:
            if not self.started(lease):
                self.moved[lease.request.peer, self.day(lease)] -= lease.request.octets
            self.over.add(lease.id)

    def started(self, lease: Lease) -> bool:
        return any(one == lease.id for one, _, _ in self.taken)

    def is_over(self, lease: Lease) -> bool:
        return self.now_ns >= (lease.expires_ns if self.started(lease) else lease.start_by_ns)

    @invariant()
    def nothing_is_exceeded(self) -> None:
        if not hasattr(self, "book"):
            return
        running = self.book.running
        assert {lease.id for lease in running} == {lease.id for lease in self.leases} - self.over
        assert len(running) <= self.bounds.slots
        if any(lease.request.exclusive for lease in running):
            assert len(running) == 1
        if self.bounds.budget is not None:
            for way in Way:
                shares = [lease.request.share(way) for lease in running]
                assert sum(share.rate for share in shares if share is not None) <= self.bounds.budget
        assert all(octets <= self.bounds.octets_per_day for octets in self.moved.values())
        today = (self.unix_ns + 8 * HOUR_NS) // (24 * HOUR_NS)
        for peer in (PEER, OTHER, LONG):
            left = self.bounds.octets_per_day - self.moved[peer, today]
            # a peer that has used nothing may be forgotten: as good as new
            assert self.book.octets_left(peer, self.unix_ns) == left


LeasesInAnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLeasesInAnyOrder = LeasesInAnyOrder.TestCase
