"""Pilot lines in the fleet file: what is refused and warned of, and what the agents at both ends are told."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import yaml

from agent.core.outcome import Direction
from agent.core.throughput.lease import LeaseRequest, Way
from agent.core.throughput.result import Floor
from agent.runtime.exceptions import ConfigError
from agent.runtime.line_settings import Mode
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from collector.fleet.pilots import parse_every, parse_quiet
from collector.fleet.plan import agent_config, compile_plan, plan_version
from collector.fleet.settings import FleetSettings
from collector.fleet.slots import DAY_NS, Quiet
from tests.support.fleets import FLEET, PILOTS, fleet, pilots

HOUR_NS = 3_600_000_000_000


def agent(site: str, settings: FleetSettings) -> AgentSettings:
    """The agent's own reading of what the plan tells it."""
    found = settings.site(site)
    assert found is not None
    return parse(
        yaml.safe_dump(agent_config(settings, found), allow_unicode=True), AgentSettings, "agent.yaml"
    )


def replaced(old: str, new: str) -> str:
    assert PILOTS.count(old) == 1, old
    return PILOTS.replace(old, new)


def test_the_tester_is_told_what_to_test_and_when() -> None:
    """Floors of the tier for the ways that are tested, slots outside the quiet hours, the other end's address."""
    settings = pilots()
    assert list(settings.warnings()) == []
    (home,) = agent("home", settings).throughput_paths
    assert astuple(home.labels("home")) == ("home", "centre", "pilot", "telecom", "throughput", 0)
    assert (str(home.address), str(home.token_file)) == ("192.0.2.9:9461", "throughput.token")
    assert (home.floors.down, home.floors.up, home.mode) == (9_700_000_000, 970_000_000, Mode.VERIFY)
    assert (home.slot.every, len(home.slot.offsets), home.slot.jitter) == (DAY_NS, 4, 30_000_000_000)
    for offset_ns in home.slot.offsets:
        hour = (offset_ns + 8 * HOUR_NS) % DAY_NS / HOUR_NS
        assert not 19 <= hour < 23
    (flat,) = agent("flat", settings).throughput_paths
    assert (flat.floors.down, flat.floors.up, flat.longest) == (9_700_000_000, None, 5_000_000_000)
    assert (flat.slot.every, len(flat.slot.offsets)) == (2 * DAY_NS, 1)


def test_the_granter_grants_what_is_planned_and_no_more() -> None:
    """To those who test, each test as large as the largest, and no more data in a day than all slots amount to."""
    settings = pilots()
    granting = agent("centre", settings)
    assert granting.throughput is not None
    assert [str(network) for network in granting.throughput.allow] == ["192.0.2.1/32", "192.0.2.2/32"]
    rules = granting.throughput.rules()
    for site in ("home", "flat"):
        (line,) = agent(site, settings).throughput_paths
        shares = {way: line.share(way) for way in Way}
        request = LeaseRequest(
            bytes(4), line.protocol, line.longest, shares[Way.DOWN], shares[Way.UP], line.streams
        )
        assert request.octets * 2 * len(line.slot.offsets) <= granting.throughput.per_day
        assert request.duration_ns <= rules.longest_ns
    assert (granting.throughput.rates.down, granting.throughput.rates.up) == (10_088_000_000, 1_008_800_000)
    assert granting.throughput.per_day == 111 * 10**9
    assert agent("home", settings).throughput is None


def test_a_fleet_without_pilots_tells_nothing_of_them() -> None:
    """No keys, and a version that knows of slots: another slot is another plan."""
    found = fleet().site("wuhan")
    assert found is not None
    assert "throughput" not in "".join(agent_config(fleet(), found))
    assert plan_version(pilots()) != plan_version(pilots(replaced("every: 2d", "every: 4d")))


