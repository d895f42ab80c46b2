"""The fleet file as it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from agent.core.geo import fibre_floor_ns, great_circle_km
from agent.core.networks import Network
from agent.core.schedule import Schedule
from agent.core.stamp import DEFAULT_PORT
from agent.runtime.probe_address import ProbeKind, address_of_kind, timeout_problem
from agent.runtime.quantities import (
    DurationNs,
    Endpoint,
    IntervalNs,
    LimitText,
    NetworkText,
    TimeoutNs,
    endpoint_with_default_port,
    format_duration,
    parse_network,
)
from agent.runtime.settings import Settings
from agent.runtime.yaml_lines import Location
from collector.alerts.targets import UnusableFile, webhook_target
from collector.sla.confidence import clean_packets_needed
from collector.urls import Url

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
_ADDRESS_NEEDED: Final[dict[ProbeKind, str]] = {
    "stamp": "{target} has no reflector; give it one, or the path an address",
    "icmp": "{target} has no reflector whose host could be asked; give the path an address, such as 192.0.2.1",
    "tcp": "a tcp path needs the address of the service at {target}, such as 192.0.2.1:443",
}
ReflectorAddress = Annotated[Endpoint, endpoint_with_default_port(DEFAULT_PORT)]


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
        credentials: file of keys on this site's own host; its reflector answers whoever proves one of them.
    """

    id: Identifier
    name: NameSettings
    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]
    provider: str = ""
    district: str = ""
    agent: Endpoint | None = None
    reflector: ReflectorAddress | None = None
    probes_from: tuple[NetworkText, ...] = ()
    credentials: Annotated[str, Field(min_length=1)] | None = None
    clock: SiteClockSettings = SiteClockSettings()

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


class FleetPathSettings(Settings):
    """Who probes whom.

    Attributes:
        interval: from probe to probe, in the mean.
        schedule: periodic; jittered: each probe at a random time of its interval; poisson: exponential gaps.
        follow_up: as in the agent's configuration.
        provider: label; default: that of the target's site.
        kind: stamp, icmp or tcp, as in the agent's configuration; the latter two know the round trip only, which bounds
            either direction.
        address: where the probes go, HOST[:PORT] for stamp, HOST for icmp, HOST:PORT for tcp; default: the target's
            reflector, for icmp its host.
        fibre_km: length of the fibre, where it is known; default: the great-circle distance.
    """

    source: Identifier
    target: Identifier
    tier: Identifier
    kind: ProbeKind = "stamp"
    interval: IntervalNs = 100_000_000
    schedule: Schedule = Schedule.PERIODIC
    timeout: TimeoutNs = 1_000_000_000
    dscp: Annotated[int, Field(ge=0, le=63)] = 0
    follow_up: bool = True
    provider: str | None = None
    address: Endpoint | None = None
    fibre_km: Annotated[float, Field(gt=0, le=20_000)] | None = None

    @field_validator("address", mode="before")
    @classmethod
    def _address_of_kind(cls, value: Any, info: ValidationInfo) -> Endpoint | None:
        return None if value is None else address_of_kind(value, info)

    def address_at(self, target: SiteSettings) -> Endpoint | None:
        """Where the probes go, the target being this site; None: nowhere, for it has no such address."""
        if self.address is not None or self.kind == "tcp" or target.reflector is None:
            return self.address
        return Endpoint(target.reflector.host, 0) if self.kind == "icmp" else target.reflector


class ObjectiveSettings(Settings):
    """What share of packets must keep the promise, over which window.

    Attributes:
        percentile: in percent, such as 99.9.
        tiers: which tiers it is for; empty: all.
        min_coverage: share of the window that must have been observed.
        open_after, close_after: consecutive evaluations of FAIL that open a breach, of PASS that close it.
    """

    id: Identifier
    percentile: Annotated[float, Field(ge=50, lt=100)]
    window: DurationNs
    tiers: tuple[Identifier, ...] = ()
    min_coverage: Annotated[float, Field(gt=0, le=1)] = 0.5
    open_after: Annotated[int, Field(ge=1, le=1000)] = 1
    close_after: Annotated[int, Field(ge=1, le=1000)] = 3


class AgentsSourceSettings(Settings):
    """The collector scrapes the agents itself."""

    kind: Literal["agents"]
    interval: DurationNs = 10_000_000_000


