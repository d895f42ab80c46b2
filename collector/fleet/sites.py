"""Sites as the fleet file has them: where they are, what runs there, and how well their clock is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.core.networks import Network
from agent.core.stamp import DEFAULT_PORT
from agent.runtime.label_text import LabelText, NameText
from agent.runtime.line_settings import DataAddress
from agent.runtime.quantities import (
    DurationNs,
    Endpoint,
    NetworkText,
    endpoint_with_default_port,
    parse_network,
    reachable,
)
from agent.runtime.settings import Settings
from agent.runtime.yaml_lines import Location
from collector.fleet.names import Identifier, NameSettings

ReflectorAddress = Annotated[Endpoint, endpoint_with_default_port(DEFAULT_PORT), AfterValidator(reachable)]


class SiteClockSettings(Settings):
    """How a site's agent knows its clock; as in the agent's own configuration."""

    source: Literal["auto", "ptp", "chrony", "adjtimex", "declared", "unsynchronised"] = "auto"
    error_bound: DurationNs | None = None
    ptp_domain: Annotated[int, Field(ge=0, le=127)] | None = None

    def problems(self) -> Iterator[tuple[Location, str]]:
        """Keys that the clock's source needs, and those that it does not take."""
        declared = self.source == "declared"
        if declared and self.error_bound is None:
            yield (), "a declared clock needs error_bound, such as 50us"
        if not declared and self.error_bound is not None:
            yield ("error_bound",), "only a declared clock takes error_bound"
        if self.ptp_domain is not None and self.source not in ("auto", "ptp"):
            yield ("ptp_domain",), "only an auto or ptp clock takes ptp_domain"


class SiteThroughputSettings(Settings):
    """How a site takes part in throughput tests.

    Attributes:
        token_file: file on this site's own host with the one line that grants tests; the same line at both ends.
        listen: HOST[:PORT] of its data sockets; none: it tests lines itself, and grants no tests to others.
    """

    token_file: Annotated[str, Field(min_length=1)]
    listen: DataAddress | None = None


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
        throughput: whether it takes part in throughput tests.
        tags: by which its paths can be selected.
    """

    id: Identifier
    name: NameSettings
    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]
    provider: LabelText = ""
    district: LabelText = ""
    agent: Annotated[Endpoint, AfterValidator(reachable)] | None = None
    reflector: ReflectorAddress | None = None
    probes_from: tuple[NetworkText, ...] = ()
    credentials: Annotated[str, Field(min_length=1)] | None = None
    clock: SiteClockSettings = SiteClockSettings()
    throughput: SiteThroughputSettings | None = None
    tags: tuple[NameText, ...] = ()

    def sources(self) -> tuple[Network, ...]:
        """Networks that its probes come from, as far as they are known."""
        if self.probes_from or self.agent is None:
            return self.probes_from
        try:
            address = parse_network(self.agent.host)
        except ValueError:
            return ()  # a name, which says nothing of what probes come from
        return () if address.network_address.is_unspecified else (address,)
