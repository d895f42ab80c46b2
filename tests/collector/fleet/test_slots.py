"""Slots: nobody meets anybody, all get their share, and no day has more data than it may."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.timestamps import SECOND_NS
from collector.fleet.slots import (
    CYCLE,
    DAY_NS,
    DAYS,
    Demand,
    Quiet,
    SlotPlan,
    begins_ns,
    hand_out,
    line_resource,
    turn_fits,
)

HOUR_NS = 3600 * SECOND_NS
EVENING = (Quiet(18 * HOUR_NS, 22 * HOUR_NS),)
NIGHT = (Quiet(22 * HOUR_NS, 2 * HOUR_NS),)


def pilots(
    count: int, servers: int, every_ns: int, *, through_yichang: int = 20, octets: int = 28_600_000_000
) -> list[Demand]:
    """Lines of homes on PON trees and in cells, to a few servers, some of them by way of a link between cities."""
    return [
        Demand(
            f"home{number}",
            every_ns,
            60 * SECOND_NS,
            octets,
            (
                f"site home{number}",
                f"site server{number % servers}",
                f"segment pon{number // 32}" if number % 3 else f"segment cell{number // 40}",
                *(["segment yichang"] if number % through_yichang == 0 else []),
            ),
            EVENING if number % 2 else NIGHT,
            200 * 10**9,
        )
        for number in range(count)
    ]


def collisions(demands: Sequence[Demand], plan: SlotPlan) -> list[tuple[str, int]]:
    """Every two turns of the 28 days, and what recurs after them, that share a resource at a time."""
    turns: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for demand, slots in zip(demands, plan.slots, strict=True):
        for begin_ns in begins_ns(slots):
            for resource in (*demand.resources, line_resource(demand.name)):
                turns[resource].append((begin_ns, begin_ns + demand.turn_ns))
    found = []
    for resource, times in turns.items():
        times.sort()
        following = [*times[1:], (times[0][0] + CYCLE * DAY_NS, 0)]
        found += [
            (resource, end) for (_, end), (begin, _) in zip(times, following, strict=True) if begin < end
        ]
    return found


def volumes(demands: Sequence[Demand], plan: SlotPlan) -> Mapping[tuple[str, int], int]:
    """Octets of each resource, and of each line, and day of Asia/Shanghai."""
    octets: Counter[tuple[str, int]] = Counter()
    for demand, slots in zip(demands, plan.slots, strict=True):
        for begin_ns in begins_ns(slots):
            for resource in (*demand.resources, line_resource(demand.name)):
                octets[resource, begin_ns // DAY_NS] += demand.octets
    return octets


def in_quiet(demand: Demand, plan_slots_ns: Sequence[int]) -> bool:
    """Whether any of these turns touches the line's quiet hours."""
    for begin_ns in plan_slots_ns:
        first, last = begin_ns % DAY_NS, (begin_ns + demand.turn_ns - 1) % DAY_NS
        for quiet in demand.quiet:
            passes = quiet.begin_ns >= quiet.end_ns
            for moment in (first, last):
                after, before = moment >= quiet.begin_ns, moment < quiet.end_ns
                if (after or before) if passes else (after and before):
                    return True
    return False


