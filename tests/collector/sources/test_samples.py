"""Samples into readings: whole, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import metrics
from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.sources.sample import IncompleteError
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse
from tests.support.counting import HUB_LIMIT, OTHER_PATH, PATH
from tests.support.exposition import assert_law
from tests.support.simulated import SimulatedAgent, SimulatedPath

TAKEN_NS = 1_700_000_100_000_000_000


def read(text: str, site: str = "wuhan") -> AgentReading:
    """The reading of an exposition."""
    return agent_reading(site, parse(text, NEEDED), TAKEN_NS)


def busy_agent() -> SimulatedAgent:
    """An agent to which everything has happened."""
    agent = SimulatedAgent(
        [
            SimulatedPath(late_forward=0.1, lost_forward=0.05, lost_reverse=0.04, lost_somewhere=0.03),
            SimulatedPath(OTHER_PATH, resolved=False),
        ]
    )
    agent.run(500)
    return agent


@pytest.fixture(scope="module")
def text() -> str:
    """Its exposition."""
    return busy_agent().exposition()


def test_the_simulated_agent_obeys_the_law(text: str) -> None:
    """What the other tests stand on."""
    assert_law(text)


def test_a_reading_is_what_the_ledger_counted() -> None:
    """Every count of every direction, to the packet."""
    agent = busy_agent()
    one = read(agent.exposition())
    assert (one.up, one.reason, one.site) == (True, "", "wuhan")
    assert [reading.path for reading in one.readings] == [PATH, OTHER_PATH]
    for reading, path in zip(one.readings, agent.paths, strict=True):
        assert (reading.epoch, reading.taken_ns) == (1_700_000_000.25, TAKEN_NS)
        assert (reading.sent, reading.in_flight) == (path.ledger.sent, path.ledger.in_flight)
        for direction, ledger in path.ledger.directions():
            assert list(reading.directions[direction].outcomes) == ledger.outcomes
            assert list(reading.directions[direction].delays) == ledger.delay.counts


def loaded_agent() -> SimulatedAgent:
    """An agent that went on probing while a throughput test filled one of its lines."""
    agent = busy_agent()
    agent.paths[0].loaded = True
    agent.run(300)
    agent.paths[0].loaded = False
    return agent


def test_what_was_sent_under_load_is_in_the_law_and_in_no_reading() -> None:
    """The counts that verdicts are reached by are those of all the other probes."""
    agent = loaded_agent()
    text = agent.exposition()
    assert_law(text)
    ledger = agent.paths[0].ledger
    assert min(ledger.round_trip.under_load[Outcome.LOST], ledger.forward.under_load[Outcome.LOST]) > 0
    one = read(text).readings[0]
    for direction, counted in ledger.directions():
        assert list(one.directions[direction].outcomes) == counted.outcomes
    assert f'{metrics.PROBE_UNDER_LOAD}{{source="wuhan",target="{OTHER_PATH.target}"' not in text


@pytest.mark.parametrize("direction", ["forward", "reverse", "round_trip"])
def test_what_is_missing_of_a_load_is_noticed(direction: str) -> None:
    """A path without any is one that never was under load; one that lacks some breaks the law."""
    lines = loaded_agent().exposition().splitlines()
    wanted = re.compile(rf'{metrics.PROBE_UNDER_LOAD}{{.*direction="{direction}",outcome="within"')
    rest = [line for line in lines if not wanted.match(line)]
    assert len(rest) == len(lines) - 1
    with pytest.raises(IncompleteError, match="not of one moment"):
        read("\n".join([*rest, ""]))


def test_a_reading_says_against_what_was_counted_and_whether_the_target_is_known(text: str) -> None:
    """Limits with their operators, and the state of the name."""
    first, second = read(text).readings
    assert first.limits[Direction.FORWARD] == HUB_LIMIT
    assert first.limits[Direction.ROUND_TRIP] == Limit(20_000_000, Operator.AT_MOST)
    assert (first.resolved, second.resolved) == (True, False)


def test_the_least_delays_and_the_start_of_a_path_are_read_where_the_agent_tells_them() -> None:
    """A path that measured nothing has no least delay; an agent may tell its own start alone."""
    agent = busy_agent()
    agent.paths[1].restart(1_700_000_050_500_000_000)
    first, second = read(agent.exposition()).readings
    forward = agent.paths[0].ledger.forward.minimum_ns(0)
    assert (first.minima_ns[Direction.FORWARD], first.since) == (forward, None)
    assert (second.minima_ns, second.since) == ({}, 1_700_000_050.5)


def test_a_least_delay_below_zero_is_kept(text: str) -> None:
    """Clocks that differ by more than the delay make it so; it is no reason to leave an agent unread."""
    negative = replaced(r"isochrone_delay_min_seconds\{.*\}", "-0.0002")(text)
    assert read(negative).readings[0].minima_ns[Direction.FORWARD] == -200_000


def test_the_clock_is_read_with_its_source(text: str) -> None:
    """A bound in nanoseconds, or none where the agent says infinity."""
    assert (read(text).clock_source, read(text).clock_bound_ns) == ("declared", 50_000)
    lost = busy_agent()
    lost.clock_bound_ns = None
    assert read(lost.exposition()).clock_bound_ns is None


def test_an_agent_without_paths_is_up_and_has_no_readings() -> None:
    """A site that only reflects."""
    one = read(SimulatedAgent([]).exposition())
    assert (one.up, one.readings) == (True, ())


def without(pattern: str) -> Callable[[str], str]:
    """Leave out all lines that match."""
    return lambda text: "\n".join(line for line in text.splitlines() if not re.search(pattern, line)) + "\n"


def replaced(pattern: str, value: str) -> Callable[[str], str]:
    """Give another value to the first line that matches."""
    return lambda text: re.sub(rf"(?m)^({pattern}) \S+$", rf"\1 {value}", text, count=1)


def doubled(pattern: str, value: str | None = None) -> Callable[[str], str]:
    """Say the first line that matches twice, the second time with another value."""

    def twice(found: re.Match[str]) -> str:
        head, said = found.groups()
        return f"{head}{said}\n{head}{said if value is None else value}"

    return lambda text: re.sub(rf"(?m)^({pattern} )(\S+)$", twice, text, count=1)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (doubled(r"isochrone_probe_sent_total\{.*\}", "7"), "told twice of wuhan → qingyang (stamp)"),
        (doubled(r"isochrone_probe_sent_total\{.*\}"), "told twice"),
        (
            doubled(r"isochrone_probe_outcomes_total\{.*\}", "0"),
            "twice of wuhan → qingyang (stamp) forward within",
        ),
        (doubled(r"isochrone_delay_seconds_bucket\{.*le=\"0.01\".*\}", "0"), "(stamp) forward 0.01"),
        (
            doubled(r"isochrone_delay_limit_seconds\{.*\}", "0.02"),
            "isochrone_delay_limit_seconds: told twice",
        ),
        (
            doubled(r"isochrone_probe_interval_seconds\{.*\}", "1"),
            "isochrone_probe_interval_seconds: told twice",
        ),
        (doubled("process_start_time_seconds", "1"), "process_start_time_seconds: told twice"),
        (replaced(r"isochrone_probe_interval_seconds\{.*\}", "0"), "no interval"),
        (replaced(r"isochrone_probe_interval_seconds\{.*\}", "-1"), "no time"),
        (without(r"^process_start_time_seconds "), "process_start_time_seconds"),
        (without(r"^isochrone_probe_sent_total"), "isochrone_probe_sent_total"),
        (without(r"^isochrone_probe_in_flight"), "isochrone_probe_in_flight"),
        (without(r"^isochrone_probe_outcomes_total.*reverse"), "isochrone_probe_outcomes_total reverse"),
        (without(r"outcome=\"lost\".*direction|direction=\"forward\".*outcome=\"lost\""), "missing"),
        (without(r"^isochrone_delay_seconds_bucket.*le=\"0.01\""), "isochrone_delay_seconds_bucket"),
        (without(r"^isochrone_delay_seconds_bucket.*forward"), "isochrone_delay_seconds_bucket forward"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "501"), "not of one moment"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "NaN"), "isochrone_probe_sent_total"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "+Inf"), "isochrone_probe_sent_total"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "-1"), "no count"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "1e300"), "no count"),
        (replaced(r"isochrone_delay_min_seconds\{.*\}", "1e300"), "no delay"),
        (replaced(r"process_start_time_seconds", "NaN"), "no time"),
        (replaced(r"process_start_time_seconds", "1e10"), "no time"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "0.5"), "no count"),
        (replaced(r"isochrone_probe_sent_total\{.*\}", "1e19"), "no count"),
        (replaced("process_start_time_seconds", "NaN"), "process_start_time_seconds"),
        (replaced("process_start_time_seconds", "+Inf"), "process_start_time_seconds"),
        (replaced(r"isochrone_delay_limit_seconds\{.*\}", "-0.001"), "no time"),
        (replaced(r"isochrone_clock_error_bound_seconds\{.*\}", "-1"), "no time"),
        (replaced(r"isochrone_delay_seconds_bucket\{.*le=\"\+Inf\".*\}", "0"), "falls"),
        (replaced(r"isochrone_probe_outcomes_total\{.*reverse.*outcome=\"within\".*\}", "3"), "reverse"),
        (lambda text: text.replace('outcome="within"', 'outcome="fine"'), "'fine'"),
        (lambda text: text.replace('direction="forward"', 'direction="up"'), "up"),
        (lambda text: text.replace('operator="<="', 'operator="about"'), "about"),
        (lambda text: text.replace('dscp="0"', 'dscp="x"'), "isochrone_probe_sent_total"),
        (lambda text: text.replace('dscp="0"', 'dscp="64"'), "no code point"),
        (lambda text: text.replace('kind="stamp",', ""), "'kind'"),
        (lambda text: text.replace('le="0.01"', 'le="0.011"'), "0.011"),
        (
            lambda text: text.replace('source="wuhan"', 'source="beijing"'),
            "the agent of beijing, not of wuhan",
        ),
        (lambda _: "", "process_start_time_seconds"),
        (lambda _: "<html>It works!</html>", "process_start_time_seconds"),
        (
            lambda text: text.replace("process_start_time_seconds ", "process_start_time_seconds x_"),
            "no sample",
        ),
        (lambda text: text.replace('dscp="0"', '="0"'), "no labels"),
    ],
)
def test_what_is_damaged_is_refused_and_named(damage: Callable[[str], str], named: str, text: str) -> None:
    """A missing count is not zero, counts of two moments are no counts, and another site's agent is not this one."""
    damaged = damage(text)
    assert damaged != text
    with pytest.raises(ValueError, match=re.escape(named)):
        read(damaged)


