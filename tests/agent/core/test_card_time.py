"""What a card's times are by the system clock."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.card_time import MAX_BOUND_NS, CardTime, Comparison
from agent.core.interval import UNKNOWN_NS

MS = 1_000_000
TAI_NS = 37_000_000_000


def times(*card_ns: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """An array of them."""
    return np.array(card_ns, np.int64)


@given(
    epoch_ns=st.integers(-(10**18), 10**18),
    rate_ppb=st.integers(-500_000, 500_000),
    gaps=st.lists(st.integers(1, 100 * MS), min_size=1, max_size=20),
    reading_ns=st.integers(0, 2_000),
    data=st.data(),
)
def test_the_truth_is_within_the_bound(
    epoch_ns: int, rate_ppb: int, gaps: list[int], reading_ns: int, data: st.DataObject
) -> None:
    """Of clocks of any epochs that drift apart steadily, read as badly as is admitted, no time is off by more."""
    start_ns = 10**18

    def offset_ns(card_ns: int) -> int:
        return epoch_ns + (card_ns - start_ns) * rate_ppb // 10**9

    known, card_ns = CardTime(), start_ns
    for gap in (0, *gaps):
        card_ns += gap
        wrong_ns = data.draw(st.integers(-reading_ns, reading_ns))
        known.observe(Comparison(offset_ns(card_ns) + wrong_ns, reading_ns, card_ns))
    asked = data.draw(st.integers(start_ns + 1, card_ns))
    (found_ns,), (bound_ns,) = known.system_ns(times(asked))
    assert bound_ns != UNKNOWN_NS or max(gaps) * abs(rate_ppb) // 10**9 + 2 * reading_ns > MAX_BOUND_NS
    if bound_ns != UNKNOWN_NS:
        assert abs(found_ns - (asked + offset_ns(asked))) <= bound_ns + 1


def test_what_is_not_between_two_comparisons_has_no_time() -> None:
    """Neither before the first, nor after the last, nor with one alone."""
    known = CardTime()
    assert known.newest_ns is None
    assert known.system_ns(times(5))[1].tolist() == [UNKNOWN_NS]
    known.observe(Comparison(TAI_NS, 100, 1_000))
    assert known.system_ns(times(1_000))[1].tolist() == [UNKNOWN_NS]
    known.observe(Comparison(TAI_NS + 40, 100, 2_000))
    found_ns, bounds_ns = known.system_ns(times(999, 1_000, 1_500, 2_000, 2_001, 0))
    assert (bounds_ns == UNKNOWN_NS).tolist() == [True, True, False, False, True, True]
    assert found_ns[2] == 1_500 + TAI_NS + 20
    assert bounds_ns[2] == 120
    assert known.newest_ns == 2_000


def test_across_a_step_there_is_no_time() -> None:
    """Where either clock is set between two comparisons nothing is known in between, and all is well after the next."""
    known = CardTime()
    for offset_ns, card_ns in ((0, 100 * MS), (5 * MS, 200 * MS), (5 * MS, 300 * MS)):
        known.observe(Comparison(offset_ns, 500, card_ns))
    bounds_ns = known.system_ns(times(150 * MS, 250 * MS))[1]
    assert bounds_ns.tolist() == [UNKNOWN_NS, 500]
    known.observe(Comparison(105 * MS, 500, 200 * MS + 1))
    assert known.system_ns(times(250 * MS))[1].tolist() == [UNKNOWN_NS], "the card's clock was set back"
