"""The compiled plan: what is judged, and what each agent is told."""

from __future__ import annotations

import pytest
import yaml

from agent.clock_settings import PtpClockSettings
from agent.core.ledger import Ledgers
from agent.core.outcome import Direction, Limit, Operator
from agent.core.schedule import Schedule
from agent.runtime.settings import parse
from agent.settings import AgentSettings
from collector.fleet.plan import agent_config, compile_plan, plan_version
from collector.fleet.settings import FleetSettings
from collector.sla.breach import Hysteresis
from collector.sla.verdict import PathKey
from collector.sla.window import Window
from tests.support.fleets import changed, fleet

MS = 1_000_000
CITY = PathKey("wuhan", "guanggu", "city", "telecom", "stamp", 0)
HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
LOOP = PathKey("guanggu", "wuhan", "loop", "telecom", "stamp", 0)


def agent_settings(site: str, settings: FleetSettings | None = None) -> AgentSettings:
    """The agent's own reading of what the plan tells it, by way of YAML."""
    settings = settings or fleet()
    found = settings.site(site)
    assert found is not None
    return parse(
        yaml.safe_dump(agent_config(settings, found), allow_unicode=True), AgentSettings, "agent.yaml"
    )


def test_every_path_is_judged_in_its_directions_against_every_objective_of_its_tier() -> None:
    """Both ways where the tier says one-way, once where it says round trip."""
    judged = [(one.path, one.direction.value, one.objective.id) for one in compile_plan(fleet()).targets]
    assert judged == [
        (CITY, "forward", "detection"),
        (CITY, "reverse", "detection"),
        (HUB, "forward", "detection"),
        (HUB, "reverse", "detection"),
        (LOOP, "round_trip", "detection"),
        (HUB, "forward", "hourly"),
        (HUB, "reverse", "hourly"),
    ]


def test_a_target_knows_its_limit_floor_percentile_and_window() -> None:
    """As the fleet file says, the floor by distance: for both ways where both are judged together."""
    targets = {(one.path, one.direction, one.objective.id): one for one in compile_plan(fleet()).targets}
    hub = targets[HUB, Direction.FORWARD, "hourly"]
    assert str(hub.limit) == "<= 10 ms"
    assert hub.floor_ns == pytest.approx(4.13 * MS, abs=0.01 * MS)
    assert (hub.objective.percentile, hub.objective.min_coverage) == (99, 0.9)
    assert hub.objective.window == Window(3600 * 10**9)
    assert targets[LOOP, Direction.ROUND_TRIP, "detection"].floor_ns == 2 * 30 * 4900


def test_the_plan_knows_agents_hysteresis_and_the_order_of_everything() -> None:
    """What the program needs besides."""
    plan = compile_plan(fleet())
    assert plan.agents == {"wuhan": "127.0.0.1:9461", "guanggu": "127.0.0.1:9462"}
    assert plan.hysteresis == {"detection": Hysteresis(2, 4), "hourly": Hysteresis(1, 3)}
    assert [plan.sources[place] for place in plan.source_of] == [path.source for path in plan.paths]
    assert [plan.keys[place] for place in plan.places.values()] == [*plan.places] == list(plan.keys)
    assert plan.promised[LOOP] == {Direction.ROUND_TRIP: Limit(10 * MS, Operator.BELOW)}


@pytest.mark.parametrize("site", ["wuhan", "guanggu", "qingyang"])
def test_an_agent_accepts_what_the_plan_tells_it(site: str) -> None:
    """Every site's configuration is one that the agent reads without a problem, with its own place in it."""
    settings = agent_settings(site)
    assert settings.site == site
    assert settings.plan_version == compile_plan(fleet()).version
    assert settings.reflector is not None


def test_an_agent_counts_under_the_labels_and_against_the_limits_that_are_judged() -> None:
    """Otherwise the collector would wait for counts that never come, or judge them against another promise."""
    targets = compile_plan(fleet()).targets
    for site in ("wuhan", "guanggu"):
        for path in agent_settings(site).paths:
            ledger = path.ledger(site, Ledgers())
            labels = ledger.labels
            key = PathKey(
                labels.source, labels.target, labels.tier, labels.provider, labels.kind, labels.dscp
            )
            mine = {one.direction: one for one in targets if one.path == key}
            assert mine, key
            for direction, counted in ledger.directions():
                if direction in mine:
                    assert counted.promise.limit == mine[direction].limit
                    assert counted.promise.floor_ns == mine[direction].floor_ns


