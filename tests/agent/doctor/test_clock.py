"""What a clock can prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Limit, Operator
from agent.doctor.clock import ClockFacts, PromisedLimit, judge_clock
from agent.runtime.doctor.diagnosis import Diagnosis, Severity

MS = 1_000_000
CITY = Limit(MS, Operator.BELOW)
HUB = Limit(10 * MS, Operator.AT_MOST)

limits = st.builds(Limit, st.integers(1, 100 * MS), st.sampled_from(Operator))
bounds = st.none() | st.integers(0, 200 * MS)
floors = st.integers(0, 100 * MS)


def verdict(
    bound_ns: int | None, limit: Limit, floor_ns: int = 0, by_round_trip: bool | None = None
) -> Diagnosis:
    """What is said of one limit."""
    promised = PromisedLimit("city", "", limit, floor_ns, 1, by_round_trip)
    _, found = judge_clock(ClockFacts("chrony", bound_ns, "why", (promised,)))
    return found


@given(bounds, limits, floors)
def test_a_clock_is_a_problem_where_it_proves_nothing(
    bound_ns: int | None, limit: Limit, floor_ns: int
) -> None:
    """Where a packet of the least possible delay, measured exactly, would not be within; and only there."""
    hopeless = bound_ns is None or not limit.met_by(floor_ns + bound_ns)
    assert (verdict(bound_ns, limit, floor_ns).severity is Severity.PROBLEM) is hopeless


@given(bounds, limits, floors)
def test_a_short_round_trip_makes_it_no_problem(bound_ns: int | None, limit: Limit, floor_ns: int) -> None:
    """And never worse than without one."""
    with_proof = verdict(bound_ns, limit, floor_ns, by_round_trip=True)
    assert with_proof.severity <= Severity.WARNING
    assert with_proof.severity <= verdict(bound_ns, limit, floor_ns, by_round_trip=False).severity


@given(st.integers(0, 200 * MS), st.integers(0, 200 * MS), limits, floors)
def test_a_better_clock_is_never_judged_worse(
    one_ns: int, other_ns: int, limit: Limit, floor_ns: int
) -> None:
    """The severity does not fall as the bound grows."""
    better, worse = sorted((one_ns, other_ns))
    assert verdict(better, limit, floor_ns).severity <= verdict(worse, limit, floor_ns).severity


def test_the_words_name_limit_bound_and_remedy() -> None:
    """As an operator reads them."""
    found = verdict(3_150_000, CITY)
    assert found.found.en == "this clock cannot prove 1 ms one-way: bound 3.2 ms"
    assert found.found.zh == "这个时钟证明不了单向 1 毫秒：误差界 3.2 毫秒"
    assert found.remedy is not None
    assert "chrony" in found.remedy.en
    assert "PTP" in found.remedy.zh
    assert found.numbers["bound_seconds"] == pytest.approx(0.00315)


@pytest.mark.parametrize(
    ("bound_ns", "limit", "severity"),
    [
        (50_000, CITY, Severity.OK),
        (500_000, CITY, Severity.OK),
        (600_000, CITY, Severity.WARNING),
        (MS, CITY, Severity.PROBLEM),
        (3_200_000, HUB, Severity.OK),
        (10 * MS, HUB, Severity.WARNING),
        (None, HUB, Severity.PROBLEM),
    ],
)
def test_bounds_against_limits(bound_ns: int | None, limit: Limit, severity: Severity) -> None:
    """Half of the limit is well, all of it is only just enough where the limit may be met exactly."""
    assert verdict(bound_ns, limit).severity is severity


@pytest.mark.parametrize(("needed", "severity"), [(True, Severity.WARNING), (False, Severity.NOTE)])
def test_a_clock_that_nobody_needs_is_only_noted(needed: bool, severity: Severity) -> None:
    """Where all paths know the round trip alone, and nobody probes this host."""
    (found,) = judge_clock(ClockFacts("unsynchronised", None, "nobody", (), needed))
    assert found.severity is severity
    assert "nobody" in found.found.en
