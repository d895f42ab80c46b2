"""When to look for packets again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.coalescing import PERIOD_NS, Coalescing

MS = 1_000_000
BATCH = 256


def _steady(coalescing: Coalescing, begun_ns: int, gap_ns: int, packets: int) -> list[int | None]:
    """What is said of packets that come one by one, each looked at as it comes."""
    return [coalescing.next_look_ns(1, begun_ns + number * gap_ns) for number in range(packets)]


def test_few_packets_are_waited_for() -> None:
    """Up to some 4,000 a second nobody looks before something has come."""
    assert set(_steady(Coalescing(BATCH), 10**12, 260_000, 10_000)) == {None}


def test_many_packets_are_looked_for_by_the_clock() -> None:
    """Above that, from a few milliseconds on, each waits for no longer than a period."""
    said = _steady(Coalescing(BATCH), 10**12, 200_000, 10_000)
    assert said[0] is None
    assert None not in said[40:]
    assert said[-1] == 10**12 + 9_999 * 200_000 + PERIOD_NS


def test_what_ebbs_away_is_waited_for_again() -> None:
    """Once looking by the clock finds little, within a few milliseconds, the next packet is answered at once."""
    coalescing = Coalescing(BATCH)
    _steady(coalescing, 10**12, 100_000, 100)
    now_ns = 10**12 + 10 * MS
    looks = 0
    while (look_ns := coalescing.next_look_ns(looks % 2, now_ns)) is not None:
        now_ns = look_ns
        looks += 1
    assert looks * PERIOD_NS <= 10 * MS


def test_a_burst_after_silence_is_no_stream() -> None:
    """However many come at once, once in a while: the next one is waited for."""
    coalescing = Coalescing(BATCH)
    for second in range(10):
        assert coalescing.next_look_ns(100, second * 1000 * MS) is None


def test_a_full_batch_is_followed_up_at_once() -> None:
    """Where as many came as are taken at a time there are more, and they do not wait."""
    coalescing = Coalescing(BATCH)
    _steady(coalescing, 10**12, 100_000, 100)
    now_ns = 10**12 + 100 * 100_000
    assert coalescing.next_look_ns(BATCH, now_ns) == now_ns
    assert coalescing.next_look_ns(BATCH - 1, now_ns) == now_ns + PERIOD_NS


@given(st.lists(st.tuples(st.integers(0, BATCH), st.integers(0, 20 * MS)), max_size=200))
def test_nothing_waits_longer_than_a_period(looks: list[tuple[int, int]]) -> None:
    """Whatever comes: the next look is now, within a period, or as soon as there is something."""
    coalescing, now_ns = Coalescing(BATCH), 0
    for came, later_ns in looks:
        now_ns += later_ns
        next_ns = coalescing.next_look_ns(came, now_ns)
        assert next_ns is None or now_ns <= next_ns <= now_ns + PERIOD_NS
