"""Random histories of an agent and of those who read it, with everything that goes wrong between the two.

The agent's counts are the truth. Something (a Prometheus) has scraped every moment of them; what it has is handed to
collectors late, twice, by turns, out of order, and sometimes to one that crashes, until all of it has been read.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent.core.histogram import BUCKETS
from agent.core.outcome import Direction, Outcome
from collector.ledger.minutes import SENT, counts_vector
from collector.sla.counts import DirectionCounts, Reading
from collector.sla.verdict import PathKey
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS

BEGIN_S = 1_790_000_000
LONGEST_DISAGREEMENT_S = 7200
_AT_ONCE = 600


@dataclass
class _Counters:
    """What one path of the agent counts; `ended` is what it counted in starts before this one."""

    key: PathKey
    since: float
    counts: list[int]
    ended: list[int]


def _nothing() -> list[int]:
    return counts_vector(0, {})


def _grown(counts: Sequence[int], rng: random.Random) -> list[int]:
    """Some packets more, most of them of one kind, as in life."""
    more = list(counts)
    for place in (SENT, rng.randrange(len(more)), rng.randrange(1, 6)):
        more[place] += rng.choice((0, 1, 7, _AT_ONCE))
    return more


@dataclass
class Agent:
    """An agent whose clock is wrong by a constant, as it was scraped from moment to moment.

    Attributes:
        tells_starts: of each path; if not, its own start alone.
        faults: what has gone wrong, and how often.
    """

    site: str
    rng: random.Random
    tells_starts: bool
    now_s: float = BEGIN_S
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.clock_s = self.rng.uniform(-LONGEST_DISAGREEMENT_S, LONGEST_DISAGREEMENT_S)
        self.epoch = self.now_s + self.clock_s
        self.limit = HUB_LIMIT
        self.paths = [
            _Counters(PathKey(self.site, target, "hub", "", "stamp", 0), self.epoch, _nothing(), _nothing())
            for target in self.rng.choice((["x"], ["x", "y"]))
        ]

    def _fault(self, name: str, one_in: int) -> bool:
        happens = self.rng.randrange(one_in) == 0
        self.faults[name] += happens
        return happens

    def _zero(self, path: _Counters) -> None:
        path.ended = [*map(int.__add__, path.ended, path.counts)]
        path.counts = _nothing()
        path.since = self.now_s + self.clock_s

    def moment(self) -> list[Reading]:
        """Something happens, and the agent is scraped."""
        self.now_s += self.rng.choice((1.0, 10.0, 10.0, 10.0, 60.0, 1234.5, 4000.0))
        if self._fault("clock set", 12):
            self.clock_s = self.rng.uniform(-LONGEST_DISAGREEMENT_S, LONGEST_DISAGREEMENT_S)
        if self._fault("limit changed", 15):
            self.limit = HUB_LIMIT if self.limit == CITY_LIMIT else CITY_LIMIT
        if self._fault("agent restarted", 8):
            self.epoch = self.now_s + self.clock_s
            for path in self.paths:
                self._zero(path)
        path = self.rng.choice(self.paths)
        # Untold, a reset shows only in a counter that falls: not where more is counted at once than ever before.
        if (self.tells_starts or path.counts[SENT] > 2 * _AT_ONCE) and self._fault("counters reset", 8):
            self._zero(path)
        for path in self.paths:
            path.counts = _grown(path.counts, self.rng)
        return [self._reading(path) for path in self.paths]

    def _reading(self, path: _Counters) -> Reading:
        return Reading(
            path.key,
            self.epoch,
            int(self.now_s * SECOND_NS),
            path.counts[SENT],
            0,
            _directions(path.counts),
            dict.fromkeys(Direction, self.limit),
            minima_ns={Direction.ROUND_TRIP: self.rng.randrange(10**7)},
            since=path.since if self.tells_starts else None,
        )

    def counted(self) -> dict[PathKey, list[int]]:
        """All that was ever counted."""
        return {path.key: [*map(int.__add__, path.ended, path.counts)] for path in self.paths}


def _directions(counts: Sequence[int]) -> dict[Direction, DirectionCounts]:
    width = len(Outcome) + BUCKETS
    return {
        direction: DirectionCounts(
            tuple(counts[first : first + len(Outcome)]), tuple(counts[first + len(Outcome) : first + width])
        )
        for first, direction in zip(range(1, len(counts), width), Direction, strict=True)
    }


@dataclass(frozen=True)
class Delivery:
    """Readings that a collector gets to see.

    Attributes:
        collector: the first or the second one.
        readings: of one agent, whose times are as that collector's clock has them.
    """

    collector: int
    readings: Sequence[Reading]


@dataclass
class History:
    """One agent, and in which order its scrapes are delivered.

    Attributes:
        deliveries: all of its scrapes at least once. Where the agent does not tell the starts of paths they come in
            order, but for those that were seen before: order is then all that tells a reset from the past.
    """

    agent: Agent
    deliveries: list[Delivery]

    @classmethod
    def random(cls, seed: int, site: str, moments: int) -> History:
        """A history that follows from its seed."""
        rng = random.Random(seed)
        agent = Agent(site, rng, tells_starts=rng.random() < 0.7)
        scrapes = [agent.moment() for _ in range(moments)]
        order = [*range(moments)]
        faults = agent.faults
        if agent.tells_starts:
            for place in range(1, moments):
                # What comes late comes after up to three later ones.
                if rng.randrange(6) == 0:
                    faults["late"] += 1
                    order.insert(max(0, place - rng.randrange(1, 4)), order.pop(place))
        clocks = (0, round(rng.uniform(-300, 300) * SECOND_NS) if agent.tells_starts else 0)
        deliveries: list[Delivery] = []
        batch: list[Reading] = []
        for step, moment in enumerate(order):
            collector = rng.randrange(2)
            batch += _seen(scrapes[moment], clocks[collector])
            if rng.randrange(5) == 0 and step < moments - 1:
                # Nobody is there to read; it is read with the next ones, from the past.
                faults["outage with backfill"] += 1
                continue
            deliveries.append(Delivery(collector, batch))
            batch = []
            if rng.randrange(3) == 0:
                faults["read by both"] += 1
                other = _seen(scrapes[moment], clocks[1 - collector])
                deliveries.append(Delivery(1 - collector, other))
            if rng.randrange(4) == 0:
                faults["read again"] += 1
                past = order[rng.randrange(step + 1)]
                deliveries.append(Delivery(collector, _seen(scrapes[past], clocks[collector])))
        return cls(agent, deliveries)

    @property
    def readings(self) -> int:
        """How many readings are delivered."""
        return sum(len(delivery.readings) for delivery in self.deliveries)


def _seen(scrape: Sequence[Reading], clock_ns: int) -> list[Reading]:
    """A scrape with the times of another clock."""
    return [replace(reading, taken_ns=reading.taken_ns + clock_ns) for reading in scrape]
