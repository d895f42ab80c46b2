"""The latest turns of all lines."""

from __future__ import annotations

from agent.core.ledger import PathLabels
from agent.core.metrics import LINE_KIND
from agent.core.throughput.turn_history import TurnHistory

HERE, THERE = (PathLabels("home", target, "pilot", "telecom", LINE_KIND, 0) for target in ("here", "there"))


def test_turns_are_found_by_their_line() -> None:
    """In the order in which they came, of all lines or of those that have all labels that are named."""
    history = TurnHistory()
    for number, labels in enumerate((HERE, THERE, HERE)):
        history.add(labels, {"number": number})
    assert [turn["number"] for _, turn in history.of({})] == [0, 1, 2]
    assert history.of({"target": "here", "tier": "pilot"}) == [(HERE, {"number": 0}), (HERE, {"number": 2})]
    assert history.of({"target": "here", "tier": "city"}) == []


def test_the_oldest_are_forgotten() -> None:
    """Where there is no room for more; one that is larger than all the room leaves nothing."""
    history = TurnHistory(most_octets=40)
    for number in range(9):
        history.add(HERE, {"number": number})
    assert [turn["number"] for _, turn in history.of({})] == [6, 7, 8]
    history.add(HERE, {"number": "x" * 40})
    assert history.of({}) == []
