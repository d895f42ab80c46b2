"""The text of all paths' counts, read back by prometheus-client's own parser."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agent.core import metrics
from agent.core.histogram import EDGES_SECONDS
from agent.core.outcome import Outcome
from agent.path_exposition import render_paths
from collector.sla.verdict import PathKey
from tests.support.counting import HUB_LIMIT
from tests.support.simulated import SimulatedPath

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def counted(seed: int, *targets: str) -> list[SimulatedPath]:
    """Paths to these targets, each with some counts."""
    rng = random.Random(seed)
    paths = [SimulatedPath(PathKey("wuhan", target, "hub", 'a"b\\', "stamp", 46)) for target in targets]
    for number, path in enumerate(paths):
        path.restart(None if number == 0 else 1_700_000_000_250_000_000 + number)
        path.lost_forward, path.late_forward = rng.random() / 4, rng.random() / 4
        for _ in range(rng.randrange(40)):
            path.probe(rng)
    return paths


# what is read back has up to 50,000 samples
@settings(max_examples=40)
@given(st.lists(words, min_size=1, max_size=70, unique=True), st.integers())
def test_what_is_read_back_is_what_was_counted(targets: list[str], seed: int) -> None:
    """Whatever the names, every path's counts come back under its own labels, in as many pieces as it takes."""
    paths = counted(seed, *targets)
    for path in paths:
        path.ledger.not_sent['no "route"\n'] = 3
    found: dict[str, dict[str, dict[tuple[str, ...], float]]] = defaultdict(lambda: defaultdict(dict))
    for family in text_string_to_metric_families("".join(render_paths(paths, 0))):
        for sample in family.samples:
            extra = tuple(value for name, value in sample.labels.items() if name not in metrics.PATH_LABELS)
            found[sample.labels["target"]][sample.name][extra] = sample.value
    assert set(found) == set(targets)
    for path in paths:
        ledger, mine = path.ledger, found[path.ledger.labels.target]
        assert mine[metrics.PROBE_SENT][()] == ledger.sent
        assert mine[metrics.PROBE_IN_FLIGHT][()] == ledger.in_flight
        assert mine[metrics.PROBE_NOT_SENT] == {('no "route"\n',): 3}
        assert mine[metrics.TARGET_RESOLVED][()] == 1
        assert mine[metrics.LOSS_THRESHOLD][()] == path.timeout_ns / 1e9
        assert mine[metrics.PROBE_INTERVAL][()] == path.interval_ns / 1e9
        begun_ns = ledger.begun_ns
        assert mine[metrics.PATH_START] == ({} if begun_ns is None else {(): begun_ns // 1_000_000 / 1000})
        for direction, counts in ledger.directions():
            for outcome in Outcome:
                assert (
                    mine[metrics.PROBE_OUTCOMES][direction.value, outcome.label] == counts.outcomes[outcome]
                )
            delay, buckets = counts.delay, mine[f"{metrics.DELAY}_bucket"]
            assert [buckets[direction.value, str(edge)] for edge in EDGES_SECONDS] == delay.cumulative()[:-1]
            assert buckets[direction.value, "+Inf"] == delay.total
            assert mine[f"{metrics.DELAY}_count"][direction.value,] == delay.total
            assert mine[f"{metrics.DELAY}_sum"][direction.value,] == pytest.approx(delay.sum_ns / 1e9)
            minimum_ns = counts.minimum_ns(0)
            assert mine[metrics.DELAY_MIN].get((direction.value,)) == (
                None if minimum_ns is None else minimum_ns / 1e9
            )
        assert mine[metrics.DELAY_LIMIT]["forward", "<="] == HUB_LIMIT.limit_ns / 1e9


def test_all_pieces_are_of_one_moment() -> None:
    """What is counted while the text is being made shows up in the next text, in no part of this one."""
    paths = counted(1, *(f"t{number}" for number in range(100)))
    expected = "".join(render_paths(paths, 0))
    pieces = render_paths(paths, 0)
    text = next(pieces)
    rng = random.Random(2)
    for piece in pieces:
        text += piece
        for path in paths:
            path.probe(rng)
            path.ledger.not_sent["overdue"] += 1
    assert text == expected
    assert "".join(render_paths(paths, 0)) != expected


def test_only_the_families_that_are_wanted_are_written() -> None:
    """Whole, as they stand among all others; by their own names or those of their samples."""
    paths = counted(3, "a", "b")
    wanted = {metrics.PROBE_SENT, f"{metrics.DELAY}_bucket", metrics.DELAY_LIMIT}
    text = "".join(render_paths(paths, 0))
    some = "".join(render_paths(paths, 0, wanted))
    kept = (metrics.PROBE_SENT, metrics.DELAY, metrics.DELAY_LIMIT)
    families = text_string_to_metric_families(text)
    expected = [
        family for family in families if family.name in (*kept, metrics.PROBE_SENT.removesuffix("_total"))
    ]
    assert [*text_string_to_metric_families(some)] == expected
    assert len(expected) == len(kept)
    assert "".join(render_paths(paths, 0, ())) == ""


def test_without_paths() -> None:
    """An agent that only reflects has families without samples."""
    assert all(line.startswith("#") for line in "".join(render_paths([], 0)).splitlines())
