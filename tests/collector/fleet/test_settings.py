"""The fleet file: what is refused, with its place and the reason, and what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.outcome import Limit, Operator
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from collector.fleet.objectives import format_window, parse_window
from collector.fleet.settings import FleetSettings
from collector.fleet.source import PrometheusSourceSettings
from collector.sla.measure import Measure
from collector.sla.objective import AvailabilityRule
from collector.sla.window import Calendar, Window
from tests.support.fleets import FLEET, changed, fleet


def test_a_whole_file_is_read() -> None:
    """With its defaults."""
    read = fleet()
    assert [site.id for site in read.sites] == ["wuhan", "guanggu", "qingyang"]
    assert str(read.sites[0].reflector) == "127.0.0.1:862"
    assert str(read.tiers["city"].limit) == "< 1 ms"
    assert read.paths[0].interval == 100_000_000
    assert read.objectives[0].min_coverage == 0.5
    assert list(read.warnings()) == []


def test_the_smallest_file_judges_nothing() -> None:
    """A site and a tier, and nobody who probes; everything else has a default."""
    read = fleet(
        "listen: 127.0.0.1:9460\n"
        "sites: [{id: a, name: {zh: 甲, en: A}, lat: 0, lon: 0}]\n"
        "tiers: {city: {name: {zh: 市内, en: City}, limit: '< 1ms'}}\n"
    )
    assert (read.paths, read.objectives, read.alerts.webhooks) == ((), (), ())
    assert read.source.kind == "agents"


def test_prometheus_is_the_other_source() -> None:
    """With its address."""
    read = fleet(
        changed("{kind: agents, interval: 10s}", '{kind: prometheus, url: "http://127.0.0.1:9090/x"}')
    )
    assert isinstance(read.source, PrometheusSourceSettings)


HUB = '{zh: 枢纽, en: Hubs}, limit: "<= 10ms", direction: one_way'


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("target: guanggu, tier: city", "target: guangu, tier: city", "paths[0].target", "guangu is no site"),
        (
            "{source: wuhan, target: guanggu",
            "{source: wuhu, target: guanggu",
            "paths[0].source",
            "wuhu is no site",
        ),
        ("tier: city}", "tier: town}", "paths[0].tier", "town is no tier; tiers: city, hub, loop"),
        ("tiers: [hub]", "tiers: [hub, town]", "objectives[1].tiers[1]", "town is no tier"),
        ("target: guanggu, tier: city", "target: wuhan, tier: city", "paths[0].target", "probes itself"),
        (
            "{source: guanggu, target",
            "{source: qingyang, target",
            "paths[2].source",
            "has no agent to probe from",
        ),
        (', reflector: "[::1]:8621"', "", "paths[0]", "guanggu has no reflector"),
        (
            "target: guanggu, tier: city",
            "target: guanggu, tier: city, kind: tcp",
            "paths[0]",
            "the service at",
        ),
        (
            "target: guanggu, tier: city",
            "target: guanggu, tier: city, kind: icmp, address: '192.0.2.1:80'",
            "paths[0].address",
            "has a port, where there is none",
        ),
        (
            "target: guanggu, tier: city",
            "target: guanggu, tier: city, kind: tcp, address: '192.0.2.1:80', timeout: 2s",
            "paths[0].timeout",
            "too long for tcp",
        ),
        ("id: guanggu", "id: wuhan", "sites[1].id", "wuhan is already sites[0]"),
        ("id: hourly", "id: detection", "objectives[1].id", "detection is already objectives[0]"),
        (
            '"127.0.0.1:9462"',
            '"127.0.0.1:9461"',
            "sites[1].agent",
            "127.0.0.1:9461 is already the agent of wuhan",
        ),
        ("tier: loop, fibre_km: 30}", "tier: loop, fibre_km: 1021}", "paths[2]", "10.01 ms there and back"),
        ("error_bound: 50us", "error_bound: 50", "sites[0].clock.error_bound", "no unit"),
        ("source: declared, ", "source: adjtimex, ", "sites[0].clock.error_bound", "only a declared clock"),
        (
            "{source: declared, error_bound: 50us}",
            "{source: chrony, ptp_domain: 24}",
            "sites[0].clock.ptp_domain",
            "only an auto or ptp clock",
        ),
        (
            "{source: declared, error_bound: 50us}",
            "{source: ptp, ptp_domain: 128}",
            "sites[0].clock.ptp_domain",
            "127",
        ),
        (
            "{source: declared, error_bound: 50us}",
            "{source: declared}",
            "sites[0].clock",
            "needs error_bound",
        ),
        (
            'reflector_allow: ["::1", 192.0.2.0/24]',
            "reflector_allow: []",
            "sites[0]",
            "guanggu would refuse its probes: which IPv6 address they come from is not known; give probes_from",
        ),
        ("192.0.2.0/24", "192.0.2.1/24", "reflector_allow[1]", "the network is 192.0.2.0/24"),
        ("window: 5m", "window: 19s", "objectives[0].window", "fewer than two readings"),
        ("percentile: 99.9", "percentile: 100", "objectives[0].percentile", "100"),
        ("percentile: 99.9", "percentile: 0.999", "objectives[0].percentile", "50"),
        ("min_coverage: 0.9", "min_coverage: 90", "objectives[1].min_coverage", "1"),
        ("open_after: 2", "open_after: 0", "objectives[0].open_after", "1"),
        ("lat: 30.59", "lat: 130.59", "sites[0].lat", "90"),
        ("dscp: 46", "dscp: 64", "paths[1].dscp", "63"),
        ('limit: "< 1ms"', "limit: 1ms", "tiers.city.limit", "a limit such as"),
        ("direction: round_trip", "direction: both", "tiers.loop.direction", "one_way"),
        ("kind: agents", "kind: agent", "source", "agents"),
        ("id: qingyang", "id: 庆阳", "sites[2].id", ""),
        ("listen: 127.0.0.1:9460", "listen: 127.0.0.1", "listen", "no port"),
        ("interval: 50ms", "interval: 50ms, schedule: random", "paths[1].schedule", "poisson"),
        ("interval: 50ms", "intervall: 50ms", "paths[1].intervall", "interval"),
        ("window: 5m", "window: week", "objectives[0].window", "day or month"),
        ("window: 5m", "window: 40d", "objectives[0].window", "longer than 31d"),
        ("percentile: 99.9, ", "", "objectives[0]", "measure delay needs percentile"),
        ("percentile: 99.9", "measure: loss", "objectives[0]", "measure loss needs loss_ratio"),
        (
            "percentile: 99.9",
            "measure: budget",
            "objectives[0].measure",
            "follows from other objectives: delay",
        ),
        ("percentile: 99.9", "measure: loss, loss_ratio: 2", "objectives[0].loss_ratio", "1"),
        (
            "percentile: 99.9",
            "percentile: 99.9, loss_ratio: 0.1",
            "objectives[0].loss_ratio",
            "takes no loss_ratio",
        ),
        ("percentile: 99.9", "percentile: 99, measure: delay_variation", "objectives[0]", "needs variation"),
        (
            "percentile: 99.9",
            "measure: availability",
            "objectives[0]",
            "measure availability needs availability",
        ),
        (
            "percentile: 99.9",
            "percentile: 99.9, consecutive: 3",
            "objectives[0].consecutive",
            "takes no consecutive",
        ),
        (
            "percentile: 99.9",
            "measure: availability, availability: 99.9, interval: 7m",
            "objectives[0].interval",
            "no whole number of minutes that divides an hour",
        ),
        (
            "percentile: 99.9, window: 5m",
            "measure: availability, availability: 99.9, window: 5m",
            "objectives[0].window",
            "5m is too short for availability: at least 10m",
        ),
        ("percentile: 99.9", "percentile: 99.9, measure: speed", "objectives[0].measure", "delay_variation"),
        ("dscp: 46", "tlvs: [padding]", "paths[1].tlvs[0]", "class_of_service"),
        (
            "dscp: 46",
            "packet_size: 66",
            "paths[1].packet_size",
            "66 octets do not hold what is asked for: 64, or 68",
        ),
        ("dscp: 46", "kind: icmp, ecn: 1", "paths[1].ecn", "only a stamp path takes ecn, this one is icmp"),
        ("dscp: 46", "authenticated_ssid: 7", "paths[1].authenticated_ssid", "wuhan has no credentials"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, where: str, what: str) -> None:
    """File, line, key path, and what would be accepted."""
    with pytest.raises(ConfigError) as caught:
        fleet(changed(old, new))
    found = [problem for problem in caught.value.problems if problem.key.startswith(where)]
    assert found, caught.value
    assert any(what in problem.message for problem in found), caught.value
    assert all(problem.line > 0 for problem in caught.value.problems)


def test_an_authenticated_session_has_an_identifier_of_its_own() -> None:
    """Two paths from one site that are signed as the same session are refused; from two sites they are not."""
    text = changed("reflector: 127.0.0.1, clock", "reflector: 127.0.0.1, credentials: keys.yaml, clock")
    twice = text.replace("tier: city}", "tier: city, authenticated_ssid: 7}").replace(
        "dscp: 46", "authenticated_ssid: 7"
    )
    with pytest.raises(ConfigError, match="7 is already that of paths\\[0\\]"):
        fleet(twice)
    assert fleet(twice.replace("authenticated_ssid: 7,", "authenticated_ssid: 8,")).paths[1].signed


def test_the_same_path_twice_is_refused_even_where_its_provider_is_spelled_out() -> None:
    """Two paths with the same labels would be one in every count."""
    again = "  - {source: wuhan, target: guanggu, tier: city, provider: telecom}\nobjectives:"
    with pytest.raises(ConfigError, match=r"paths\[3\]: the same path as paths\[0\]"):
        fleet(changed("objectives:", again))
    other = again.replace("telecom", "unicom")
    assert len(fleet(changed("objectives:", other)).paths) == 4


def test_a_promise_that_light_cannot_keep_is_named_impossible_with_the_numbers() -> None:
    """One way to Qingyang takes 4.13 ms: 4 ms cannot be promised."""
    with pytest.raises(ConfigError) as caught:
        fleet(changed(HUB, HUB.replace("<= 10ms", "<= 4ms")))
    assert "impossible: wuhan to qingyang is 843 km" in str(caught.value)
    assert "4.13 ms one way" in str(caught.value)
    assert "tier hub promises <= 4 ms" in str(caught.value)


@pytest.mark.parametrize(
    ("lat", "lon", "impossible"),
    [
        pytest.param(40.41, 115.52, True, id="zhangjiakou"),
        pytest.param(40.38, 111.82, True, id="horinger"),
        pytest.param(37.51, 105.19, True, id="zhongwei"),
        pytest.param(30.40, 104.08, False, id="tianfu"),
        pytest.param(35.73, 107.64, False, id="qingyang"),
    ],
)
def test_ten_milliseconds_there_and_back_are_impossible_for_three_hubs(
    lat: float, lon: float, impossible: bool
) -> None:
    """Before anyone signs such a target."""
    place = changed("lat: 35.73, lon: 107.64", f"lat: {lat}, lon: {lon}")
    both_ways = place.replace(HUB, HUB.replace("one_way", "round_trip"))
    assert len(fleet(place).paths) == 3, "one way it is possible"
    if impossible:
        with pytest.raises(ConfigError, match=r"impossible: wuhan to qingyang is 1... km.* there and back"):
            fleet(both_ways)
    else:
        assert len(fleet(both_ways).paths) == 3


def test_a_longer_fibre_than_the_great_circle_counts() -> None:
    """Where the operator knows the route."""
    read = fleet()
    assert read.kilometres(read.paths[2]) == 30
    assert read.kilometres(read.paths[1]) == pytest.approx(843, abs=1)


def test_all_problems_are_told_at_once() -> None:
    """Nobody mends a file one error a time."""
    text = (
        changed("tier: city}", "tier: town}")
        .replace("id: hourly", "id: detection")
        .replace("dscp: 46", "dscp: 4")
    )
    with pytest.raises(ConfigError) as caught:
        fleet(text)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("webhook", "fits"),
    [
        ("{name: noc, url: 'http://127.0.0.1/hook'}", True),
        ("{name: noc, url_file: noc.url, secret_file: noc.secret}", True),
        ("{name: noc}", False),
        ("{name: noc, url: 'http://127.0.0.1/hook', url_file: noc.url}", False),
        ("{name: noc, url: 'ftp://127.0.0.1/hook'}", False),
        ("{name: noc, url: 'http://127.0.0.1/a'}, {name: noc, url: 'http://127.0.0.1/b'}", False),
    ],
)
def test_a_webhook_has_one_address_and_a_name_of_its_own(webhook: str, fits: bool) -> None:
    """In the file or in a file of its own."""
    text = f"{FLEET}alerts: {{webhooks: [{webhook}]}}\n"
    if fits:
        assert len(fleet(text).alerts.webhooks) == 1
    else:
        with pytest.raises(ConfigError, match=r"alerts\.webhooks"):
            fleet(text)


def test_a_timeout_within_the_interval_is_warned_of() -> None:
    """Allowed; the direction of a loss can then rarely be proven."""
    (warning,) = fleet(changed("timeout: 2s", "timeout: 50ms")).warnings()
    assert warning.startswith("paths[1]: ")
    assert "direction of a loss" in warning


def test_a_selector_of_no_path_is_warned_of() -> None:
    """Each name is known, and no path has all of them: nothing would be judged, nor left out."""
    nobody = changed("window: 1h, tiers: [hub]", "window: 1h, tiers: [hub], targets: [guanggu]")
    (warning,) = fleet(nobody).warnings()
    assert warning == "objectives[1]: hourly selects none of the paths"
    work = "{id: fibre, reason: cut, category: planned, approver: Li, start: 2030-12-01T01:00:00Z, WHOM, duration: 1h}"
    text = f"{FLEET}maintenance: {{windows: [{work}]}}\n"
    (warning,) = fleet(text.replace("WHOM", "selector: {tiers: [hub], targets: [guanggu]}")).warnings()
    assert warning == "maintenance.windows[0]: fibre selects none of the paths"


def test_an_objective_that_can_never_pass_is_warned_of() -> None:
    """Two probes a second for five minutes cannot prove P99.9."""
    (warning,) = fleet(changed("tier: city}", "tier: city, interval: 500ms}")).warnings()
    assert warning.startswith("paths[0]: sends 600 packets in the window of detection, 5m")
    assert "2995" in warning


def test_a_page_without_an_address_is_warned_of() -> None:
    """Links in alerts would lead nowhere."""
    everywhere = changed("listen: 127.0.0.1:9460", "listen: 0.0.0.0:9460")
    assert ["external_url" in warning for warning in fleet(everywhere).warnings()] == [True]
    named = everywhere + "external_url: https://isochrone.example\n"
    assert list(fleet(named).warnings()) == []


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("interval: 50ms", "interval: 1ns", "paths[1].interval", "at least 1ms and at most 1h"),
        ("timeout: 2s", "timeout: 400d", "paths[1].timeout", "at least 1ms and at most 1m"),
        (
            "interval: 50ms, timeout: 2s",
            "interval: 1ms, timeout: 1m",
            "paths[1].timeout",
            "1m with interval 1ms means to remember 262144 probes, at most 65536: a timeout of at most 16280ms",
        ),
        ("interval: 10s}", "interval: 1ns}", "source.interval", "at least 100ms and at most 1d"),
        ('"127.0.0.1:9462"', '"127.0.0.1:0"', "sites[1].agent", "has port 0"),
        ("window: 5m", "window: 25s", "objectives[0].window", "shorter than evaluation_interval, 1m"),
        ('"127.0.0.1:8623"', '"127.0.0.1:0"', "sites[2].reflector", "has port 0"),
        ('"127.0.0.1:8613"', '"127.0.0.1:0"', "paths[1].address", "has port 0"),
        (
            "source: {kind: agents",
            'external_url: "http://[::1/x"\nsource: {kind: agents',
            "external_url",
            "no address",
        ),
        (
            "source: {kind: agents",
            'external_url: "http://a:99999"\nsource: {kind: agents',
            "external_url",
            "no address",
        ),
        (
            "source: {kind: agents",
            'external_url: "http://me:pw@a/"\nsource: {kind: agents',
            "external_url",
            "do not belong in a configuration file",
        ),
    ],
)
def test_what_could_never_work_is_refused(old: str, new: str, where: str, what: str) -> None:
    """Beyond what a machine, a port or a window can be, with what would be accepted."""
    text = changed(old, new) + "evaluation_interval: 1m\n"
    with pytest.raises(ConfigError) as refused:
        fleet(text)
    (problem,) = refused.value.problems
    assert problem.key == where
    assert what in problem.message
    assert "pw" not in str(refused.value)


def test_a_wrong_key_hides_nothing(tmp_path: Path) -> None:
    """Wrong values, what does not fit together and unusable files are told at once, each with its line."""
    text = FLEET.replace("provider: unicom", "provder: unicom").replace(
        "target: guanggu, tier", "target: atlantis, tier"
    )
    text = text.replace('limit: "<= 10ms"', 'limit: "<= 1ms"').replace("fibre_km: 30", "interval: 30")
    text += (
        "state: nowhere/state.sqlite\nalerts: {webhooks: [{name: noc, url: 'http://a', secret_file: none}]}\n"
    )
    with pytest.raises(ConfigError) as refused:
        parse(text, FleetSettings, "fleet.yaml", tmp_path)
    found = {problem.key: problem.line for problem in refused.value.problems}
    assert set(found) == {
        "paths[0].target",
        "paths[1]",
        "paths[1].provder",
        "paths[2].interval",
        "state",
        "alerts.webhooks[0].secret_file",
    }
    assert all(found.values())


def test_a_folder_is_no_state_file(tmp_path: Path) -> None:
    """What cannot become the state file is refused before anything starts."""
    with pytest.raises(ConfigError, match=r"state: \. is a folder"):
        parse(FLEET + "state: .\n", FleetSettings, "fleet.yaml", tmp_path)


def test_what_must_be_there_and_is_wrong_hides_nothing(tmp_path: Path) -> None:
    """A value that has no default is wrong; everything that does not need it is checked all the same."""
    text = FLEET.replace("lat: 35.73", "lat: 135.73").replace("tier: city}", "tier: town}")
    text = text.replace("window: 5m", "window: 5").replace("tiers: [hub]", "tiers: [hubs]")
    text += "alerts: {webhooks: [{name: noc, url: 'ftp://a', secret_file: none}]}\nevaluation_interval: 2h\n"
    with pytest.raises(ConfigError) as refused:
        parse(text, FleetSettings, "fleet.yaml", tmp_path)
    assert {problem.key for problem in refused.value.problems} == {
        "sites[2].lat",
        "paths[0].tier",
        "objectives[0].window",
        "objectives[1].tiers[0]",
        "objectives[1].window",
        "alerts.webhooks[0].url",
        "alerts.webhooks[0].secret_file",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id: guanggu", "id: 光谷"),
        ("id: hourly", "id: 每小时"),
        ("lat: 30.49, lon: 114.42", "lat: north, lon: 114.42"),
        ("kind: agents, interval: 10s", "kind: agents, interval: 10"),
        ("kind: agents, interval: 10s", "kind: prometheus, interval: 1d"),
        ('limit: "< 1ms"', "limit: 1ms"),
        ("  hub: {name", "  枢纽: {name"),
        ('reflector: "[::1]:8621"', "reflector: 8621"),
        ("{zh: 枢纽, en: Hubs}", "Hubs"),
        ('    agent: "127.0.0.1:9462"', "    agent: nowhere"),
        ("- {source: guanggu, target: wuhan, tier: loop, fibre_km: 30}", "- loop"),
        ("timeout: 2s", "timeout: 400d"),
        ("timeout: 2s", "timeout: 2s, kind: tpc"),
        ("timeout: 2s", "timeout: 2s, kind: tcp"),
        ("timeout: 2s", "timeout: 2s, schedule: random"),
        ('agent: "127.0.0.1:9462"', 'agent: "wuhan.example:9462", probes_from: [wuhan]'),
        ('["::1", 192.0.2.0/24]', "[nowhere]"),
        ("source: declared, error_bound: 50us", "source: declared, error_bound: 50"),
        ("source: declared, error_bound: 50us", "source: sundial, error_bound: 50us"),
    ],
)
def test_nothing_is_said_that_only_follows(old: str, new: str) -> None:
    """Who wrote one thing wrongly is told of one."""
    with pytest.raises(ConfigError) as refused:
        fleet(changed(old, new))
    assert len(refused.value.problems) == 1, refused.value


def test_too_much_for_one_agent_is_refused() -> None:
    """More probes than a core can send, and more than it can remember; each path by itself would be accepted."""
    path = "  - {{source: wuhan, target: qingyang, tier: hub, provider: p{}, interval: {}, timeout: {}}}\n"
    fast = "".join(path.format(number, "1ms", "1ms") for number in range(101))
    with pytest.raises(
        ConfigError, match=r"paths: from wuhan: 1010\d\d probes a second of one agent: at most 100000"
    ):
        fleet(changed("paths:\n", "paths:\n" + fast))
    long = "".join(path.format(number, "1ms", "15s") for number in range(65))
    with pytest.raises(
        ConfigError, match=r"from wuhan: 42\d+ probes of one agent to remember: at most 4194304"
    ):
        fleet(changed("paths:\n", "paths:\n" + long))


def test_very_many_names_are_not_all_listed() -> None:
    """An unknown site among thousands is answered in one line that can be read."""
    sites = "".join(f"  - {{id: s{n}, name: {{zh: 甲, en: A}}, lat: 0, lon: 0}}\n" for n in range(1000))
    with pytest.raises(ConfigError, match=r"atlantis is no site; sites: .*, s16 and 983 more$"):
        fleet(
            changed("tiers:\n  city", f"{sites}tiers:\n  city").replace(
                "{source: guanggu", "{source: atlantis"
            )
        )


def test_very_many_problems_are_cut_short() -> None:
    """A file with nothing but mistakes is answered in a hundred lines, and how many more there are."""
    unknown = ", ".join(f"unknown{number}: {number}" for number in range(5_000))
    with pytest.raises(ConfigError) as refused:
        fleet(changed("id: detection", f"id: detection, {unknown}"))
    lines = str(refused.value).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "fleet.yaml: and 4900 more problems"


def test_a_mapping_that_is_none_of_ours_is_not_read_to_its_end() -> None:
    """Whatever it is, it is soon answered."""
    text = FLEET + "".join(f"unknown{number}: {number}\n" for number in range(20_000))
    with pytest.raises(ConfigError, match="a mapping of more than 10000 keys"):
        fleet(text)


@pytest.mark.parametrize(
    ("agent", "probes_from", "known"),
    [
        ("192.0.2.1:9461", "", ["192.0.2.1/32"]),
        ("[2001:db8::1]:9461", "", ["2001:db8::1/128"]),
        ("wuhan.example:9461", "", []),
        ("0.0.0.0:9461", "", []),
        ("192.0.2.1:9461", ", probes_from: [198.51.100.0/24]", ["198.51.100.0/24"]),
    ],
)
def test_where_probes_come_from(agent: str, probes_from: str, known: list[str]) -> None:
    """From where the fleet file says, else from the agent's address; a name or a wildcard says nothing."""
    text = changed('agent: "127.0.0.1:9461"', f'agent: "{agent}"{probes_from}').replace(
        "reflector_allow: [", "reflector_allow: [0.0.0.0/0, "
    )
    assert [str(network) for network in fleet(text).sites[0].sources()] == known
    assert fleet(text).sites[2].sources() == ()


