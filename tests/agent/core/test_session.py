"""The sender's session against a seeded fake network: the law holds after every event, losses go where they belong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ledger import SENT, Promise
from agent.core.outcome import Limit, Operator, Outcome
from agent.core.reflection import Reflection, ReflectorMode
from agent.core.session import ReplyFate
from tests.support.network import WALL_EPOCH_NS, FakeNetwork, Leg, one_bad_leg
from tests.support.session import MS, Reply, Session, path_ledger

chance = st.sampled_from([0.0, 0.0, 0.02, 0.3, 1.0])
legs = st.builds(
    Leg,
    delay_ns=st.integers(1000, 150 * MS),
    jitter_ns=st.sampled_from([0, MS, 60 * MS]),
    loss=chance,
    duplication=chance,
)


@given(
    st.integers(0, 2**32),
    legs,
    legs,
    st.sampled_from(ReflectorMode),
    st.sampled_from([-(10**12), 0, 40_000]),
    st.sampled_from([None, 50_000]),
    st.booleans(),
    st.sampled_from([0, 7 * MS, 35 * MS]),
)
def test_law_holds_whatever_the_network_does(
    seed: int,
    forward: Leg,
    reverse: Leg,
    mode: ReflectorMode,
    offset_ns: int,
    uncertainty_ns: int | None,
    kernel_stamps: bool,
    drain_ns: int,
) -> None:
    """Every probe is counted once per direction under loss, duplication, reordering, lateness and lying clocks."""
    network = FakeNetwork(
        seed,
        dataclasses.replace(forward),
        dataclasses.replace(reverse),
        mode,
        offset_ns=offset_ns,
        uncertainty_ns=uncertainty_ns,
        kernel_stamps=kernel_stamps,
        stamping_ns=None if seed % 2 else 1000,
        drain_ns=drain_ns,
    )
    network.run(120)
    ledger = network.ledger
    assert ledger.sent == 120 == sum(ledger.round_trip.outcomes) == sum(ledger.forward.outcomes)
    assert len(network.measurements) == 120
    assert len({measured.sequence for measured in network.measurements}) == 120
    answered = sum(ledger.round_trip.outcomes[:3])
    assert network.fates["COUNTED"] == answered
    assert network.fates["LATE"] == ledger.late
    duplicates = sum(counted.duplicates for _, counted in ledger.directions())
    assert network.fates["DUPLICATE"] == duplicates
    assert ledger.round_trip.delay.total == answered


@given(
    st.integers(0, 2**32),
    legs,
    legs,
    st.sampled_from(ReflectorMode),
    st.integers(0, 900 * MS),
    st.integers(0, 700 * MS),
    st.sampled_from([0, 7 * MS, 35 * MS]),
)
def test_what_is_sent_under_load_is_counted_apart(
    seed: int,
    forward: Leg,
    reverse: Leg,
    mode: ReflectorMode,
    from_ns: int,
    lasting_ns: int,
    drain_ns: int,
) -> None:
    """The law holds while a test fills the line: what is sent then counts once and apart, and in no histogram."""
    network = FakeNetwork(
        seed, dataclasses.replace(forward), dataclasses.replace(reverse), mode, drain_ns=drain_ns
    )
    rows, loads = np.array([network.ledger.row]), network.session.sessions.loads
    until_ns = WALL_EPOCH_NS + from_ns + lasting_ns + 20 * MS
    network.at(from_ns, lambda: loads.begin(rows, WALL_EPOCH_NS + from_ns))
    network.at(from_ns + lasting_ns, lambda: loads.end(rows, until_ns))
    network.run(120)
    ledger = network.ledger
    apart = [one for one in network.measurements if one.under_load]
    assert {one.sequence for one in apart} == {
        one.sequence for one in network.measurements if WALL_EPOCH_NS + from_ns <= one.t1_ns <= until_ns
    }
    assert ledger.sent == 120 == len(network.measurements)
    assert sum(ledger.round_trip.under_load) == sum(ledger.forward.under_load) == len(apart)
    assert sum(ledger.round_trip.outcomes) == sum(ledger.forward.outcomes) == 120 - len(apart)
    for place, (_, counted) in enumerate(ledger.directions()):
        for outcome in Outcome:
            assert counted.under_load[outcome] == sum(one.outcomes[place] is outcome for one in apart)
    assert ledger.round_trip.delay.total == sum(ledger.round_trip.outcomes[:3])


def test_numbering_anew_is_no_reordering() -> None:
    """A reflector that has started again, or another one, has lower numbers; no packet was overtaken for that."""
    network = FakeNetwork(4)
    network.run(100)
    network.reflector = Reflection(network.mode)
    network.run(20)
    assert [counted.reordered for _, counted in network.ledger.directions()] == [0, 0, 0]
    assert network.ledger.round_trip.outcomes[Outcome.WITHIN] == 120


def test_duplicates_per_direction() -> None:
    """A duplicate is counted once, in the direction that made it; the probe itself stays counted once."""
    for name in ("forward", "reverse"):
        network = one_bad_leg(5, name, Leg(duplication=0.2))
        network.run(500)
        assert sum(network.ledger.round_trip.outcomes) == 500
        # the first replies cannot yet tell a counting reflector from a copying one
        found = getattr(network.ledger, name).duplicates + network.ledger.round_trip.duplicates
        assert found == network.fates["DUPLICATE"] > 50
        assert network.ledger.round_trip.duplicates <= 1


def test_duplicates_and_reordering_of_a_stateless_peer() -> None:
    """Without the reflector's own count they are of the round trip."""
    network = FakeNetwork(
        6, Leg(duplication=0.2, jitter_ns=40 * MS), Leg(), ReflectorMode.STATELESS, ledger=path_ledger(100)
    )
    network.run(300)
    ledger = network.ledger
    assert ledger.round_trip.duplicates == network.fates["DUPLICATE"] > 20
    assert ledger.round_trip.reordered > 20
    assert (ledger.forward.reordered, ledger.reverse.reordered, ledger.forward.duplicates) == (0, 0, 0)


