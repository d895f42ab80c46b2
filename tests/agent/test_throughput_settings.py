"""Throughput tests in the agent's file: what is granted, and which lines are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.ledger import PathLabels
from agent.core.throughput.lease import Directions, Protocol, Share, Way
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from agent.runtime.exceptions import ConfigError
from agent.runtime.line_settings import Mode
from agent.runtime.settings import load, parse
from agent.settings import AgentSettings
from agent.throughput_settings import ThroughputPathSettings, ThroughputServerSettings

SECOND_NS = 1_000_000_000
GBIT = 1_000_000_000


def read(text: str) -> AgentSettings:
    """An agent's file that says this from its third line on."""
    return parse(f"site: wuhan\nlisten: 127.0.0.1:9461\n{text}\n", AgentSettings, "a.yaml")


def server(text: str = "allow: [10.0.0.0/8]") -> ThroughputServerSettings:
    found = read(f"throughput: {{listen: [0.0.0.0, '[::]:9500'], token_file: t, {text}}}").throughput
    assert found is not None
    return found


def line(text: str) -> AgentSettings:
    """One line to test."""
    return read(
        "throughput_paths: [{target: pilot, address: '192.0.2.1:9461', token_file: t, slot: {every: 6h}, "
        + text
        + "}]"
    )


def the_line(text: str) -> ThroughputPathSettings:
    return line(text).throughput_paths[0]


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]


# What is granted


def test_nothing_is_granted_by_default() -> None:
    """A file that does not speak of throughput has no server, and tests nothing."""
    settings = read("reflector: {listen: [127.0.0.1], allow: [127.0.0.1]}")
    assert settings.throughput is None
    assert settings.throughput_paths == ()


def test_everything_but_who_and_where_has_a_default() -> None:
    """One test at a time, at most as fast as 10GbE is, for half a minute, 200 GB a day for each peer."""
    made = server()
    rules = made.rules()
    assert [str(one) for one in made.listen] == ["0.0.0.0:9462", "[::]:9500"]
    assert (made.data_port(4), made.data_port(6)) == (9462, 9500)
    assert [str(network) for network in rules.allow] == ["10.0.0.0/8"]
    assert (rules.slots, rules.budget, rules.rate_down, rules.rate_up) == (1, None, 11 * GBIT, 11 * GBIT)
    assert (rules.longest_ns, rules.octets_per_day, rules.streams) == (30 * SECOND_NS, 200 * 10**9, 8)
    assert made.admission().allow == rules.allow
    assert list(made.warnings()) == []
    slower = server("allow: [10.0.0.0/8], budget: 2G, rates: {up: 1G}").rules()
    assert (slower.rate_down, slower.rate_up) == (2 * GBIT, GBIT)


def test_everything_can_be_said() -> None:
    """In the words of the documentation; without an address of a version there is no port."""
    made = read(
        "throughput: {listen: ['127.0.0.1:5'], allow: [0.0.0.0/0], token_file: t, slots: 3, budget: 4G, "
        "rates: {down: 2G, up: 500M}, longest: 10s, per_day: 1TB, streams: 2}"
    ).throughput
    assert made is not None
    rules = made.rules()
    assert (rules.slots, rules.budget, rules.rate(Way.DOWN), rules.rate(Way.UP)) == (
        3,
        4 * GBIT,
        2 * GBIT,
        500_000_000,
    )
    assert (rules.longest_ns, rules.octets_per_day, rules.streams) == (10 * SECOND_NS, 10**12, 2)
    assert made.data_port(6) is None
    assert list(made.warnings()) == ["throughput.allow[0]: 0.0.0.0/0 is everybody who has the token"]


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("", "throughput.allow", "nobody could test: list all networks that may"),
        ("allow: [10.0.0.1/8]", "throughput.allow[0]", "the network is 10.0.0.0/8"),
        ("allow: [10.0.0.1], budget: 10", "throughput.budget", "is no bit rate"),
        (
            "allow: [10.0.0.1], budget: 10G, rates: {down: 11G}",
            "throughput.budget",
            "10G are less than the 11G",
        ),
        ("allow: [10.0.0.1], slots: 0", "throughput.slots", "at least 1"),
        ("allow: [10.0.0.1], longest: 3m", "throughput.longest", "at most 2m"),
        ("allow: [10.0.0.1], per_day: 5", "throughput.per_day", "is no amount of data"),
        ("allow: [10.0.0.1], per_month: 5GB", "throughput.per_month", "unknown key"),
        ("allow: [10.0.0.1], streams: 9", "throughput.streams", "at most 8"),
        ("allow: [10.0.0.1], rates: {left: 1G}", "throughput.rates.left", "accepted: down, up"),
    ],
)
def test_what_is_wrong_with_a_server(text: str, key: str, message: str) -> None:
    """File, line, key path, and what would be accepted."""
    found = problems(f"throughput: {{listen: [127.0.0.1], token_file: t, {text}}}")
    assert {(at, where) for at, where, _ in found} == {(3, key)}
    assert message in found[0][2]