class PrometheusSourceSettings(Settings):
    """The collector reads what a Prometheus (Thanos, Mimir, VictoriaMetrics) has scraped.

    Attributes:
        url: base of its HTTP API; the query API is below it at /api/v1.
    """

    kind: Literal["prometheus"]
    url: Url
    interval: DurationNs = 10_000_000_000


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


class FleetSettings(Settings):
    """The whole file.

    Attributes:
        listen: where the page, the metrics and the API are served.
        external_url: how people reach the page; default: `listen`.
        state: SQLite file, relative to the fleet file.
        reflector_allow: networks that every reflector answers, besides those that the probes come from.
    """

    listen: Endpoint
    external_url: Url | None = None
    state: Path = Path("state.sqlite")
    source: SourceSettings = AgentsSourceSettings(kind="agents")
    sites: Annotated[tuple[SiteSettings, ...], Field(min_length=1)]
    reflector_allow: tuple[NetworkText, ...] = ()
    tiers: Annotated[dict[Identifier, TierSettings], Field(min_length=1)]
    paths: tuple[FleetPathSettings, ...] = ()
    objectives: tuple[ObjectiveSettings, ...] = ()
    evaluation_interval: DurationNs = 10_000_000_000
    alerts: AlertsSettings = AlertsSettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together, and what physics forbids."""
        yield from self._duplicates()
        yield from self._ports()
        yield from self._clocks()
        yield from self._paths()
        yield from self._sources()
        yield from self._objectives()
        for index, webhook in enumerate(self.alerts.webhooks):
            if (webhook.url is None) == (webhook.url_file is None):
                yield ("alerts", "webhooks", index), "one of url and url_file is needed"

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """Files of secrets that cannot be used, and a state file that cannot be written."""
        for index, webhook in enumerate(self.alerts.webhooks):
            try:
                webhook_target(webhook, folder)
            except UnusableFile as error:
                yield ("alerts", "webhooks", index, error.key), str(error)
        state = folder / self.state
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
        return next((site for site in self.sites if site.id == identifier), None)

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
                packets = objective.window // path.interval
                needed = clean_packets_needed(1 - objective.percentile / 100)
                if packets < needed and (not objective.tiers or path.tier in objective.tiers):
                    yield (
                        f"paths[{index}]: sends {packets} packets in the window of {objective.id}, "
                        f"{format_duration(objective.window)}; proving P{objective.percentile:g} needs {needed}: "
                        f"it can never pass"
                    )

    def _duplicates(self) -> Iterator[tuple[Location, str]]:
        for name in ("sites", "objectives"):
            first: dict[str, int] = {}
            for index, item in enumerate(getattr(self, name)):
                if item.id in first:
                    yield (name, index, "id"), f"{item.id} is already {name}[{first[item.id]}]"
                first.setdefault(item.id, index)
        agents: dict[Endpoint, str] = {}
        for index, site in enumerate(self.sites):
            if site.agent is not None and agents.setdefault(site.agent, site.id) != site.id:
                yield ("sites", index, "agent"), f"{site.agent} is already the agent of {agents[site.agent]}"
        names = Counter(webhook.name for webhook in self.alerts.webhooks)
        for index, webhook in enumerate(self.alerts.webhooks):
            if names[webhook.name] > 1:
                yield ("alerts", "webhooks", index, "name"), f"{webhook.name} names two webhooks"

    def _ports(self) -> Iterator[tuple[Location, str]]:
        for index, site in enumerate(self.sites):
            for name in ("agent", "reflector"):
                endpoint = getattr(site, name)
                if endpoint is not None and endpoint.port == 0:
                    yield ("sites", index, name), f"{endpoint}: nobody can be reached at port 0"
        for index, path in enumerate(self.paths):
            if path.kind != "icmp" and path.address is not None and path.address.port == 0:
                yield ("paths", index, "address"), f"{path.address}: nobody can be reached at port 0"

    def _clocks(self) -> Iterator[tuple[Location, str]]:
        for index, site in enumerate(self.sites):
            declared = site.clock.source == "declared"
            if declared and site.clock.error_bound is None:
                yield ("sites", index, "clock"), "a declared clock needs error_bound, such as 50us"
            if not declared and site.clock.error_bound is not None:
                yield ("sites", index, "clock", "error_bound"), "only a declared clock takes error_bound"
            if site.clock.ptp_domain is not None and site.clock.source not in ("auto", "ptp"):
                yield ("sites", index, "clock", "ptp_domain"), "only an auto or ptp clock takes ptp_domain"

    def _paths(self) -> Iterator[tuple[Location, str]]:
        first: dict[tuple[object, ...], int] = {}
        for index, path in enumerate(self.paths):
            at: Location = ("paths", index)
            source, target = self.site(path.source), self.site(path.target)
            tier = self.tiers.get(path.tier)
            known = ", ".join(site.id for site in self.sites)
            if source is None:
                yield (*at, "source"), f"{path.source} is no site; sites: {known}"
            elif source.agent is None:
                yield (*at, "source"), f"{path.source} has no agent to probe from"
            if target is None:
                yield (*at, "target"), f"{path.target} is no site; sites: {known}"
            elif path.address_at(target) is None:
                yield at, _ADDRESS_NEEDED[path.kind].format(target=path.target)
            too_long = timeout_problem(path.kind, path.timeout)
            if too_long is not None:
                yield (*at, "timeout"), too_long
            if tier is None:
                yield (*at, "tier"), f"{path.tier} is no tier; tiers: {', '.join(self.tiers)}"
            if path.source == path.target:
                yield (*at, "target"), f"{path.source} probes itself"
            provider = path.provider
            if provider is None and target is not None:
                provider = target.provider
            key = (path.source, path.target, path.tier, provider, path.kind, path.dscp)
            if key in first:
                yield at, f"the same path as paths[{first[key]}]"
            first.setdefault(key, index)
            if source is not None and target is not None and tier is not None:
                yield from self._physics(index, path, tier)

    def _sources(self) -> Iterator[tuple[Location, str]]:
        """Probes that the target's reflector would refuse, for nobody knows where they come from."""
        told: set[tuple[str, int]] = set()
        for path in self.paths:
            source, target = self.site(path.source), self.site(path.target)
            if source is None or source.agent is None or target is None or target.reflector is None:
                continue
            version = 6 if ":" in target.reflector.host else 4
            known = (*source.sources(), *self.reflector_allow)
            if (source.id, version) in told or any(network.version == version for network in known):
                continue
            told.add((source.id, version))
            unknown = (
                f"{target.id} would refuse its probes: which IPv{version} address they come from is not known"
            )
            remedy = "give probes_from, such as [192.0.2.1], or reflector_allow for all sites"
            yield ("sites", self.sites.index(source)), f"{unknown}; {remedy}"

    def _physics(
        self, index: int, path: FleetPathSettings, tier: TierSettings
    ) -> Iterator[tuple[Location, str]]:
        km = self.kilometres(path)
        times = 2 if tier.direction == "round_trip" else 1
        floor_ns = times * fibre_floor_ns(km)
        if not tier.limit.met_by(floor_ns):
            way = "there and back" if times == 2 else "one way"
            least = f"{km:.0f} km, for which light in fibre needs {floor_ns / 1e6:.2f} ms {way}"
            promise = f"tier {path.tier} promises {tier.limit}"
            yield ("paths", index), f"impossible: {path.source} to {path.target} is {least}; {promise}"

    def _objectives(self) -> Iterator[tuple[Location, str]]:
        for index, objective in enumerate(self.objectives):
            for number, tier in enumerate(objective.tiers):
                if tier not in self.tiers:
                    where: Location = ("objectives", index, "tiers", number)
                    yield where, f"{tier} is no tier; tiers: {', '.join(self.tiers)}"
            if objective.window < self.evaluation_interval:
                window, evaluated = map(format_duration, (objective.window, self.evaluation_interval))
                unjudged = "what happens between two evaluations would never be judged"
                where = ("objectives", index, "window")
                yield where, f"{window} is shorter than evaluation_interval, {evaluated}: {unjudged}"
            if objective.window < 2 * self.source.interval:
                window, interval = format_duration(objective.window), format_duration(self.source.interval)
                yield (
                    ("objectives", index, "window"),
                    f"{window} holds fewer than two readings of the source, which is read every {interval}",
                )
