"""What agents tell of the lines that they test, read from the real agent's exposition."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agent.core.ledger import PathLabels
from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction
from agent.core.outcome import Outcome as Packets
from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer, Rate
from agent.core.throughput.rates import Packets as Sizes
from agent.core.throughput.result import ErrorReason, Floor, Outcome, failed, judge
from agent.core.throughput.turn import Confirmation, LineRecord, Untested
from collector.sla.line import LastTest
from collector.sla.verdict import PathKey
from collector.sources.layout import Layout
from collector.sources.sample import IncompleteError
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse
from tests.support.simulated import SimulatedAgent, SimulatedPath

LINE = PathKey("wuhan", 'a "b" \\ c', "pilot", "telecom", LINE_KIND, 0)
LABELS = PathLabels(LINE.source, LINE.target, LINE.tier, LINE.provider, LINE.kind, 0)
FLOORS = {Way.DOWN: Floor(1e9), Way.UP: Floor(100e6)}
TAKEN_NS = 1_700_000_100_000_000_000
ENDED_NS = 1_700_000_050_000_000_000
SIZES = Sizes(1448, 52)


@dataclass(frozen=True)
class Tried:
    """A test that has come to something."""

    outcomes: dict[Way, Outcome]
    began_ns: int | None = None
    ended_ns: int | None = ENDED_NS
    retry_after_s: float | None = None


def measured(way: Way, rate: float, cause: Cause = Cause.PATH_RATE) -> Outcome:
    return judge(way, Rate(rate, rate, rate, 4), SIZES, FLOORS[way], cause)


GOOD = Tried({Way.DOWN: measured(Way.DOWN, 1.1e9), Way.UP: measured(Way.UP, 110e6)})
SHORT = Tried({Way.DOWN: measured(Way.DOWN, 0.6e9), Way.UP: measured(Way.UP, 110e6)})
STARVED = Tried({Way.DOWN: measured(Way.DOWN, 0.6e9, Cause.HOST_STARVED), Way.UP: measured(Way.UP, 110e6)})
OPEN = Tried(
    {
        Way.DOWN: judge(Way.DOWN, Rate(1e9, 0.8e9, 1.2e9, 4), SIZES, FLOORS[Way.DOWN], Cause.PACING_CAP),
        Way.UP: measured(Way.UP, 110e6),
    }
)
REFUSED = Tried({way: failed(way, ErrorReason.REFUSED, "full", FLOORS[way]) for way in Way})


def agent(*turns: Tried, paths: int = 1) -> SimulatedAgent:
    """An agent that has tested a line."""
    made = SimulatedAgent([SimulatedPath()][:paths])
    made.run(50)
    made.lines.append((LABELS, record(*turns)))
    return made


def record(*turns: Tried) -> LineRecord:
    made = LineRecord(FLOORS, Confirmation(2, 3))
    for turn in turns:
        made.take([turn], ENDED_NS)
    return made


def by_lines(text: str) -> AgentReading:
    return agent_reading("wuhan", parse(text, NEEDED), TAKEN_NS)


def test_turns_are_outcomes_of_a_path() -> None:
    """Down as reverse; what is not confirmed, or left open, proves nothing; an error is no outcome, nor is what a host
    has spoiled."""
    read = by_lines(agent(GOOD, SHORT, STARVED, OPEN, SHORT, REFUSED).exposition())
    one = read.readings[-1]
    assert (one.path, one.sent, one.in_flight, one.resolved) == (LINE, 6, 0, True)
    assert dict(one.limits) == {Direction.REVERSE: Floor(1e9), Direction.FORWARD: Floor(100e6)}
    down = one.directions[Direction.REVERSE].outcomes
    assert (down[Packets.WITHIN], down[Packets.OVER], down[Packets.UNCERTAIN]) == (1, 1, 2)
    assert one.directions[Direction.FORWARD].outcomes[Packets.WITHIN] == 5
    assert one.directions[Direction.ROUND_TRIP].packets == 0


def test_what_was_last_measured_and_why_nothing_was() -> None:
    """A refused test leaves the rates as they were: never a 0."""
    said = by_lines(agent(SHORT, REFUSED).exposition()).lines[LINE]
    down = said.last[Direction.REVERSE]
    assert (down.cause, down.ended_ns) == (Cause.PATH_RATE, ENDED_NS)
    assert down.rates[Layer.GOODPUT] == 0.6e9
    assert down.rates[Layer.IP] == pytest.approx(0.6e9 * 1500 / 1448)
    assert dict(said.errors) == {way: {"refused": 1} for way in (Direction.REVERSE, Direction.FORWARD)}
    assert not said.untested
    spoiled = by_lines(agent(STARVED, STARVED).exposition()).lines[LINE]
    assert spoiled.errors == {Direction.REVERSE: {"spoiled": 2}, Direction.FORWARD: {}}
    waiting = agent()
    waiting.lines[0][1].skip(Untested.USERS_TRAFFIC)
    idle = by_lines(waiting.exposition()).lines[LINE]
    assert (idle.last, idle.untested) == ({}, {"users_traffic": 1})


def test_an_agent_of_before() -> None:
    """Tells of no test that a host has spoiled, and is read all the same."""
    text = agent(GOOD, SHORT).exposition()
    old = "\n".join(line for line in text.split("\n") if 'result="spoiled"' not in line)
    assert len(old) < len(text)
    assert by_lines(old).readings[-1] == by_lines(text).readings[-1]


def test_a_line_that_only_measures_is_held_against_nothing() -> None:
    """Nothing is promised, so nothing is an outcome; of what bounded it nothing need be known."""
    made = agent()
    free = LineRecord({Way.DOWN: None}, Confirmation())
    free.take([Tried({Way.DOWN: judge(Way.DOWN, Rate(1e9, 1e9, 1e9, 4), SIZES)})], ENDED_NS)
    made.lines = [(LABELS, free)]
    read = by_lines(made.exposition())
    one = read.readings[-1]
    assert (one.sent, one.limits, one.directions[Direction.REVERSE].packets) == (1, {}, 0)
    assert isinstance(last := read.lines[LINE].last[Direction.REVERSE], LastTest)
    assert last.cause is None


@pytest.mark.parametrize("paths", [0, 1])
def test_a_layout_reads_of_lines_what_is_read_line_by_line(paths: int) -> None:
    """And hands on the same columns for as long as it is the same lines with the same floors."""
    made = agent(GOOD, paths=paths)
    layout = Layout.learned("wuhan", made.exposition().encode())
    assert layout is not None
    columns = []
    for turn in (SHORT, REFUSED, SHORT):
        made.lines[0][1].take([turn], ENDED_NS)
        made.run(10)
        text = made.exposition()
        read = layout.read(text.encode(), TAKEN_NS)
        assert read is not None
        assert [*read.readings] == [*by_lines(text).readings]
        assert read.lines == by_lines(text).lines
        columns.append(getattr(read.readings, "of"))  # noqa: B009 - of whatever kind they are
    assert columns[0] is columns[1] is columns[2]
    other = LineRecord({**FLOORS, Way.UP: Floor(50e6)}, Confirmation())
    other.take([GOOD], ENDED_NS)
    made.lines = [(LABELS, other)]
    changed = layout.read(made.exposition().encode(), TAKEN_NS)
    assert changed is not None
    assert getattr(changed.readings, "of") is not columns[0]  # noqa: B009


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('result="pass"', 'result="great"', "'great' is not a valid Result"),
        ('direction="down"', 'direction="left"', "'left' is not a valid Way"),
        ('cause="path_rate"', 'cause="bad luck"', "'bad luck' is not a valid Cause"),
        ('layer="ip"', 'layer="air"', "'air' is not a valid Layer"),
        (',reason="refused"', "", "unknown or missing label 'reason'"),
    ],
)
def test_what_no_agent_says_is_refused(old: str, new: str, message: str) -> None:
    """Line by line it is said why; a layout leaves it to that."""
    made = agent(SHORT, REFUSED)
    good = made.exposition()
    layout = Layout.learned("wuhan", good.encode())
    assert layout is not None
    text = good.replace(old, new)
    assert text != good
    assert layout.read(text.encode(), TAKEN_NS) is None
    with pytest.raises(IncompleteError, match=message):
        by_lines(text)


def test_a_line_is_taken_whole() -> None:
    """What lacks a result would be taken for 0; a line of another site's agent is no line of this one."""
    lines = agent(GOOD).exposition().splitlines(keepends=True)
    without = [one for one in lines if not ("throughput_tests_total" in one and 'result="fail"' in one)]
    with pytest.raises(IncompleteError, match="throughput_tests_total: 2 missing"):
        by_lines("".join(without))
    none = [one for one in lines if "throughput_tests_total{" not in one]
    with pytest.raises(IncompleteError, match="throughput_tests_total: all missing"):
        by_lines("".join(none))
    once = next(one for one in lines if "throughput_tests_total{" in one)
    with pytest.raises(IncompleteError, match="told twice of wuhan"):
        by_lines("".join([*lines, once]))
    made = agent(GOOD)
    layout = Layout.learned("wuhan", made.exposition().encode())
    assert layout is not None
    made.lines = [(PathLabels("yichang", "a", "pilot", "", LINE_KIND, 0), record(GOOD))]
    assert layout.read(made.exposition().encode(), TAKEN_NS) is None
    with pytest.raises(IncompleteError, match="it is the agent of yichang, not of wuhan"):
        by_lines(made.exposition())


@pytest.mark.parametrize("value", ["-1", "NaN", "+Inf"])
def test_a_rate_is_a_number(value: str) -> None:
    """Of no other is anything said."""
    lines = agent(GOOD).exposition().splitlines(keepends=True)
    broken = [
        f"{one.rpartition(' ')[0]} {value}\n"
        if one.startswith("isochrone_throughput_bits_per_second{")
        else one
        for one in lines
    ]
    with pytest.raises(IncompleteError, match="is no rate"):
        by_lines("".join(broken))
