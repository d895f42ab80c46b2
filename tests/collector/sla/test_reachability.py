"""Whether the packets of paths are answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Outcome
from collector.sla.observation import DIRECTIONS
from collector.sla.reachability import FEWEST_LOST, Reachability

S = 1_000_000_000


def take(reach: Reachability, *slices: tuple[int, int, int]) -> None:
    """Readings of a second each: (path, answered, lost)."""
    outcomes = np.zeros((len(slices), len(DIRECTIONS), len(Outcome)), np.int64)
    for at, (_, answered, lost) in enumerate(slices):
        outcomes[at, :, Outcome.WITHIN] = answered
        outcomes[at, :, Outcome.LOST] = lost
    rows = np.array([row for row, _, _ in slices], np.int64)
    begun = np.full(len(slices), 5 * S)
    sent = np.array([answered + lost for _, answered, lost in slices], np.int64)
    reach.take(rows, begun, begun + S, sent, outcomes)


def test_nothing_is_known_before_a_packet_is_resolved() -> None:
    """A path that was never read is neither dark nor heard."""
    reach = Reachability(2)
    take(reach)
    assert not reach.dark.any()
    assert not reach.heard.any()
    take(reach, (1, 0, 0))
    assert not reach.dark.any()
    assert not reach.heard.any()


def test_a_path_is_dark_when_its_last_packets_were_all_lost() -> None:
    """Over as many readings as it takes; one answer ends it."""
    reach = Reachability(2)
    take(reach, (0, 50, 0), (1, 0, FEWEST_LOST))
    assert reach.heard.tolist() == [True, False]
    assert reach.dark.tolist() == [False, True]
    take(reach, (0, 0, FEWEST_LOST - 1))
    assert reach.dark.tolist() == [False, True]
    assert not reach.heard[0]
    take(reach, (0, 0, 1), (1, 1, 400))
    assert reach.dark.tolist() == [True, False]
    assert reach.heard.tolist() == [False, True]


def test_a_quiet_reading_changes_nothing_but_the_rates() -> None:
    """Where nothing was resolved, what was known stays."""
    reach = Reachability(1)
    take(reach, (0, 20, 0))
    assert (reach.sent_per_s[0], reach.answered_per_s[0]) == (20, 20)
    take(reach, (0, 0, 0))
    assert reach.heard[0]
    assert (reach.sent_per_s[0], reach.answered_per_s[0]) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4)), max_size=30), st.data())
def test_readings_taken_together_are_as_good_as_one_by_one(
    slices: Sequence[tuple[int, int, int]], data: st.DataObject
) -> None:
    """In whatever pieces they come, also where a path stands twice in one."""
    single, together = Reachability(4), Reachability(4)
    for one in slices:
        take(single, one)
    rest = list(slices)
    while rest:
        length = data.draw(st.integers(1, len(rest)))
        take(together, *rest[:length])
        rest = rest[length:]
    assert single.lost.tolist() == together.lost.tolist()
    assert single.heard.tolist() == together.heard.tolist()
    assert single.sent_per_s.tolist() == together.sent_per_s.tolist()
