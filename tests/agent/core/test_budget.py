"""The CPU budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.budget import CpuBudget

MS = 1_000_000


def test_a_share_of_a_period() -> None:
    """Half of a period may be used at once; what is beyond is paid back at half of the time that passes."""
    budget = CpuBudget(50, 10 * MS)
    budget.spend(5 * MS, 100 * MS)
    assert not budget.is_spent(100 * MS)
    budget.spend(2 * MS, 100 * MS)
    assert budget.is_spent(103 * MS)
    assert not budget.is_spent(104 * MS)
    assert budget.rest_ns(100 * MS) == 0
    budget.spend(9 * MS, 100 * MS)
    assert budget.rest_ns(100 * MS) == 12 * MS
    assert budget.rest_ns(112 * MS) == 0
    assert budget.is_spent(112 * MS)
    assert not budget.is_spent(122 * MS)


def test_it_is_not_saved_up() -> None:
    """However long nothing was used, no more than a period's share may be used at once."""
    budget = CpuBudget(50, 10 * MS)
    budget.spend(6 * MS, 10**15)
    assert budget.is_spent(10**15)


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 20 * MS), st.integers(1, 3 * MS)), min_size=1, max_size=100),
)
def test_who_rests_when_told_keeps_to_the_share(percent: int, rounds: list[tuple[int, int]]) -> None:
    """Over any stretch that begins at rest: its share, three times the period's, and one round more."""
    budget = CpuBudget(percent, 10 * MS)
    now_ns = used_ns = 0
    for idle_ns, work_ns in rounds:
        now_ns += idle_ns + work_ns
        used_ns += work_ns
        budget.spend(work_ns, now_ns)
        assert used_ns <= now_ns * percent / 100 + 3 * 10 * MS * percent / 100 + 3 * MS
        now_ns += budget.rest_ns(now_ns)
