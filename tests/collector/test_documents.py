"""What leaves as JSON, and the words that people read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.core.outcome import Direction, Limit, Operator
from collector.alerts.alertmanager import alert
from collector.documents import (
    breach_document,
    breach_summary,
    judgement_document,
    limit_text,
    local_time,
    promise_name,
    utc_time,
)
from collector.sla.breach import Breach, BreachKey
from collector.sla.measure import Measure
from collector.sla.names import duration_name, percent
from collector.sla.verdict import Verdict
from tests.support.verdicts import NAMES, NOW_NS, SECOND_NS, breach, closed, judgement, line_judgement


def test_times_are_utc_for_machines_and_local_with_their_offset_for_people() -> None:
    """One moment reads as UTC to the millisecond, and as Shanghai time with +08:00."""
    assert utc_time(NOW_NS) == "2026-11-23T04:15:59.123Z"
    assert local_time(NOW_NS) == "2026-11-23 12:15:59 +08:00"


def test_local_time_crosses_midnight_before_utc_does() -> None:
    """16:00 UTC is the next day in Shanghai."""
    assert local_time(1_795_449_600 * SECOND_NS) == "2026-11-24 00:00:00 +08:00"


@pytest.mark.parametrize(
    ("amount", "en", "zh"),
    [
        (0, "0 s", "0 秒"),
        (59, "59 s", "59 秒"),
        (60, "1 min", "1 分钟"),
        (200, "3 min 20 s", "3 分钟 20 秒"),
        (3_600, "1 h", "1 小时"),
        (90_061, "1 d 1 h", "1 天 1 小时"),
        (86_460, "1 d", "1 天"),
    ],
)
def test_a_duration_is_told_by_its_two_largest_units(amount: int, en: str, zh: str) -> None:
    """Nobody reads seconds of a day."""
    name = duration_name(amount * SECOND_NS)
    assert name.en == en
    assert name.zh == zh


@pytest.mark.parametrize(
    ("share", "beside", "text"),
    [
        (0.001, (), "0.100%"),
        (0, (), "0.000%"),
        (1, (), "100.000%"),
        (1 - 0.9999999, (), "0.00001%"),
        (0.000_012_3, (), "0.0012%"),
        (0.001_000_4, (0.001,), "0.10004%"),
        (0.001, (0.001,), "0.100%"),
        (1e-15, (), "0.000000000%"),
    ],
)
def test_a_share_reads_as_neither_nothing_nor_another(
    share: float, beside: tuple[float, ...], text: str
) -> None:
    """What P99.99999 allows is not 0.000 %, and what is above 0.1 % does not read as 0.1 %."""
    assert percent(share, *beside) == text


def test_a_limit_keeps_its_operator() -> None:
    """Below 1 ms and at most 10 ms are different promises."""
    assert limit_text(Limit(1_000_000, Operator.BELOW)) == "< 1 ms"
    assert limit_text(Limit(10_000_000, Operator.AT_MOST)) == "≤ 10 ms"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_judgement_leaves_nothing_out(verdict: Verdict) -> None:
    """Counts, shares, bounds, window, reason in both languages; and it is JSON."""
    one = judgement(verdict)
    document = json.loads(json.dumps(judgement_document(one, NAMES), allow_nan=False))
    assert document["verdict"] == verdict.name
    assert sum(document["counts"].values()) == document["packets"] == one.packets
    assert set(document["counts"]) == {"within", "over", "uncertain", "lost", "unattributed"}
    assert document["violation_bound"] == {"lower": one.bound_lower, "upper": one.bound_upper}
    assert document["limit"] == {"operator": "<=", "seconds": 0.01}
    assert document["window"]["seconds"] == 300
    assert document["reason"]["zh"]
    assert document["reason"]["en"]
    assert (document["delay"]["p99"] is None) == (one.delay_p99_ns is None)


def test_the_overflow_bucket_has_no_upper_edge() -> None:
    """A percentile beyond the last edge is above it, and nothing else is known."""
    document = judgement_document(replace(judgement(), delay_p99_ns=(SECOND_NS, None)), NAMES)
    assert document["delay"]["p99"] == {"above_seconds": 1.0, "at_most_seconds": None}


def test_what_tells_how_many_packets_are_independent_is_printed_in_whole_numbers() -> None:
    """Sums over blocks of each length for either bound, and what a longer history has told."""
    document = json.loads(json.dumps(judgement_document(judgement(), NAMES)))
    sums = {"lower": [9, 1_800, 1_800_000], "upper": [16, 2_400, 1_800_000]}
    assert document["blocks"] == [{"minutes": 1, **sums}, {"minutes": 3, **sums}]
    assert document["prior_design_effect"] == 1.5
    assert judgement_document(replace(judgement(), blocks=None), NAMES)["blocks"] is None


def test_an_open_breach_says_since_when_and_a_closed_one_how_long() -> None:
    """The summary is a sentence that stands by itself."""
    open_breach = breach()
    summary = breach_summary(open_breach, NAMES)
    assert summary.zh == "时延违约：武汉 → 庆阳 去程（承诺 ≤ 10 ms，P99.9），始于 2026-11-23 12:12:39 +08:00"
    assert summary.en == (
        "Latency breach: Wuhan → Qingyang, forward (promised ≤ 10 ms, P99.9), since 2026-11-23 12:12:39 +08:00"
    )
    ended = breach_summary(closed(open_breach), NAMES)
    assert ended.zh.endswith("2026-11-23 12:15:59 +08:00 恢复，历时 3 分钟 20 秒")
    assert ended.en.endswith("at 2026-11-23 12:15:59 +08:00 after 3 min 20 s")


def test_a_breach_carries_the_evidence_that_opened_and_closed_it() -> None:
    """Both judgements are in the document; the closing one only when there is one."""
    open_breach = breach(direction=Direction.REVERSE)
    document = breach_document(open_breach, NAMES)
    assert document["state"] == "open"
    assert document["opening"]["verdict"] == "FAIL"
    assert document["closing"] is None
    assert document["closed_at"] is None
    ended = breach_document(closed(open_breach), NAMES)
    assert ended["state"] == "closed"
    assert ended["closing"]["verdict"] == "PASS"
    assert ended["local"]["closed_at"] == "2026-11-23 12:15:59 +08:00"


def test_what_has_no_name_is_called_by_its_identifier() -> None:
    """A site that has left the fleet file still has breaches."""
    unknown = replace(breach().key.path, source="gone")
    document = breach_document(breach(path=unknown), NAMES)
    assert document["source_name"] == {"zh": "gone", "en": "gone"}


@pytest.mark.parametrize(
    ("measure", "zh", "en"),
    [
        (Measure.DELAY, "≤ 10 ms，P99.9", "≤ 10 ms, P99.9"),
        (Measure.LOSS, "丢包 ≤ 0.100%", "loss ≤ 0.100%"),
        (Measure.DELAY_VARIATION, "时延变化 ≤ 0.5 ms，P99.9", "variation ≤ 0.5 ms, P99.9"),
        (Measure.AVAILABILITY, "可用性 ≥ 99.9 %", "availability ≥ 99.9 %"),
        (Measure.BUDGET, "误差预算 0.100%", "error budget of 0.100%"),
    ],
)
def test_a_promise_is_called_by_what_is_measured(measure: Measure, zh: str, en: str) -> None:
    """With its limit or share."""
    variation = Limit(500_000, Operator.AT_MOST) if measure is Measure.DELAY_VARIATION else None
    name = promise_name(replace(judgement(), measure=measure, variation=variation))
    assert (name.zh, name.en) == (zh, en)


def test_a_line_is_told_in_rates_and_ways() -> None:
    """Down, a floor at its layer, the last test; never a delay."""
    document = judgement_document(line_judgement(), NAMES)
    assert (document["direction"], document["measure"]) == ("down", "throughput")
    assert document["limit"] == {"operator": ">=", "bits_per_second": 1e9, "layer": "ip"}
    assert document["last_test"] == {
        "bits_per_second": {"ip": 620e6, "goodput": 590e6},
        "limited_by": "path_rate",
        "ended_at": "2026-11-23T04:14:59.123Z",
    }
    assert document["delay"] == {"p50": None, "p99": None, "least_seconds": None, "buckets": []}
    assert judgement_document(judgement(), NAMES)["last_test"] is None
    opening = line_judgement()
    key = BreachKey(opening.path, opening.direction, opening.objective)
    broken = Breach("b1", key, NOW_NS, opening)
    assert breach_document(broken, NAMES)["direction"] == "down"
    assert breach_summary(broken, NAMES).zh.startswith(
        "吞吐量违约：武汉 → optics 下行（承诺 ≥ 1 Gbit/s（IP 层）），始于"
    )
    assert alert(broken, NAMES, "http://page/", NOW_NS)["labels"]["direction"] == "down"