def test_an_agent_is_told_where_how_often_and_with_which_clock() -> None:
    """Addresses default to the target's reflector and its well-known port."""
    wuhan, guanggu = agent_settings("wuhan"), agent_settings("guanggu")
    assert [str(path.address) for path in wuhan.paths] == ["[::1]:8621", "127.0.0.1:8613"]
    assert [str(path.address) for path in guanggu.paths] == ["127.0.0.1:862"]
    assert (wuhan.paths[1].interval, wuhan.paths[1].timeout, wuhan.paths[1].dscp) == (50 * MS, 2000 * MS, 46)
    assert (wuhan.clock.source, guanggu.clock.source) == ("declared", "auto")
    assert str(wuhan.listen) == "127.0.0.1:9461"
    assert agent_settings("qingyang").paths == ()


def test_an_agent_is_told_the_schedule_of_each_path() -> None:
    """Periodic where the fleet file says nothing; another schedule is another plan."""
    text = changed("interval: 50ms", "interval: 50ms, schedule: poisson")
    assert [path.schedule for path in agent_settings("wuhan").paths] == [Schedule.PERIODIC] * 2
    told = [path.schedule for path in agent_settings("wuhan", fleet(text)).paths]
    assert told == [Schedule.PERIODIC, Schedule.POISSON]
    assert plan_version(fleet(text)) != plan_version(fleet())


def test_an_agent_is_told_the_domain_of_its_ptp_clock() -> None:
    """Where the fleet file names one."""
    text = changed("{source: declared, error_bound: 50us}", "{source: ptp, ptp_domain: 24}")
    clock = agent_settings("wuhan", fleet(text)).clock
    assert isinstance(clock, PtpClockSettings)
    assert clock.ptp_domain == 24


def test_the_version_changes_with_what_agents_are_told_and_with_nothing_else() -> None:
    """A new name or objective concerns no agent."""
    version = plan_version(fleet())
    assert version == compile_plan(fleet()).version
    assert plan_version(fleet(changed("en: Wuhan", "en: Wuhan City"))) == version
    assert plan_version(fleet(changed("percentile: 99.9", "percentile: 99.5"))) == version
    assert plan_version(fleet(changed("dscp: 46", "dscp: 45"))) != version
    assert plan_version(fleet(changed("lat: 35.73", "lat: 35.74"))) != version


def test_a_reflector_answers_those_who_are_planned_to_probe_it() -> None:
    """From where their agents are, or from where the fleet file says, and from what it allows everywhere."""
    allowed = {
        site: [str(network) for network in settings.reflector.allow]
        for site in ("wuhan", "guanggu", "qingyang")
        if (settings := agent_settings(site)).reflector is not None
    }
    told = ["127.0.0.1/32", "192.0.2.0/24", "::1/128"]
    assert allowed == {"wuhan": told, "guanggu": told, "qingyang": told}
    moved = changed(
        'agent: "127.0.0.1:9461"', 'agent: "wuhan.example:9461", probes_from: [198.51.100.7, "2001:db8::/64"]'
    )
    reflector = agent_settings("qingyang", fleet(moved)).reflector
    assert reflector is not None
    assert [str(network) for network in reflector.allow] == [
        "192.0.2.0/24",
        "198.51.100.7/32",
        "::1/128",
        "2001:db8::/64",
    ]


def test_a_reflector_that_nobody_may_ask_stays_off() -> None:
    """Where nobody is planned to probe it and nobody is allowed besides."""
    text = changed('reflector_allow: ["::1", 192.0.2.0/24]\n', "").replace('"[::1]:8621"', "127.0.0.1:8621")
    unprobed = text.replace("  - {source: guanggu, target: wuhan, tier: loop, fibre_km: 30}\n", "")
    settings = fleet(unprobed)
    assert agent_settings("wuhan", settings).reflector is None
    assert "wuhan: nobody probes its reflector" in "".join(settings.warnings())
    assert agent_settings("wuhan", fleet(text)).reflector is not None
    assert "nobody probes" not in "".join(fleet(text).warnings())


def test_a_reflector_marks_its_replies_as_its_paths_are_marked() -> None:
    """Where a stamp path has a code point, its replies may carry it too; no other reflector marks anything."""
    marked, plain = agent_settings("qingyang").reflector, agent_settings("guanggu").reflector
    assert marked is not None
    assert plain is not None
    assert (marked.dscp, plain.dscp) == ((46,), ())


