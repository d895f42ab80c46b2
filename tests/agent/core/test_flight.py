"""The flight recorder against a plain list."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import flight
from agent.core.flight import (
    NO_REFLECTED,
    RECORD,
    FlightRecorder,
    bounds_of,
    counted,
    delays_of,
    outcomes_of,
    summary,
    uncertainty_of,
    under_load,
)
from agent.core.interval import UNKNOWN_NS
from agent.core.measurement import NO_NUMBER, NO_OUTCOME, Measurements, Probes
from agent.core.outcome import Outcome

BLOCK_OCTETS = flight._BLOCK * RECORD.itemsize


def measured(
    paths: list[int], sent_ns: list[int], *, answered: bool = True, uncertainty: int = 50
) -> Measurements:
    """Packets of these paths sent at these times; each takes as long there as its path's number says."""
    rows, sent = np.array(paths, np.int64), np.array(sent_ns, np.int64)
    outcome = Outcome.WITHIN if answered else Outcome.LOST
    outcomes = np.full((3, len(rows)), outcome, np.int64)
    if not answered:
        outcomes[1] = NO_OUTCOME
    return Measurements(
        Probes(rows, sent + (1 << 32)),
        answered,
        sent,
        np.stack((rows, rows + 1, 2 * rows + 1)),
        np.full(len(rows), uncertainty, np.int64),
        np.stack((rows, rows)),
        np.stack((rows, rows)),
        outcomes,
        sent + 7 if answered else np.full(len(rows), NO_NUMBER, np.int64),
    )


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=9), max_size=30),
    st.integers(0, 100),
    st.integers(0, 100),
    st.one_of(st.none(), st.integers(0, 4)),
)
def test_what_is_asked_for_is_what_was_recorded(
    batches: list[list[tuple[int, int]]], from_ns: int, to_ns: int, path: int | None
) -> None:
    """Whatever comes in whatever order, any interval of any path comes back whole and in the order of sending."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight, "_BLOCK", 7)
        recorder = FlightRecorder(1000, 1 << 30)
        for batch in batches:
            recorder.add(measured([row for row, _ in batch], [sent for _, sent in batch]))
        everything = [packet for batch in batches for packet in batch]
        assert recorder.packets == len(everything)
        assert recorder.since_ns == (min(sent for _, sent in everything[:7]) if everything else None)
        found = recorder.between(from_ns, to_ns, path)
        expected = [
            (row, sent) for row, sent in everything if from_ns <= sent < to_ns and path in (None, row)
        ]
        assert list(zip(found["path"].tolist(), found["sent_ns"].tolist(), strict=True)) == sorted(
            expected, key=lambda packet: packet[1]
        )


def test_what_was_sent_under_load_is_marked() -> None:
    """Beside its outcomes, which stay what they are."""
    recorder = FlightRecorder(1000, BLOCK_OCTETS)
    recorder.add(measured([1, 1], [1, 2])._replace(under_load=np.array([False, True])))
    recorder.add(measured([1], [3]))
    found = recorder.between(0, 9)
    assert under_load(found).tolist() == [False, True, False]
    assert (outcomes_of(found) == Outcome.WITHIN).all()


def test_a_copied_time_is_remembered_with_what_it_proves() -> None:
    """Beside what was sent under load: the reverse delay is bounded from above alone, as it was judged."""
    recorder = FlightRecorder(1000, BLOCK_OCTETS)
    flags = np.array([False, True])
    recorder.add(measured([300, 300], [1, 2])._replace(under_load=~flags, copied=flags))
    found = recorder.between(0, 9)
    assert under_load(found).tolist() == [True, False]
    assert (outcomes_of(found) == Outcome.WITHIN).all()
    lower_ns, upper_ns, _ = bounds_of(found, (100, 100))
    assert lower_ns.tolist() == [[250, 250], [251, 100]]
    assert upper_ns.tolist() == [[350, 350], [351, 351]]


def test_one_way_delays_between_clocks_that_vouch_for_nothing_are_none() -> None:
    """Their round trip is as good as any."""
    recorder = FlightRecorder(1000, BLOCK_OCTETS)
    recorder.add(measured([300], [1], uncertainty=UNKNOWN_NS))
    recorder.add(measured([400], [2]))
    recorder.add(measured([500], [3], answered=False))
    forward, reverse, round_trip = delays_of(recorder.between(0, 9))
    assert (forward.tolist(), reverse.tolist(), round_trip.tolist()) == ([400], [401], [601, 801])


def test_numbers_and_bounds_are_those_of_the_measurement() -> None:
    """The reflector's number is kept, or that there is none; the bounds follow from what is recorded and the floors."""
    recorder = FlightRecorder(1000, 1 << 30)
    recorder.add(measured([300, 400], [10, 20], uncertainty=50))
    recorder.add(measured([300], [30], answered=False))
    recorder.add(measured([300], [40], uncertainty=UNKNOWN_NS))
    records = recorder.between(0, 100)
    assert records["reflected"].tolist() == [17, 27, NO_REFLECTED, 47]
    assert recorder.paths.tolist() == [300, 400, 300, 300]
    lower_ns, upper_ns, answered = bounds_of(records, (280, 100))
    assert answered.tolist() == [True, True, False, True]
    assert lower_ns[:, [0, 1, 3]].tolist() == [[280, 350, 280], [251, 351, 100]]
    assert upper_ns[:, [0, 1, 3]].tolist() == [[350, 450, 501], [321, 451, 321]]


