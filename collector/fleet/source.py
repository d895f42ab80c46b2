"""Where the collector has its counts from, as the fleet file has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agent.runtime.quantities import duration_between
from agent.runtime.settings import Settings
from agent.runtime.wording import Accepts
from collector.urls import Url

RhythmNs = Annotated[
    int, BeforeValidator(duration_between("100ms", "1d")), Accepts("a duration from 100ms to 1d")
]
"""How often the collector reads or judges, ns: what takes milliseconds each time, for hundreds of agents."""


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
