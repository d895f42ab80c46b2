"""The scalar types of configuration files: durations, limits, rates, volumes, networks and endpoints, each from one
readable word."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, GetCoreSchemaHandler, PlainValidator
from pydantic_core import CoreSchema, core_schema

from agent.core.networks import Network
from agent.core.outcome import Limit, Operator
from agent.runtime.hosts import is_name
from agent.runtime.wording import Accepts, quoted

_UNITS_NS: Final = {
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
_UNITS: Final = "ns, us, ms, s, m, h or d"
_DURATION: Final = re.compile(
    r"(?P<sign>[-+]?)(?P<whole>[0-9]{1,18})(?:\.(?P<part>[0-9]{1,18}))? ?(?P<unit>[^\W\d_]*)\Z"
)
_DURATIONS: Final = "a duration such as 50us, 200ms, 1s, 5m"
_MAX_DURATION_NS: Final = 400 * _UNITS_NS["d"]
_LIMIT: Final = re.compile(r"(?P<operator><=?) *(?P<duration>[^<>=]+)\Z")
_LIMITS: Final = "a limit such as '< 1ms' (below) or '<= 10ms' (at most)"
_ENDPOINT: Final = re.compile(
    r"(?:\[(?P<ipv6>[^\s\[\]]+)\]|(?P<host>[^\s:\[\]/@?#]+))(?P<port>:[0-9]{1,5})?\Z"
)
_ENDPOINTS: Final = "HOST:PORT such as 192.0.2.1:862 or [2001:db8::1]:862"
_RATE: Final = re.compile(r"(?P<count>[0-9]{1,9}) ?/ ?s\Z")
_RATES: Final = "packets a second such as 2000/s, 1/s to 10000000/s"
_MAX_RATE: Final = 10_000_000
_PERCENTAGE: Final = re.compile(r"(?P<number>[0-9]{1,3}) ?%\Z")
_SIZES = "a size such as 500kB, 32MB or 1GB"
_SIZE = re.compile(r"([0-9]{1,9}) ?(kB|MB|GB)\Z")
_SIZE_UNITS = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_MOST_GIGABYTES = 64
_BIT_RATE: Final = re.compile(
    r"(?P<whole>[0-9]{1,9})(?:\.(?P<part>[0-9]{1,9}))? ?(?P<unit>[kMGT])(?:bit/s)?\Z"
)
_BIT_RATES: Final = "a rate in bit/s such as 940M, 2.5G or 10G, 1k to 1T"
_BIT_RATE_UNITS: Final = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MAX_BIT_RATE: Final = 10**12
_VOLUME: Final = re.compile(r"(?P<count>[0-9]{1,9}) ?(?P<unit>MB|GB|TB)\Z")
_VOLUMES: Final = "an amount of data such as 500MB, 200GB or 1TB, up to 1000TB"
_VOLUME_UNITS: Final = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_MAX_VOLUME: Final = 10**15
_PERCENTAGES: Final = "a share such as 50%, 1% to 100%"
_NETWORKS: Final = "a network such as 192.0.2.0/24 or 2001:db8::/32, or an address"
_HOSTS: Final = "HOST such as 192.0.2.1 or 2001:db8::1"
_MAX_HOST_LENGTH: Final = 253
_MAX_PORT: Final = 65_535


def parse_duration(value: Any) -> int:
    """Nanoseconds of a text such as `200ms`; exact, more than 0 and at most 400 days.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    return _duration_within(value, 0, _MAX_DURATION_NS, "more than 0 and at most 400d")


def _duration_within(value: Any, least_ns: int, most_ns: int, bounds: str) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{quoted(value)} has no unit: {_DURATIONS}")
    match = _DURATION.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{quoted(value)} is no duration: {_DURATIONS}")
    unit = match["unit"]
    if not unit:
        raise ValueError(f"{quoted(value)} has no unit: {_DURATIONS}")
    if unit not in _UNITS_NS:
        raise ValueError(f"{quoted(value)} has the unknown unit {unit}: {_UNITS}")
    part = match["part"] or ""
    parts_per_unit: int = 10 ** len(part)
    duration_ns, remainder = divmod(int(match["whole"] + part) * _UNITS_NS[unit], parts_per_unit)
    nothing = match["sign"] == "-" or (duration_ns, remainder) == (0, 0)
    if nothing or not least_ns <= duration_ns <= most_ns:
        raise ValueError(f"{quoted(value)} is out of range: {bounds}")
    if remainder:
        raise ValueError(f"{quoted(value)} is not a whole number of nanoseconds")
    return duration_ns