@pytest.mark.parametrize("name", ["forward", "reverse"])
def test_reordering_per_direction(name: str) -> None:
    """Packets that overtake each other are counted in the direction in which they did."""
    network = one_bad_leg(7, name, Leg(delay_ns=MS, jitter_ns=30 * MS))
    network.run(500)
    other = "reverse" if name == "forward" else "forward"
    assert getattr(network.ledger, name).reordered > 100
    assert getattr(network.ledger, other).reordered == 0


def test_late_reply() -> None:
    """A reply after the timeout is late: the probe stays lost and the law holds."""
    network = FakeNetwork(8, Leg(delay_ns=150 * MS))
    network.run(30)
    ledger = network.ledger
    assert ledger.late == 30
    assert ledger.round_trip.outcomes[Outcome.LOST] == 30
    assert ledger.round_trip.delay.total == 0


def test_lateness_is_judged_by_arrival() -> None:
    """A reply that was looked at before its probe's timeout was, but arrived after it, is late all the same."""
    ledger = path_ledger()
    session = Session(ledger, MS, 16)
    assert reply(session, *session.send(WALL_EPOCH_NS)) is ReplyFate.LATE
    assert (ledger.late, ledger.round_trip.outcomes[Outcome.LOST], ledger.broken_laws()) == (1, 1, [])


def test_law_is_checked() -> None:
    """The law names the equation that does not hold."""
    ledger = path_ledger()
    ledger.count(SENT)
    assert ledger.broken_laws() == [
        "sent - in flight = round trips: 1 is not 0",
        "sent - in flight = forward: 1 is not 0",
        "sent - in flight = reverse + lost on the way there: 1 is not 0",
    ]