def test_a_reflector_is_told_where_its_keys_are() -> None:
    """The file is on the site's own host; with it the reflector answers also where nobody is listed."""
    told = "reflector: 127.0.0.1, credentials: /etc/isochrone/keys.yaml, clock"
    text = changed("reflector: 127.0.0.1, clock", told)
    text = text.replace('reflector_allow: ["::1", 192.0.2.0/24]\n', "").replace(
        '"[::1]:8621"', "127.0.0.1:8621"
    )
    unprobed = text.replace("  - {source: guanggu, target: wuhan, tier: loop, fibre_km: 30}\n", "")
    reflector = agent_settings("wuhan", fleet(unprobed)).reflector
    assert reflector is not None
    assert (str(reflector.credentials), reflector.allow) == ("/etc/isochrone/keys.yaml", ())
    assert "wuhan: " not in "".join(fleet(unprobed).warnings())
    useless = unprobed.replace("reflector: 127.0.0.1, credentials", "credentials")
    assert "wuhan: it has credentials and no reflector" in "".join(fleet(useless).warnings())


def test_an_agent_is_told_what_to_ask_of_its_packets() -> None:
    """Marking, size, TLVs and signature are handed on, and where the keys are to those who sign."""
    text = changed("reflector: 127.0.0.1, clock", "reflector: 127.0.0.1, credentials: /etc/keys.yaml, clock")
    asked = "tlvs: [class_of_service], packet_size: 300, authenticated_ssid: 7, ecn: 2, follow_up: false, route: 5m"
    wuhan = agent_settings("wuhan", fleet(text.replace("dscp: 46", f"dscp: 46, {asked}")))
    path = wuhan.paths[1]
    assert (path.tlvs, path.packet_size, path.authenticated_ssid) == (("class_of_service",), 300, 7)
    assert (path.dscp, path.ecn, path.follow_up, path.route) == (46, 2, False, 300 * 10**9)
    assert str(wuhan.credentials) == "/etc/keys.yaml"
    plain = agent_settings("wuhan", fleet(text))
    assert plain.credentials is None
    assert not plain.paths[0].extended


def test_a_reflector_never_refuses_what_is_planned() -> None:
    """Its limits are twice the planned rate where the usual ones are less than that."""
    usual = agent_settings("qingyang").reflector
    assert usual is not None
    assert (usual.rate.per_source, usual.rate.burst, usual.rate.overall) == (2_000, 400, 60_000)
    path = "  - {source: wuhan, target: qingyang, tier: hub, interval: 1ms, dscp: %d, address: '127.0.0.1:8613'}\n"
    many = "".join(path % dscp for dscp in range(50))
    busy = agent_settings("qingyang", fleet(changed("objectives:\n", f"{many}objectives:\n"))).reflector
    assert busy is not None
    assert (busy.rate.per_source, busy.rate.burst) == (100_040, 20_008)
    assert (busy.rate.overall, busy.rate.overall_burst) == (100_040, 10_004)


def test_kinds_without_a_reflector_are_sent_where_they_can_be_answered() -> None:
    """An icmp path goes to the host of the target's reflector or to an address of its own, a tcp path to its service;
    the agent reads both, and is told the tier's limits, which the round trip has to prove."""
    text = changed(
        "  - {source: wuhan, target: guanggu, tier: city}\n",
        "  - {source: wuhan, target: guanggu, tier: city}\n"
        "  - {source: wuhan, target: guanggu, tier: city, kind: icmp}\n"
        "  - {source: wuhan, target: qingyang, tier: city, kind: icmp, address: '192.0.2.1', fibre_km: 1}\n"
        "  - {source: wuhan, target: guanggu, tier: city, kind: tcp, address: '192.0.2.2:443'}\n",
    )
    _, to_host, to_address, to_service, _ = agent_settings("wuhan", fleet(text)).paths
    assert [str(path.address) for path in (to_host, to_address, to_service)] == [
        "[::1]:0",
        "192.0.2.1:0",
        "192.0.2.2:443",
    ]
    assert {path.kind for path in (to_host, to_address)} == {"icmp"}
    assert [str(limit) for limit in to_service.limits.complete()] == ["< 1 ms", "< 1 ms", "< 2 ms"]
    judged = {(one.path.kind, one.direction.value) for one in compile_plan(fleet(text)).targets}
    assert {("icmp", "forward"), ("icmp", "reverse"), ("tcp", "forward"), ("tcp", "reverse")} <= judged
