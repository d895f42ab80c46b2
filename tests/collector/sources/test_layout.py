"""What a layout reads is what the reading line by line reads, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import metrics
from agent.core.outcome import Limit, Operator
from collector.sla.verdict import PathKey
from collector.sources.layout import Layout
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse
from tests.support.counting import HUB_LIMIT, MS, OTHER_PATH, PATH
from tests.support.simulated import SimulatedAgent, SimulatedPath

TAKEN_NS = 1_700_000_100_000_000_000


def agent(site: str = "wuhan", seed: int = 1) -> SimulatedAgent:
    """An agent of two paths to which everything has happened."""
    paths = [
        SimulatedPath(replace(PATH, source=site), late_forward=0.1, lost_forward=0.05, lost_somewhere=0.03),
        SimulatedPath(replace(OTHER_PATH, source=site, target='a "b" \\ c\nd é}'), lost_reverse=0.04),
    ]
    paths[1].restart(1_700_000_050_500_000_000)
    made = SimulatedAgent(paths, seed=seed)
    made.run(300)
    return made


def line_by_line(text: str, site: str = "wuhan") -> AgentReading:
    """The reading that others are held against, its readings as a list."""
    one = agent_reading(site, parse(text, NEEDED), TAKEN_NS)
    return replace(one, readings=[*one.readings])


def by_layout(layout: Layout | None, text: str) -> AgentReading | None:
    """The same through a layout."""
    one = None if layout is None else layout.read(text.encode(), TAKEN_NS)
    return one and replace(one, readings=[*one.readings])


def learned(text: str, site: str = "wuhan") -> Layout:
    """The layout of an exposition that has one."""
    layout = Layout.learned(site, text.encode())
    assert layout is not None
    return layout


def test_every_reading_is_that_of_its_lines() -> None:
    """Scrape after scrape, while counts grow by digits and the clock comes and goes."""
    counting = agent()
    layout = learned(counting.exposition())
    for probes in (1, 9, 90, 900):
        counting.clock_bound_ns = None if probes == 9 else 1_000 * probes
        counting.run(probes)
        text = counting.exposition()
        assert by_layout(layout, text) == line_by_line(text)


def test_a_load_is_another_layout_and_the_same_reading() -> None:
    """Its lines come with the first load of a path, and stay; what they lack breaks the law."""
    counting = agent()
    before = learned(counting.exposition())
    counting.paths[0].loaded = True
    counting.run(200)
    text = counting.exposition()
    assert by_layout(before, text) is None
    layout = learned(text)
    for _ in range(2):
        assert by_layout(layout, text) == line_by_line(text)
        counting.run(100)
        text = counting.exposition()
    lines = text.splitlines(keepends=True)
    lost = next(
        number for number, line in enumerate(lines) if line.startswith(f"{metrics.PROBE_UNDER_LOAD}{{")
    )
    lacking = "".join(lines[:lost] + lines[lost + 1 :])
    assert by_layout(Layout.learned("wuhan", lacking.encode()), lacking) is None


def test_whose_counts_they_are_is_one_object_until_something_begins_anew() -> None:
    """So that nothing that follows from it is worked out at every scrape."""
    counting = agent()
    layout = learned(counting.exposition())

    def counted() -> object:
        one = layout.read(counting.exposition().encode(), TAKEN_NS)
        assert one is not None
        return getattr(one.readings, "of")  # noqa: B009 - a Sequence[Reading] to the type checker

    first = counted()
    counting.run(5)
    assert counted() is first
    counting.epoch = 1_700_000_060.5
    counting.run(5)
    second = counted()
    assert second is not first
    counting.paths[1].restart(1_700_000_070_500_000_000)
    counting.run(50)
    assert counted() is not second


def test_the_layout_of_one_agent_serves_another() -> None:
    """Whose paths have other labels; each is read by its own."""
    mine = learned(agent().exposition())
    text = agent("yichang-east", seed=2).exposition()
    theirs = mine.of_another("yichang-east", text.encode())
    assert by_layout(theirs, text) == line_by_line(text, "yichang-east")
    assert by_layout(mine, text) is None
    assert mine.of_another("beijing", text.encode()) is None


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "isochrone_probe_sent_total{} x\n", "<html>Welcome to nginx!</html>\n"]
)
def test_what_is_no_exposition_of_an_agent_is_read_by_no_layout(text: str) -> None:
    """Neither one that was learned from it nor another agent's."""
    assert by_layout(Layout.learned("wuhan", text.encode()), text) is None
    other = learned(agent().exposition()).of_another("wuhan", text.encode())
    assert by_layout(other, text) is None


