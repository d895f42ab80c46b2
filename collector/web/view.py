"""What the web side needs to see of the running collector; `now` and all other times are Unix wall time in ns."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from agent.core.outcome import Limit
from agent.core.throughput.lease import Way
from agent.core.throughput.result import Floor
from agent.runtime.quantities import Endpoint
from collector.documents import Names
from collector.fleet.names import NameSettings
from collector.fleet.objectives import format_window
from collector.fleet.pilots import PilotTierSettings
from collector.fleet.settings import FleetSettings
from collector.sla.breach import Breach
from collector.sla.fault_watch import Standing
from collector.sla.names import Name
from collector.sla.verdict import Judgement


@dataclass(frozen=True, slots=True)
class Site:
    """A site of the fleet file.

    Attributes:
        agent: HOST:PORT of its agent's HTTP server; None where it has none.
    """

    id: str
    name: Name
    provider: str
    district: str
    agent: str | None


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of the fleet file.

    Attributes:
        limit: of delay; None: it promises throughput.
        direction: one_way or round_trip; of throughput none.
        floors: of throughput, by way: down, up.
    """

    id: str
    name: Name
    limit: Limit | None
    direction: str | None
    floors: Mapping[str, Floor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective of the fleet file.

    Attributes:
        window: as the file has it.
        window_ns: how far back it looks at most.
        threshold: the share that may break the promise.
    """

    id: str
    percentile: float | None
    window_ns: int
    min_coverage: float
    measure: str = "delay"
    window: str = ""
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the page and the API say of the fleet file.

    Attributes:
        address: HOST:PORT at which Prometheus finds the collector itself.
        page_url: how people reach the page.
    """

    sites: Sequence[Site]
    tiers: Sequence[Tier]
    objectives: Sequence[Objective]
    evaluation_interval_ns: int
    address: str
    page_url: str

    def names(self) -> Names:
        """What people call the sites and tiers."""
        return Names({site.id: site.name for site in self.sites}, {tier.id: tier.name for tier in self.tiers})


def fleet_view(settings: FleetSettings) -> Fleet:
    """What is shown of a fleet file."""
    page_url = settings.external_url or f"http://{_reachable(settings.listen)}"
    return Fleet(
        sites=[
            Site(
                site.id,
                _name(site.name),
                site.provider,
                site.district,
                None if site.agent is None else str(site.agent),
            )
            for site in settings.sites
        ],
        tiers=[
            Tier(identifier, _name(tier.name), tier.limit, tier.direction)
            for identifier, tier in settings.tiers.items()
        ]
        + [
            Tier(identifier, _name(tier.name), None, None, _floors(tier))
            for identifier, tier in settings.throughput.tiers.items()
        ],
        objectives=[
            Objective(
                one.id,
                one.percentile,
                one.window.longest_ns,
                one.min_coverage,
                one.measure.value,
                format_window(one.window),
                one.threshold,
            )
            for one in settings.objectives
        ],
        evaluation_interval_ns=settings.evaluation_interval,
        address=_address(settings.listen, settings.external_url),
        page_url=page_url,
    )


def _floors(tier: PilotTierSettings) -> Mapping[str, Floor]:
    rates = {way.value: tier.floors.of(way) for way in Way}
    return {way: Floor(float(rate), tier.layer) for way, rate in rates.items() if rate is not None}


def _name(settings: NameSettings) -> Name:
    return Name(settings.zh, settings.en)


_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - recognised here, not listened on


def _reachable(listen: Endpoint) -> Endpoint:
    """Where others find a server that listens here: one that listens everywhere is found by its host's name."""
    return Endpoint(host=platform.node(), port=listen.port) if listen.host in _EVERY_ADDRESS else listen


def _address(listen: Endpoint, external_url: str | None) -> str:
    """HOST:PORT for Prometheus, which speaks to the server itself where it can: a proxy may ask for a password."""
    if external_url is None or listen.host not in _EVERY_ADDRESS:
        return str(_reachable(listen))
    host = urlsplit(external_url).hostname or platform.node()
    return str(Endpoint(host=host, port=listen.port))


class SourceView(Protocol):
    """One agent, as it was last read."""

    @property
    def up(self) -> bool:
        """Whether the last reading succeeded."""

    @property
    def reason(self) -> str:
        """Why it did not; empty where it did."""

    @property
    def seen_ns(self) -> int | None:
        """When a reading last succeeded; None: never."""

    @property
    def clock_source(self) -> str | None:
        """What vouches for its clock: ptp, chrony, adjtimex, declared or unsynchronised; None: not known yet."""

    @property
    def clock_bound_ns(self) -> int | None:
        """How far its clock may be off; None: nothing is known of it."""


class StateView(Protocol):
    """The collector's state."""

    @property
    def judgements(self) -> Sequence[Judgement]:
        """Of the last evaluation."""

    @property
    def breaches(self) -> Sequence[Breach]:
        """All that are open, and those that closed lately."""

    @property
    def standing(self) -> Standing:
        """What is known to be broken."""

    @property
    def sources(self) -> Mapping[str, SourceView]:
        """Agents by site."""

    @property
    def evaluated_ns(self) -> int | None:
        """When the last evaluation ended; None: none has."""

    @property
    def evaluations(self) -> int:
        """How many evaluations there were."""

    @property
    def evaluation_seconds(self) -> float:
        """How long they took, in sum."""
