"""Readings into additions: whatever their order, they add up to the most that was read of each start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.ledger.minutes import MINUTE_MS, NO_MINIMUM, WIDTH, Minutes, minute_of
from collector.ledger.telescope import HORIZON_NS, Added, Heads, Taken, telescope

SECOND_NS = 1_000_000_000
DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Seen:
    """One reading of one path."""

    taken_s: float
    sent: int
    start_s: float = 0.0
    lost: int = 0
    own_start: bool = True
    path: int = 1


def taken(*seen: Seen) -> Taken:
    """A reading of an agent."""
    counts = np.zeros((len(seen), WIDTH), np.int64)
    counts[:, 0] = [one.sent for one in seen]
    counts[:, 4] = [one.lost for one in seen]
    return Taken(
        np.array([one.path for one in seen]),
        np.full(len(seen), 1),
        np.array([int(one.start_s * SECOND_NS) for one in seen], np.int64),
        np.array([one.own_start for one in seen]),
        np.array([int(one.taken_s * SECOND_NS) for one in seen], np.int64),
        np.full((len(seen), 3), NO_MINIMUM),
        counts,
    )


def run(*seen: Seen) -> tuple[list[Added], Heads]:
    """One after another, from nothing."""
    heads = Heads.empty()
    found = []
    for one in seen:
        added, heads = telescope(heads, taken(one))
        found.append(added)
    return found, heads


def sent(added: Sequence[Added]) -> list[int]:
    """What each has added, in probes sent."""
    return [int(one.counts[:, 0].sum()) for one in added]


def minutes(added: Sequence[Added]) -> Minutes:
    """All of it by minute."""
    return Minutes.joined(one.minutes for one in added).merged()


def test_a_reading_adds_what_it_has_above_the_last() -> None:
    """The first one all of it; the same one again nothing."""
    added, heads = run(Seen(60, 10), Seen(70, 25), Seen(70, 25), Seen(60, 10))
    assert sent(added) == [10, 15, 0, 0]
    assert [len(one.rows) for one in added] == [1, 1, 0, 0]
    assert (len(heads), heads.counts[0, 0]) == (1, 25)


def test_order_does_not_matter_to_the_sum() -> None:
    """What comes late is in what came before it, and no clock is asked."""
    assert sent(run(Seen(70, 25), Seen(60, 10))[0]) == [25, 0]
    assert sent(run(Seen(60, 10), Seen(55, 25))[0]) == [10, 15]


def test_a_new_start_adds_all_and_the_former_one_is_still_known() -> None:
    """Its last reading may come after the first one of the new start, whichever clock each start was told by."""
    added, heads = run(
        Seen(60, 10), Seen(90, 4, start_s=5000), Seen(80, 13), Seen(60, 10), Seen(95, 6, start_s=5000)
    )
    assert sent(added) == [10, 4, 3, 0, 2]
    assert sorted(heads.counts[:, 0].tolist()) == [6, 13]


def test_a_count_that_falls_is_refused_where_it_cannot_be_of_the_past() -> None:
    """Of one start no count falls while another grows; all of them lower is a reading of the past."""
    added, _ = run(Seen(60, 10, lost=3), Seen(70, 12, lost=2), Seen(80, 9, lost=3))
    assert [one.refused for one in added] == [[], [1], []]
    assert sent(added) == [10, 0, 0]


def test_without_a_start_of_its_own_a_path_that_falls_has_begun_anew() -> None:
    """If it was read later; afterwards what was read before it adds nothing, though it counts more."""
    old = {"own_start": False}
    added, heads = run(
        Seen(60, 10, **old),
        Seen(70, 4, **old),
        Seen(60, 10, **old),
        Seen(80, 11, **old),
        Seen(80, 3, **old),
    )
    assert sent(added) == [10, 4, 0, 7, 0]
    assert [one.anew for one in added] == [[], [1], [], [], []]
    assert heads.run.tolist() == [0, 1]


def test_counts_are_of_the_minute_in_which_they_were_read() -> None:
    """A reading at the end of a minute belongs to it; the time before is covered, to the millisecond."""
    added, _ = run(
        Seen(30, 0, start_s=30), Seen(60, 5, start_s=30), Seen(75.5, 9, start_s=30), Seen(200, 20, start_s=30)
    )
    found = minutes(added)
    assert found.minute.tolist() == [0, 1, 2, 3]
    assert found.counts[:, 0].tolist() == [5, 4, 0, 11]
    assert found.covered_ms.tolist() == [30_000, 60_000, 60_000, 20_000]
    assert found.reach_s.tolist() == [0, 0, 0, 104]


def test_time_before_the_start_is_not_covered() -> None:
    """Nor is any where the agent's clock says that it starts in the future."""
    restarted, _ = run(Seen(60, 5), Seen(180, 3, start_s=150))
    assert minutes(restarted).covered_ms.sum() == 60_000 + 30_000
    ahead, _ = run(Seen(60, 5, start_s=7200), Seen(90, 6, start_s=7200))
    assert minutes(ahead).covered_ms.tolist() == [0, 30_000]
    assert sent(ahead) == [5, 1]


