"""What is left of a share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.allowance import BURST_NS, Allowance
from agent.core.throughput.lease import Share

MS_NS = 1_000_000
SECOND_NS = 1_000_000_000
BEGIN_NS = 5 * SECOND_NS
STOP_NS = 15 * SECOND_NS
RATE, OCTETS = 8_000_000, 4_000_000
"""A megabyte a second, for four of ten seconds."""


def allowance() -> Allowance:
    return Allowance(Share(RATE, OCTETS), BEGIN_NS, STOP_NS)


def test_rate_octets_and_time() -> None:
    """What may be sent grows with the rate, beginning with a twentieth of a second, up to the octets, until the end."""
    one = allowance()
    assert one.left(0, BEGIN_NS - 1) == 0
    assert one.left(0, BEGIN_NS) == 50_000
    assert one.left(50_000, BEGIN_NS) == 0
    assert one.left(50_000, BEGIN_NS + SECOND_NS) == 1_000_000
    assert one.left(3_999_999, STOP_NS - 1) == 1
    assert one.left(0, STOP_NS) == 0
    assert one.left(5_000_000, STOP_NS - 1) == 0


@given(st.lists(st.tuples(st.integers(0, 800), st.floats(0, 1)), max_size=60))
def test_who_keeps_to_it_never_exceeds_it(sends: list[tuple[int, float]]) -> None:
    """However one sends by what is left, the rate, the octets and the time are kept, and no receiver breaks off."""
    one, sent, now_ns = allowance(), 0, BEGIN_NS - 100 * MS_NS
    for later_ms, share in sends:
        now_ns += later_ms * MS_NS
        sent += round(one.left(sent, now_ns) * share)
        assert sent <= OCTETS
        assert sent * 8 <= RATE * max(0, min(now_ns, STOP_NS) - BEGIN_NS + BURST_NS) / SECOND_NS
        if now_ns < STOP_NS:
            assert not one.is_exceeded(sent, now_ns)
            # half a second later on the way it is still no more than was allowed
            assert not one.is_exceeded(sent, now_ns + 400 * MS_NS)


def test_who_does_not_is_found_out() -> None:
    """Too fast, too much or too late; half a second of delay is no fault."""
    one = allowance()
    assert not one.is_exceeded(550_000, BEGIN_NS)
    assert one.is_exceeded(550_001, BEGIN_NS)
    assert one.is_exceeded(OCTETS + 1, STOP_NS - 1)
    assert not one.is_exceeded(OCTETS, STOP_NS + 499 * MS_NS)
    assert one.is_exceeded(0, STOP_NS + 500 * MS_NS)
    slow = Allowance(Share(RATE, 100 * OCTETS), BEGIN_NS, STOP_NS)
    assert slow.is_exceeded(10_550_001, STOP_NS + 400 * MS_NS)