def duration_between(least: str, most: str) -> Callable[[Any], int]:
    """A `parse_duration` that accepts no less than `least` and no more than `most`."""
    least_ns, most_ns = parse_duration(least), parse_duration(most)
    bounds = f"at least {least} and at most {most}"
    return lambda value: _duration_within(value, least_ns, most_ns, bounds)


def format_duration(duration_ns: int) -> str:
    """The text with the largest unit that `parse_duration` reads as the same nanoseconds."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if duration_ns % _UNITS_NS[unit] == 0:
            return f"{duration_ns // _UNITS_NS[unit]}{unit}"
    return f"{duration_ns}ns"


def parse_limit(value: Any) -> Limit:
    """A limit of a text such as `< 1ms` or `<= 10ms`.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    if isinstance(value, Limit):
        return value
    match = _LIMIT.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{quoted(value)} is no limit: {_LIMITS}")
    return Limit(parse_duration(match["duration"]), Operator(match["operator"]))


def format_limit(limit: Limit) -> str:
    """The text that `parse_limit` reads as the same limit."""
    return f"{limit.operator} {format_duration(limit.limit_ns)}"


def parse_rate(value: Any) -> int:
    """Packets a second of a text such as `2000/s`.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _RATE.match(value.strip()) if isinstance(value, str) else None
    if match is None or not 1 <= int(match["count"]) <= _MAX_RATE:
        raise ValueError(f"{quoted(value)} is no rate: {_RATES}")
    return int(match["count"])


def parse_size(value: Any) -> int:
    """Octets of a text such as `32MB`; a thousand of each unit make the next.

    Raises:
        ValueError: no size, or none of 1 kB to 64 GB.
    """
    found = _SIZE.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{quoted(value)} is no size: {_SIZES}")
    octets = int(found[1]) * _SIZE_UNITS[found[2]]
    if not _SIZE_UNITS["kB"] <= octets <= _MOST_GIGABYTES * _SIZE_UNITS["GB"]:
        raise ValueError(f"{quoted(value)} is out of range: at least 1kB and at most {_MOST_GIGABYTES}GB")
    return octets


def parse_bit_rate(value: Any) -> int:
    """bit/s of a text such as `10G`, exact; a thousand of each unit make the next.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _BIT_RATE.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{quoted(value)} is no bit rate: {_BIT_RATES}")
    part = match["part"] or ""
    parts_per_unit: int = 10 ** len(part)
    rate, remainder = divmod(int(match["whole"] + part) * _BIT_RATE_UNITS[match["unit"]], parts_per_unit)
    if remainder or not _BIT_RATE_UNITS["k"] <= rate <= _MAX_BIT_RATE:
        raise ValueError(f"{quoted(value)} is out of range: {_BIT_RATES}")
    return rate


def format_bit_rate(rate: int) -> str:
    """The text with the largest unit that `parse_bit_rate` reads as the same rate, which is 1 kbit/s or more."""
    unit = max(
        (name for name, size in _BIT_RATE_UNITS.items() if size <= rate), key=_BIT_RATE_UNITS.__getitem__
    )
    whole, rest = divmod(rate, _BIT_RATE_UNITS[unit])
    digits = len(str(_BIT_RATE_UNITS[unit])) - 1
    part = f"{rest:0{digits}}".rstrip("0")
    return f"{whole}.{part}{unit}" if part else f"{whole}{unit}"


def parse_volume(value: Any) -> int:
    """Octets of a text such as `200GB`; a thousand of each unit make the next.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _VOLUME.match(value.strip()) if isinstance(value, str) else None
    octets = 0 if match is None else int(match["count"]) * _VOLUME_UNITS[match["unit"]]
    if not 1 <= octets <= _MAX_VOLUME:
        raise ValueError(f"{quoted(value)} is no amount of data: {_VOLUMES}")
    return octets


def parse_percentage(value: Any) -> int:
    """Percent of a text such as `50%`.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    match = _PERCENTAGE.match(value.strip()) if isinstance(value, str) else None
    if match is None or not 1 <= int(match["number"]) <= 100:
        raise ValueError(f"{quoted(value)} is no share: {_PERCENTAGES}")
    return int(match["number"])


def parse_network(value: Any) -> Network:
    """A network of its CIDR notation; an address stands for itself alone.

    Raises:
        ValueError: anything else, with what would be accepted.
    """
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is no network: {_NETWORKS}")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(value.strip())
    try:
        meant = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{quoted(value)} is no network: {_NETWORKS}") from None
    raise ValueError(f"{quoted(value)} has bits set beyond its prefix: the network is {meant}")


