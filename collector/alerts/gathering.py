"""When what has happened to breaches is told: that of one cause together, and not before the cause can be known.

A site that is cut off breaks the promises of all its paths: some at once, some in the next evaluations, some when an
hour's window has enough of it. Told one by one, that is a thousand messages of one fault. So,

    where packets were lost, an opening waits until it would be known what is broken, and joins the fault that explains
    its path by then; what lost nothing waits for nothing
    of one incident (all of one fault; or, without one, all of one provider in one tier) the first message is sent at
    once, and what follows is gathered until it has been a while since the last one
    the end of a breach is not told before its beginning

What waits is in the store, in the transaction that changes the breach, so a restart forgets none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agent.core.outcome import Outcome
from collector.alerts.outbox import Incident, incident_of
from collector.sla.breach import BreachClosed, BreachEvent, BreachKey, BreachOpened, Watch
from collector.sla.faults import FaultKind
from collector.sla.verdict import Fault, PathKey

FAULT_APART_NS: Final = 300_000_000_000
"""How far messages of one fault are apart; as long as the shipped Alertmanager's `group_interval`."""

OTHERS_APART_NS: Final = 60_000_000_000
"""How far messages of breaches without a known cause are apart, of one provider in one tier."""

_LOST: Final = (Outcome.LOST, Outcome.UNATTRIBUTED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is not told yet; it happened at `since_ns` (Unix wall time)."""

    event: BreachEvent
    since_ns: int


class Gathering:
    """What waits to be told.

    Args:
        settling_ns: how long it may take until it is known why packets are lost.
        waiting: what waited before this program started.

    Attributes:
        unsettled: the breaches of which it may still turn out why they opened.
    """

    def __init__(self, settling_ns: int, waiting: Iterable[Waiting] = ()) -> None:
        self.unsettled: set[str] = set()
        self._settling_ns = settling_ns
        self._opened: dict[str, Waiting] = {}
        self._closed: dict[str, Waiting] = {}
        self._told_ns: dict[Incident, int] = {}
        for one in waiting:
            self._take(one)

    @property
    def waiting(self) -> list[Waiting]:
        """All that waits, beginnings before ends."""
        return [*self._opened.values(), *self._closed.values()]

    def take(self, events: Iterable[BreachEvent], now_ns: int) -> None:
        """Take in what has changed in an evaluation (Unix wall time)."""
        for event in events:
            self._take(Waiting(event, now_ns))

    def join(
        self, watches: Mapping[BreachKey, Watch], fault_of: Callable[[PathKey], Fault | None]
    ) -> dict[BreachKey, Watch]:
        """The watches whose open breaches turn out to be of a fault that was not known when they opened."""
        joined: dict[BreachKey, Watch] = {}
        for name in self.unsettled:
            one = self._opened[name]
            breach = one.event.breach
            watch, fault = watches.get(breach.key), fault_of(breach.key.path)
            # a clock that is known to be bad loses no packets
            if (
                fault is None
                or fault.kind is FaultKind.CLOCK_BAD
                or fault.id == (breach.fault and breach.fault.id)
            ):
                continue
            if watch is not None and watch.open is not None and watch.open.id == name:
                explained = replace(breach, opening=replace(breach.opening, fault=fault))
                joined[breach.key] = replace(watch, open=explained)
                self._opened[name] = replace(one, event=BreachOpened(explained))
        return joined

    def due(self, now_ns: int) -> list[BreachEvent]:
        """What is to be told now (Unix wall time), beginnings before ends; it waits no longer."""
        # a clock that was set back must keep nobody waiting
        self.unsettled = {
            name for name in self.unsettled if 0 <= now_ns - self._opened[name].since_ns < self._settling_ns
        }
        self._told_ns = {
            incident: last_ns
            for incident, last_ns in self._told_ns.items()
            if 0 <= now_ns - last_ns < (OTHERS_APART_NS if incident.fault is None else FAULT_APART_NS)
        }
        settled = [one for name, one in self._opened.items() if name not in self.unsettled]
        opened = self._of_quiet_incidents(settled, now_ns)
        for event in opened:
            del self._opened[event.breach.id]
        begun = [one for name, one in self._closed.items() if name not in self._opened]
        closed = self._of_quiet_incidents(begun, now_ns)
        for event in closed:
            del self._closed[event.breach.id]
        return [*opened, *closed]

    def _of_quiet_incidents(self, ready: Iterable[Waiting], now_ns: int) -> list[BreachEvent]:
        """Those of incidents of which nothing was told lately; it is now."""
        found = [one.event for one in ready if incident_of(one.event) not in self._told_ns]
        self._told_ns |= dict.fromkeys(map(incident_of, found), now_ns)
        return found

    def _take(self, one: Waiting) -> None:
        breach = one.event.breach
        if isinstance(one.event, BreachClosed):
            self._closed[breach.id] = one
            return
        self._opened[breach.id] = one
        if any(breach.opening.counts.get(outcome) for outcome in _LOST):
            self.unsettled.add(breach.id)
