"""The fleet file compiled: what is judged, and what each agent has to do. Pure."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

import numpy as np

from agent.core.admission import USUAL_OVERALL, USUAL_PER_SOURCE
from agent.core.geo import fibre_floor_ns
from agent.core.metrics import LINE_KIND
from agent.core.outcome import ONE_WAY, Direction, Limit
from agent.core.timestamps import SECOND_NS
from agent.runtime.probe_address import format_address
from agent.runtime.quantities import format_duration, format_limit
from collector.fleet.objectives import ObjectiveSettings
from collector.fleet.paths import FleetPathSettings
from collector.fleet.pilot_work import floors_of, slot_table, throughput_work
from collector.fleet.settings import FleetSettings
from collector.fleet.sites import SiteSettings
from collector.ledger.minutes import DIRECTIONS, Integers
from collector.ledger.seen import Flags
from collector.sla.breach import BreachKey, Hysteresis
from collector.sla.budget import MIN_COVERAGE, budget_id, rules_of
from collector.sla.judge import Question
from collector.sla.measure import SHARES, Measure
from collector.sla.objective import AvailabilityRule, Objective, Target
from collector.sla.promise import Promise
from collector.sla.selector import PathFacts
from collector.sla.throughput import SlotTable
from collector.sla.variation import Beyond
from collector.sla.verdict import PathKey
from collector.sla.window import HISTORY, Window

_OF_BUDGETS: Final = Hysteresis(1, 3)


@dataclass(frozen=True, eq=False)
class Plan:
    """What follows from a fleet file.

    Attributes:
        version: of everything that agents are told; changes when that does.
        agents: HOST:PORT of the agents' HTTP servers by site.
        sites: all, in the order of the file.
        clockless: those whose agents are told that their clocks vouch for nothing.
        paths: all, in the order of the file, and then the lines whose throughput is tested.
        facts: what selectors ask of them.
        floors_ns: what light in fibre needs in one direction of each of them (n,); 0 of lines.
        intervals_ns: from probe to probe, or from test to test, of each of them, in the mean (n,).
        promised: the limits that each path is held against, by direction.
        questions: what is judged, objective by objective.
        hysteresis: of each objective.
        rules: when each path is unavailable, by the first objective that asks for it; None: nobody does.
        variations: what is asked of delay variation in each window, and of which directions of the paths
            (n, directions).
        slots: when lines are tested.
    """

    version: str
    agents: Mapping[str, str]
    sites: Sequence[str]
    clockless: frozenset[str]
    paths: Sequence[PathKey]
    facts: Sequence[PathFacts]
    floors_ns: Integers
    intervals_ns: Integers
    promised: Mapping[PathKey, Mapping[Direction, Promise]]
    questions: Sequence[Question]
    hysteresis: Mapping[str, Hysteresis]
    rules: Sequence[AvailabilityRule | None]
    variations: Mapping[Window, Mapping[Beyond, Flags]]
    slots: SlotTable

    @functools.cached_property
    def sources(self) -> Sequence[str]:
        """The sites that probe."""
        return sorted({path.source for path in self.paths})

    @functools.cached_property
    def source_of(self) -> Integers:
        """Each path's place among the sources."""
        places = {site: place for place, site in enumerate(self.sources)}
        return np.array([places[path.source] for path in self.paths], np.int64)

    @functools.cached_property
    def rows(self) -> Mapping[PathKey, int]:
        """Where each path stands among all."""
        return {path: row for row, path in enumerate(self.paths)}

    @functools.cached_property
    def leaving(self) -> Mapping[str, frozenset[PathKey]]:
        """The paths that each site probes."""
        found: dict[str, set[PathKey]] = {site: set() for site in self.sites}
        for path in self.paths:
            found[path.source].add(path)
        return {site: frozenset(paths) for site, paths in found.items()}

    @functools.cached_property
    def targets(self) -> Sequence[Target]:
        """All that is judged, in the order of the questions."""
        return [target for question in self.questions for target in question.targets]

    @functools.cached_property
    def keys(self) -> Sequence[BreachKey]:
        """What a breach of each target is called."""
        return [BreachKey(one.path, one.direction, one.objective.id) for one in self.targets]

    @functools.cached_property
    def places(self) -> Mapping[BreachKey, int]:
        """Where each of them stands among the verdicts."""
        return {key: place for place, key in enumerate(self.keys)}


