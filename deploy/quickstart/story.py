"""The story: what happens to the emulated network, and what must be seen of it. Pure: observations in, acts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

HUB: Final = "qingyang"
DEGRADED: Final = "11ms"
HEALTHY: Final = "7ms"
_WATCH_S: Final = 6.0
"""How long all is well before the hub path degrades, and how long the end is watched."""


class Act(Enum):
    """What the story asks for."""

    DEGRADE = "degrade"
    RECOVER = "recover"


class Chapter(Enum):
    """How far the story has come."""

    WAITING = "waiting for the first verdicts"
    BASELINE = "the expected verdicts hold"
    DEGRADED = "the hub path is degraded"
    BREACHED = "the breach is open"
    RECOVERING = "the hub path is good again"
    DONE = "the end"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen at one moment.

    Attributes:
        now_s: since the start of the processes.
        verdicts: by (target, direction).
        breaches: the API's breaches.
        webhooks: messages received.
    """

    now_s: float
    verdicts: Mapping[tuple[str, str], str]
    breaches: Sequence[Mapping[str, Any]]
    webhooks: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Story:
    """Follows the story and notes where it does not hold.

    Attributes:
        expected: the verdicts that must be seen before anything is done to the network.
        degrades: whether the hub path is degraded at all; without clocks nothing could be proven of it.
    """

    expected: Mapping[tuple[str, str], str]
    degrades: bool
    chapter: Chapter = Chapter.WAITING
    first_verdicts_s: float | None = None
    faults: list[str] = field(default_factory=list)
    _since_s: float = 0.0

    def observe(self, seen: Observation) -> Act | None:
        """Take in what is seen; what is to be done to the network now."""
        if self.first_verdicts_s is None and self._all_judged(seen):
            self.first_verdicts_s = seen.now_s
        strangers = [
            f"{breach['target']} {breach['direction']}"
            for breach in seen.breaches
            if (breach["target"], breach["direction"]) != (HUB, "forward") or not self.degrades
        ]
        for stranger in strangers:
            fault = f"a breach that nobody caused: {stranger}"
            if fault not in self.faults:
                self.faults.append(fault)
        following = self._next(seen)
        if following is None:
            return None
        self.chapter, self._since_s = following, seen.now_s
        return {Chapter.DEGRADED: Act.DEGRADE, Chapter.RECOVERING: Act.RECOVER}.get(following)

    @property
    def held(self) -> bool:
        """Whether the whole story was seen, and nothing else."""
        return self.chapter is Chapter.DONE and not self.faults

    def _next(self, seen: Observation) -> Chapter | None:
        rested = seen.now_s - self._since_s >= _WATCH_S
        hub = [breach for breach in seen.breaches if breach["target"] == HUB]
        events = [message["event"] for message in seen.webhooks]
        match self.chapter:
            case Chapter.WAITING if seen.verdicts == self.expected:
                return Chapter.BASELINE
            case Chapter.BASELINE if rested:
                return Chapter.DEGRADED if self.degrades else Chapter.DONE
            case Chapter.DEGRADED if hub and "breach_opened" in events:
                return Chapter.BREACHED
            case Chapter.BREACHED if rested:
                return Chapter.RECOVERING
            case Chapter.RECOVERING if (
                hub and all(breach["state"] == "closed" for breach in hub) and "breach_closed" in events
            ):
                return Chapter.DONE
            case _:
                return None

    def _all_judged(self, seen: Observation) -> bool:
        return bool(seen.verdicts) and all(verdict != "NO_DATA" for verdict in seen.verdicts.values())
