"""What the collector has seen of its fleet, put before the search for faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.core.outcome import Direction
from collector.diagnosis import Diagnosis
from collector.fleet.plan import compile_plan
from collector.ledger.minutes import counts_vector
from collector.ledger.recent import Slices
from collector.sla.counts import DirectionCounts
from collector.sla.faults import FaultKind
from collector.sla.verdict import Fault, PathKey
from collector.sources.samples import AgentReading
from collector.state import NEVER_READ, SourceStatus
from tests.support.counting import MS, SECOND_NS, counts, reading
from tests.support.fleets import fleet

NOW_NS = 1_795_407_359 * SECOND_NS
CITY = PathKey("wuhan", "guanggu", "city", "telecom", "stamp", 0)
HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
LOOP = PathKey("guanggu", "wuhan", "loop", "telecom", "stamp", 0)
UP = SourceStatus(True, "", NOW_NS, "declared", 50_000)


class Watching:
    """A diagnosis of the fleet file, with all of its paths in the ledger, and one that has left the file."""

    def __init__(self) -> None:
        self.numbers = {replace(CITY, tier="former"): 1, CITY: 2, HUB: 3}
        self.diagnosis = Diagnosis(compile_plan(fleet()), self.numbers, 10 * SECOND_NS, [], NOW_NS)
        self.sources = {"wuhan": UP, "guanggu": UP}
        self.now_ns = NOW_NS

    def take(
        self, path: PathKey, counted: DirectionCounts, site: str = "", reflected: int | None = None
    ) -> None:
        """Ten seconds later the path's agent is read, and its reflector has sent back so many since it started."""
        self.now_ns += 10 * SECOND_NS
        directions = dict.fromkeys(Direction, counted)
        slices = Slices(
            np.array([self.numbers[path]]),
            np.array([0]),
            np.array([self.now_ns - 10 * SECOND_NS]),
            np.array([self.now_ns]),
            np.array([counts_vector(counted.packets, directions)]),
        )
        one = AgentReading(site or path.source, True, "", self.now_ns, reflected=reflected)
        self.diagnosis.take([one], slices)

    def reflects(self, site: str, packets: int) -> None:
        """A site's agent is read by itself."""
        one = AgentReading(site, True, "", self.now_ns, reflected=packets)
        self.diagnosis.take([one], Slices.empty())

    def kinds(self) -> list[tuple[FaultKind, str | None]]:
        """What stands, and where."""
        return [(one.kind, one.site) for one in self.faults()]

    def faults(self) -> list[Fault]:
        """What stands."""
        return list(self.diagnosis.look(self.sources, self.now_ns).faults)


def test_before_anything_was_read_nothing_is_broken() -> None:
    """Nor is a path that is no longer in the fleet file ever."""
    watching = Watching()
    assert watching.kinds() == []
    watching.take(replace(CITY, tier="former"), counts(lost=500), site="wuhan")
    assert watching.kinds() == []


def test_an_agent_is_missed_after_two_intervals() -> None:
    """One reading that failed is no outage; that of all is the collector's."""
    watching = Watching()
    watching.sources["guanggu"] = replace(UP, up=False, refused=True)
    watching.now_ns = NOW_NS + 19 * SECOND_NS
    assert watching.kinds() == []
    watching.now_ns = NOW_NS + 20 * SECOND_NS
    assert watching.kinds() == [(FaultKind.AGENT_DOWN, "guanggu")]
    watching.sources["wuhan"] = NEVER_READ
    assert watching.kinds() == [(FaultKind.SOURCE_DOWN, None)]


def test_an_agent_that_the_source_leaves_out_is_not_missed() -> None:
    """It is the collector that does not see it: a shard that hangs, a store that does not answer."""
    watching = Watching()
    watching.sources["guanggu"] = replace(UP, up=False, blind=True)
    watching.now_ns = NOW_NS + 20 * SECOND_NS
    (fault,) = watching.faults()
    assert (fault.kind, fault.site, fault.witnesses) == (FaultKind.SOURCE_DOWN, None, 1)


def test_a_path_that_is_new_in_the_ledger_is_followed() -> None:
    """Numbers are given while the collector runs."""
    watching = Watching()
    watching.take(HUB, counts(lost=500))
    assert watching.kinds() == [(FaultKind.TARGET_DOWN, "qingyang")]
    watching.numbers[LOOP] = 9
    watching.take(LOOP, counts(lost=500))
    watching.take(CITY, counts(within=500))
    assert set(watching.kinds()) == {(FaultKind.TARGET_DOWN, "qingyang"), (FaultKind.TARGET_DOWN, "wuhan")}


@pytest.mark.parametrize(("reflected", "direction"), [(500, Direction.REVERSE), (0, Direction.FORWARD)])
def test_what_a_reflector_sends_back_tells_the_direction(reflected: int, direction: Direction) -> None:
    """As many a second as the dark path sends, or none; a restart of the agent tells nothing."""
    watching = Watching()
    watching.reflects("guanggu", 70_000)
    watching.take(CITY, counts(unattributed=500))
    watching.reflects("guanggu", 70_000 + reflected)
    (fault,) = watching.faults()
    assert (fault.kind, fault.path, fault.direction) == (FaultKind.DIRECTION_DOWN, CITY, direction)
    watching.reflects("guanggu", 12)
    assert watching.kinds() == [(FaultKind.TARGET_DOWN, "guanggu")]


@pytest.mark.parametrize(
    ("forward_ms", "round_trip_ms", "found"),
    [
        (-0.2, 1.0, [FaultKind.CLOCK_BAD]),
        # within what both clocks own up to; and where the distance is wrong, for no clock touches a round trip
        (0.0, 1.0, []),
        (-0.2, 0.05, []),
    ],
)
def test_a_delay_that_cannot_be_accuses_a_clock(
    forward_ms: float, round_trip_ms: float, found: list[FaultKind]
) -> None:
    """Less than light in fibre takes, by more than both bounds, of a path whose round trip can be."""
    watching = Watching()
    watching.take(CITY, counts(within=500))
    least = {
        Direction.FORWARD: round(forward_ms * MS),
        Direction.REVERSE: MS,
        Direction.ROUND_TRIP: round(round_trip_ms * MS),
    }
    one = replace(reading(watching.now_ns / SECOND_NS, path=CITY), minima_ns=least)
    former = replace(one, path=replace(CITY, tier="former"))
    for _ in range(2):
        told = AgentReading("wuhan", True, "", watching.now_ns, readings=(one, former))
        watching.diagnosis.take([told], Slices.empty())
    assert [kind for kind, _ in watching.kinds()] == found
