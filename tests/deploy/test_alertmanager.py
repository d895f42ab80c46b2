"""The shipped Alertmanager: who is told of what, and what one incident silences."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import Any

import aiohttp
import pytest
import yaml

from agent.core import metrics
from collector.alerts.alertmanager import ALERT_NAME, alert
from collector.documents import utc_time
from tests.support.alert_rules import DEPLOY, alert_rules, fired
from tests.support.alertmanager import alertmanager
from tests.support.processes import eventually
from tests.support.requirements import require_binary
from tests.support.verdicts import HUB_PATH, NAMES, SECOND_NS, breach

CONFIG_FILE = DEPLOY / "alertmanager" / "alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8"))
RECEIVER_OF = {"critical": "noc-page", "warning": "noc", "info": "office"}
PATH = {
    "source": "a",
    "target": "b",
    "tier": "city",
    "provider": "telecom",
    "kind": "stamp",
    "dscp": "0",
    "direction": "forward",
    "objective": "detection",
}
_MATCHER = re.compile(r'^(\w+)(=~|=)"(.*)"$')

Labels = dict[str, str]


def own_alert(source: str = "a", target: str = "b", tier: str = "city", provider: str = "telecom") -> Labels:
    """The labels of the alert that the collector itself tells of a path."""
    path = replace(HUB_PATH, source=source, target=target, tier=tier, provider=provider)
    labels: Labels = alert(breach(path=path), NAMES, "http://collector.example", 0)["labels"]
    return labels


def seen(name: str) -> list[Labels]:
    """The labels with which an alert arrives."""
    return [own_alert()] if name == ALERT_NAME else fired(name)


NAMES_OF_ALERTS = sorted({rule.name for rule in alert_rules()} | {ALERT_NAME})


def amtool(*arguments: str | Path) -> str:
    """What amtool says; it must have no complaint."""
    done = subprocess.run([require_binary("amtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def routed(labels: Labels) -> str:
    """The receiver of an alert, as amtool finds it."""
    asked = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={CONFIG_FILE}", *asked).strip()


def test_the_configuration_passes_amtool() -> None:
    """As shipped."""
    assert "SUCCESS" in amtool("check-config", CONFIG_FILE)


@pytest.mark.parametrize("name", NAMES_OF_ALERTS)
def test_severity_says_who_is_told(name: str) -> None:
    """Every alert as promtool has seen it; the collector's own, which has no severity, goes to the NOC."""
    for severity, labels in {labels.get("severity", "warning"): labels for labels in seen(name)}.items():
        assert routed(labels) == RECEIVER_OF[severity]
    assert seen(name)


@pytest.mark.parametrize(("tier", "wait"), [("city", "10s"), ("hub", None)])
def test_the_city_is_told_of_sooner(tier: str, wait: str | None) -> None:
    """A critical alert on a path goes to the same people whatever its tier, and for the city within seconds."""
    assert (
        routed({**PATH, "alertname": "IsochroneBreachLasting", "severity": "critical", "tier": tier})
        == "noc-page"
    )
    (paths,) = (route for route in CONFIG["route"]["routes"] if "group_by" in route)
    waits = {route["matchers"][-1]: route.get("group_wait") for route in paths["routes"]}
    assert waits.get(f'tier="{tier}"') == wait


def test_no_secret_stands_in_the_file() -> None:
    """Addresses are of this host, and what authenticates is read from files."""
    for receiver in CONFIG["receivers"]:
        for webhook in receiver["webhook_configs"]:
            assert webhook["url"].startswith("http://127.0.0.1:")
            assert webhook["http_config"] == {"authorization": {"credentials_file": "noc.token"}}


