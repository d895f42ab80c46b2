"""The shipped Prometheus: its configuration, its rules on good days and bad ones, and what they tell a person."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core import metrics
from agent.runtime.quantities import format_duration
from collector.alerts.alertmanager import ALERT_NAME
from collector.alerts.counts import NotificationCounts, Result
from collector.sla.budget import windows_of
from collector.sla.measure import Measure
from collector.sla.verdict import Verdict
from collector.sla.window import Calendar, Window
from tests.support.alert_rules import (
    DEPLOY,
    PROMETHEUS,
    UNIT_TEST_FILES,
    AlertRule,
    alert_rules,
    expectations,
    rules,
    unit_tests,
)
from tests.support.collector_web import text_of
from tests.support.exposition import samples
from tests.support.requirements import require_binary
from tests.support.simulated import SimulatedAgent, SimulatedPath
from tests.support.verdicts import Source, State, breach, judgement

ANNOTATIONS = {"summary_zh", "summary_en", "description_zh", "description_en", "runbook_url"}
SEVERITIES = ("critical", "warning", "info")
BURN_WINDOWS = {format_duration(window.longest_ns) for window in windows_of(Window(Calendar.MONTH))}
"""Of which the collector tells the burn rate of a month's objective."""
FOREIGN = {"up": {"job", "instance"}}
"""What Prometheus itself makes."""
TARGET_LABELS = {"job", "instance", "site", "site_provider", "district"}
"""What scraping adds: see `collector.web.discovery`."""

RUNBOOK_WORDS = ("含义", "查证", "处理", "勿做", "Meaning", "Verify", "Do", "Don't")
_CJK = re.compile("[\u4e00-\u9fff]")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
_NAME = re.compile(r"\b(?:\w+:isochrone_[\w:]+|isochrone[\w:]+|process_\w+|up\b)")
_MATCHER = re.compile(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"')

each_alert = pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: f"{rule.name}-{rule.severity}")


