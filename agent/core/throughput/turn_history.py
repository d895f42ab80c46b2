"""The latest turns of all lines, so that a verdict on a line can be held against what it was reached with."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from agent.core.ledger import PathLabels

_MOST_OCTETS: Final = 4 << 20


class TurnHistory:
    """Documents of turns, the oldest of which are forgotten where there is no room for more.

    Args:
        most_octets: that they may take, as text.
    """

    def __init__(self, most_octets: int = _MOST_OCTETS) -> None:
        self._most_octets = most_octets
        self._octets = 0
        self._turns: deque[tuple[PathLabels, bytes]] = deque()

    def add(self, labels: PathLabels, document: Mapping[str, Any]) -> None:
        """Remember a turn of a line."""
        text = json.dumps(document).encode()
        self._turns.append((labels, text))
        self._octets += len(text)
        while self._octets > self._most_octets:
            self._octets -= len(self._turns.popleft()[1])

    def of(self, wanted: Mapping[str, str]) -> list[tuple[PathLabels, dict[str, Any]]]:
        """The turns of lines that have all these labels, the oldest first."""
        return [
            (labels, json.loads(text))
            for labels, text in self._turns
            if all(str(getattr(labels, name)) == value for name, value in wanted.items())
        ]
