"""What the collector has seen of its fleet, put before `collector.sla.faults`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from agent.core.metrics import LINE_KIND
from agent.core.outcome import ONE_WAY, Direction, Outcome
from collector.fleet.plan import Plan
from collector.ledger.minutes import DIRECTIONS, NO_MINIMUM, SENT, Integers, by_direction
from collector.ledger.readings import Counted, Readings
from collector.ledger.recent import Slices
from collector.sla.fault_watch import FaultWatch, Standing
from collector.sla.faults import Topology, Witnesses, kinds_of, locate
from collector.sla.reachability import Flags, Reachability
from collector.sla.verdict import Fault, PathKey
from collector.sources.samples import AgentReading
from collector.state import NEVER_READ, SourceStatus

SILENT_INTERVALS: Final = 2
"""An agent that was not read for so long is silent; by then it is known, too, which paths have gone dark."""

_REFINED_INTERVALS: Final = 5
"""For so long a fault may turn out to be another one: an agent that went silent at the same time is missed by then."""

_SECOND_NS: Final = 1e9


class Diagnosis:
    """Follows what is broken.

    Args:
        plan: what is judged.
        numbers: by which the ledger names paths; it grows.
        interval_ns: how often the source is read.
        before: faults that were told of before this program started.
        now_ns: Unix wall time.
    """

    def __init__(
        self,
        plan: Plan,
        numbers: Mapping[PathKey, int],
        interval_ns: int,
        before: Iterable[Fault],
        now_ns: int,
    ) -> None:
        self._plan = plan
        self._numbers = numbers
        self._row_of = np.empty(0, np.int64)
        self._numbered = 0
        self._row = {path: row for row, path in enumerate(plan.paths)}
        self._interval_ns = interval_ns
        self._began_ns = now_ns
        places = {site: place for place, site in enumerate(plan.sites)}
        self._places = places
        self._topology = Topology(
            len(places),
            np.array([places[path.source] for path in plan.paths], np.int64),
            np.array([places[path.target] for path in plan.paths], np.int64),
            kinds_of([path.kind for path in plan.paths]),
            np.array([path.kind != LINE_KIND for path in plan.paths], np.bool_),
            np.array([site in plan.agents for site in plan.sites], np.bool_),
        )
        self._reach = Reachability(len(plan.paths))
        self._least_ns = np.full((len(plan.paths), len(DIRECTIONS)), NO_MINIMUM)
        self._columns: dict[str, tuple[Counted, Integers]] = {}
        self._reflected: dict[str, AgentReading] = {}
        self._reflected_per_s = np.full(len(places), np.nan)
        self._watch = FaultWatch(plan.sites, plan.paths, _REFINED_INTERVALS * interval_ns, before, now_ns)

    def take(self, readings: Sequence[AgentReading], slices: Slices) -> None:
        """Take in readings, and what they have added to the ledger."""
        for reading in readings:
            self._take_reflected(reading)
            self._take_least(reading)
        rows = self._rows(slices.path)
        known = rows >= 0
        taken = slices.take(known)
        self._reach.take(
            rows[known],
            taken.begun_ns,
            taken.taken_ns,
            taken.counts[:, SENT],
            by_direction(taken.counts)[:, :, : len(Outcome)],
        )

    def look(self, sources: Mapping[str, SourceStatus], now_ns: int) -> Standing:
        """The faults that stand now (Unix wall time), the agents being as they are."""
        return self._watch.follow(locate(self._topology, self._witnesses(sources, now_ns)), now_ns)

    def _witnesses(self, sources: Mapping[str, SourceStatus], now_ns: int) -> Witnesses:
        plan, sites = self._plan, len(self._plan.sites)
        read, silent, refused, blind = (np.zeros(sites, np.bool_) for _ in range(4))
        clock_good = np.ones(sites, np.bool_)
        for site in plan.agents:
            status, place = sources.get(site, NEVER_READ), self._places[site]
            seen_ns = self._began_ns if status.seen_ns is None else status.seen_ns
            read[place] = status.up
            silent[place] = not status.up and now_ns - seen_ns >= SILENT_INTERVALS * self._interval_ns
            refused[place] = silent[place] and status.refused
            clock_good[place] = status.clock_bound_ns is not None or site in plan.clockless
            blind[place] = silent[place] and status.blind
        reach = self._reach
        return Witnesses(
            blind,
            read,
            silent,
            refused,
            clock_good,
            self._reflected_per_s,
            reach.dark,
            reach.heard,
            reach.sent_per_s,
            reach.answered_per_s,
            self._impossible(sources),
        )

    def _take_least(self, reading: AgentReading) -> None:
        """The least delays that an agent tells of its paths."""
        if not reading.readings:
            return
        table = Readings.table(reading.readings)
        known = self._columns.get(reading.site)
        if known is None or known[0] is not table.of:
            known = table.of, np.array([self._row.get(path, -1) for path in table.of.paths], np.int64)
            self._columns[reading.site] = known
        planned = known[1] >= 0
        self._least_ns[known[1][planned]] = table.minima_ns[planned]

    def _impossible(self, sources: Mapping[str, SourceStatus]) -> Flags:
        """Paths with a delay that light in fibre forbids, however wrong both clocks may be by what they say (n,).

        Where the round trip is too short as well it is the distance that is wrong, and no clock.
        """
        topology = self._topology
        bound_ns = np.full(topology.sites, np.inf)
        for site in self._plan.agents:
            status = sources.get(site, NEVER_READ)
            if status.up and status.clock_bound_ns is not None:
                bound_ns[self._places[site]] = status.clock_bound_ns
        most_ns = bound_ns[topology.source] + bound_ns[topology.target]
        one_way = [DIRECTIONS.index(direction) for direction in ONE_WAY]
        least_ns = self._least_ns[:, one_way].min(axis=1)
        floors_ns = self._plan.floors_ns
        round_trip_ns = self._least_ns[:, DIRECTIONS.index(Direction.ROUND_TRIP)]
        impossible: Flags = (least_ns + most_ns < floors_ns) & (round_trip_ns >= 2 * floors_ns)
        return impossible

    def _take_reflected(self, reading: AgentReading) -> None:
        """How many packets a second reach a reflector, from two readings of one run of its agent."""
        before, place = self._reflected.get(reading.site), self._places.get(reading.site)
        if not reading.up or place is None:
            return
        self._reflected[reading.site] = reading
        self._reflected_per_s[place] = np.nan
        if before is None or before.reflected is None or reading.reflected is None:
            return
        took_s = (reading.taken_ns - before.taken_ns) / _SECOND_NS
        if took_s > 0 and reading.reflected >= before.reflected:
            self._reflected_per_s[place] = (reading.reflected - before.reflected) / took_s

    def _rows(self, numbers: Integers) -> Integers:
        """The rows of paths in the plan, by the ledger's numbers; -1: it is no longer in it."""
        # numbers are only ever given, one after the other
        new = list(islice(self._numbers.items(), self._numbered, None))
        if new:
            self._numbered += len(new)
            longer = np.full(max(len(self._row_of), max(number for _, number in new) + 1), -1)
            longer[: len(self._row_of)] = self._row_of
            for path, number in new:
                longer[number] = self._row.get(path, -1)
            self._row_of = longer
        return self._row_of[numbers]
