"""Paths as the fleet file has them: who probes whom, how often and with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from agent.core.schedule import Schedule
from agent.runtime.label_text import LabelText, NameText
from agent.runtime.pace import IntervalNs, Pace, TimeoutNs, too_much_of_one
from agent.runtime.probe_address import ProbeKind, address_of_kind, timeout_problem
from agent.runtime.quantities import Endpoint
from agent.runtime.session_settings import SessionSettings
from agent.runtime.yaml_lines import Location
from collector.fleet.names import Identifier
from collector.fleet.sites import SiteSettings


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
    provider: LabelText | None = None
    address: Endpoint | None = None
    fibre_km: Annotated[float, Field(gt=0, le=20_000)] | None = None
    tags: tuple[NameText, ...] = ()

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

    def timeout_problems(self) -> Iterator[tuple[Location, str]]:
        """A timeout that its kind cannot keep, or that its pace makes too much of."""
        too_long = timeout_problem(self.kind, self.timeout) or too_much_of_one(self.pace())
        if too_long is not None:
            yield ("timeout",), too_long