def test_an_empty_label_is_a_label_that_prometheus_leaves_out() -> None:
    """A site without a provider gives the same path whichever way it is read."""
    path = SimulatedPath(PATH.__class__("wuhan", "qingyang", "hub", "", "stamp", 0))
    agent = SimulatedAgent([path])
    agent.run(3)
    text = agent.exposition()
    assert read(text.replace('provider="",', "")).readings[0].path == path.key == read(text).readings[0].path


def test_labels_are_unescaped() -> None:
    """A quote, a backslash and a line break in a name survive, and so does a separator of lines that is none here."""
    path = SimulatedPath(PATH.__class__("wuhan", 'a "b" \\ c\nd\u2028e}', "hub", "x", "stamp", 0))
    agent = SimulatedAgent([path])
    agent.run(3)
    assert read(agent.exposition()).readings[0].path == path.key


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(garbage: str) -> None:
    """Whatever answers at an agent's address."""
    with pytest.raises(ValueError, match=r"."):
        read(garbage)


@given(st.data())
def test_any_damage_to_an_exposition_is_read_or_refused(data: st.DataObject) -> None:
    """Lines dropped, cut or swapped: a reading comes out only if it obeys the law."""
    lines = DAMAGEABLE.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        cut = data.draw(st.integers(0, len(lines[at])))
        insert = data.draw(st.sampled_from(["", " ", "}", "{", '"', "1", "\\", "=", ",", "#", "e", "-", "é"]))
        lines[at] = lines[at][:cut] + insert + lines[at][cut + data.draw(st.integers(0, 3)) :]
    try:
        one = read("\n".join(lines) + "\n")
    except ValueError:
        return
    for reading in one.readings:
        resolved = reading.sent - reading.in_flight
        assert reading.directions[Direction.ROUND_TRIP].packets == resolved
        forward = reading.directions[Direction.FORWARD]
        assert forward.packets == resolved
        assert reading.directions[Direction.REVERSE].packets == resolved - forward.outcomes[Outcome.LOST]


def _damageable() -> str:
    agent = SimulatedAgent([SimulatedPath(lost_forward=0.2)])
    agent.run(20)
    return agent.exposition()


DAMAGEABLE = _damageable()