def renamed(paths: list[SimulatedPath]) -> list[SimulatedPath]:
    """The first one marked otherwise."""
    return [SimulatedPath(replace(PATH, dscp=46)), *paths[1:]]


def limited(paths: list[SimulatedPath]) -> list[SimulatedPath]:
    """The first one held against another limit."""
    return [SimulatedPath(PATH, Limit(5 * MS, Operator.BELOW)), *paths[1:]]


def restarted(paths: list[SimulatedPath]) -> list[SimulatedPath]:
    """All counts zero."""
    return [SimulatedPath(path.key) for path in paths]


@pytest.mark.parametrize(
    "change",
    [
        lambda paths: paths[:1],
        lambda paths: [*paths, SimulatedPath(PathKey("wuhan", "new", "hub", "", "stamp", 0))],
        lambda paths: paths[::-1],
        renamed,
        limited,
        restarted,
    ],
)
def test_a_change_of_what_is_counted_is_another_layout(
    change: Callable[[list[SimulatedPath]], list[SimulatedPath]],
) -> None:
    """Which is learned; the old one reads nothing of it that is not there."""
    counting = agent()
    layout = learned(counting.exposition())
    counting.paths = change([*counting.paths])
    counting.run(3)
    text = counting.exposition()
    assert by_layout(layout, text) in (None, line_by_line(text))
    assert by_layout(learned(text), text) == line_by_line(text)


def test_a_limit_that_changes_its_number_alone_is_seen() -> None:
    """It stands where values stand, and belongs to the layout."""
    text = agent().exposition()
    layout = learned(text)
    other = re.sub(r'(isochrone_delay_limit_seconds\{.*"forward".*\}) 0\.01\n', r"\1 0.02\n", text)
    assert other != text
    assert HUB_LIMIT.limit_ns == 10 * MS
    assert by_layout(layout, other) is None
    assert by_layout(learned(other), other) == line_by_line(other)


@pytest.mark.parametrize(
    "value", ["1e3", "-1", "1.0", "+Inf", "1_0", "1 2", "", "9" * 15, "9" * 16, "9" * 40, "x"]
)
def test_an_odd_value_is_read_as_its_line_is_or_not_at_all(value: str) -> None:
    """Never as another one."""
    text = agent().exposition()
    layout = learned(text)
    for metric in (
        "probe_sent_total",
        "delay_min_seconds",
        "path_start_time_seconds",
        "clock_error_bound_seconds",
    ):
        other = re.sub(rf"(?m)^(isochrone_{metric}\{{.*\}}) \S+$", rf"\1 {value}", text, count=1)
        assert other != text
        try:
            expected: AgentReading | None = line_by_line(other)
        except ValueError:
            expected = None
        assert by_layout(layout, other) in (None, expected)


TEXT = agent().exposition()
LAYOUT = learned(TEXT)


@given(st.data())
def test_damage_is_never_read_as_something_else(data: st.DataObject) -> None:
    """Lines dropped, cut, doubled or swapped: by the old layout, or one that is learned from the damage."""
    lines = TEXT.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["cut", "swap", "move", "double"])):
            case "cut":
                cut = data.draw(st.integers(0, len(lines[at])))
                insert = data.draw(
                    st.sampled_from(["", " ", "}", "{", '"', "1", "0", "\\", ",", "#", "é", "+"])
                )
                lines[at] = lines[at][:cut] + insert + lines[at][cut + data.draw(st.integers(0, 3)) :]
            case "swap":
                lines[at], lines[other] = lines[other], lines[at]
            case "move":
                lines.insert(other, lines.pop(at))
            case _:
                lines[at] = lines[other]
    text = "\n".join(lines) + "\n"
    try:
        expected: AgentReading | None = line_by_line(text)
    except ValueError:
        expected = None
    for layout in (LAYOUT, Layout.learned("wuhan", text.encode()), LAYOUT.of_another("wuhan", text.encode())):
        assert by_layout(layout, text) in (None, expected)