def chosen(matchers: Sequence[str]) -> set[str]:
    """The names of the alerts that these matchers choose; every name in them must choose one."""
    (pattern,) = (match[3] for match in map(_MATCHER.match, matchers) if match and match[1] == "alertname")
    for part in pattern.split("|"):
        assert any(re.fullmatch(part, name) for name in NAMES_OF_ALERTS), f"{part} is no alert"
    return {name for name in NAMES_OF_ALERTS if re.fullmatch(pattern, name)}


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0])
def test_inhibition_compares_labels_that_both_have(rule: dict[str, Any]) -> None:
    """Two labels that are missing count as equal: where one of `equal` is missing, all would be silenced."""
    sources, targets = chosen(rule["source_matchers"]), chosen(rule["target_matchers"])
    for name in sources | targets:
        for labels in seen(name):
            assert set(rule.get("equal", ())) <= labels.keys(), name
    if sources & targets:
        told_apart = [matchers[1:] for matchers in (rule["source_matchers"], rule["target_matchers"])]
        assert all(told_apart), "an alert would silence its like"


def test_routes_name_alerts_that_exist() -> None:
    """And severities, time intervals and receivers."""
    for route in CONFIG["route"]["routes"]:
        if any(matcher.startswith("alertname") for matcher in route["matchers"]):
            assert chosen(route["matchers"])


def of_path(name: str, severity: str, **changed: str) -> Labels:
    """An alert on a path, as the rules make it."""
    return {**PATH, "alertname": name, "severity": severity, **changed}


LAST = [
    of_path("IsochroneBudgetBurn", severity, source="last", target="last", tier="last")
    for severity in ("warning", "info")
]
"""The first of these silences the second."""

Told = Callable[[Iterable[Labels]], Awaitable[list[list[str]]]]


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    """Tells a real Alertmanager of alerts; gives the names of those that nothing silences, message by message."""
    config = CONFIG_FILE.read_text(encoding="utf-8")
    async with alertmanager(tmp_path, config) as url, aiohttp.ClientSession() as session:

        async def put(alerts: Iterable[Labels]) -> None:
            now_ns = time_ns()
            times = {"startsAt": utc_time(now_ns), "endsAt": utc_time(now_ns + 600 * SECOND_NS)}
            body = [{"labels": labels, **times} for labels in alerts]
            async with session.post(f"{url}/api/v2/alerts", json=body) as response:
                assert response.status == 200, await response.text()

        async def groups(**query: str) -> list[list[Labels]]:
            async with session.get(f"{url}/api/v2/alerts/groups", params=query) as response:
                return [[one["labels"] for one in group["alerts"]] for group in await response.json()]

        async def last_is_taken_in() -> bool:
            everything = [labels for group in await groups() for labels in group]
            left = [labels for group in await groups(inhibited="false") for labels in group]
            return LAST[0] in left and LAST[1] in everything and LAST[1] not in left

        async def tell(alerts: Iterable[Labels]) -> list[list[str]]:
            # Alertmanager takes them in one after the other, later than it answers: when the last two are, all are.
            await put([*alerts, *LAST])
            await eventually(last_is_taken_in, "the last alert silences another")
            named = [
                sorted(labels["alertname"] for labels in group if labels not in LAST)
                for group in await groups(inhibited="false")
            ]
            return sorted(filter(None, named))

        yield tell


def agent_silent(site: str) -> Labels:
    """An agent that is silent, as the rule makes it."""
    (like, *_) = fired("IsochroneAgentSilent")
    return {**like, "site": site, "source": site, "target": site, "instance": f"{site}.example:9461"}


async def test_a_silent_agent_silences_its_paths(told: Told) -> None:
    """Those from it, whatever they say; those to it, where they say that nothing comes back; and no others."""
    left = await told(
        [
            agent_silent("a"),
            own_alert(),
            of_path("IsochroneBreachOpen", "warning"),
            of_path("IsochroneRawOverLimit", "warning"),
            {"alertname": "IsochroneNoData", "severity": "warning", "source": "a", "tier": "city"},
            {"alertname": "IsochroneSourceDown", "severity": "warning", "source": "a"},
            of_path("IsochronePathDown", "critical", source="x", target="a"),
            of_path(
                "IsochroneBreachLasting", "critical", source="x", target="a"
            ),  # it answers there, and late
            of_path("IsochroneBreachOpen", "warning", source="x", target="y"),
        ]
    )
    assert left == [["IsochroneAgentSilent"], ["IsochroneBreachLasting"], ["IsochroneBreachOpen"]]


