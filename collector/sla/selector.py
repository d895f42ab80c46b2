"""Which paths something is for: a maintenance window, or an objective."""

from __future__ import annotations

from dataclasses import dataclass

from collector.sla.verdict import PathKey

_ANY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What is known of a path beyond its name.

    Attributes:
        key: its labels.
        districts: of the sites at both of its ends, as far as they are known.
        sites: at both of its ends.
        tags: its own and those of its sites.
    """

    key: PathKey
    districts: frozenset[str] = _ANY
    sites: frozenset[str] = _ANY
    tags: frozenset[str] = _ANY


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses paths: each field that names something must name something of the path; an empty one lets all through.

    Attributes:
        tiers, providers: of the path.
        districts, sites: at either end.
        sources, targets: at this end.
        tags: of the path or of a site at either end.
    """

    tiers: frozenset[str] = _ANY
    providers: frozenset[str] = _ANY
    districts: frozenset[str] = _ANY
    sites: frozenset[str] = _ANY
    sources: frozenset[str] = _ANY
    targets: frozenset[str] = _ANY
    tags: frozenset[str] = _ANY

    def matches(self, facts: PathFacts) -> bool:
        """Whether the path is one of those that are meant."""
        key = facts.key
        return all(
            not named or not named.isdisjoint(has)
            for named, has in (
                (self.tiers, (key.tier,)),
                (self.providers, (key.provider,)),
                (self.districts, facts.districts),
                (self.sites, facts.sites),
                (self.sources, (key.source,)),
                (self.targets, (key.target,)),
                (self.tags, facts.tags),
            )
        )