def test_own_floors_and_capacity() -> None:
    """A line may be promised something else than its tier, and be tested otherwise."""
    own = "direction: down, every: 2d, longest: 5s"
    settings = pilots(
        replaced(own, f"{own}, floors: {{down: 5G}}, mode: capacity, protocol: udp, layer: goodput")
    )
    (flat,) = agent("flat", settings).throughput_paths
    assert (flat.floors.down, flat.mode.value, flat.protocol.value) == (5_000_000_000, "capacity", "udp")
    (warning,) = settings.warnings()
    assert warning.startswith(
        "throughput.pilots[1].floors.down: 5G cannot pass through an Ethernet port of 5G"
    )


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("source: home", "source: hom", "pilots[0].source", "hom is no site; sites: home, flat, centre"),
        (
            "source: home, target: centre",
            "source: home, target: flat",
            "pilots[0].target",
            "flat grants no tests",
        ),
        ("source: home, target: centre", "source: home, target: hub", "pilots[0].target", "hub is no site"),
        (
            "source: home, target: centre",
            "source: centre, target: centre",
            "pilots[0].target",
            "tests itself",
        ),
        ("source: flat", "source: home", "pilots[1]", "the same line as pilots[0]"),
        ("tier: pilot, segments: [pon]}", "tier: gold}", "pilots[0].tier", "gold is no tier of throughput"),
        (
            "tier: pilot, segments: [pon]}",
            "tier: pilot, segments: [yichang]}",
            "pilots[0].segments[0]",
            "yichang is no segment; segments: pon",
        ),
        ("every: 2d", "every: 7h", "pilots[1].every", "does not fit into days"),
        ("every: 2d", "every: 3d", "pilots[1].every", "does not fit into days"),
        ("every: 2d", "every: 1m", "pilots[1].every", "at least 15m"),
        (
            "every: 2d",
            "per_day: 12GB",
            "pilots[1].per_day",
            "12.0 GB are less than a test and its retest, 12.6 GB",
        ),
        (
            "per_day: 200GB",
            "per_day: 20GB",
            "pilots[0].segments[0]",
            "the 20.0 GB a day of pon are less than",
        ),
        ('"19:00-23:00"', '"7pm"', "quiet_hours[0]", "is no time of day: times of day in Asia/Shanghai"),
        ('"19:00-23:00"', '"24:00-23:00"', "quiet_hours[0]", "is no time of day"),
        ("every: 2d", 'quiet_hours: ["00:00-24:00"]', "pilots[1].quiet_hours", "leave no time for a test"),
        ("floors: {down: 9.7G, up: 970M}", "floors: {down: 9.7G}", "pilots[0].floors", "no floor for up"),
        (
            '192.0.2.2:9461",\n     throughput: {token_file: throughput.token}',
            '192.0.2.2:9461"',
            "pilots[1].source",
            "flat has no throughput with a token_file",
        ),
        ('agent: "192.0.2.2:9461"', 'agent: "flat.example:9461"', "pilots[1].source", "give it probes_from"),
    ],
)
def test_what_is_refused(old: str, new: str, key: str, message: str) -> None:
    """With its key path and the reason."""
    with pytest.raises(ConfigError) as caught:
        pilots(replaced(old, new))
    found = [(problem.key, problem.message) for problem in caught.value.problems]
    assert any(f"throughput.{key}" == at and message in said for at, said in found), found


def test_a_turn_that_is_longer_than_its_period() -> None:
    """The jitter and the retest count."""
    text = replaced("every: 2d", "every: 15m").replace('quiet_hours: ["19:00-23:00"]', "jitter: 1h")
    with pytest.raises(ConfigError) as caught:
        pilots(text)
    (problem,) = caught.value.problems
    assert problem.key == "throughput.pilots[1].every"
    assert problem.message == "15m are less than a test, its retest and the jitter, 3620s"


def test_a_floor_that_no_port_carries_is_said_once_of_a_tier() -> None:
    """However many lines it is promised to."""
    (warning,) = pilots(replaced("down: 9.7G", "down: 10G")).warnings()
    assert warning.startswith(
        "throughput.tiers.pilot.floors.down: 10G cannot pass through an Ethernet port of 10G"
    )


def test_more_demand_than_the_day_has_is_warned_of() -> None:
    """What is short of time or data, and how often its lines are tested instead."""
    warnings = list(pilots(replaced("per_day: 200GB", "per_day: 60GB")).warnings())
    assert warnings[0].startswith(
        "throughput: 2.0 times the tests that a day has time and data for are asked of segment pon"
    )
    assert warnings[1].startswith("throughput.pilots[0]: tested ")
    assert "and not every 6h" in warnings[1]
    (own,) = pilots(replaced("tier: pilot, segments: [pon]}", "tier: pilot, per_day: 30GB}")).warnings()
    assert own == "throughput.pilots[0]: tested 1 times in 1d and not every 6h"
    segments = "pon: {name: {zh: 光分配网, en: PON tree}, per_day: 200GB}"
    none_left = replaced(segments, segments.replace("200GB", "30GB"))
    assert any("every 6h" in warning for warning in pilots(none_left).warnings())


