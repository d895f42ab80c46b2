"""What the times of a reply prove of each direction, whatever the clocks say."""

from __future__ import annotations

import pytest

from agent.core.measurement import Measurement
from agent.core.outcome import Outcome
from agent.core.session import ReplyFate
from agent.core.steps import ClockPair
from tests.support.network import WALL_EPOCH_NS, FakeNetwork, Leg
from tests.support.session import MS, Reply, Session, path_ledger


def test_asymmetric_delays() -> None:
    """Synchronised clocks tell the directions apart to the nanosecond of the wire format."""
    network = FakeNetwork(9, Leg(delay_ns=400_000), Leg(delay_ns=500_000), ledger=path_ledger(1))
    network.run(10)
    for measured in network.measurements:
        assert measured.forward_ns == pytest.approx(400_000, abs=2)
        assert measured.reverse_ns == pytest.approx(500_000, abs=2)
        assert measured.round_trip_ns == pytest.approx(900_000, abs=2)
    assert network.ledger.forward.outcomes[Outcome.WITHIN] == 10
    assert network.ledger.forward.minimum_ns(network.now_ns) == pytest.approx(400_000, abs=2)


@pytest.mark.parametrize(
    ("forward_ms", "reverse_ms", "limit_ms", "floor_ms", "outcome"),
    [
        (0.4, 0.5, 1, 0.1, Outcome.WITHIN),
        (1.9, 2.0, 3, 1.42, Outcome.WITHIN),
        (7.0, 7.4, 10, 4.13, Outcome.UNCERTAIN),
        (30.0, 7.4, 10, 12, Outcome.OVER),
    ],
)
def test_without_any_clock(
    forward_ms: float, reverse_ms: float, limit_ms: float, floor_ms: float, outcome: Outcome
) -> None:
    """Unsynchronised clocks, an hour apart, still prove what the round trip and the floors prove."""
    network = FakeNetwork(
        10,
        Leg(delay_ns=int(forward_ms * MS)),
        Leg(delay_ns=int(reverse_ms * MS)),
        offset_ns=3_600_000 * MS,
        uncertainty_ns=None,
        ledger=path_ledger(limit_ms, floor_ms),
    )
    network.run(10)
    ledger = network.ledger
    assert ledger.forward.outcomes[outcome] == 10
    assert ledger.clock_contradictions == 0
    assert ledger.forward.delay.total == 0
    assert ledger.forward.minimum_ns(network.now_ns) is None
    assert ledger.forward.variation.total == 10
    assert ledger.round_trip.delay.total == 10


def test_lying_clock_is_counted() -> None:
    """A clock that is wrong by more than it admits is found out by the round trip and decides nothing."""
    network = FakeNetwork(
        12, Leg(delay_ns=400_000), Leg(delay_ns=500_000), offset_ns=2 * MS, ledger=path_ledger(1, 0.1)
    )
    network.run(10)
    assert network.ledger.clock_contradictions == 10
    assert network.ledger.forward.outcomes[Outcome.WITHIN] == 10


@pytest.mark.parametrize("limit_ms", [10, 3])
@pytest.mark.parametrize(
    ("t2_ns", "t3_ns"), [(5 * MS, 5 * MS - 1), (0, 8 * MS + 1), (-(2**60), 2**60), (2**60, 0)]
)
def test_times_that_cannot_be_prove_nothing(limit_ms: int, t2_ns: int, t3_ns: int) -> None:
    """A reflector that answers before it is asked, or holds a packet longer than it was away, tells no time: what
    remains is that the probe was away 8 ms, which may prove a promise kept and never one broken."""
    ledger = path_ledger(limit_ms, 1)
    measured: list[Measurement] = []
    session = Session(ledger, 100 * MS, 16, measured.append)
    sequence, wire = session.send(WALL_EPOCH_NS)
    session.transmitted(sequence, WALL_EPOCH_NS)
    t2_ns, t3_ns, t4_ns = (WALL_EPOCH_NS + time_ns for time_ns in (t2_ns, t3_ns, 8 * MS))
    session.replied(Reply(sequence, wire, 0, t2_ns, t3_ns, t4_ns), stamping_ns=0, now_ns=0)
    (one,) = measured
    assert one.forward_bounds == one.reverse_bounds == (MS, 7 * MS)
    assert (one.round_trip_ns, one.uncertainty_ns) == (8 * MS, None)
    proven = Outcome.WITHIN if limit_ms == 10 else Outcome.UNCERTAIN
    assert one.outcomes == (proven,) * 3
    assert (ledger.clock_contradictions, ledger.floor_contradictions) == (1, 0)
    assert (ledger.forward.delay.total, ledger.round_trip.delay.sum_ns) == (0, 8 * MS)


def test_sums_stay_sums_whatever_the_clocks_say() -> None:
    """Delays of decades between clocks that vouch for themselves count as much as a sum can bear for ever."""
    ledger = path_ledger()
    session = Session(ledger, 100 * MS, 16)
    for number in range(2, 12):
        session.sessions.rings.next[0] = number
        sequence, wire = session.send(WALL_EPOCH_NS)
        reflected_ns = WALL_EPOCH_NS - 2**60 * (number % 3)
        session.replied(
            Reply(sequence, wire, 0, reflected_ns, reflected_ns, WALL_EPOCH_NS + MS), stamping_ns=0, now_ns=0
        )
    assert ledger.round_trip.delay.sum_ns == 10 * MS
    assert ledger.forward.delay.sum_ns == -700_000 * MS
    assert ledger.reverse.delay.sum_ns == 700_000 * MS + 3 * MS
    assert ledger.forward.differences == (9, 900_000 * MS)


