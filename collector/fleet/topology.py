"""Sites, tiers and the paths between the sites: that they fit together, and that physics allows what is promised."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from agent.core.geo import fibre_floor_ns, great_circle_km
from agent.runtime.exceptions import UnreadError
from agent.runtime.pace import Pace, too_much_in_all
from agent.runtime.probe_address import ProbeKind
from agent.runtime.quantities import Endpoint, LimitText, NetworkText, format_duration
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.yaml_lines import Location
from collector.fleet.names import Identifier, NameSettings, listed, same_twice
from collector.fleet.paths import FleetPathSettings
from collector.fleet.sites import SiteSettings
from collector.sla.selector import PathFacts
from collector.sla.verdict import PathKey

_ADDRESS_NEEDED: Final[dict[ProbeKind, str]] = {
    "stamp": "{target} has no reflector; give it one, or the path an address",
    "icmp": "{target} has no reflector whose host could be asked; give the path an address, such as 192.0.2.1",
    "tcp": "a tcp path needs the address of the service at {target}, such as 192.0.2.1:443",
}


class TierSettings(Settings):
    """A clause of the plan.

    Attributes:
        limit: the promise, such as `< 1ms`.
        direction: one_way: each direction is judged; round_trip: both together.
    """

    name: NameSettings
    limit: LimitText
    direction: Literal["one_way", "round_trip"] = "one_way"


class TopologySettings(Settings):
    """Who is where, and who probes whom.

    Attributes:
        reflector_allow: networks that every reflector answers, besides those that the probes come from.
    """

    sites: Annotated[tuple[SiteSettings, ...], Field(min_length=1)]
    tiers: Annotated[dict[Identifier, TierSettings], Field(min_length=1)]
    paths: tuple[FleetPathSettings, ...] = ()
    reflector_allow: tuple[NetworkText, ...] = ()

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together, and what physics forbids."""
        yield from as_far_as_read(same_twice("sites", self.sites))
        yield from as_far_as_read(self._same_agent())
        yield from as_far_as_read(self._clocks())
        yield from as_far_as_read(self._paths())
        yield from as_far_as_read(self._ssids())
        yield from as_far_as_read(self._paces())
        yield from as_far_as_read(self._sources())

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        for index, path in enumerate(self.paths):
            if path.kind == "stamp" and path.timeout <= path.interval:
                times = f"timeout {format_duration(path.timeout)}, interval {format_duration(path.interval)}"
                yield f"paths[{index}]: {times}: the direction of a loss can rarely be proven unless timeout is above"
        probed = {path.target for path in self.paths}
        for site in self.sites:
            asked = site.id in probed or self.reflector_allow or site.credentials is not None
            if site.reflector is not None and not asked:
                yield f"{site.id}: nobody probes its reflector, which stays off; others need reflector_allow"
            if site.credentials is not None and site.reflector is None:
                yield f"{site.id}: it has credentials and no reflector that would verify anything with them"

    def provider_of(self, target: str, own: str | None) -> str:
        """Who carries what goes to a site: the provider that the line itself names, else the one of the site."""
        site = self.site(target)
        return ("" if site is None else site.provider) if own is None else own

    def key(self, path: FleetPathSettings) -> PathKey:
        """The labels that the path's metrics carry."""
        return PathKey(
            path.source,
            path.target,
            path.tier,
            self.provider_of(path.target, path.provider),
            path.kind,
            path.dscp,
        )

    def facts(self, path: FleetPathSettings) -> PathFacts:
        """What selectors ask of a path: its own and that of the sites at its ends."""
        return self.facts_between(self.key(path), path.tags)

    def facts_between(self, key: PathKey, tags: Iterable[str]) -> PathFacts:
        """What selectors ask of what has this key, and these tags beside those of the sites at its ends."""
        ends = [site for site in (self.site(key.source), self.site(key.target)) if site is not None]
        return PathFacts(
            key,
            districts=frozenset(site.district for site in ends if site.district),
            sites=frozenset(site.id for site in ends),
            tags=frozenset(tags).union(*(site.tags for site in ends)),
        )

    def site(self, identifier: str) -> SiteSettings | None:
        """The site of this id."""
        return self._sites.get(identifier)

    @functools.cached_property
    def _sites(self) -> Mapping[str, SiteSettings]:
        """Sites by id; of two with one id the first."""
        found: dict[str, SiteSettings] = {}
        for site in self.sites:
            found.setdefault(site.id, site)
        return found

    def kilometres(self, path: FleetPathSettings) -> float:
        """Length of the fibre in one direction: as configured, or the great circle between the two sites."""
        if path.fibre_km is not None:
            return path.fibre_km
        source, target = self.site(path.source), self.site(path.target)
        assert source is not None
        assert target is not None
        return great_circle_km(source.lat, source.lon, target.lat, target.lon)

    def _same_agent(self) -> Iterator[tuple[Location, str]]:
        first: dict[Endpoint, int] = {}
        for index, site in enumerate(self.sites):
            with contextlib.suppress(UnreadError):
                if site.agent is not None and first.setdefault(site.agent, index) != index:
                    of = self.sites[first[site.agent]].id
                    yield ("sites", index, "agent"), f"{site.agent} is already the agent of {of}"

    def _clocks(self) -> Iterator[tuple[Location, str]]:
        for index, site in enumerate(self.sites):
            for at, message in as_far_as_read(site.clock.problems()):
                yield ("sites", index, "clock", *at), message

    def _paths(self) -> Iterator[tuple[Location, str]]:
        first: dict[tuple[object, ...], int] = {}
        for index, path in enumerate(self.paths):
            for at, message in self._path_problems(path):
                yield ("paths", index, *at), message
            with contextlib.suppress(UnreadError):
                provider, target = path.provider, self.site(path.target)
                if provider is None and target is not None:
                    provider = target.provider
                key = (path.source, path.target, path.tier, provider, path.kind, path.dscp)
                if first.setdefault(key, index) != index:
                    yield ("paths", index), f"the same path as paths[{first[key]}]"

    def _path_problems(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        yield from as_far_as_read(self._source_problems(path))
        yield from as_far_as_read(self._target_problems(path))
        yield from as_far_as_read(self._tier_problems(path))
        yield from as_far_as_read(self._physics(path))
        yield from as_far_as_read(path.timeout_problems())
        yield from as_far_as_read(path.session_problems(path.kind))
        yield from as_far_as_read(self._key_problems(path))

    def _source_problems(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        source = self.site(path.source)
        if source is None:
            yield ("source",), f"{path.source} is no site; sites: {listed(self._sites)}"
        elif source.agent is None:
            yield ("source",), f"{path.source} has no agent to probe from"

    def _key_problems(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        source = self.site(path.source)
        if path.signed and source is not None and source.credentials is None:
            yield ("authenticated_ssid",), f"{path.source} has no credentials, a file of keys to sign with"

    def _target_problems(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        target = self.site(path.target)
        if target is None:
            yield ("target",), f"{path.target} is no site; sites: {listed(self._sites)}"
        elif path.address_at(target) is None:
            yield (), _ADDRESS_NEEDED[path.kind].format(target=path.target)
        if path.source == path.target:
            yield ("target",), f"{path.source} probes itself"

    def _tier_problems(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        if path.tier not in self.tiers:
            yield ("tier",), f"{path.tier} is no tier; tiers: {listed(self.tiers)}"

    def _sources(self) -> Iterator[tuple[Location, str]]:
        """Probes that the target's reflector would refuse, for nobody knows where they come from."""
        at = {site.id: index for index, site in reversed(list(enumerate(self.sites)))}
        told: set[tuple[str, int]] = set()
        for path in self.paths:
            with contextlib.suppress(UnreadError):
                source, target = self.site(path.source), self.site(path.target)
                if source is None or source.agent is None or target is None or target.reflector is None:
                    continue
                version = 6 if ":" in target.reflector.host else 4
                known = (*source.sources(), *self.reflector_allow)
                if (source.id, version) in told or any(network.version == version for network in known):
                    continue
                told.add((source.id, version))
                unknown = f"{target.id} would refuse its probes: which IPv{version} address they come from is not known"
                remedy = "give probes_from, such as [192.0.2.1], or reflector_allow for all sites"
                yield ("sites", at[source.id]), f"{unknown}; {remedy}"

    def _physics(self, path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
        tier = self.tiers.get(path.tier)
        if tier is None or self.site(path.source) is None or self.site(path.target) is None:
            return
        km = self.kilometres(path)
        times = 2 if tier.direction == "round_trip" else 1
        floor_ns = times * fibre_floor_ns(km)
        if not tier.limit.met_by(floor_ns):
            way = "there and back" if times == 2 else "one way"
            least = f"{km:.0f} km, for which light in fibre needs {floor_ns / 1e6:.2f} ms {way}"
            promise = f"tier {path.tier} promises {tier.limit}"
            yield (), f"impossible: {path.source} to {path.target} is {least}; {promise}"

    def _ssids(self) -> Iterator[tuple[Location, str]]:
        first: dict[tuple[str, int], int] = {}
        for index, path in enumerate(self.paths):
            with contextlib.suppress(UnreadError):
                ssid = path.authenticated_ssid
                if ssid is not None and first.setdefault((path.source, ssid), index) != index:
                    before = first[path.source, ssid]
                    yield ("paths", index, "authenticated_ssid"), f"{ssid} is already that of paths[{before}]"

    def _paces(self) -> Iterator[tuple[Location, str]]:
        of_agent: dict[str, list[Pace]] = defaultdict(list)
        for path in self.paths:
            of_agent[path.source].append(path.pace())
        for source, paces in of_agent.items():
            for message in too_much_in_all(paces):
                yield ("paths",), f"from {source}: {message}"