def promtool(*arguments: str | Path) -> str:
    """What promtool says; it must have no complaint."""
    done = subprocess.run(
        [require_binary("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shown() -> dict[str, list[dict[str, str]]]:
    """The labels of every sample that an agent and a collector show, by name."""
    path = SimulatedPath()
    path.ledger.not_sent["overdue"] = 1
    agent = SimulatedAgent([path])
    agent.run(50)
    notifications = NotificationCounts()
    notifications.add_channel("webhook:noc")
    judged = [replace(judgement(verdict), budget_remaining=0.5) for verdict in Verdict]
    burning = replace(
        judgement(),
        objective="month:budget",
        measure=Measure.BUDGET,
        burn_rates={window.longest_ns: 2.0 for window in windows_of(Window(Calendar.MONTH))},
    )
    state = State([*judged, burning], [breach()], {"wuhan": Source()})
    texts = agent.exposition(), text_of(state, notifications)
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for text in texts:
        for name, by_labels in samples(text).items():
            found[name] += map(dict, by_labels)
    return found


def test_the_configuration_passes_promtool_without_a_warning() -> None:
    """As shipped, with all rules."""
    said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert "WARNING" not in said, said
    assert said.count("rules found") == 4


@pytest.mark.parametrize("file", UNIT_TEST_FILES, ids=lambda file: file.stem)
def test_the_rules_do_what_their_scenes_say(file: Path) -> None:
    """promtool plays every scene and sees exactly the alerts that are expected, words and labels."""
    promtool("test", "rules", file)


def test_every_alert_has_been_seen_to_fire_and_not_to() -> None:
    """For every rule there is a scene in which it fires and a moment at which it must not."""
    fires, rests = set(), set()
    for name, alerts in expectations():
        fires |= {(name, alert["exp_labels"]["severity"]) for alert in alerts}
        if not alerts:
            rests.add(name)
    wanted = {(rule.name, rule.severity) for rule in alert_rules()}
    assert wanted - fires == set(), "never fires"
    assert fires - wanted == set(), "is no rule"
    assert {name for name, _ in wanted} ^ rests == set(), "never rests, or is no rule"


def test_templates_find_what_they_name() -> None:
    """No label or value that an annotation asks for was missing when promtool filled it in."""
    for name, alerts in expectations():
        for alert in alerts:
            words = alert["exp_annotations"]
            assert set(words) == ANNOTATIONS, name
            for text in words.values():
                assert text.strip(), name
                assert not re.search(r"<|error (expanding|executing)|\(\)|（）|: ,|，，| {2}", text), (
                    name,
                    text,
                )


@each_alert
def test_an_alert_tells_a_person_what_to_do(rule: AlertRule) -> None:
    """Summary and description in both languages, and where the runbook is, relative to a base of one's own."""
    assert set(rule.annotations) == ANNOTATIONS
    for name, text in rule.annotations.items():
        assert bool(_CJK.search(text)) == name.endswith("_zh"), (name, text)
        assert "\n" not in text.strip()
    assert rule.annotations["runbook_url"] == (
        f"{{{{ $externalLabels.runbooks }}}}runbooks.md#{rule.name.lower()}"
    )
    assert rule.severity in SEVERITIES
    assert set(rule.labels) <= {"severity", "source", "target"}


def sections() -> dict[str, str]:
    """The runbook's sections by heading."""
    text = (DEPLOY / "runbooks.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    found = [part.partition("\n")[::2] for part in parts]
    assert len(dict(found)) == len(found), "a section stands twice"
    return dict(found)


def test_every_alert_has_its_runbook_section_and_no_section_is_left_over() -> None:
    """The collector's own alert has one, too."""
    assert set(sections()) == {rule.name for rule in alert_rules()} | {ALERT_NAME}


@pytest.mark.parametrize(("heading", "text"), sections().items(), ids=sections())
def test_a_runbook_section_is_complete_and_short(heading: str, text: str) -> None:
    """Meaning, how to verify, what to do and what not to, in Chinese and then in English."""
    words = re.findall(r"\*\*(.+?)\*\*(?=\s+\S)", text)
    assert tuple(words) == RUNBOOK_WORDS
    assert len(text) < 1500, heading
    assert set(re.findall(r"Isochrone[A-Z]\w+", text)) <= set(sections())


def test_the_rules_ask_for_what_the_programs_show(shown: dict[str, list[dict[str, str]]]) -> None:
    """Every metric of every expression exists, with samples that its matchers can choose."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for rule in rules() for name in _NAME.findall(rule["expr"])}
    known = shown.keys() | recorded | FOREIGN.keys()
    assert asked - known == set()
    assert recorded - asked == set(), "recorded and never used"
    for rule in rules():
        for name, matchers in _SELECTOR.findall(rule["expr"]):
            for label, value in _MATCHER.findall(matchers):
                assert label in labels_of(name, shown), (name, label)
                if label in ("le", "direction", "outcome", "result"):
                    having = {sample[label] for sample in shown.get(name, ())} or {"round_trip"}
                    assert set(value.split("|")) <= having, (name, label, value)


def labels_of(name: str, shown: dict[str, list[dict[str, str]]]) -> set[str]:
    """The labels that series of this name can have in Prometheus."""
    for rule in rules():
        if rule.get("record") == name:
            kept = re.match(r"\s*\w+ by \(([^)]*)\)", rule["expr"])
            return set(kept[1].split(", ")) if kept else set()
    known = FOREIGN.get(name) or {label for one in shown[name] for label in one}
    return known | TARGET_LABELS


def test_the_scenes_are_played_with_series_as_they_are(shown: dict[str, list[dict[str, str]]]) -> None:
    """No scene has a metric or a label that no program shows, which a rule could only match by mistake."""
    for scene in unit_tests():
        for series in scene["input_series"]:
            name, matchers = _SELECTOR.findall(series["series"])[0]
            assert {label for label, _ in _MATCHER.findall(matchers)} <= labels_of(name, shown), series


def test_grouping_by_never_loses_a_path() -> None:
    """Where an expression keeps a path's target and its kind, it keeps the whole path: no two become one."""
    for rule in rules():
        for labels in re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]):
            kept = set(filter(None, labels.split(", ")))
            if {"target", "kind"} <= kept:
                assert kept >= set(metrics.PATH_LABELS), rule


def test_jobs_and_notification_results_are_called_as_the_rules_do() -> None:
    """The jobs that rules select are scraped, and keep the agents' own labels."""
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    selected = {job for rule in rules() for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert selected <= jobs.keys()
    assert all(job["honor_labels"] for job in jobs.values())
    results = {value for rule in rules() for value in re.findall(r'result="([^"]+)"', rule["expr"])}
    assert results == {result.value for result in Result}


def test_burn_rates_are_asked_for_in_pairs_of_windows() -> None:
    """A long window for what is lost and a twelfth of it or less for whether it is still being lost."""
    asked = [re.findall(r'window="(\w+)"', rule["expr"]) for rule in rules()]
    assert {window for windows in asked for window in windows} == BURN_WINDOWS
    pairs = {pair for windows in asked for pair in zip(windows[::2], windows[1::2], strict=True)}
    assert pairs == {("1h", "5m"), ("6h", "30m"), ("1d", "2h"), ("3d", "6h")}


def test_the_base_of_the_runbooks_is_no_label_of_what_leaves() -> None:
    """It is an external label, empty as shipped, that no alert carries to the Alertmanager."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["global"]["external_labels"] == {"runbooks": ""}
    assert config["alerting"]["alert_relabel_configs"] == [{"action": "labeldrop", "regex": "runbooks"}]