def reply(session: Session, sequence: int, wire: int, reflected: int = 0) -> ReplyFate:
    """A reply after one millisecond each way, and one nanosecond at the reflector."""
    t1_ns = WALL_EPOCH_NS
    arrived = Reply(sequence % 2**32, wire, reflected, t1_ns + MS, t1_ns + MS + 1, t1_ns + 2 * MS)
    (fate,) = session.replied(arrived, stamping_ns=0, now_ns=0)
    return fate


def test_unsent_probe_has_no_outcome() -> None:
    """A probe that the kernel refused is never in flight, never lost, and a reply to it is unknown."""
    ledger = path_ledger()
    session = Session(ledger, 100 * MS, 16)
    sequence = session.next_probe()
    assert not session.expired(sequence)
    assert reply(session, sequence, 0) is ReplyFate.UNKNOWN
    assert (ledger.sent, ledger.in_flight) == (0, 0)


def test_foreign_replies_are_unknown() -> None:
    """A reply counts only with a number that was sent and the very timestamp that went with it."""
    session = Session(path_ledger(), 100 * MS, 16)
    sequence, wire = session.send(WALL_EPOCH_NS)
    for number, timestamp in ((sequence, wire ^ 1), (sequence + 1, wire), (2**32 - 5, wire)):
        assert reply(session, number, timestamp) is ReplyFate.UNKNOWN
    assert session.ledger.in_flight == 1
    assert reply(session, sequence, wire) is ReplyFate.COUNTED


def test_second_number_is_left_out() -> None:
    """The sender leaves out number 1, so that a counting reflector shows itself with the second reply."""
    network = FakeNetwork(14)
    network.run(2)
    assert [measured.sequence for measured in network.measurements] == [0, 2]
    assert network.session.reflector_is_stateful


def test_kernel_stamp_is_used_once_and_only_if_plausible() -> None:
    """A transmit stamp replaces the user-space time if it is later, once, and while the probe is in flight."""
    session = Session(path_ledger(), 100 * MS, 16)
    sequence = session.next_probe()
    assert session.transmitted(sequence, WALL_EPOCH_NS + 5) is None
    wire = session.sent(sequence, WALL_EPOCH_NS)
    assert session.transmitted(sequence, WALL_EPOCH_NS - 1) is None
    assert session.transmitted(sequence, WALL_EPOCH_NS + 700) == 700
    assert session.transmitted(sequence, WALL_EPOCH_NS + 900) is None
    assert reply(session, sequence, wire) is ReplyFate.COUNTED
    assert session.ledger.forward.delay.sum_ns == MS - 700


def test_ring_never_forgets_a_probe_in_flight() -> None:
    """Where more probes are in flight than remembered the oldest is given up: counted, not dropped."""
    ledger = path_ledger()
    session = Session(ledger, 100 * MS, 1)
    for number in range(100):
        session.send(WALL_EPOCH_NS + number)
        assert ledger.broken_laws() == []
    assert ledger.in_flight == 16
    assert ledger.round_trip.outcomes[Outcome.LOST] == 84
    assert not session.expired(3)


def test_a_batch_gives_up_each_probe_once() -> None:
    """A slot that was never used, as that of the number left out, is not taken for the first one's."""
    ledger = path_ledger()
    session = Session(ledger, 100 * MS, 1)
    for number in range(15):
        session.send(WALL_EPOCH_NS + number)
    session.sessions.begin(np.full(2, ledger.row))
    assert ledger.broken_laws() == []
    assert (ledger.in_flight, ledger.round_trip.outcomes[Outcome.LOST]) == (14, 1)


def test_sequence_numbers_wrap() -> None:
    """After 2^32 probes the numbers on the wire start again and replies still find their probe."""
    ledger = path_ledger()
    session = Session(ledger, 100 * MS, 64)
    session.sessions.rings.next[0] = 2**32 - 3
    for _ in range(10):
        sequence, wire = session.send(WALL_EPOCH_NS)
        assert reply(session, sequence, wire, 7) is ReplyFate.COUNTED
    assert ledger.sent == 10


