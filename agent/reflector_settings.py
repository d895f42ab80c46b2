"""What the configuration says of the reflector: whom it answers, where and how much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from agent.core.admission import USUAL_OVERALL, USUAL_PER_SOURCE, AdmissionRules, PacketRate
from agent.core.authentication import KeyRing
from agent.core.networks import Network
from agent.core.reflection import ReflectorMode
from agent.core.stamp import DEFAULT_PORT, MAX_PAYLOAD
from agent.credentials import load_credentials
from agent.runtime.quantities import (
    Endpoint,
    NetworkText,
    PercentText,
    RateText,
    endpoint_with_default_port,
    reachable,
)
from agent.runtime.settings import Settings
from agent.runtime.yaml_lines import Location

ReflectorAddress = Annotated[Endpoint, endpoint_with_default_port(DEFAULT_PORT), AfterValidator(reachable)]


class ReflectorRateSettings(Settings):
    """How often the reflector answers; what comes beyond is dropped and counted.

    Attributes:
        per_source: packets a second of one IPv4 address, or of one IPv6 /64.
        burst: packets at once of one source.
        overall: written `global`; packets a second of all sources together. Its last quarter is kept for sources that
            have been coming for a while and stay within half of their own.
        overall_burst: written `global_burst`; packets at once of all sources.
    """

    per_source: RateText = USUAL_PER_SOURCE.per_second
    burst: Annotated[int, Field(ge=2, le=1_000_000)] = USUAL_PER_SOURCE.burst
    overall: Annotated[RateText, Field(alias="global")] = USUAL_OVERALL.per_second
    overall_burst: Annotated[int, Field(alias="global_burst", ge=2, le=10_000_000)] = USUAL_OVERALL.burst


class ReflectorSettings(Settings):
    """Where this agent answers probes, and whose.

    Attributes:
        listen: addresses and UDP ports.
        sessions: stateful counts what arrives, which proves the direction of a loss; stateless copies numbers.
        allow: networks that are answered without a key; nobody else is, not even this host.
        credentials: file of keys; whoever has signed his requests with one of them is answered wherever they come from.
        rate: how often.
        max_sessions: how many sessions are remembered where they are stateful.
        cpu: of one core, what answering may cost.
        twamp_light: networks, allowed ones, whose requests may be shorter than the replies to them.
        dscp: code points that replies may carry where they are asked to, besides 0.
    """

    listen: Annotated[tuple[ReflectorAddress, ...], Field(min_length=1)]
    sessions: ReflectorMode = ReflectorMode.STATEFUL
    allow: tuple[NetworkText, ...] = ()
    credentials: Path | None = None
    rate: ReflectorRateSettings = ReflectorRateSettings()
    max_sessions: Annotated[int, Field(ge=2, le=10_000_000)] = 65_536
    cpu: PercentText = 50
    twamp_light: tuple[NetworkText, ...] = ()
    dscp: tuple[Annotated[int, Field(ge=0, le=63)], ...] = ()

    def rules(self) -> AdmissionRules:
        """Who is answered, and how often."""
        rate = self.rate
        return AdmissionRules(
            self.allow,
            self.twamp_light,
            PacketRate(rate.per_source, rate.burst),
            PacketRate(rate.overall, rate.overall_burst),
            longest=MAX_PAYLOAD,
        )

    def keys(self, folder: Path) -> KeyRing | None:
        """The keys of the credentials file, which is named relative to a folder; None where there is none.

        Raises:
            ConfigError: it is no good.
        """
        return None if self.credentials is None else load_credentials(folder / self.credentials)

    def located_problems(self) -> Iterator[tuple[Location, str]]:
        """A reflector for nobody, and peers that it is configured for and yet refuses; locations are within it."""
        if not self.allow and self.credentials is None:
            example = "[10.0.0.0/8, 127.0.0.1, ::1]"
            remedy = f"list all networks that may probe this agent, such as {example}, or give credentials"
            yield ("allow",), f"nobody would be answered: {remedy}"
        for index, peers in enumerate(self.twamp_light):
            unlisted = not any(_is_within(peers, allowed) for allowed in self.allow)
            if unlisted and (self.allow or self.credentials is not None):
                yield ("twamp_light", index), f"{peers} is in no network of allow"

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        for index, allowed in enumerate(self.allow):
            if allowed.prefixlen == 0:
                yield f"reflector.allow[{index}]: {allowed} is everybody, and sources are easily made up"
        for index, endpoint in enumerate(self.listen):
            version = 6 if ":" in endpoint.host else 4
            if self.credentials is None and not any(allowed.version == version for allowed in self.allow):
                yield f"reflector.listen[{index}]: {endpoint} answers nobody: allow has no network of IPv{version}"


def _is_within(inner: Network, outer: Network) -> bool:
    """Whether every address of one network is in the other."""
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address.packed >= outer.network_address.packed
        and inner.broadcast_address.packed <= outer.broadcast_address.packed
    )