def test_hours_and_periods() -> None:
    """Hours may pass midnight and end with the day."""
    assert parse_quiet("22:30-02:00") == Quiet(22 * HOUR_NS + HOUR_NS // 2, 2 * HOUR_NS)
    assert parse_quiet("00:00-24:00") == Quiet(0, DAY_NS)
    assert parse_quiet(Quiet(1, 2)) == Quiet(1, 2)
    assert parse_every("8h") == 8 * HOUR_NS
    assert parse_every("7d") == 7 * DAY_NS
    assert FLEET.count("throughput") == 0


THROUGHPUT = (
    "objectives: [{id: pilots, measure: throughput, window: 7d, missed_ratio: 0.05, tiers: [pilot]}]\n"
)


def test_a_line_is_judged_in_the_ways_that_have_a_floor() -> None:
    """Down as reverse, up as forward; other objectives ask nothing of lines, nor this one of paths."""
    settings = pilots(PILOTS + THROUGHPUT.replace("]\n", ", {id: delay, percentile: 99, window: 5m}]\n"))
    plan = compile_plan(settings)
    assert [path.kind for path in plan.paths] == ["throughput", "throughput"]
    throughput, delay = plan.questions
    asked = [(one.path.source, one.direction, one.limit) for one in throughput.targets]
    assert asked == [
        ("home", Direction.REVERSE, Floor(9.7e9)),
        ("home", Direction.FORWARD, Floor(970e6)),
        ("flat", Direction.REVERSE, Floor(9.7e9)),
    ]
    assert throughput.objective.threshold == 0.05
    assert not delay.targets
    assert list(settings.warnings()) == ["objectives[1]: delay selects none of the paths"]
    assert plan.leaving["home"] == {plan.paths[0]}


def test_slots_are_expected_as_they_are_handed_out() -> None:
    """Four a day of one line, one in two days of the other, once a turn is over and was read."""
    plan = compile_plan(pilots())
    week = np.array([0, 0]), np.array([14 * DAY_NS, 14 * DAY_NS])
    assert plan.slots.count(*week, {}).tolist() == [56, 7]
    assert plan.slots.count(week[0], week[0] + 60_000_000_000, {}).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (PILOTS.replace("{pilot:", "{city:"), "throughput.tiers.city", "city is already a tier of delays"),
        (
            PILOTS + THROUGHPUT.replace("missed_ratio: 0.05", "percentile: 99"),
            "objectives[0].percentile",
            "measure throughput takes no percentile",
        ),
        (
            PILOTS + THROUGHPUT.replace("measure: throughput", "percentile: 99"),
            "objectives[0].missed_ratio",
            "measure delay takes no missed_ratio",
        ),
        (
            PILOTS + THROUGHPUT.replace("[pilot]", "[gold]"),
            "objectives[0].tiers[0]",
            "gold is no tier; tiers: city, pilot",
        ),
    ],
)
def test_what_cannot_be_asked_of_lines_is_refused(text: str, key: str, message: str) -> None:
    """With its place."""
    with pytest.raises(ConfigError) as caught:
        pilots(text)
    assert (key, message) in [(one.key, one.message[: len(message)]) for one in caught.value.problems]


def test_a_window_that_may_hold_no_test_is_warned_of() -> None:
    """Tests come a little earlier or later: a window should hold two of them."""
    (warning,) = pilots(PILOTS + THROUGHPUT.replace("window: 7d", "window: 2d")).warnings()
    assert warning == (
        "throughput.pilots[1]: is tested every 2d, and the window of pilots, 2d, may hold no test at times: it should "
        "be at least twice as long"
    )
    (nobody,) = pilots(PILOTS + THROUGHPUT.replace("tiers: [pilot]", "tiers: [city]")).warnings()
    assert nobody == "objectives[0]: pilots selects none of throughput.pilots"