@given(st.integers(0, 2**32), legs, legs, st.sampled_from(ReflectorMode), st.sampled_from([3 * MS, 35 * MS]))
def test_batches_count_what_single_packets_count(
    seed: int, forward: Leg, reverse: Leg, mode: ReflectorMode, drain_ns: int
) -> None:
    """Replies that are looked at together have the outcomes and delays that they have one by one."""
    networks = [
        FakeNetwork(
            seed,
            dataclasses.replace(forward),
            dataclasses.replace(reverse),
            mode,
            drain_ns=drained,
            interval_ns=MS,
        )
        for drained in (0, drain_ns)
    ]
    for network in networks:
        network.run(150)
    single, batched = (network.ledger for network in networks)
    assert single.late == batched.late
    for (_, one), (_, other) in zip(single.directions(), batched.directions(), strict=True):
        assert one.delay.counts == other.delay.counts
        assert one.variation.total == other.variation.total
    assert single.round_trip.outcomes == batched.round_trip.outcomes
    # whether a reflector counts is known for a batch as a whole, so a batch can only prove more
    assert batched.forward.outcomes[Outcome.UNATTRIBUTED] <= single.forward.outcomes[Outcome.UNATTRIBUTED]


def test_differences_are_of_neighbours_only() -> None:
    """IPDV compares a packet with the one sent right before it; where that one is missing there is none."""
    for batches in ([[1, 5, 2, 2]], [[1], [5, 2], [2]]):
        session = Session(path_ledger(), 100 * MS, 16)
        answered = 0
        for batch in batches:
            replies = []
            for delay_ms in batch:
                if answered == 3:
                    session.send(WALL_EPOCH_NS)  # gets no answer
                sequence, wire = session.send(WALL_EPOCH_NS)
                there_ns = WALL_EPOCH_NS + delay_ms * MS
                replies.append(Reply(sequence, wire, answered, there_ns, there_ns, there_ns + MS))
                answered += 1
            session.replied(*replies, stamping_ns=0, now_ns=0)
        # 0 and 2 are not neighbours (1 is left out), 2 and 3 are, and of the last two the first was lost
        assert session.ledger.forward.differences == (1, 3 * MS)
        assert session.ledger.reverse.differences == (1, 0)
        assert session.ledger.round_trip.differences == (1, 3 * MS)


def test_a_session_goes_on_under_a_wider_window() -> None:
    """When more must be remembered what is known and under way stays: replies still find their probe."""
    session = Session(path_ledger(), 100 * MS, 16)
    for _ in range(20):
        answered = session.send(WALL_EPOCH_NS)
        assert reply(session, *answered) is ReplyFate.COUNTED
    under_way = [session.send(WALL_EPOCH_NS) for _ in range(5)]
    session.sessions.change(session.ledger, 200 * MS, 10)
    session.sessions.change(session.ledger, 200 * MS, 100)
    assert reply(session, *answered) is ReplyFate.DUPLICATE
    later = session.send(WALL_EPOCH_NS)
    for sequence, wire in [*under_way, later]:
        assert reply(session, sequence, wire) is ReplyFate.COUNTED
    assert (session.ledger.sent, session.ledger.in_flight, session.ledger.broken_laws()) == (26, 0, [])


def test_a_path_is_held_against_another_promise() -> None:
    """Outcomes are counted against the limit of their time; what was counted before stays."""
    session = Session(path_ledger(limit_ms=10), 100 * MS, 16)
    reply(session, *session.send(WALL_EPOCH_NS))
    tight = Promise(Limit(MS // 2, Operator.BELOW), 0)
    session.ledger.promise(tight, tight, Limit(MS, Operator.BELOW))
    reply(session, *session.send(WALL_EPOCH_NS))
    assert session.ledger.forward.promise == tight
    for _, counted in session.ledger.directions():
        assert counted.outcomes[: Outcome.UNCERTAIN] == [1, 1]
