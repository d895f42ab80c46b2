"""Judgements, breaches and a collector's state for the tests of what leaves the collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction, Limit, Operator, Outcome
from agent.core.throughput.cause import Cause
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from collector.documents import Names
from collector.sla.breach import Breach, BreachEvent, BreachKey, Hysteresis, Watch, advance
from collector.sla.fault_watch import Standing
from collector.sla.faults import FaultKind
from collector.sla.line import LastTest
from collector.sla.measure import Measure
from collector.sla.names import Name
from collector.sla.verdict import BlockSums, Fault, Judgement, PathKey, Reason, Verdict
from collector.web.view import Fleet, Objective, Site, Tier

SECOND_NS = 1_000_000_000
MS = 1_000_000
NOW_NS = 1_795_407_359 * SECOND_NS + 123_456_789
"""2026-11-23 04:15:59.123 UTC, 12:15:59 in Shanghai."""

CUT_OFF = Fault("f1", FaultKind.UPLINK_DOWN, NOW_NS - 210 * SECOND_NS, "qingyang", paths=4, witnesses=2)
HUB_PATH = PathKey("wuhan", "qingyang", "hub", "telecom", "stamp", 0)

NAMES = Names(
    {"wuhan": Name("武汉", "Wuhan"), "qingyang": Name("庆阳", "Qingyang")},
    {"hub": Name("枢纽", "Hubs"), "city": Name("市内", "In the city")},
)

REASONS: Mapping[Verdict, Reason] = {
    Verdict.PASS: Reason(
        "upper_bound_meets",
        "3,000 个包中至多 0.08% 违约（95% 置信上界），未超过允许的 0.1%",
        "at most 0.08 % of 3,000 packets broke the promise (95 % upper bound), 0.1 % are allowed",
    ),
    Verdict.FAIL: Reason(
        "lower_bound_exceeds",
        "3,000 个包中至少 96.9% 违约（95% 置信下界），超过允许的 0.1%",
        "at least 96.9 % of 3,000 packets broke the promise (95 % lower bound), 0.1 % are allowed",
    ),
    Verdict.INDETERMINATE: Reason(
        "clock_cannot_prove",
        "时钟误差不足以证明：往返 14.4 ms 减去回程下限 4.13 ms，去程至多 10.27 ms，承诺 ≤ 10 ms",
        "the clocks cannot prove it: the round trip of 14.4 ms less the reverse floor of 4.13 ms leaves at most "
        "10.27 ms forward, the promise is ≤ 10 ms",
    ),
    Verdict.NO_DATA: Reason(
        "below_coverage",
        "窗口只覆盖了 20%，低于要求的 50%：代理读取失败",
        "only 20 % of the window is covered, 50 % are needed: the agent cannot be read",
    ),
}

COUNTS: Mapping[Verdict, Mapping[Outcome, int]] = {
    Verdict.PASS: {Outcome.WITHIN: 2999, Outcome.UNCERTAIN: 1},
    Verdict.FAIL: {Outcome.WITHIN: 61, Outcome.OVER: 2921, Outcome.LOST: 15, Outcome.UNATTRIBUTED: 3},
    Verdict.INDETERMINATE: {Outcome.WITHIN: 1200, Outcome.UNCERTAIN: 1790, Outcome.LOST: 10},
    Verdict.NO_DATA: {},
}


BLOCKS = tuple(BlockSums(minutes, (9, 1_800, 1_800_000), (16, 2_400, 1_800_000)) for minutes in (1, 3))


def judgement(
    verdict: Verdict = Verdict.PASS,
    path: PathKey = HUB_PATH,
    direction: Direction = Direction.FORWARD,
    *,
    limit_ms: float = 10,
    operator: Operator = Operator.AT_MOST,
    floor_ms: float = 4.13,
    delay_ms: tuple[float, float] = (5, 7.5),
    reason: Reason | None = None,
) -> Judgement:
    """A judgement that is true to itself; everything not said here follows from the verdict."""
    counts = COUNTS[verdict]
    packets = sum(counts.values())
    broken = counts.get(Outcome.OVER, 0) + counts.get(Outcome.LOST, 0)
    open_question = counts.get(Outcome.UNCERTAIN, 0) + counts.get(Outcome.UNATTRIBUTED, 0)
    lower = broken / packets if packets else None
    upper = (broken + open_question) / packets if packets else None
    bucket = (int(delay_ms[0] * MS), int(delay_ms[1] * MS)) if packets else None
    return Judgement(
        path=path,
        direction=direction,
        objective="detection",
        verdict=verdict,
        reason=reason or REASONS[verdict],
        limit=Limit(int(limit_ms * MS), operator),
        floor_ns=int(floor_ms * MS),
        percentile=99.9,
        window_start_ns=NOW_NS - 300 * SECOND_NS,
        window_end_ns=NOW_NS,
        counts=counts,
        violation_lower=lower,
        violation_upper=upper,
        bound_lower=None if lower is None else max(0.0, lower - 0.01),
        bound_upper=None if upper is None else min(1.0, upper + 0.0005),
        threshold=0.001,
        coverage=1.0 if packets else 0.2,
        delay_p50_ns=bucket,
        delay_p99_ns=bucket,
        blocks=BLOCKS if packets else (),
        prior_design_effect=1.5,
    )


LINE_PATH = PathKey("wuhan", "optics", "pilot", "mobile", LINE_KIND, 0)


def line_judgement(verdict: Verdict = Verdict.FAIL) -> Judgement:
    """A judgement on what comes down a line, of four tests."""
    counts = {Outcome.WITHIN: 2, Outcome.OVER: 2} if verdict is Verdict.FAIL else {Outcome.WITHIN: 4}
    return replace(
        judgement(
            verdict, LINE_PATH, Direction.REVERSE, reason=Reason("floor_missed", "未达到下限", "floor missed")
        ),
        limit=Floor(1e9),
        floor_ns=0,
        percentile=None,
        counts=counts,
        trials=4,
        threshold=0.0,
        delay_p50_ns=None,
        delay_p99_ns=None,
        measure=Measure.THROUGHPUT,
        last_test=LastTest({Layer.IP: 620e6, Layer.GOODPUT: 590e6}, Cause.PATH_RATE, NOW_NS - 60 * SECOND_NS),
    )


class Judged(Sequence[Judgement]):
    """Judgements as the verdicts of an evaluation."""

    def __init__(self, *judgements: Judgement, unread: bool = False) -> None:
        self._judgements = judgements
        self._unread = unread

    @property
    def codes(self) -> NDArray[np.int8]:
        """The verdicts."""
        return np.array([one.verdict for one in self._judgements], np.int8)

    @property
    def unread(self) -> NDArray[np.bool_]:
        """Whether their agents were not read: none, or all of them."""
        return np.full(len(self._judgements), self._unread)

    @property
    def keys(self) -> list[BreachKey]:
        """What they are about."""
        return [BreachKey(one.path, one.direction, one.objective) for one in self._judgements]

    def __len__(self) -> int:
        return len(self._judgements)

    @overload
    def __getitem__(self, index: int) -> Judgement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Judgement]: ...
    def __getitem__(self, index: int | slice) -> Judgement | Sequence[Judgement]:
        return self._judgements[index]


def advanced(
    watches: Mapping[BreachKey, Watch],
    judgements: Sequence[Judgement],
    hysteresis: Mapping[str, Hysteresis],
    now_ns: int,
    *,
    unread: bool = False,
) -> tuple[dict[BreachKey, Watch], list[BreachEvent]]:
    """Take judgements into account as those of one evaluation."""
    judged = Judged(*judgements, unread=unread)
    places = {key: place for place, key in enumerate(judged.keys)}
    return advance(watches, judged, judged.keys, places, hysteresis, now_ns)


def breach(
    number: int = 1,
    *,
    path: PathKey = HUB_PATH,
    direction: Direction = Direction.FORWARD,
    opened_ns: int = NOW_NS - 200 * SECOND_NS,
    fault: Fault | None = None,
) -> Breach:
    """An open breach."""
    opening = replace(judgement(Verdict.FAIL, path, direction), fault=fault)
    return Breach(f"b{number:06}", BreachKey(path, direction, "detection"), opened_ns, opening)


def closed(open_breach: Breach, closed_ns: int = NOW_NS) -> Breach:
    """The same breach, ended."""
    passing = judgement(Verdict.PASS, open_breach.key.path, open_breach.key.direction)
    return replace(open_breach, closed_ns=closed_ns, closing=passing)


@dataclass
class Source:
    """An agent as it was last read."""

    up: bool = True
    reason: str = ""
    seen_ns: int | None = NOW_NS
    clock_source: str | None = "declared"
    clock_bound_ns: int | None = 50_000


@dataclass
class State:
    """A collector's state that a test changes as it likes."""

    judgements: Sequence[Judgement] = ()
    breaches: Sequence[Breach] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    evaluated_ns: int | None = NOW_NS
    evaluations: int = 7
    evaluation_seconds: float = 0.35
    standing: Standing = field(default_factory=Standing)


def fleet(address: str = "127.0.0.1:9460", page_url: str = "http://127.0.0.1:9460") -> Fleet:
    """Wuhan with one target in each tier."""
    return Fleet(
        sites=(
            Site("wuhan", Name("武汉", "Wuhan"), "telecom", "洪山区", "127.0.0.1:9461"),
            Site("optics", Name("光谷", "Optics Valley"), "mobile", "东湖高新区", "127.0.0.1:9462"),
            Site("yichang", Name("宜昌", "Yichang"), "unicom", "", "127.0.0.1:9463"),
            Site("qingyang", Name("庆阳", "Qingyang"), "telecom", "", None),
        ),
        tiers=(
            Tier("city", Name("市内", "In the city"), Limit(MS, Operator.BELOW), "one_way"),
            Tier("province", Name("省内", "In the province"), Limit(3 * MS, Operator.BELOW), "one_way"),
            Tier("hub", Name("枢纽", "Hubs"), Limit(10 * MS, Operator.AT_MOST), "one_way"),
        ),
        objectives=(Objective("detection", 99.9, 300 * SECOND_NS, 0.5),),
        evaluation_interval_ns=10 * SECOND_NS,
        address=address,
        page_url=page_url,
    )
