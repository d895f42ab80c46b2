"""The fleet file as it is written."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from sqlalchemy import URL

from agent.core.geo import fibre_floor_ns, great_circle_km
from agent.core.networks import Network
from agent.core.schedule import Schedule
from agent.core.stamp import DEFAULT_PORT
from agent.runtime.exceptions import ConfigError, UnreadError
from agent.runtime.pace import IntervalNs, Pace, TimeoutNs, too_much_in_all, too_much_of_one
from agent.runtime.probe_address import ProbeKind, address_of_kind, timeout_problem
from agent.runtime.quantities import (
    DurationNs,
    Endpoint,
    LimitText,
    NetworkText,
    duration_between,
    endpoint_with_default_port,
    format_duration,
    parse_network,
    reachable,
)
from agent.runtime.secret_files import load_token
from agent.runtime.session_settings import SessionSettings
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location
from collector.alerts.targets import file_problem
from collector.fleet.maintenance import FleetNames, MaintenanceSettings
from collector.fleet.names import Identifier, Tag, listed
from collector.fleet.objectives import ObjectiveSettings, format_window
from collector.sla.selector import PathFacts
from collector.sla.verdict import PathKey
from collector.store.location import StateText, UnusableAddress, location
from collector.urls import Url

_ADDRESS_NEEDED: Final[dict[ProbeKind, str]] = {
    "stamp": "{target} has no reflector; give it one, or the path an address",
    "icmp": "{target} has no reflector whose host could be asked; give the path an address, such as 192.0.2.1",
    "tcp": "a tcp path needs the address of the service at {target}, such as 192.0.2.1:443",
}
ReflectorAddress = Annotated[Endpoint, endpoint_with_default_port(DEFAULT_PORT), AfterValidator(reachable)]
RhythmNs = Annotated[
    int, BeforeValidator(duration_between("100ms", "1d")), Accepts("a duration from 100ms to 1d")
]
"""How often the collector reads or judges, ns: what takes milliseconds each time, for hundreds of agents."""


class NameSettings(Settings):
    """What people call a thing."""

    zh: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]


class SiteClockSettings(Settings):
    """How a site's agent knows its clock; as in the agent's own configuration."""

    source: Literal["auto", "ptp", "chrony", "adjtimex", "declared", "unsynchronised"] = "auto"
    error_bound: DurationNs | None = None
    ptp_domain: Annotated[int, Field(ge=0, le=127)] | None = None


class SiteSettings(Settings):
    """A place that probes or is probed.

    Attributes:
        lat, lon: degrees.
        provider: the network operator that serves it.
        agent: HOST:PORT of its agent's HTTP server; none: nobody probes from here.
        reflector: HOST[:PORT] where it answers probes.
        probes_from: networks that its probes come from; default: the address of its agent.
        credentials: file of keys on this site's own host; its reflector answers whoever proves one of them, and its
            authenticated paths are signed with them.
        tags: by which its paths can be selected.
    """

    id: Identifier
    name: NameSettings
    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]
    provider: str = ""
    district: str = ""
    agent: Annotated[Endpoint, AfterValidator(reachable)] | None = None
    reflector: ReflectorAddress | None = None
    probes_from: tuple[NetworkText, ...] = ()
    credentials: Annotated[str, Field(min_length=1)] | None = None
    clock: SiteClockSettings = SiteClockSettings()
    tags: tuple[Tag, ...] = ()

    def sources(self) -> tuple[Network, ...]:
        """Networks that its probes come from, as far as they are known."""
        if self.probes_from or self.agent is None:
            return self.probes_from
        try:
            address = parse_network(self.agent.host)
        except ValueError:
            return ()  # a name, which says nothing of what probes come from
        return () if address.network_address.is_unspecified else (address,)


class TierSettings(Settings):
    """A clause of the plan.

    Attributes:
        limit: the promise, such as `< 1ms`.
        direction: one_way: each direction is judged; round_trip: both together.
    """

    name: NameSettings
    limit: LimitText
    direction: Literal["one_way", "round_trip"] = "one_way"


class FleetPathSettings(SessionSettings):
    """Who probes whom.

    Attributes:
        interval: from probe to probe, in the mean.
        schedule: periodic; jittered: each probe at a random time of its interval; poisson: exponential gaps.
        provider: label; default: that of the target's site.
        kind: stamp, icmp or tcp, as in the agent's configuration; the latter two know the round trip only, which bounds
            either direction.
        address: where the probes go, HOST[:PORT] for stamp, HOST for icmp, HOST:PORT for tcp; default: the target's
            reflector, for icmp its host.
        fibre_km: length of the fibre, where it is known; default: the great-circle distance.
        tags: by which it can be selected, beside those of its two sites.

    What `SessionSettings` has is as in the agent's configuration.
    """

    source: Identifier
    target: Identifier
    tier: Identifier
    kind: ProbeKind = "stamp"
    interval: IntervalNs = 100_000_000
    schedule: Schedule = Schedule.PERIODIC
    timeout: TimeoutNs = 1_000_000_000
    provider: str | None = None
    address: Endpoint | None = None
    fibre_km: Annotated[float, Field(gt=0, le=20_000)] | None = None
    tags: tuple[Tag, ...] = ()

    @field_validator("address", mode="before")
    @classmethod
    def _address_of_kind(cls, value: Any, info: ValidationInfo) -> Endpoint | None:
        return None if value is None else address_of_kind(value, info)

    def address_at(self, target: SiteSettings) -> Endpoint | None:
        """Where the probes go, the target being this site; None: nowhere, for it has no such address."""
        if self.address is not None or self.kind == "tcp" or target.reflector is None:
            return self.address
        return Endpoint(target.reflector.host, 0) if self.kind == "icmp" else target.reflector

    def pace(self) -> Pace:
        """How often it is probed, and how long a reply is waited for."""
        return Pace(self.interval, self.timeout, self.schedule)


class AgentsSourceSettings(Settings):
    """The collector scrapes the agents itself."""

    kind: Literal["agents"]
    interval: RhythmNs = 10_000_000_000


class PrometheusSourceSettings(Settings):
    """The collector reads what a Prometheus (Thanos, Mimir, VictoriaMetrics) has scraped.

    Attributes:
        url: base of its HTTP API; the query API is below it at /api/v1.
    """

    kind: Literal["prometheus"]
    url: Url
    interval: RhythmNs = 10_000_000_000


SourceSettings = Annotated[AgentsSourceSettings | PrometheusSourceSettings, Field(discriminator="kind")]


class WebhookSettings(Settings):
    """Where breaches are announced.

    Attributes:
        url, url_file: the address, or a file that holds it where it is a secret; one of the two.
        secret_file: file with a Standard Webhooks secret (whsec_…) to sign with.
    """

    name: Identifier
    url: Url | None = None
    url_file: Path | None = None
    secret_file: Path | None = None


class AlertsSettings(Settings):
    """Who is told of breaches."""

    alertmanagers: tuple[Url, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()


class ApiSettings(Settings):
    """Who may write by way of the API.

    Attributes:
        token_file: the one line that a writer has to send as a bearer token; only its owner may read the file.
    """

    token_file: Path


class FleetSettings(Settings):
    """The whole file.

    Attributes:
        listen: where the page, the metrics and the API are served.
        external_url: how people reach the page; default: `listen`.
        state: SQLite file, relative to the fleet file, or postgresql://USER@HOST/DATABASE.
        state_url_file: file that holds such an address with its password, instead of `state`.
        minutes_kept_months: for how many months of 31 days the counts of minutes are kept.
        reflector_allow: networks that every reflector answers, besides those that the probes come from.
    """

    listen: Endpoint
    external_url: Url | None = None
    state: StateText = "state.sqlite"
    state_url_file: Path | None = None
    minutes_kept_months: Annotated[int, Field(ge=1, le=1200)] = 14
    source: SourceSettings = AgentsSourceSettings(kind="agents")
    sites: Annotated[tuple[SiteSettings, ...], Field(min_length=1)]
    reflector_allow: tuple[NetworkText, ...] = ()
    tiers: Annotated[dict[Identifier, TierSettings], Field(min_length=1)]
    paths: tuple[FleetPathSettings, ...] = ()
    objectives: tuple[ObjectiveSettings, ...] = ()
    evaluation_interval: RhythmNs = 10_000_000_000
    alerts: AlertsSettings = AlertsSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    api: ApiSettings | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together, and what physics forbids."""
        yield from as_far_as_read(self._same_twice("sites"))
        yield from as_far_as_read(self._same_twice("objectives"))
        yield from as_far_as_read(self._same_agent())
        yield from as_far_as_read(self._clocks())
        yield from as_far_as_read(self._paths())
        yield from as_far_as_read(self._ssids())
        yield from as_far_as_read(self._paces())
        yield from as_far_as_read(self._sources())
        yield from as_far_as_read(self._objectives())
        yield from as_far_as_read(self._webhooks())
        yield from as_far_as_read(self._states())
        yield from as_far_as_read(self._maintenance())

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """Files of secrets that cannot be used, and a state file that cannot be written."""
        yield from as_far_as_read(self._files(folder))
        yield from as_far_as_read(self._state_beside(folder))
        yield from as_far_as_read(self._token_beside(folder))

    def key(self, path: FleetPathSettings) -> PathKey:
        """The labels that the path's metrics carry."""
        target = self.site(path.target)
        provider = "" if target is None else target.provider
        return PathKey(
            path.source,
            path.target,
            path.tier,
            provider if path.provider is None else path.provider,
            path.kind,
            path.dscp,
        )

    def facts(self, path: FleetPathSettings) -> PathFacts:
        """What selectors ask of a path: its own and that of the sites at its ends."""
        ends = [site for site in (self.site(path.source), self.site(path.target)) if site is not None]
        return PathFacts(
            self.key(path),
            districts=frozenset(site.district for site in ends if site.district),
            sites=frozenset(site.id for site in ends),
            tags=frozenset(path.tags).union(*(site.tags for site in ends)),
        )

    def names(self) -> FleetNames:
        """All that a selector can name."""
        sites = list(self._sites)
        providers = [*(site.provider for site in self.sites), *(path.provider or "" for path in self.paths)]
        tags = [tag for site in self.sites for tag in site.tags]
        tags += [tag for path in self.paths for tag in path.tags]
        return FleetNames(list(self.tiers), providers, [site.district for site in self.sites], sites, tags)

    def token(self, folder: Path) -> str | None:
        """The API's token; None where there is none: nobody may write then.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return None if self.api is None else load_token(folder / self.api.token_file)

    def _token_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        try:
            self.token(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield ("api", "token_file"), str(problem)

    def _maintenance(self) -> Iterator[tuple[Location, str]]:
        for at, message in self.maintenance.problems():
            yield ("maintenance", *at), message
        for at, message in self.maintenance.unknown(self.names()):
            yield ("maintenance", *at), message

    def _states(self) -> Iterator[tuple[Location, str]]:
        if self.state_url_file is not None and "state" in self.model_fields_set:
            yield ("state_url_file",), "one of state and state_url_file is enough"

    def _state_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        try:
            state = location(self.state, self.state_url_file, folder)
        except UnusableAddress as error:
            yield ("state_url_file",), str(error)
            return
        if isinstance(state, URL):
            return
        if state.is_dir():
            yield ("state",), f"{self.state} is a folder: a file is needed"
        elif not state.parent.is_dir():
            yield ("state",), f"{self.state} is in no folder that exists"

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        for index, path in enumerate(self.paths):
            if path.kind == "stamp" and path.timeout <= path.interval:
                times = f"timeout {format_duration(path.timeout)}, interval {format_duration(path.interval)}"
                yield f"paths[{index}]: {times}: the direction of a loss can rarely be proven unless timeout is above"
        yield from self._too_few_packets()
        yield from self.maintenance.warnings()
        probed = {path.target for path in self.paths}
        for site in self.sites:
            asked = site.id in probed or self.reflector_allow or site.credentials is not None
            if site.reflector is not None and not asked:
                yield f"{site.id}: nobody probes its reflector, which stays off; others need reflector_allow"
            if site.credentials is not None and site.reflector is None:
                yield f"{site.id}: it has credentials and no reflector that would verify anything with them"
        if self.external_url is None and self.listen.host in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
            yield f"listen {self.listen} is no address to visit: set external_url, which alerts link to"

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

    def _too_few_packets(self) -> Iterator[str]:
        for index, path in enumerate(self.paths):
            for objective in self.objectives:
                packets = objective.window.longest_ns // path.interval
                needed = objective.packets_needed
                if packets < needed and objective.selector().matches(self.facts(path)):
                    yield (
                        f"paths[{index}]: sends {packets} packets in the window of {objective.id}, "
                        f"{format_window(objective.window)}; proving at most {objective.threshold:.3%} needs {needed}: "
                        f"it can never pass"
                    )

    def _same_twice(self, name: Literal["sites", "objectives"]) -> Iterator[tuple[Location, str]]:
        first: dict[str, int] = {}
        items: Iterable[SiteSettings | ObjectiveSettings] = getattr(self, name)
        for index, item in enumerate(items):
            with contextlib.suppress(UnreadError):
                if first.setdefault(item.id, index) != index:
                    yield (name, index, "id"), f"{item.id} is already {name}[{first[item.id]}]"

    def _same_agent(self) -> Iterator[tuple[Location, str]]:
        first: dict[Endpoint, int] = {}
        for index, site in enumerate(self.sites):
            with contextlib.suppress(UnreadError):
                if site.agent is not None and first.setdefault(site.agent, index) != index:
                    of = self.sites[first[site.agent]].id
                    yield ("sites", index, "agent"), f"{site.agent} is already the agent of {of}"

    def _webhooks(self) -> Iterator[tuple[Location, str]]:
        first: set[str] = set()
        for index, webhook in enumerate(self.alerts.webhooks):
            at: Location = ("alerts", "webhooks", index)
            with contextlib.suppress(UnreadError):
                if webhook.name in first:
                    yield (*at, "name"), f"{webhook.name} names two webhooks"
                first.add(webhook.name)
            with contextlib.suppress(UnreadError):
                if (webhook.url is None) == (webhook.url_file is None):
                    yield at, "one of url and url_file is needed"

    def _files(self, folder: Path) -> Iterator[tuple[Location, str]]:
        for index, webhook in enumerate(self.alerts.webhooks):
            for key in ("url_file", "secret_file"):
                with contextlib.suppress(UnreadError):
                    problem = file_problem(webhook, key, folder)
                    if problem is not None:
                        yield ("alerts", "webhooks", index, key), problem

    def _clocks(self) -> Iterator[tuple[Location, str]]:
        for index, site in enumerate(self.sites):
            for at, message in as_far_as_read(_clock_problems(site.clock)):
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
        yield from as_far_as_read(_timeout_problems(path))
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

    def _objectives(self) -> Iterator[tuple[Location, str]]:
        for index, objective in enumerate(self.objectives):
            at: Location = ("objectives", index)
            for within, message in as_far_as_read(objective.unknown(self.names())):
                yield (*at, *within), message
            for _, message in as_far_as_read(self._window_problems(objective)):
                yield (*at, "window"), message
            for within, message in as_far_as_read(objective.measure_problems()):
                yield (*at, *within), message

    def _window_problems(self, objective: ObjectiveSettings) -> Iterator[tuple[Location, str]]:
        window, evaluated = format_window(objective.window), format_duration(self.evaluation_interval)
        if objective.window.longest_ns < self.evaluation_interval:
            unjudged = "what happens between two evaluations would never be judged"
            yield (), f"{window} is shorter than evaluation_interval, {evaluated}: {unjudged}"
        if objective.window.longest_ns < 2 * self.source.interval:
            read = format_duration(self.source.interval)
            yield (), f"{window} holds fewer than two readings of the source, which is read every {read}"


def _timeout_problems(path: FleetPathSettings) -> Iterator[tuple[Location, str]]:
    too_long = timeout_problem(path.kind, path.timeout) or too_much_of_one(path.pace())
    if too_long is not None:
        yield ("timeout",), too_long


def _clock_problems(clock: SiteClockSettings) -> Iterator[tuple[Location, str]]:
    declared = clock.source == "declared"
    if declared and clock.error_bound is None:
        yield (), "a declared clock needs error_bound, such as 50us"
    if not declared and clock.error_bound is not None:
        yield ("error_bound",), "only a declared clock takes error_bound"
    if clock.ptp_domain is not None and clock.source not in ("auto", "ptp"):
        yield ("ptp_domain",), "only an auto or ptp clock takes ptp_domain"
