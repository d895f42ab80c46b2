"""The emulator's waiting line under a made-up clock: nothing leaves early, nothing is forgotten, none overtakes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.quickstart.departures import Departures

times = st.integers(0, 10**12)


def drained(departures: Departures[int], until_ns: int) -> list[tuple[int, int]]:
    """All that leave until then."""
    left = []
    while (departure := departures.take(until_ns)) is not None:
        left.append(departure)
    return left


@given(st.lists(times), times)
def test_leaves_when_due(due: list[int], now_ns: int) -> None:
    """Exactly what is due has left by any moment, in the order of its times; the rest leaves later."""
    departures: Departures[int] = Departures()
    for number, due_ns in enumerate(due):
        departures.add(due_ns, number)
    left = drained(departures, now_ns)
    assert [due_ns for due_ns, _ in left] == sorted(due_ns for due_ns in due if due_ns <= now_ns)
    later = [due_ns for due_ns in due if due_ns > now_ns]
    assert departures.next_due_ns == min(later, default=None)
    left += drained(departures, max(due, default=0))
    assert sorted(number for _, number in left) == list(range(len(due)))
    assert departures.next_due_ns is None


@given(st.lists(st.integers(0, 3)), st.integers(0, 10**9))
def test_none_overtakes_on_a_constant_delay(gaps: list[int], delay_ns: int) -> None:
    """Packets that arrive one after the other, some in the same nanosecond, leave in that order."""
    departures: Departures[int] = Departures()
    arrived_ns = 0
    left = []
    for number, gap_ns in enumerate(gaps):
        arrived_ns += gap_ns
        departures.add(arrived_ns + delay_ns, number)
        left += drained(departures, arrived_ns)
    left += drained(departures, arrived_ns + delay_ns)
    assert [number for _, number in left] == list(range(len(gaps)))