def compile_plan(fleet: FleetSettings) -> Plan:
    """Compile a fleet file that has no problems."""
    keys = [*(fleet.key(path) for path in fleet.paths), *(fleet.pilot_key(line) for line in fleet.lines)]
    facts = [*(fleet.facts(path) for path in fleet.paths), *(fleet.line_facts(line) for line in fleet.lines)]
    floors_ns = [fibre_floor_ns(fleet.kilometres(path)) for path in fleet.paths] + [0] * len(fleet.lines)
    intervals_ns = [*(path.interval for path in fleet.paths), *(line.every for line in fleet.lines)]
    promised: list[Mapping[Direction, Promise]] = [
        *(_promised(fleet, path) for path in fleet.paths),
        *(floors_of(line) for line in fleet.lines),
    ]
    questions = [
        _of_lines(objective, keys, facts, promised)
        if objective.measure is Measure.THROUGHPUT
        else _question(fleet, keys, facts, floors_ns, objective)
        for objective in fleet.objectives
    ]
    budgets = [_budget(question) for question in questions if _has_budget(question.objective)]
    return Plan(
        version=plan_version(fleet),
        agents={site.id: str(site.agent) for site in fleet.sites if site.agent is not None},
        sites=[site.id for site in fleet.sites],
        clockless=frozenset(site.id for site in fleet.sites if site.clock.source == "unsynchronised"),
        paths=keys,
        facts=facts,
        floors_ns=np.array(floors_ns, np.int64),
        intervals_ns=np.array(intervals_ns, np.int64),
        promised=dict(zip(keys, promised, strict=True)),
        questions=questions + budgets,
        hysteresis={
            objective.id: Hysteresis(objective.open_after, objective.close_after)
            for objective in fleet.objectives
        }
        | {budget.objective.id: _OF_BUDGETS for budget in budgets},
        rules=_rules(len(keys), questions),
        variations=_variations(len(keys), questions),
        slots=slot_table(fleet),
    )


def _rules(paths: int, questions: Sequence[Question]) -> list[AvailabilityRule | None]:
    found: list[AvailabilityRule | None] = [None] * paths
    for question in questions:
        for row in question.rows.tolist() if question.objective.availability else ():
            found[row] = found[row] or question.objective.availability
    return found


def _variations(paths: int, questions: Sequence[Question]) -> Mapping[Window, Mapping[Beyond, Flags]]:
    found: dict[Window, dict[Beyond, Flags]] = defaultdict(dict)
    for question in questions:
        window, limit = question.objective.window, question.objective.variation
        if limit is None:
            continue
        asked = [(window, Beyond(limit))]
        if window.longest_ns < HISTORY.longest_ns:
            asked.append((HISTORY, Beyond(limit, apart=True)))
        for over, beyond in asked:
            flags = found[over].setdefault(beyond, np.zeros((paths, len(DIRECTIONS)), np.bool_))
            flags[question.rows, question.places] = True
    return found


def agent_config(fleet: FleetSettings, site: SiteSettings) -> dict[str, Any]:
    """The configuration of a site's agent, ready to be written as YAML.

    Limits are the tiers', floors follow from the distances, and the clock is the site's.
    """
    config = _agent_work(fleet, site, _Ends.of(fleet))
    config["plan_version"] = plan_version(fleet)
    return config


def plan_version(fleet: FleetSettings) -> str:
    """A short hash of all that the agents are told."""
    ends = _Ends.of(fleet)
    work = [_agent_work(fleet, site, ends) for site in fleet.sites]
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Ends:
    """Paths by the sites at their ends."""

    sources: Mapping[str, Sequence[FleetPathSettings]]
    targets: Mapping[str, Sequence[FleetPathSettings]]

    @classmethod
    def of(cls, fleet: FleetSettings) -> _Ends:
        """All paths of a fleet."""
        sources, targets = defaultdict(list), defaultdict(list)
        for path in fleet.paths:
            sources[path.source].append(path)
            targets[path.target].append(path)
        return cls(sources, targets)


def _has_budget(objective: Objective) -> bool:
    """Whether it lasts long enough to be warned of before it is spent."""
    return objective.measure in SHARES and bool(rules_of(objective.window))


def _budget(question: Question) -> Question:
    """Whether the error budget of an objective is spent too fast."""
    of = question.objective
    budget = replace(
        of,
        id=budget_id(of.id),
        measure=Measure.BUDGET,
        budget_of=of.measure,
        min_coverage=MIN_COVERAGE,
    )
    targets = [replace(target, objective=budget) for target in question.targets]
    return replace(question, objective=budget, targets=targets)


def _directions(fleet: FleetSettings, path: FleetPathSettings) -> Sequence[Direction]:
    """Those that the path's tier promises something of."""
    return ONE_WAY if fleet.tiers[path.tier].direction == "one_way" else (Direction.ROUND_TRIP,)


def _judged_directions(
    fleet: FleetSettings, path: FleetPathSettings, measure: Measure
) -> Sequence[Direction]:
    return (Direction.ROUND_TRIP,) if measure is Measure.AVAILABILITY else _directions(fleet, path)


def _promised(fleet: FleetSettings, path: FleetPathSettings) -> Mapping[Direction, Limit]:
    return dict.fromkeys(_directions(fleet, path), fleet.tiers[path.tier].limit)


