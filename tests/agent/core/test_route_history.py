"""What is known of a path's way over time."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.core.route import Answer, AnswerKind, Flow, Hop, Route
from agent.core.route_history import RouteHistory, TraceResult

FLOW = Flow("192.0.2.1", 40_000, "192.0.2.9", 862, 0)


def route(at: int, *hops: str, reached: bool = True) -> Route:
    """A route whose trace began then, through these hops, empty for a silent one."""
    answers = [(Answer(hop, 1_000_000, AnswerKind.TIME_EXCEEDED, 0),) if hop else () for hop in hops]
    return Route(FLOW, at * 1000, tuple(Hop(ttl, 1, one) for ttl, one in enumerate(answers, 1)), reached)


def test_a_change_begins_an_episode() -> None:
    """The same way goes on, however often it is traced; another one is a change, and so is the way back."""
    history = RouteHistory()
    assert history.current is None
    ways = [("a", "z"), ("a", "z"), ("b", "z"), ("b", "z"), ("a", "z")]
    assert [history.traced(route(at, *way)) for at, way in enumerate(ways)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert history.changes == 2
    assert [(one.traces, one.first_ns, one.last_ns) for one in history.episodes] == [
        (2, 0, 1000),
        (2, 2000, 3000),
        (1, 4000, 4000),
    ]
    assert history.current is not None
    assert history.current.fingerprint == history.episodes[0].fingerprint != history.episodes[1].fingerprint


def test_silence_is_no_change() -> None:
    """A router that says nothing for once, and a trace that nothing answered, leave the way what it was."""
    history = RouteHistory()
    for at, hops in enumerate([("a", "b", "z"), ("a", "", "z"), ("", "b", "z")]):
        assert not history.traced(route(at, *hops))
    assert not history.traced(route(4, "", reached=False))
    assert (history.changes, len(history.episodes)) == (0, 1)
    assert history.results == {TraceResult.REACHED: 3, TraceResult.UNREACHED: 1}


def test_what_came_to_nothing_is_counted() -> None:
    """By reason; of the way it says nothing."""
    history = RouteHistory()
    history.not_traced(TraceResult.NOT_PERMITTED)
    history.not_traced(TraceResult.FAILED)
    assert history.current is None
    assert history.document() == {
        "changes": 0,
        "traces": {"reached": 0, "unreached": 0, "not_permitted": 1, "failed": 1},
        "episodes": [],
    }


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.integers(1, 5))
def test_history_is_bounded_and_adds_up(ways: list[str], kept: int) -> None:
    """As many episodes as there is room for, the latest; changes are where neighbours differ; every trace counts."""
    history = RouteHistory(kept)
    for at, way in enumerate(ways):
        history.traced(route(at, way, "z"))
    changes = sum(one != other for one, other in pairwise(ways))
    assert history.changes == changes
    assert len(history.episodes) == min(kept, changes + bool(ways))
    assert sum(history.results.values()) == len(ways)
    document = json.loads(json.dumps(history.document()))
    assert len(document["episodes"]) == len(history.episodes)
    if ways:
        assert document["episodes"][-1]["last"]["hops"][0]["address"] == ways[-1]


def test_the_whole_first_and_last_trace_are_evidence() -> None:
    """Of each episode, with their times."""
    history = RouteHistory()
    first, last = route(1, "a", "z"), replace(route(2, "a", "z"), unidentified=3)
    history.traced(first)
    history.traced(last)
    (episode,) = history.document()["episodes"]
    assert (episode["first"], episode["last"], episode["traces"]) == (first.document(), last.document(), 2)
