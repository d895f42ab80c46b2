"""The lean parser against prometheus-client's own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector.sources.sample import Sample
from collector.sources.samples import NEEDED
from collector.sources.text_format import parse
from tests.support.simulated import SimulatedAgent, SimulatedPath


def by_the_library(text: str, needed: tuple[str, ...]) -> list[Sample]:
    """What prometheus-client reads."""
    return [
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in needed
    ]


def test_an_agents_exposition_is_read_as_the_library_reads_it() -> None:
    """Every needed sample, in order, with the same labels and value."""
    agent = SimulatedAgent([SimulatedPath(late_forward=0.2, lost_reverse=0.1)])
    agent.clock_bound_ns = None
    agent.run(100)
    assert parse(agent.exposition(), NEEDED) == by_the_library(agent.exposition(), NEEDED)


@given(
    st.dictionaries(st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_]{0,5}\Z"), st.text(max_size=12), max_size=4),
    st.floats(),
)
def test_whatever_the_library_writes_is_read_as_it_was_meant(labels: dict[str, str], value: float) -> None:
    """Any label value survives: quotes, backslashes, line breaks, braces, commas, other scripts."""
    registry = CollectorRegistry()
    gauge = Gauge("given", "Given.", list(labels), registry=registry)
    (gauge.labels(**labels) if labels else gauge).set(value)
    (sample,) = parse(generate_latest(registry).decode(), ("given",))
    assert (sample.name, sample.labels) == ("given", labels)
    assert sample.value == value or (math.isnan(sample.value) and math.isnan(value))


def test_a_name_that_only_begins_like_a_needed_one_is_left_out() -> None:
    """`given_total` is not `given`."""
    assert [one.name for one in parse("given_total 1\ngiven 2\n", ("given",))] == ["given"]


def test_a_timestamp_is_accepted_and_dropped() -> None:
    """Agents write none; what stands between may."""
    assert parse('given{a="b"} 1.5 1700000000000\n', ("given",)) == [Sample("given", {"a": "b"}, 1.5)]


@pytest.mark.parametrize(
    "line",
    [
        "given",
        "given ",
        "given one",
        "given 1_000",
        "given{} ",
        'given{a="b"',
        'given{a="b"}1',
        "given{a=b} 1",
        'given{="b"} 1',
        'given{a="b"c="d"} 1',
        'given{a="b",} 1',
        'given{a="b"} 1 2 3',
        'given{a="b"} 1 x',
        r'given{a="\q"} 1',
        'given{a="b",a="c"} 1',
        'given{1a="b"} 1',
        'given{ä="b"} 1',
    ],
)
def test_what_is_no_sample_is_refused(line: str) -> None:
    """With the line, or its beginning, in the message."""
    with pytest.raises(ValueError, match=r"."):
        parse(f"{line}\n", ("given",))


def test_a_hostile_line_takes_no_time() -> None:
    """A megabyte of backslashes, quotes or commas is refused at once, and only its beginning is shown."""
    for filler in ("\\", '"', ",", 'a="', 'a="b",', " "):
        with pytest.raises(ValueError, match=r"^.{1,200}$"):
            parse(f"given{{{filler * 200_000}\n", ("given",))
        with pytest.raises(ValueError, match=r"^.{1,200}$"):
            parse(f"given{{{filler * 200_000}x}} 1\n", ("given",))