def test_windows_are_written_as_they_are_read() -> None:
    """Durations up to 31 days, a day and a month."""
    for text in ("10s", "5m", "30d", "day", "month"):
        assert format_window(parse_window(text)) == text
        assert parse_window(parse_window(text)) == parse_window(text)


def test_every_measure_has_its_objective() -> None:
    """With the share that may break the promise, and how many packets it takes to prove that none did."""
    more = """\
  - {id: loss, measure: loss, loss_ratio: 0.001, window: 1h}
  - {id: jitter, measure: delay_variation, percentile: 99, variation: "<= 500us", window: month}
  - {id: there, measure: availability, availability: 99.95, window: month}
  - {id: carrier, measure: availability, availability: 99.9, window: day, interval: 5m, loss_threshold: 0.5,
     consecutive: 2}
"""
    _, _, loss, jitter, there, carrier = fleet(FLEET + more).objectives
    assert (loss.objective().measure, loss.threshold, loss.packets_needed) == (Measure.LOSS, 0.001, 2995)
    assert jitter.objective().variation == Limit(500_000, Operator.AT_MOST)
    assert jitter.objective().window == Window(Calendar.MONTH)
    assert there.objective().availability == AvailabilityRule(1, 0.2, 1)
    assert there.objective().threshold == pytest.approx(0.0005)
    assert there.packets_needed == 0
    assert carrier.objective().availability == AvailabilityRule(5, 0.5, 2)