def test_impossible_floor_is_counted() -> None:
    """A round trip shorter than the floors counts against the floors."""
    network = FakeNetwork(13, Leg(delay_ns=400_000), Leg(delay_ns=500_000), ledger=path_ledger(10, 5))
    network.run(10)
    assert network.ledger.floor_contradictions == 10
    assert network.ledger.clock_contradictions == 0


def test_what_crosses_a_clock_step_is_rejected() -> None:
    """A reply across a step of our own clock arrived, and that is all: no delay is counted, no limit is judged."""
    session = Session(path_ledger(), 100 * MS, 16)
    steps = session.steps
    steps.observe(ClockPair(WALL_EPOCH_NS, 0))
    before, wire = session.send(WALL_EPOCH_NS + MS)
    steps.observe(ClockPair(WALL_EPOCH_NS + 2 * MS, 2 * MS))
    steps.observe(ClockPair(WALL_EPOCH_NS + 503 * MS, 3 * MS))
    after, later_wire = session.send(WALL_EPOCH_NS + 504 * MS)

    def answered(sequence: int, timestamp: int, sent_ns: int, arrived_ns: int) -> Reply:
        return Reply(sequence, timestamp, sequence, sent_ns + MS, sent_ns + MS, arrived_ns)

    arrived_ns = WALL_EPOCH_NS + 506 * MS
    steps.observe(ClockPair(arrived_ns + MS, 7 * MS))
    fates = session.replied(
        answered(before, wire, WALL_EPOCH_NS + MS, arrived_ns),
        answered(after, later_wire, WALL_EPOCH_NS + 504 * MS, arrived_ns),
        stamping_ns=0,
        now_ns=7 * MS,
    )
    ledger = session.ledger
    assert fates == [ReplyFate.COUNTED, ReplyFate.COUNTED]
    assert (ledger.stepped, ledger.in_flight, ledger.broken_laws()) == (1, 0, [])
    for _, counted in ledger.directions():
        assert counted.outcomes[Outcome.UNCERTAIN] == 1
        assert counted.outcomes[Outcome.WITHIN] == 1
        assert counted.delay.total == 1


def test_a_round_trip_alone_proves_both_directions() -> None:
    """Where the peer tells no times the round trip bounds both directions, and no one-way delay is invented."""
    for round_trip_ms, outcome in ((9, Outcome.WITHIN), (15, Outcome.UNCERTAIN), (30, Outcome.UNCERTAIN)):
        session = Session(path_ledger(limit_ms=10, floor_ms=1), 100 * MS, 16, one_way=False)
        sequence, wire = session.send(WALL_EPOCH_NS)
        assert session.transmitted(sequence, WALL_EPOCH_NS) == 0
        arrived = Reply(
            sequence,
            wire,
            sequence,
            WALL_EPOCH_NS,
            WALL_EPOCH_NS,
            WALL_EPOCH_NS + round_trip_ms * MS,
            clocks_ns=None,
        )
        assert session.replied(arrived, stamping_ns=0, now_ns=0) == [ReplyFate.COUNTED]
        ledger = session.ledger
        assert ledger.forward.outcomes[outcome] == ledger.reverse.outcomes[outcome] == 1
        assert ledger.round_trip.outcomes[Outcome.OVER if round_trip_ms > 20 else Outcome.WITHIN] == 1
        assert ledger.forward.delay.total == ledger.forward.variation.total == 0
        assert ledger.round_trip.delay.total == ledger.round_trip.variation.total == 1


@pytest.mark.parametrize(
    ("residence_ns", "reverse", "round_trip"),
    [(0, Outcome.UNCERTAIN, Outcome.UNCERTAIN), (1, Outcome.OVER, Outcome.OVER)],
)
def test_a_copied_time_proves_no_delay(residence_ns: int, reverse: Outcome, round_trip: Outcome) -> None:
    """A reflector that gives T2 as T3 may have taken all the time itself: the way back is not proven to be long."""
    session = Session(path_ledger(limit_ms=10, floor_ms=1), 100 * MS, 16)
    sequence, wire = session.send(WALL_EPOCH_NS)
    assert session.transmitted(sequence, WALL_EPOCH_NS) == 0
    there_ns = WALL_EPOCH_NS + 2 * MS
    arrived = Reply(sequence, wire, 0, there_ns, there_ns + residence_ns, there_ns + 30 * MS)
    assert session.replied(arrived, stamping_ns=0, now_ns=0) == [ReplyFate.COUNTED]
    ledger = session.ledger
    assert ledger.forward.outcomes[Outcome.WITHIN] == 1
    assert ledger.reverse.outcomes[reverse] == ledger.round_trip.outcomes[round_trip] == 1
    assert ledger.clock_contradictions == 0
