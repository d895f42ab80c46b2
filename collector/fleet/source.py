"""Where the collector has its counts from, as the fleet file has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agent.runtime.quantities import duration_between
from agent.runtime.secret_files import load_bearer
from agent.runtime.settings import Settings
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location
from collector.sources.query_api import Access
from collector.urls import Url

_TENANT: Final = "X-Scope-OrgID"
_PARTIAL: Final = "partial_response"
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = ("authorization", "content-length", "content-type", "cookie", "host", "transfer-encoding")


def _header_name(name: str) -> str:
    if _HEADER.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is not given here; a token is named by bearer_token_file")
    return name


def _header_value(value: str) -> str:
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ValueError("a header takes printable ASCII, without blanks at its ends")
    return value


def _parameter_name(name: str) -> str:
    if name in ("query", "time"):
        raise ValueError(f"{name} is what the collector asks, and cannot be given")
    return name


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_header_value)]
ParameterName = Annotated[str, Field(min_length=1), AfterValidator(_parameter_name)]

RhythmNs = Annotated[
    int, BeforeValidator(duration_between("100ms", "1d")), Accepts("a duration from 100ms to 1d")
]
"""How often the collector reads or judges, ns: what takes milliseconds each time, for hundreds of agents."""

DelayNs = Annotated[
    int, BeforeValidator(duration_between("1ms", "10m")), Accepts("a duration from 1ms to 10m")
]


class AgentsSourceSettings(Settings):
    """The collector scrapes the agents itself."""

    kind: Literal["agents"]
    interval: RhythmNs = 10_000_000_000


class PrometheusSourceSettings(Settings):
    """The collector reads what a Prometheus (Thanos, Mimir, VictoriaMetrics) has scraped.

    Attributes:
        url: base of its HTTP API, with the prefix of its path where it has one (`/prometheus` of Mimir,
            `/select/0/prometheus` of a VictoriaMetrics cluster); the query API is below it at /api/v1.
        tenant: sent as `X-Scope-OrgID` (Mimir); that of Thanos goes into `headers`, as `THANOS-TENANT`.
        headers: of every request; no secrets.
        bearer_token_file: the one line that is sent as a bearer token; only its owner may read the file.
        partial_response: whether Thanos may leave stores out that do not answer; default: whatever it does by itself.
        parameters: of every query, such as `dedup: "true"`.
        shards: into how many queries at the same time the agents are divided; more than one where one would be too
            large for the server.
        delay: how old samples are to be before they are read; default: they are at once. Prometheus shows a scrape
            whole or not at all; where that is not so, as in VictoriaMetrics (2s do) and whatever is fed by remote
            write, what comes later would be missing.
    """

    kind: Literal["prometheus"]
    url: Url
    interval: RhythmNs = 10_000_000_000
    tenant: HeaderValue | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    bearer_token_file: Path | None = None
    partial_response: bool | None = None
    parameters: dict[ParameterName, str] = Field(default_factory=dict)
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    delay: DelayNs | None = None

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together; locations are within the source."""
        names = [name.lower() for name in self.headers]
        if self.tenant is not None and _TENANT.lower() in names:
            yield ("headers",), f"{_TENANT} is already the tenant"
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield ("headers",), f"{name} twice: headers are the same in small and capital letters"
        if self.partial_response is not None and _PARTIAL in self.parameters:
            yield ("parameters",), f"{_PARTIAL} is already given"

    def access(self, folder: Path) -> Access:
        """How the API is asked; files are named relative to a folder.

        Raises:
            ConfigError: the token cannot be used.
        """
        headers, parameters = dict(self.headers), dict(self.parameters)
        if self.tenant is not None:
            headers[_TENANT] = self.tenant
        if self.bearer_token_file is not None:
            headers["Authorization"] = f"Bearer {load_bearer(folder / self.bearer_token_file)}"
        if self.partial_response is not None:
            parameters[_PARTIAL] = "true" if self.partial_response else "false"
        return Access(headers, parameters, self.shards, self.delay or 0)


SourceSettings = Annotated[AgentsSourceSettings | PrometheusSourceSettings, Field(discriminator="kind")]
