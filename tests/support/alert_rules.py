"""The shipped alert rules, and what promtool was told to expect of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULE_FILES = sorted(PROMETHEUS.glob("rules/*.yml"))
UNIT_TEST_FILES = sorted(PROMETHEUS.glob("tests/*.yml"))


@dataclass(frozen=True)
class AlertRule:
    """One alert rule; several may share a name and differ in severity."""

    name: str
    expression: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def severity(self) -> str:
        """How urgent it is."""
        return self.labels["severity"]


@functools.cache
def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def rules() -> Iterator[dict[str, Any]]:
    """All rules as they are written."""
    for file in RULE_FILES:
        for group in _read(file)["groups"]:
            yield from group["rules"]


def alert_rules() -> list[AlertRule]:
    """All alerts."""
    return [
        AlertRule(rule["alert"], rule["expr"], rule["labels"], rule["annotations"])
        for rule in rules()
        if "alert" in rule
    ]


def unit_tests() -> Iterator[dict[str, Any]]:
    """All scenes that promtool plays."""
    for file in UNIT_TEST_FILES:
        yield from _read(file)["tests"]


def expectations() -> Iterator[tuple[str, list[dict[str, dict[str, str]]]]]:
    """By name of alert, what promtool expects of it at one moment: nothing, or labels and annotations of each."""
    for scene in unit_tests():
        for expected in scene.get("alert_rule_test", ()):
            yield expected["alertname"], expected["exp_alerts"]


def fired(name: str) -> list[dict[str, str]]:
    """The labels that promtool saw on this alert."""
    return [
        {"alertname": name, **alert["exp_labels"]}
        for expected, alerts in expectations()
        if expected == name
        for alert in alerts
    ]