def test_two_thousand_pilots() -> None:
    """No two tests meet in any of 28 days, all get what they asked for, no day exceeds its data; it takes seconds."""
    demands = pilots(2_000, 12, DAY_NS // 4, through_yichang=200)
    caps = {"segment yichang": 2 * 10**12}
    began = time.process_time()
    plan = hand_out(demands, caps)
    assert time.process_time() - began < 10
    assert collisions(demands, plan) == []
    assert {slots.a_day for slots in plan.slots} == {4.0}
    assert plan.asked == {}
    octets = volumes(demands, plan)
    assert (
        max(octets[resource, day] for resource, day in octets if resource == "segment yichang") <= 2 * 10**12
    )
    assert (
        max(octets[resource, day] for resource, day in octets if resource.startswith("line")) <= 200 * 10**9
    )
    assert not any(
        in_quiet(one, list(begins_ns(slots))) for one, slots in zip(demands, plan.slots, strict=True)
    )
    hours = Counter(begin_ns // HOUR_NS % 24 for slots in plan.slots for begin_ns in begins_ns(slots))
    assert len(hours) == 24
    assert max(hours.values()) < 2 * sum(hours.values()) / 24


def test_more_demand_than_the_day_has_is_shared_fairly() -> None:
    """Of lines that share what is short all are tested as rarely, the others as often as they asked; it is said."""
    demands = pilots(2_000, 12, DAY_NS // 4, through_yichang=10)
    plan = hand_out(demands, {"segment yichang": 2 * 10**12})
    assert collisions(demands, plan) == []
    short = {
        slots for one, slots in zip(demands, plan.slots, strict=True) if "segment yichang" in one.resources
    }
    assert {(slots.every_ns // DAY_NS, len(slots.offsets_ns)) for slots in short} == {(4, 1)}
    others = [one for one, demand in zip(plan.slots, demands, strict=True) if len(demand.resources) == 3]
    assert {slots.a_day for slots in others} == {4.0}
    assert list(plan.asked) == ["segment yichang"]
    octets = volumes(demands, plan)
    days = [octets["segment yichang", day] for day in range(CYCLE)]
    assert max(days) <= 2 * 10**12
    assert max(days) - min(days) <= demands[0].octets


def test_one_server_for_all() -> None:
    """Two thousand lines at one endpoint are tested one after the other, each once in a few days, none never."""
    demands = pilots(2_000, 1, DAY_NS, through_yichang=3_000)
    plan = hand_out(demands, {})
    assert collisions(demands, plan) == []
    assert {(slots.every_ns // DAY_NS, len(slots.offsets_ns)) for slots in plan.slots} == {(2, 1)}
    assert list(plan.asked) == ["site server0"]


def test_a_new_line_moves_few_others() -> None:
    """Whoever is added at the end finds a place among the others."""
    demands = pilots(300, 4, DAY_NS)
    before, after = (hand_out(some, {}) for some in (demands[:-1], demands))
    moved = sum(old != new for old, new in zip(before.slots, after.slots[:-1], strict=True))
    assert moved == 0


def test_the_same_lines_have_the_same_slots() -> None:
    """Nothing is drawn: what is planned anew is as it was."""
    demands = pilots(50, 2, DAY_NS // 2)
    assert hand_out(demands, {}) == hand_out(demands, {})


def test_nothing_but_quiet() -> None:
    """A turn that is longer than any time that is not quiet has no slot."""
    always = (Quiet(0, 12 * HOUR_NS), Quiet(12 * HOUR_NS + 50 * SECOND_NS, 24 * HOUR_NS))
    assert not turn_fits(60 * SECOND_NS, always)
    assert turn_fits(50 * SECOND_NS, always)
    assert not turn_fits(2 * DAY_NS, ())
    demand = Demand("a", DAY_NS, 60 * SECOND_NS, 1, ("site a",), always)
    assert hand_out([demand], {}).slots[0].offsets_ns == ()
    assert hand_out([], {}).slots == ()


def test_too_little_data_for_one_test() -> None:
    """A segment whose data of a day do not suffice for a test has none."""
    demand = Demand("a", DAY_NS, 60 * SECOND_NS, 1000, ("site a", "segment s"))
    assert hand_out([demand], {"segment s": 999}).slots[0].offsets_ns == ()


def test_what_is_full_of_longer_turns_is_thinned_for_all() -> None:
    """Where turns leave gaps too short for another's, all who share it give way, and none is left without any."""
    long = [Demand(f"l{one}", DAY_NS, 7 * HOUR_NS, 1, ("site x",)) for one in range(3)]
    short = Demand("s", DAY_NS, 3 * HOUR_NS + 1, 1, ("site x",))
    plan = hand_out([*long, short], {})
    assert collisions([*long, short], plan) == []
    assert all(slots.offsets_ns for slots in plan.slots)


HOURS = st.integers(0, 24).map(HOUR_NS.__mul__)
QUIETS = st.tuples(HOURS.filter(lambda hour: hour < 24 * HOUR_NS), HOURS).filter(lambda one: one[0] != one[1])
DEMANDS = st.builds(
    lambda name, every, turn, octets, resources, quiet: Demand(
        name, every, turn * SECOND_NS, octets, tuple(f"site {one}" for one in resources), quiet, 3 * octets
    ),
    st.uuids().map(str),
    st.sampled_from([DAY_NS // 24, DAY_NS // 4, *(days * DAY_NS for days in DAYS)]),
    st.integers(1, 3_600),
    st.integers(1, 100),
    st.sets(st.integers(0, 3), min_size=1),
    st.lists(QUIETS.map(lambda one: Quiet(*one)), max_size=2).map(tuple),
)


@given(st.lists(DEMANDS, max_size=12), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_for(demands: list[Demand], cap: int) -> None:
    """No two tests meet, no bound of data is exceeded, no quiet hour disturbed; nobody gets more than he asked for."""
    caps = {"site 0": cap}
    plan = hand_out(demands, caps)
    assert collisions(demands, plan) == []
    octets = volumes(demands, plan)
    assert all(used <= cap for (resource, _), used in octets.items() if resource == "site 0")
    for demand, slots in zip(demands, plan.slots, strict=True):
        assert demand.per_day is not None
        own = line_resource(demand.name)
        assert all(octets[own, day] <= demand.per_day for day in range(CYCLE))
        assert slots.a_day <= DAY_NS / demand.every_ns * (1 + 1e-9)
        assert not in_quiet(demand, list(begins_ns(slots)))
