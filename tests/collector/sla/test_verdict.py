"""What a verdict is called."""

from __future__ import annotations

from collector.sla.verdict import Verdict
from tests.support.verdicts import HUB_PATH


def test_a_path_is_named_by_its_ends_and_its_kind() -> None:
    """As logs and messages show it."""
    assert str(HUB_PATH) == "wuhan → qingyang (stamp)"


def test_the_numbers_of_the_verdicts_are_those_of_the_metric() -> None:
    """Dashboards depend on them."""
    assert [verdict.name for verdict in sorted(Verdict)] == ["PASS", "FAIL", "INDETERMINATE", "NO_DATA"]
    assert list(map(int, Verdict)) == [0, 1, 2, 3]