def test_leases_need_an_http_server() -> None:
    """Without one nobody could ask."""
    with pytest.raises(ConfigError, match=r"a\.yaml:2: throughput: needs listen"):
        parse(
            "site: wuhan\nthroughput: {listen: [127.0.0.1], token_file: t, allow: [127.0.0.1]}\n",
            AgentSettings,
            "a.yaml",
        )


# What is tested


def test_a_line() -> None:
    """Verified both ways over TCP at the IP layer, 4 % above its floors, unless told otherwise."""
    made = the_line("tier: pilot, provider: telecom, floors: {down: 10G, up: 1G}")
    assert (made.direction, made.protocol, made.mode, made.streams) == (
        Directions.BOTH,
        Protocol.TCP,
        Mode.VERIFY,
        4,
    )
    assert made.floor(Way.DOWN) == Floor(10 * GBIT, Layer.IP)
    assert made.share(Way.DOWN) == Share(10_400_000_000, 13_000_000_000)
    assert made.share(Way.UP) == Share(1_040_000_000, 1_300_000_000)
    assert made.labels("wuhan") == PathLabels("wuhan", "pilot", "pilot", "telecom", "throughput", 0)


def test_a_floor_of_goodput_needs_room_for_headers() -> None:
    """What is asked of the server is a rate at the IP layer: the headers of 1500 octets come on top."""
    tcp = the_line("layer: goodput, direction: down, floors: {down: 1448M}, above: 1").share(Way.DOWN)
    udp = the_line("layer: goodput, direction: down, floors: {down: 1472M}, above: 1, protocol: udp").share(
        Way.DOWN
    )
    assert tcp is not None
    assert udp is not None
    assert (tcp.rate, udp.rate) == (1_515_000_000, 1_515_000_000)
    assert the_line("direction: down, floors: {down: 1448M}").share(Way.UP) is None


def test_capacity_is_bounded_too() -> None:
    """By a ceiling, or by a quarter above the floor."""
    both = the_line("mode: capacity, floors: {down: 10G}, ceilings: {up: 2G}")
    assert both.floor(Way.UP) is None
    shares = [both.share(way) for way in Way]
    assert [share.rate for share in shares if share is not None] == [12_500_000_000, 2_000_000_000]
    lower = the_line("mode: capacity, direction: up, floors: {up: 10G}, ceilings: {up: 11G}").share(Way.UP)
    assert lower is not None
    assert lower.rate == 11 * GBIT


def test_slots() -> None:
    """The next test is at the offset after a whole period, strictly later than now."""
    slot = the_line("floors: {down: 1G, up: 1G}").slot
    hour_ns = 3_600 * SECOND_NS
    assert slot.next_ns(12 * hour_ns) == 18 * hour_ns
    shifted = read(
        "throughput_paths: [{target: p, address: '192.0.2.1:9461', token_file: t, "
        "slot: {every: 6h, offsets: [90m]}, floors: {down: 1G, up: 1G}}]"
    ).throughput_paths[0]
    assert shifted.slot.next_ns(12 * hour_ns) == 12 * hour_ns + 90 * 60 * SECOND_NS
    assert shifted.slot.next_ns(shifted.slot.next_ns(0)) == shifted.slot.next_ns(0) + 6 * hour_ns
    assert shifted.slot.next_ns(0) == 90 * 60 * SECOND_NS
    several = (
        read(
            "throughput_paths: [{target: p, address: '192.0.2.1:9461', token_file: t, "
            "slot: {every: 1d, offsets: [1d, 5h]}, floors: {down: 1G, up: 1G}}]"
        )
        .throughput_paths[0]
        .slot
    )
    assert several.next_ns(0) == 5 * hour_ns
    assert several.next_ns(5 * hour_ns) == 24 * hour_ns
    assert several.least_gap_ns == 5 * hour_ns


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("direction: down", "floors", "no floor for down: mode verify needs one"),
        ("floors: {down: 1G}", "floors", "no floor for up: mode verify needs one, such as up: 1G"),
        ("direction: down, floors: {down: 1G, up: 1G}", "floors.up", "up is not tested: direction is down"),
        ("mode: capacity, floors: {down: 1G}", "ceilings", "neither a floor nor a ceiling for up"),
        (
            "direction: up, floors: {up: 1G}, ceilings: {up: 1G}",
            "ceilings.up",
            "1G leaves no room to prove the floor: at least 1.01G at the IP layer",
        ),
        ("direction: up, floors: {up: 1}", "floors.up", "is no bit rate"),
        ("direction: sideways, floors: {up: 1G}", "direction", "one of down, up, both"),
        ("floors: {down: 1G, up: 1G}, layer: frame", "layer", "one of ip, goodput"),
        ("floors: {down: 1G, up: 1G}, mode: guess", "mode", "one of verify, capacity"),
        ("floors: {down: 1G, up: 1G}, protocol: sctp", "protocol", "one of tcp, udp"),
        ("floors: {down: 1G, up: 1G}, longest: 1h", "longest", "at most 2m"),
        ("floors: {down: 1G, up: 1G}, confirm: {missed: 4, of: 3}", "confirm.missed", "4 of 3 turns cannot"),
        ("floors: {down: 1G, up: 1G}, users: {interface: a b}", "users.interface", "a b"),
    ],
)
def test_what_is_wrong_with_a_line(text: str, key: str, message: str) -> None:
    """File, line, key path, and what would be accepted."""
    with pytest.raises(ConfigError) as caught:
        line(text)
    found = caught.value.problems
    assert [(problem.line, problem.key) for problem in found] == [(3, f"throughput_paths[0].{key}")]
    assert message in found[0].message


