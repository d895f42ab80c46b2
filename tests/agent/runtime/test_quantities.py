"""Durations, limits and endpoints as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agent.core.outcome import Limit, Operator
from agent.runtime.quantities import (
    Endpoint,
    format_bit_rate,
    format_duration,
    format_limit,
    parse_bit_rate,
    parse_duration,
    parse_limit,
    parse_network,
    parse_percentage,
    parse_rate,
    parse_volume,
)

_DAY_NS = 86_400_000_000_000


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("1ns", 1),
        ("50us", 50_000),
        ("50µs", 50_000),  # U+00B5
        ("50μs", 50_000),  # U+03BC
        ("1.5ms", 1_500_000),
        ("4.13ms", 4_130_000),
        ("0.000001ms", 1),
        ("200 ms", 200_000_000),
        (" 1s ", 1_000_000_000),
        ("+1s", 1_000_000_000),
        ("5m", 300_000_000_000),
        ("1h", 3_600_000_000_000),
        ("2d", 2 * _DAY_NS),
        ("400d", 400 * _DAY_NS),
        ("34560000000000000ns", 400 * _DAY_NS),
        ("1.00000000000d", _DAY_NS),
    ],
)
def test_durations(text: str, duration_ns: int) -> None:
    """Durations are exact to the nanosecond."""
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10", '"10" has no unit: a duration such as 50us, 200ms, 1s, 5m'),
        (10, '"10" has no unit'),
        (1.5, '"1.5" has no unit'),
        (True, '"true" is no duration'),
        (None, "nothing is no duration"),
        ([], "a list is no duration"),
        ("", '"" is no duration'),
        ("ms", '"ms" is no duration'),
        ("1 5ms", "is no duration"),
        ("1,5ms", "is no duration"),
        ("1.ms", "is no duration"),
        (".5ms", "is no duration"),
        ("1e3ms", "is no duration"),
        ("1h30m", "is no duration"),
        ("5min", "has the unknown unit min: ns, us, ms, s, m, h or d"),
        ("5MS", "has the unknown unit MS"),
        ("5秒", "has the unknown unit 秒"),
        ("٥s", "is no duration"),
        ("1s\n", None),
        ("0s", "is out of range: more than 0 and at most 400d"),
        ("-1s", "is out of range"),
        ("401d", "is out of range"),
        ("999999999999999999d", "is out of range"),
        ("0.5ns", "is not a whole number of nanoseconds"),
        ("1.0000000001s", "is not a whole number of nanoseconds"),
        ("9" * 100 + "s", f'"{"9" * 60}…" is no duration'),
    ],
)
def test_no_durations(value: object, message: str | None) -> None:
    """What is no duration is refused with what was written and what would be accepted."""
    if message is None:
        assert parse_duration(value) > 0
        return
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        parse_duration(value)
    assert message in str(caught.value)


@given(st.integers(1, 400 * _DAY_NS))
def test_duration_round_trip(duration_ns: int) -> None:
    """A duration that was written is read as the same."""
    assert parse_duration(format_duration(duration_ns)) == duration_ns


def test_duration_is_written_with_its_largest_unit() -> None:
    """A written duration has the largest unit that needs no fraction."""
    written = [
        format_duration(parse_duration(text)) for text in ("60s", "90s", "24h", "1.5ms", "1000ns", "1001ns")
    ]
    assert written == ["1m", "90s", "1d", "1500us", "1us", "1001ns"]


def test_limits() -> None:
    """A limit is an operator and a duration; a limit that was parsed before is left alone."""
    assert parse_limit("< 1ms") == Limit(1_000_000, Operator.BELOW)
    assert parse_limit(" <=10ms ") == Limit(10_000_000, Operator.AT_MOST)
    assert parse_limit(Limit(1, Operator.BELOW)) == Limit(1, Operator.BELOW)


@pytest.mark.parametrize(
    "value", ["1ms", "> 1ms", "=< 1ms", "<", "<<1ms", "<= <1ms", "", 1, None, {"<": "1ms"}]
)
def test_no_limits(value: object) -> None:
    """What is no limit is refused with both forms that are."""
    with pytest.raises(ValueError, match=r"is no limit: a limit such as '< 1ms' .* or '<= 10ms'"):
        parse_limit(value)


@given(st.builds(Limit, st.integers(1, _DAY_NS), st.sampled_from(Operator)))
def test_limit_round_trip(limit: Limit) -> None:
    """A limit that was written is read as the same."""
    assert parse_limit(format_limit(limit)) == limit


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9461", "127.0.0.1", 9461),
        ("edge-1.example.net:1", "edge-1.example.net", 1),
        ("武汉:862", "武汉", 862),
        ("[::1]:862", "::1", 862),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65_535),
        ("[::ffff:192.0.2.1]:0", "::ffff:192.0.2.1", 0),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    """Names, IPv4 and bracketed IPv6 are endpoints, and are written as they were read."""
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert str(endpoint) == text
    assert TypeAdapter(Endpoint).validate_python(text) == endpoint
    assert TypeAdapter(Endpoint).dump_json(endpoint).decode() == f'"{text}"'


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "0.0.0.0:1", True),
        ("[::]:1", "[::1]:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("0.0.0.0:1", "[::]:1", False),
        ("0.0.0.0:0", "0.0.0.0:0", False),
    ],
)
def test_what_cannot_be_listened_at_together(one: str, other: str, clash: bool) -> None:
    """The same address, or all of its family; never ports that the kernel chooses."""
    assert Endpoint.parse(one).clashes(Endpoint.parse(other)) is clash
    assert Endpoint.parse(other).clashes(Endpoint.parse(one)) is clash


@pytest.mark.parametrize(
    ("text", "written"), [("h", "h:862"), ("[::1]", "[::1]:862"), ("h:0", "h:0"), ("h:1", "h:1")]
)
def test_default_port(text: str, written: str) -> None:
    """A port that is left out is the default, and one that is given is not."""
    assert str(Endpoint.parse(text, 862)) == written


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("h", "has no port"),
        ("h:", "is no endpoint"),
        (":1", "is no endpoint"),
        ("h:x", "is no endpoint"),
        ("h:-1", "is no endpoint"),
        ("h:123456", "is no endpoint"),
        ("h:65536", "has a port above 65535"),
        ("h:1:2", "is no endpoint"),
        ("::1", "an IPv6 address needs brackets"),
        ("2001:db8::1:862", "an IPv6 address needs brackets"),
        ("[::1", "is no endpoint"),
        ("[]:1", "is no endpoint"),
        ("[h]:1", "holds no IPv6 address in its brackets"),
        ("[:::]:1", "holds no IPv6 address in its brackets"),
        ("u@h:1", "is no endpoint"),
        ("h/x:1", "is no endpoint"),
        ("http://h:1", "is no endpoint"),
        ("a b:1", "is no endpoint"),
        ("a" * 254 + ":1", "has a host of more than 253 characters"),
        ("a" * 64 + ".example:1", "has a host that is no name"),
        ("a..b:1", "has a host that is no name"),
        (".a:1", "has a host that is no name"),
        ("市" * 60 + ":1", "has a host that is no name"),
        ("a\x07:1", "has a host that is no name"),
        ("", "is no endpoint"),
        (862, "is no endpoint"),
        (None, "nothing is no endpoint"),
        ({"host": "h", "port": 1}, "a mapping is no endpoint"),
    ],
)
def test_no_endpoints(value: object, message: str) -> None:
    """What is no endpoint is refused, with the reason."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        Endpoint.parse(value)
    assert message in str(caught.value)


