"""The scalar types of configuration files: durations, limits and endpoints, each from one readable word."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.core.outcome import Limit, Operator

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(?P<unit>[a-zµμ]*)\Z")
_LIMIT = re.compile(r"(?P<operator><=?)\s*(?P<duration>.+)\Z")
_EXAMPLES = "a duration such as 50us, 200ms, 1s, 5m or 1h"
_MAX_DURATION_NS = 400 * _UNITS_NS["d"]


def parse_duration(value: Any) -> int:
    """Nanoseconds of a text such as `200ms`.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _DURATION.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        hint = (
            "has no unit"
            if isinstance(value, int | float) and not isinstance(value, bool)
            else "is no duration"
        )
        raise ValueError(f"{_quoted(value)} {hint}: {_EXAMPLES}")
    unit = match["unit"]
    if not unit:
        raise ValueError(f"{_quoted(value)} has no unit: {_EXAMPLES}")
    if unit not in _UNITS_NS:
        raise ValueError(f"{_quoted(value)} has the unknown unit {unit!r}: ns, us, ms, s, m, h or d")
    exact = Decimal(match["number"]) * _UNITS_NS[unit]
    if exact != int(exact):
        raise ValueError(f"{_quoted(value)} is not a whole number of nanoseconds")
    if not 0 < exact <= _MAX_DURATION_NS:
        raise ValueError(f"{_quoted(value)} is out of range: more than 0 and at most 400d")
    return int(exact)


def parse_limit(value: Any) -> Limit:
    """A limit of a text such as `< 1ms` or `<= 10ms`.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    if isinstance(value, Limit):
        return value
    match = _LIMIT.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{_quoted(value)} is no limit: '< 1ms' (below) or '<= 10ms' (at most)")
    return Limit(parse_duration(match["duration"]), Operator(match["operator"]))


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return f'"{text[:60]}"'


def format_duration(duration_ns: int) -> str:
    """The shortest text that `parse_duration` reads as the same nanoseconds."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if duration_ns % _UNITS_NS[unit] == 0:
            return f"{duration_ns // _UNITS_NS[unit]}{unit}"
    return f"{duration_ns}ns"


def format_limit(limit: Limit) -> str:
    """The text that `parse_limit` reads as the same limit."""
    return f"{limit.operator} {format_duration(limit.limit_ns)}"


DurationNs = Annotated[int, BeforeValidator(parse_duration)]
"""A duration in ns, written `50us`, `200ms`, `1s`, `5m`, `1h` or `2d`."""

LimitText = Annotated[Limit, BeforeValidator(parse_limit)]
"""A limit, written `< 1ms` or `<= 10ms`."""


class Endpoint(BaseModel):
    """A host and a port, written `HOST:PORT`; an IPv6 address stands in brackets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=0, le=65_535)]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else parse_endpoint(value, None)

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Read `HOST[:PORT]`.

        Raises:
            ValueError: not an endpoint, or no port where none is supplied.
        """
        return cls.model_validate(parse_endpoint(text, default_port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_ENDPOINT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]/@]+))(?::(?P<port>[0-9]{1,5}))?\Z"
)


def parse_endpoint(value: Any, default_port: int | None) -> dict[str, Any]:
    """Host and port of a text.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _ENDPOINT.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{_quoted(value)} is no endpoint: HOST:PORT, 192.0.2.1:862 or [2001:db8::1]:862")
    port = match["port"] or default_port
    if port is None:
        raise ValueError(f"{_quoted(value)} has no port: HOST:PORT, 192.0.2.1:862 or [2001:db8::1]:862")
    if int(port) > 65_535:
        raise ValueError(f"{_quoted(value)} has a port above 65535")
    return {"host": match["ipv6"] or match["host"], "port": int(port)}


def endpoint_with_default_port(port: int) -> BeforeValidator:
    """Annotate an `Endpoint` whose port may be left out."""
    return BeforeValidator(lambda value: value if isinstance(value, dict) else parse_endpoint(value, port))
