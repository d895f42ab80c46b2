"""What selectors ask of the fleet's paths."""

from __future__ import annotations

from collector.fleet.plan import path_key
from collector.fleet.settings import FleetPathSettings, FleetSettings
from collector.sla.selector import PathFacts
from collector.sla.verdict import PathKey


def facts_of(fleet: FleetSettings) -> dict[PathKey, PathFacts]:
    """The facts of every path of a fleet file that has no problems."""
    return {facts.key: facts for facts in (path_facts(fleet, path) for path in fleet.paths)}


def path_facts(fleet: FleetSettings, path: FleetPathSettings) -> PathFacts:
    """The facts of one path: its own and those of the sites at its ends."""
    ends = [site for site in (fleet.site(path.source), fleet.site(path.target)) if site is not None]
    return PathFacts(
        path_key(fleet, path),
        districts=frozenset(site.district for site in ends if site.district),
        sites=frozenset(site.id for site in ends),
        tags=frozenset(path.tags).union(*(site.tags for site in ends)),
    )