@given(st.text() | st.text(alphabet="[]:.%a1@/ -\n"))
def test_endpoint_of_any_text(text: str) -> None:
    """Any text is an endpoint that is written as one, or is refused."""
    try:
        endpoint = Endpoint.parse(text, 862)
    except ValueError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(("text", "rate"), [("1/s", 1), (" 2000/s ", 2_000), ("10000000 / s", 10_000_000)])
def test_rates(text: str, rate: int) -> None:
    """Packets a second, as a whole number."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("value", ["2000", 2000, "0/s", "10000001/s", "1.5/s", "1/min", "-1/s", None, []])
def test_no_rates(value: object) -> None:
    """Anything else is refused with what would be accepted."""
    with pytest.raises(ValueError, match=r"is no rate: packets a second such as 2000/s, 1/s to 10000000/s"):
        parse_rate(value)


@pytest.mark.parametrize(("text", "percent"), [("1%", 1), (" 50 % ", 50), ("100%", 100)])
def test_percentages(text: str, percent: int) -> None:
    """Whole percents."""
    assert parse_percentage(text) == percent


@pytest.mark.parametrize("value", ["50", 50, "0%", "101%", "0.5%", True, None])
def test_no_percentages(value: object) -> None:
    """Anything else is refused with what would be accepted."""
    with pytest.raises(ValueError, match="is no share: a share such as 50%, 1% to 100%"):
        parse_percentage(value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" 192.0.2.1 ", "192.0.2.1/32"),
        ("::/0", "::/0"),
        ("2001:db8::1", "2001:db8::1/128"),
    ],
)
def test_networks(text: str, written: str) -> None:
    """CIDR notation, or one address; a network stays what it is."""
    network = parse_network(text)
    assert str(network) == written
    assert parse_network(network) is network


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.0.0.1/8", '"10.0.0.1/8" has bits set beyond its prefix: the network is 10.0.0.0/8'),
        ("10.0.0.0/33", "is no network: a network such as"),
        ("example.net", "is no network"),
        ("", "is no network"),
        (10, "is no network"),
        (None, "nothing is no network"),
    ],
)
def test_no_networks(value: object, message: str) -> None:
    """Anything else is refused, and a slip of the pen is pointed out."""
    with pytest.raises(ValueError, match=message):
        parse_network(value)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1k", 1_000),
        ("940M", 940_000_000),
        ("2.5G", 2_500_000_000),
        ("9.9 Gbit/s", 9_900_000_000),
        (" 10G ", 10_000_000_000),
        ("1T", 10**12),
        ("0.000001G", 1_000),
        ("1.000000001G", 1_000_000_001),
    ],
)
def test_bit_rates(text: str, rate: int) -> None:
    """Rates of lines are exact to the bit/s."""
    assert parse_bit_rate(text) == rate


@pytest.mark.parametrize(
    "value", ["10", 10, "10g", "10Gb", "G", "-1G", "1e3M", "", None, True, "10G/s", "1.G"]
)
def test_what_is_no_bit_rate(value: object) -> None:
    """A number without its unit, a unit of something else, or no number."""
    with pytest.raises(ValueError, match=r"is no bit rate: a rate in bit/s such as 940M, 2\.5G or 10G"):
        parse_bit_rate(value)


@pytest.mark.parametrize("value", ["0k", "0.5k", "1.1T", "2T", "1.0001k"])
def test_bit_rates_out_of_range(value: str) -> None:
    """Below 1 kbit/s, above 1 Tbit/s, or between two whole bit/s."""
    with pytest.raises(ValueError, match="is out of range"):
        parse_bit_rate(value)


@given(st.integers(1_000, 10**12))
def test_bit_rates_are_read_as_they_are_written(rate: int) -> None:
    """Format then parse gives the same rate."""
    assert parse_bit_rate(format_bit_rate(rate)) == rate


def test_bit_rates_are_short() -> None:
    """The largest unit, and no zeros behind the point."""
    assert [format_bit_rate(rate) for rate in (1_000, 10**10, 2_500_000_000, 940_000_000, 10**12)] == [
        "1k",
        "10G",
        "2.5G",
        "940M",
        "1T",
    ]


def test_volumes() -> None:
    """Megabytes to terabytes, in thousands."""
    assert [parse_volume(text) for text in ("1MB", "200GB", "1 TB", "1000TB")] == [
        10**6,
        2 * 10**11,
        10**12,
        10**15,
    ]
    for value in ("0GB", "1001TB", "5kB", "5", 5, "1.5GB", None, "1GiB"):
        with pytest.raises(ValueError, match="is no amount of data: an amount of data such as 500MB, 200GB"):
            parse_volume(value)
