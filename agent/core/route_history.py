"""What is known of the way of one path over time: how often it was traced, which ways it took, and the traces."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from agent.core.route import KnownWays, Route

_EPISODES: Final = 32


class TraceResult(StrEnum):
    """What came of a trace."""

    REACHED = "reached"
    UNREACHED = "unreached"
    """Hops, perhaps, and no answer from the target."""
    NOT_PERMITTED = "not_permitted"
    """The way beside a running session needs CAP_NET_RAW."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Episode:
    """A time through which all traces took the same way, as far as they can be told apart.

    Attributes:
        fingerprint: of the way.
        first_ns, last_ns: when the first and the last of these traces began, Unix wall time.
        traces: how many there were.
        first, last: the whole of the first and of the last one.
    """

    fingerprint: str
    first_ns: int
    last_ns: int
    traces: int
    first: Route
    last: Route

    def document(self) -> dict[str, Any]:
        """As JSON; times in UTC."""
        return {
            "fingerprint": self.fingerprint,
            "traces": self.traces,
            "first": self.first.document(),
            "last": self.last.document(),
        }


class RouteHistory:
    """The ways of one path: the evidence that a route has changed, or has not.

    Args:
        episodes: how many are kept, the latest.

    Attributes:
        results: how many traces came to what.
        changes: how often a trace took another way than the one before that was heard of.
    """

    def __init__(self, episodes: int = _EPISODES) -> None:
        self.results: Counter[TraceResult] = Counter()
        self.changes = 0
        self._ways = KnownWays()
        self._episodes: deque[Episode] = deque(maxlen=episodes)

    @property
    def current(self) -> Episode | None:
        """The latest; None: nothing was heard yet."""
        return self._episodes[-1] if self._episodes else None

    @property
    def episodes(self) -> Sequence[Episode]:
        """Those that are kept, in their order."""
        return tuple(self._episodes)

    def traced(self, route: Route) -> bool:
        """Take in a trace; whether it took another way than the one before."""
        self.results[TraceResult.REACHED if route.reached else TraceResult.UNREACHED] += 1
        fingerprint = self._ways.name(route)
        if fingerprint is None:
            return False
        at_ns, current = route.started_ns, self.current
        if current is not None and current.fingerprint == fingerprint:
            self._episodes[-1] = replace(current, last_ns=at_ns, traces=current.traces + 1, last=route)
            return False
        self._episodes.append(Episode(fingerprint, at_ns, at_ns, 1, route, route))
        if current is None:
            return False
        self.changes += 1
        return True

    def not_traced(self, result: TraceResult) -> None:
        """A trace came to nothing."""
        self.results[result] += 1

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "changes": self.changes,
            "traces": {result.value: self.results[result] for result in TraceResult},
            "episodes": [episode.document() for episode in self._episodes],
        }