def test_all_mistakes_at_once() -> None:
    """Slots that never come or are too short, lines that are there twice, beside values that cannot be read."""
    floors = "floors: {down: 1G, up: 1G}, token_file: t"
    found = problems(
        f"""throughput_paths:
  - {{target: a, address: "h:1", slot: {{every: 6h, offsets: [7h]}}, {floors}}}
  - {{target: b, address: "h:1", slot: {{every: 1m}}, longest: 40s, {floors}}}
  - {{target: b, address: "h:2", slot: {{every: 6h}}, {floors}}}
  - {{target: c, address: "h:0", slot: {{every: often}}, {floors}}}
  - {{address: "h:2", slot: {{every: 6h}}, {floors}}}"""
    )
    assert [(at, key.removeprefix("throughput_paths")) for at, key, _ in found] == [
        (4, "[0].slot.offsets[0]"),
        (5, "[1].slot.every"),
        (6, "[2]"),
        (7, "[3].address"),
        (7, "[3].slot.every"),
        (8, "[4].target"),
    ]
    assert found[0][2] == "7h never comes: it must be at most every, 6h"
    assert found[1][2] == "1m are too short: a test, its retest and the jitter take 90s"
    assert found[2][2].startswith("the same line as throughput_paths[1]")


def test_floors_that_no_port_of_their_name_carries() -> None:
    """10 Gbit/s are more than 10GbE carries, at the IP layer and all the more of goodput; others are not doubted."""
    (ip_layer,) = line("floors: {down: 10G, up: 940M}").warnings()
    (goodput,) = line("floors: {down: 9G, up: 1G}, layer: goodput").warnings()
    no_port = "cannot pass through an Ethernet port of"
    carried = "which carries 97.5% of that (ip, MTU 1500)"
    assert ip_layer == f"throughput_paths[0].floors.down: 10G {no_port} 10G, {carried}"
    carried = "which carries 94.1% of that (goodput, MTU 1500)"
    assert goodput == f"throughput_paths[0].floors.up: 1G {no_port} 1G, {carried}"
    assert list(server("allow: ['::/0']").warnings()) == [
        "throughput.allow[0]: ::/0 is everybody who has the token"
    ]


def test_tokens_stand_in_files_of_their_own(tmp_path: Path) -> None:
    """Each is looked at with the file that names it; what is wrong is said at the key, without the token."""
    config = tmp_path / "agent.yaml"
    config.write_text(
        "site: wuhan\nlisten: 127.0.0.1:9461\nthroughput:\n  listen: [127.0.0.1]\n  allow: [127.0.0.1]\n"
        "  token_file: server\nthroughput_paths:\n"
        "  - {target: p, address: 'h:1', slot: {every: 6h}, floors: {down: 1G, up: 1G},\n     token_file: line}\n"
        "  - {target: q, address: 'h:1', slot: {every: 6h}, floors: {down: 1G, up: 1G}, token_file: 5}\n"
    )
    (tmp_path / "server").write_text("too short\n")
    (tmp_path / "server").chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(config, AgentSettings)
    assert [(one.line, one.key) for one in caught.value.problems] == [
        (6, "throughput.token_file"),
        (9, "throughput_paths[0].token_file"),
        (10, "throughput_paths[1].token_file"),
    ]
    assert "holds no token" in caught.value.problems[0].message
    assert "too short" not in str(caught.value)
    for name in ("server", "line"):
        (tmp_path / name).write_text(f"the-token-of-{name}-0123\n")
        (tmp_path / name).chmod(0o600)
    config.write_text(config.read_text().replace("token_file: 5", "token_file: line"))
    settings = load(config, AgentSettings)
    assert settings.throughput is not None
    assert settings.throughput.token(tmp_path) == "the-token-of-server-0123"
    assert settings.throughput_paths[0].token(tmp_path) == "the-token-of-line-0123"