async def test_a_host_that_is_gone_is_one_incident(told: Told) -> None:
    """Its agent is silent and its reflector, too, and the round trips of all others to it are in breach."""
    gone = {"alertname": "IsochroneTargetSilent", "severity": "critical", "target": "a"}
    others = [{"source": f"x{number}", "target": "a"} for number in range(3)]
    breaches = [own_alert(**ends) for ends in others]
    down = [of_path("IsochronePathDown", "critical", **ends) for ends in others]
    assert await told([agent_silent("a"), gone, *breaches, *down]) == [["IsochroneAgentSilent"]]


async def test_forty_silent_agents_are_one_incident(told: Told) -> None:
    """And neither they nor their paths are told of one by one."""
    agents = [agent_silent(f"s{number}") for number in range(40)]
    paths = [of_path("IsochroneBreachOpen", "warning", source=f"s{number}") for number in range(40)]
    left = await told([{"alertname": "IsochroneManyAgentsSilent", "severity": "critical"}, *agents, *paths])
    assert left == [["IsochroneManyAgentsSilent"]]


async def test_forty_paths_of_a_provider_are_one_message(told: Told) -> None:
    """Before anything says that they have one cause; and what the collector tells with evidence is told once."""
    breaches = [own_alert(target=f"t{number}") for number in range(40)]
    seen_again = [
        {**labels, "alertname": "IsochroneBreachOpen", "severity": "warning"} for labels in breaches
    ]
    for labels in seen_again:
        del labels["breach"]
    groups = await told([*breaches, *seen_again])
    assert groups == [[ALERT_NAME] * 40]


@pytest.mark.parametrize(
    "cause",
    [
        {"alertname": "IsochroneSourceFailing", "source": "a"},
        {"alertname": "IsochroneSourceCutOff", "source": "a"},
        {"alertname": "IsochroneTargetFailing", "target": "b"},
        {"alertname": "IsochroneTargetSilent", "target": "b"},
        {"alertname": "IsochroneProviderFailing", "tier": "city", "provider": "telecom"},
    ],
    ids=lambda cause: cause["alertname"],
)
async def test_what_many_paths_share_silences_each(told: Told, cause: Labels) -> None:
    """A site, a target or a provider that fails is one incident; a path elsewhere is another."""
    elsewhere = {"source": "x", "target": "y", "tier": "hub", "provider": "mobile"}
    left = await told(
        [
            {**cause, "severity": "critical"},
            own_alert(),
            of_path("IsochroneBreachLasting", "critical"),
            of_path("IsochroneBudgetBurn", "critical"),
            of_path("IsochronePathDown", "critical"),
            of_path("IsochroneBudgetBurn", "critical", **elsewhere),
        ]
    )
    assert left == sorted([["IsochroneBudgetBurn"], [cause["alertname"]]])


async def test_breaches_silence_raw_outcomes(told: Told) -> None:
    """Of the same path in any direction: Alertmanager believes a collector for minutes after its death."""
    path = {name: PATH[name] for name in metrics.PATH_LABELS}
    raw = {**path, "alertname": "IsochroneRawOverLimit", "severity": "warning", "direction": "round_trip"}
    left = await told([own_alert(), raw, {**raw, "target": "other"}])
    assert left == [[ALERT_NAME, "IsochroneRawOverLimit"]]


async def test_the_most_urgent_speaks(told: Told) -> None:
    """Of one objective on one path the critical alert is told, with the collector's evidence beside it."""
    left = await told(
        [
            own_alert(),
            of_path("IsochroneBudgetBurn", "critical"),
            of_path("IsochroneBudgetBurn", "warning"),
            of_path("IsochroneBudgetBurn", "info"),
            of_path("IsochroneBudgetLow", "info"),
            of_path("IsochroneBreachOpen", "warning"),
            of_path("IsochroneBudgetBurn", "info", objective="month"),
        ]
    )
    assert left == [[ALERT_NAME], ["IsochroneBudgetBurn"], ["IsochroneBudgetBurn"]]