def test_a_reading_without_packets_covers_time() -> None:
    """Nothing was sent, and that is known."""
    added, _ = run(Seen(60, 5), Seen(70, 5))
    assert minutes(added).covered_ms.tolist() == [60_000, 10_000]
    assert sent(added) == [5, 0]


def test_an_absence_covers_a_day_at_most_and_counts_all() -> None:
    """A row for each minute of a year would say no more."""
    added, _ = run(Seen(60, 5), Seen(60 + 400 * 86_400, 50))
    found = minutes(added)
    assert len(found) == 1 + DAY_MINUTES
    assert found.covered_ms.sum() == 60_000 + DAY_MINUTES * MINUTE_MS
    assert sent(added) == [5, 45]


def test_former_starts_are_forgotten_after_their_horizon_and_then_refused() -> None:
    """A reading as old as that adds nothing: whether it was counted is not known any more."""
    later_s = 100 + HORIZON_NS / SECOND_NS
    added, heads = run(Seen(60, 5), Seen(later_s, 7, start_s=90), Seen(60, 5), Seen(70, 8, start_s=65))
    assert sent(added) == [5, 7, 0, 0]
    assert heads.counts[:, 0].tolist() == [7]


def test_all_paths_are_worked_on_at_once() -> None:
    """Each by its own head."""
    _, heads = telescope(Heads.empty(), taken(Seen(60, 5, path=1), Seen(60, 7, path=2)))
    added, after = telescope(heads, taken(Seen(70, 9, path=2), Seen(70, 5, path=1), Seen(70, 1, path=3)))
    assert added.counts[:, 0].tolist() == [2, 0, 1]
    assert sorted(zip(after.path.tolist(), after.counts[:, 0].tolist(), strict=True)) == [
        (1, 5),
        (2, 9),
        (3, 1),
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 100_000)), min_size=1, max_size=30
    )
)
def test_the_sum_is_that_of_the_heads(steps: list[tuple[int, int, int]]) -> None:
    """Of readings of several starts, in any order, with any times; and no time is covered twice."""
    seen = [Seen(taken_s, packets, start_s=10.0 * start) for start, packets, taken_s in steps]
    added, heads = run(*seen)
    most = {start: max(packets for one, packets, _ in steps if one == start) for start, _, _ in steps}
    assert sum(sent(added)) == sum(most.values()) == heads.counts[:, 0].sum()
    found = minutes(added)
    assert found.counts[:, 0].sum() == sum(most.values())
    assert found.covered_ms.min(initial=0) >= 0
    assert found.covered_ms.max(initial=0) <= MINUTE_MS
    assert set(found.minute.tolist()) <= set(range(minute_of(100_000 * SECOND_NS) + 1)) | {-1}
