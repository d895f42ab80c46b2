"""The pace of a UDP stream: what is late is made up for, close to the rate, and what is too late is given up."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.pace import Pace

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
RATE = 1.25
"""Octets a nanosecond: 10 Gbit/s."""
BURST = 125_000
"""Of a tenth of a millisecond."""


def sent(pace: Pace, until_ns: int, late: Callable[[int], int]) -> list[tuple[int, int]]:
    """When each burst was sent, and how late the stream then was, by one who wakes up so much too late."""
    bursts, now_ns = [], 0
    while now_ns < until_ns:
        now_ns = max(now_ns, pace.next_ns)
        now_ns += late(now_ns)
        bursts.append((now_ns, pace.behind_ns(now_ns, RATE)))
        pace.sent(BURST, now_ns, RATE)
    pace.end(now_ns, RATE)
    return bursts


def begun() -> Pace:
    """One that begins at time 0."""
    pace = Pace()
    pace.begin(0)
    return pace


def test_on_time() -> None:
    """Who always wakes up on time sends each burst when it is due, and owes nothing."""
    pace = begun()
    bursts = sent(pace, SECOND_NS, lambda _: 0)
    assert bursts == [(at * MS_NS // 10, 0) for at in range(10_001)]
    assert pace.given_up == 0


def test_every_sleep_ends_late() -> None:
    """By 60 µs, as on a virtual machine: the rate is kept, also after the stream was once held up for 20 ms."""
    pace, held = begun(), 500 * MS_NS
    late = iter([20 * MS_NS])
    bursts = sent(pace, SECOND_NS, lambda now_ns: next(late, 60_000) if now_ns > held else 60_000)
    assert len(bursts) * BURST + pace.given_up >= RATE * SECOND_NS
    assert pace.given_up < 2 * BURST
    assert bursts[-1][1] < MS_NS


def test_what_is_made_up_for_keeps_close_to_the_rate() -> None:
    """After 20 ms no ten milliseconds have more than a quarter more than the rate, and what 0.3 ms more may have."""
    pace = begun()
    late = iter([20 * MS_NS])
    times = [at for at, _ in sent(pace, SECOND_NS, lambda _: next(late, 0))]
    for first, at in enumerate(times):
        in_ten_ms = sum(at <= other < at + 10 * MS_NS for other in times[first : first + 200])
        assert in_ten_ms * BURST <= 1.25 * RATE * (10 + 0.3) * MS_NS + BURST


def test_what_is_too_late_is_given_up() -> None:
    """Of 130 ms, 100 are made up for: 30 are counted, and are sent no more."""
    pace = begun()
    late = iter([130 * MS_NS])
    bursts = sent(pace, SECOND_NS, lambda _: next(late, 0))
    assert pace.given_up == RATE * 30 * MS_NS
    assert len(bursts) * BURST == RATE * (SECOND_NS - 30 * MS_NS) + BURST


def test_what_is_owed_at_the_end_is_given_up() -> None:
    """A stream that ends while it is behind has not sent what was due."""
    pace = begun()
    pace.end(10 * MS_NS, RATE)
    assert pace.given_up == RATE * 10 * MS_NS


@given(st.lists(st.integers(0, 200 * MS_NS), max_size=50))
def test_nothing_is_unaccounted_for(lateness: list[int]) -> None:
    """However late each sleep ends, what was sent and what was given up is what was due."""
    pace = begun()
    late = iter(lateness)
    bursts = sent(pace, SECOND_NS // 10, lambda _: next(late, 0))
    due = RATE * bursts[-1][0]
    assert due <= len(bursts) * BURST + pace.given_up + 1 <= due + BURST + 2