def _question(
    fleet: FleetSettings,
    keys: Sequence[PathKey],
    facts: Sequence[PathFacts],
    floors_ns: Sequence[int],
    settings: ObjectiveSettings,
) -> Question:
    """An objective, asked of all directions of the paths that it is for."""
    objective = settings.objective()
    selector = settings.selector()
    targets, rows = [], []
    for row, (key, path) in enumerate(zip(keys, fleet.paths, strict=False)):
        if not selector.matches(facts[row]):
            continue
        for direction in _judged_directions(fleet, path, objective.measure):
            times = 2 if direction is Direction.ROUND_TRIP else 1
            targets.append(
                Target(key, direction, objective, fleet.tiers[path.tier].limit, times * floors_ns[row])
            )
            rows.append(row)
    return Question.of(objective, targets, rows)


def _of_lines(
    settings: ObjectiveSettings,
    keys: Sequence[PathKey],
    facts: Sequence[PathFacts],
    promised: Sequence[Mapping[Direction, Promise]],
) -> Question:
    """An objective of throughput, asked of all ways with a floor of the lines that it is for."""
    objective, selector = settings.objective(), settings.selector()
    found = [
        (Target(key, direction, objective, floor, 0), row)
        for row, key in enumerate(keys)
        if key.kind == LINE_KIND and selector.matches(facts[row])
        for direction, floor in promised[row].items()
    ]
    return Question.of(objective, [target for target, _ in found], [row for _, row in found])


def _agent_work(fleet: FleetSettings, site: SiteSettings, ends: _Ends) -> dict[str, Any]:
    config: dict[str, Any] = {"site": site.id}
    if site.agent is not None:
        config["listen"] = str(site.agent)
    config["clock"] = {"source": site.clock.source}
    if site.clock.error_bound is not None:
        config["clock"]["error_bound"] = format_duration(site.clock.error_bound)
    if site.clock.ptp_domain is not None:
        config["clock"]["ptp_domain"] = site.clock.ptp_domain
    if site.reflector is not None and (reflector := _reflector(fleet, site, ends)):
        config["reflector"] = {"listen": [str(site.reflector)], **reflector}
    paths = ends.sources.get(site.id, ())
    if site.credentials is not None and any(path.signed for path in paths):
        config["credentials"] = site.credentials
    config["paths"] = [_agent_path(fleet, path) for path in paths]
    config.update(throughput_work(fleet, site))
    return config


def _reflector(fleet: FleetSettings, site: SiteSettings, ends: _Ends) -> dict[str, Any]:
    """Whom a site's reflector answers and how often; nothing where that is nobody, and the reflector stays off.

    What is planned must never be what it refuses: its limits are at least twice the planned rate, from a single source
    too, for several agents may share an address.
    """
    paths = ends.targets.get(site.id, ())
    probing = dict.fromkeys(path.source for path in paths)
    sources = [source for one in probing if (source := fleet.site(one)) is not None]
    allowed = {*fleet.reflector_allow, *(network for source in sources for network in source.sources())}
    if not allowed and site.credentials is None:
        return {}
    by_family = sorted(allowed, key=lambda network: (network.version, network.network_address.packed))
    config: dict[str, Any] = {"allow": [str(network) for network in by_family]}
    if site.credentials is not None:
        config["credentials"] = site.credentials
    if markings := sorted({path.dscp for path in paths if path.kind == "stamp"} - {0}):
        config["dscp"] = markings
    least = 2 * ceil(sum(SECOND_NS / path.interval for path in paths))
    rate: dict[str, Any] = {}
    for usual, per_second, burst in (
        (USUAL_PER_SOURCE, "per_source", "burst"),
        (USUAL_OVERALL, "global", "global_burst"),
    ):
        if least > usual.per_second:
            rate[per_second] = f"{least}/s"
            rate[burst] = usual.burst * least // usual.per_second
    if rate:
        config["rate"] = rate
    return config


def _agent_path(fleet: FleetSettings, path: FleetPathSettings) -> dict[str, Any]:
    key = fleet.key(path)
    tier = fleet.tiers[path.tier]
    target = fleet.site(path.target)
    assert target is not None
    address = path.address_at(target)
    assert address is not None
    limit = format_limit(tier.limit)
    floor_ns = fibre_floor_ns(fleet.kilometres(path))
    work: dict[str, Any] = {
        "target": key.target,
        "tier": key.tier,
        "provider": key.provider,
        "kind": key.kind,
        "address": format_address(key.kind, address),
        "interval": format_duration(path.interval),
        "schedule": path.schedule.value,
        "timeout": format_duration(path.timeout),
        **path.session_document(),
        "limits": {"forward": limit, "reverse": limit}
        if tier.direction == "one_way"
        else {"round_trip": limit},
    }
    if floor_ns:
        work["floors"] = {"forward": format_duration(floor_ns), "reverse": format_duration(floor_ns)}
    return work