def test_memory_is_bounded() -> None:
    """Beyond it the earliest packets go; below it nothing is taken that is not needed."""
    recorder = FlightRecorder(10**15, 2 * BLOCK_OCTETS)
    assert recorder.octets == 0
    batch = flight._BLOCK // 4
    for number in range(20):
        recorder.add(measured([0] * batch, list(range(number * batch, (number + 1) * batch))))
        assert recorder.octets <= 2 * BLOCK_OCTETS
    assert recorder.packets == 2 * flight._BLOCK
    assert recorder.since_ns == 20 * batch - 2 * flight._BLOCK
    assert recorder.between(0, 1 << 62)["sent_ns"].tolist() == list(range(recorder.since_ns, 20 * batch))


def test_what_is_old_is_forgotten() -> None:
    """Block by block, and what comes afterwards is recorded as before."""
    recorder = FlightRecorder(100, 1 << 30)
    recorder.add(measured([1], [10]))
    recorder.forget(110)
    assert recorder.packets == 1
    recorder.forget(111)
    assert (recorder.packets, recorder.octets, recorder.since_ns) == (0, 0, None)
    recorder.add(measured([1], [200]))
    assert recorder.between(0, 1000)["sent_ns"].tolist() == [200]


def test_what_a_record_says_of_an_answered_packet() -> None:
    """Its delays, its uncertainty, the low 32 bits of its number, and its path behind those of other tables."""
    recorder = FlightRecorder(100, 1 << 30)
    recorder.add(measured([3], [7]), first_path=1 << 24)
    recorder.add(measured([3], [8], uncertainty=UNKNOWN_NS))
    first, second = recorder.between(0, 100)
    assert first["path"] == 3 + (1 << 24)
    assert first["sequence"] == 7
    assert (first["forward_ns"], first["reverse_ns"]) == (3, 4)
    assert (uncertainty_of(int(first["uncertainty_ns"])), uncertainty_of(int(second["uncertainty_ns"]))) == (
        50,
        UNKNOWN_NS,
    )


def test_what_a_record_says_of_a_lost_packet() -> None:
    """No delay, and an outcome of each direction, the reverse one where there is any."""
    recorder = FlightRecorder(100, 1 << 30)
    recorder.add(measured([3, 4], [7, 8], answered=False))
    recorder.add(measured([5], [9]))
    records = recorder.between(0, 100)
    assert [delays.tolist() for delays in delays_of(records)] == [[5], [6], [11]]
    assert outcomes_of(records).T.tolist() == [[3, NO_OUTCOME, 3], [3, NO_OUTCOME, 3], [0, 0, 0]]
    assert counted(records)[Outcome.LOST] == (2, 0, 2)
    assert counted(records)[Outcome.WITHIN] == (1, 1, 1)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.floats(0.001, 1))
def test_quantiles_are_exact(delays: list[int], quantile: float) -> None:
    """A quantile is the least delay that at least its share of all do not exceed."""
    found = summary(np.array(delays), [quantile, 1])
    assert found is not None
    ranked = sorted(delays)
    assert (found.packets, found.least_ns) == (len(delays), ranked[0])
    assert found.quantiles_ns == (ranked[math.ceil(quantile * len(delays)) - 1], ranked[-1])
    assert sum(delay <= found.quantiles_ns[0] for delay in delays) >= quantile * len(delays)


def test_nothing_has_no_quantiles() -> None:
    """Not even a least delay."""
    assert summary(np.zeros(0, np.int64), [0.5]) is None