DurationNs = Annotated[int, BeforeValidator(parse_duration), Accepts(_DURATIONS)]
"""A duration in ns, written `50us`, `200ms`, `1s`, `5m`, `1h` or `2d`."""

LimitText = Annotated[Limit, BeforeValidator(parse_limit), Accepts(_LIMITS)]
"""A limit, written `< 1ms` or `<= 10ms`."""

RateText = Annotated[int, BeforeValidator(parse_rate), Accepts(_RATES)]
"""Packets a second, written `2000/s`."""

SizeOctets = Annotated[int, BeforeValidator(parse_size), Accepts(_SIZES)]
"""Memory in octets, written `500kB`, `32MB` or `1GB`."""

BitRate = Annotated[int, BeforeValidator(parse_bit_rate), Accepts(_BIT_RATES)]
"""bit/s, written `940M`, `2.5G` or `10G`."""

VolumeOctets = Annotated[int, BeforeValidator(parse_volume), Accepts(_VOLUMES)]
"""Data to transfer in octets, written `500MB`, `200GB` or `1TB`."""

PercentText = Annotated[int, BeforeValidator(parse_percentage), Accepts(_PERCENTAGES)]
"""A share in percent, written `50%`."""

NetworkText = Annotated[Network, PlainValidator(parse_network), Accepts(_NETWORKS)]
"""A network, written in CIDR notation."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port, written `HOST:PORT`; an IPv6 address stands in brackets.

    Attributes:
        host: name or address, without brackets.
        port: 0 to 65535; 0 lets the kernel choose where one listens.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: Any, default_port: int | None = None) -> Self:
        """Read `HOST[:PORT]`.

        Raises:
            ValueError: not an endpoint, or no port where none is supplied.
        """
        match = _ENDPOINT.match(text.strip()) if isinstance(text, str) else None
        if match is None:
            hint = "; an IPv6 address needs brackets" if _is_ipv6(text) else ""
            raise ValueError(f"{quoted(text)} is no endpoint: {_ENDPOINTS}{hint}")
        if match["ipv6"] and not _is_ipv6(match["ipv6"]):
            raise ValueError(f"{quoted(text)} holds no IPv6 address in its brackets: {_ENDPOINTS}")
        host = match["ipv6"] or match["host"]
        if len(host) > _MAX_HOST_LENGTH:
            raise ValueError(f"{quoted(text)} has a host of more than {_MAX_HOST_LENGTH} characters")
        if not (match["ipv6"] or is_name(host)):
            raise ValueError(f"{quoted(text)} has a host that is no name: 1 to 63 octets between its dots")
        port = int(match["port"][1:]) if match["port"] else default_port
        if port is None:
            raise ValueError(f"{quoted(text)} has no port: {_ENDPOINTS}")
        if port > _MAX_PORT:
            raise ValueError(f"{quoted(text)} has a port above {_MAX_PORT}")
        return cls(host, port)

    def clashes(self, other: Endpoint) -> bool:
        """Whether two sockets of a protocol cannot listen at both: the same, or one is all addresses of the family."""
        if self.port != other.port or not self.port:
            return False
        everywhere = "::" if _is_ipv6(self.host) else "0.0.0.0"  # noqa: S104 - recognised, not bound
        alike = _is_ipv6(self.host) == _is_ipv6(other.host)
        return self.host == other.host or (alike and everywhere in (self.host, other.host))

    @classmethod
    def parse_host(cls, text: Any) -> Self:
        """Read `HOST` or `[IPV6]`, an IPv6 address also without brackets; the port is 0.

        Raises:
            ValueError: not a host, or one with a port.
        """
        if _is_ipv6(text):
            return cls(text, 0)
        found = cls.parse(text, 0)
        if text.strip() not in (found.host, f"[{found.host}]"):
            raise ValueError(f"{quoted(text)} has a port, where there is none: {_HOSTS}")
        return found

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(value),
            serialization=core_schema.to_string_ser_schema(),
        )


def reachable(endpoint: Endpoint) -> Endpoint:
    """Annotate an `Endpoint` that somebody else is to reach; at port 0 nobody can.

    Raises:
        ValueError: port 0.
    """
    if endpoint.port == 0:
        raise ValueError(f"{quoted(endpoint)} has port 0, where nobody can be reached: 1 to {_MAX_PORT}")
    return endpoint


def endpoint_with_default_port(port: int) -> BeforeValidator:
    """Annotate an `Endpoint` whose port may be left out."""
    return BeforeValidator(
        lambda value: value if isinstance(value, Endpoint) else Endpoint.parse(value, port)
    )


def _is_ipv6(text: Any) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return isinstance(text, str)
