"""Judgements and breaches as JSON documents: one shape for the API, the webhooks and the command line.

Seconds and ratios; times in UTC (RFC 3339). What a person reads stands beside it in Chinese and English, with times in
Asia/Shanghai and their offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from agent.core.outcome import Limit, Operator, Outcome
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor
from agent.runtime.quantities import format_duration
from collector.sla.breach import Breach
from collector.sla.fault_words import KIND_NAMES, describe
from collector.sla.line import LastTest
from collector.sla.measure import Measure
from collector.sla.names import Name, duration_name, percent
from collector.sla.promise import Promise, direction_label, direction_name, floor_name
from collector.sla.time_zone import SHANGHAI, TIME_ZONE
from collector.sla.verdict import Fault, Judgement, PathKey

SECOND_NS: Final = 1_000_000_000
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """Names by identifier; what has none is called by its identifier."""

    sites: Mapping[str, Name] = field(default_factory=dict)
    tiers: Mapping[str, Name] = field(default_factory=dict)

    def site(self, identifier: str) -> Name:
        """The name of a site."""
        return self.sites.get(identifier) or Name(identifier, identifier)

    def tier(self, identifier: str) -> Name:
        """The name of a tier."""
        return self.tiers.get(identifier) or Name(identifier, identifier)


MEASURE_NAMES: Final[Mapping[Measure, Name]] = {
    Measure.DELAY: Name("时延", "Latency"),
    Measure.LOSS: Name("丢包", "Loss"),
    Measure.DELAY_VARIATION: Name("时延变化", "Delay variation"),
    Measure.AVAILABILITY: Name("可用性", "Availability"),
    Measure.THROUGHPUT: Name("吞吐量", "Throughput"),
    Measure.BUDGET: Name("误差预算", "Error budget"),
}


def seconds(duration_ns: int) -> float:
    """Nanoseconds in seconds."""
    return duration_ns / SECOND_NS


def utc_time(wall_ns: int) -> str:
    """A wall time as RFC 3339 in UTC, to the millisecond (rounded down)."""
    whole, rest = divmod(wall_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03}Z"


def local_time(wall_ns: int) -> str:
    """A wall time for people: Asia/Shanghai, with its offset, to the second."""
    return f"{datetime.fromtimestamp(wall_ns // SECOND_NS, SHANGHAI):%Y-%m-%d %H:%M:%S} +08:00"


def limit_text(limit: Limit) -> str:
    """A promise as people write it: `< 1 ms`, `≤ 10 ms`."""
    sign = "<" if limit.operator is Operator.BELOW else "≤"
    return f"{sign} {limit.limit_ns / 1e6:g} ms"


def path_document(path: PathKey) -> Document:
    """The labels of a path."""
    return {
        "source": path.source,
        "target": path.target,
        "tier": path.tier,
        "provider": path.provider,
        "kind": path.kind,
        "dscp": path.dscp,
    }


def limit_document(limit: Promise) -> Document:
    """A promise, as operator and seconds, or, of throughput, bits a second at a layer."""
    if isinstance(limit, Floor):
        return {"operator": ">=", "bits_per_second": limit.rate, "layer": limit.layer.value}
    return {"operator": limit.operator.value, "seconds": seconds(limit.limit_ns)}


def fault_document(fault: Fault, names: Names) -> Document:
    """Something that is broken, and what to tell a person about it."""
    return {
        "id": fault.id,
        "kind": fault.kind.value,
        "kind_name": KIND_NAMES[fault.kind].document(),
        "since": utc_time(fault.since_ns),
        "site": fault.site,
        "path": None if fault.path is None else path_document(fault.path),
        "direction": None if fault.direction is None else fault.direction.value,
        "paths": fault.paths,
        "witnesses": fault.witnesses,
        "summary": describe(fault, names.site).document(),
    }


def judgement_document(judgement: Judgement, names: Names) -> Document:
    """Everything that a judgement says, so that a reader can recompute it."""
    return {
        **path_document(judgement.path),
        "direction": direction_label(judgement.path.kind, judgement.direction),
        "objective": judgement.objective,
        "verdict": judgement.verdict.name,
        "reason": {
            "code": judgement.reason.code,
            "zh": judgement.reason.zh,
            "en": judgement.reason.en,
        },
        "measure": judgement.measure.value,
        "promise": promise_name(judgement).document(),
        "limit": limit_document(judgement.limit),
        "variation": None if judgement.variation is None else limit_document(judgement.variation),
        "floor_seconds": seconds(judgement.floor_ns),
        "percentile": judgement.percentile,
        "threshold": judgement.threshold,
        "window": {
            "start": utc_time(judgement.window_start_ns),
            "end": utc_time(judgement.window_end_ns),
            "seconds": seconds(judgement.window_end_ns - judgement.window_start_ns),
            "calendar": judgement.calendar,
            "whole_seconds": _seconds_or_none(judgement.window_length_ns),
        },
        "packets": judgement.packets,
        "judged_packets": judgement.packets if judgement.trials is None else judgement.trials,
        "effective_packets": judgement.effective,
        "effective": {"lower": judgement.effective_lower, "upper": judgement.effective_upper},
        "blocks": None if judgement.blocks is None else [one._asdict() for one in judgement.blocks],
        "prior_design_effect": judgement.prior_design_effect,
        "counts": _counts(judgement.counts),
        "violation_ratio": {"lower": judgement.violation_lower, "upper": judgement.violation_upper},
        "violation_bound": {"lower": judgement.bound_lower, "upper": judgement.bound_upper},
        "coverage": judgement.coverage,
        "min_coverage": judgement.min_coverage,
        "maintenance": {
            "seconds": seconds(judgement.maintenance_ns),
            "counts": _counts(judgement.maintenance_counts),
        },
        "unavailable_seconds": seconds(judgement.unavailable_ns),
        "unobserved_seconds": seconds(judgement.unobserved_ns),
        "error_budget_remaining_ratio": judgement.budget_remaining,
        "budget_window_seconds": _seconds_or_none(judgement.budget_window_ns),
        "burn_rates": {
            format_duration(span_ns): rate for span_ns, rate in sorted(judgement.burn_rates.items())
        },
        "burns": {
            format_duration(span_ns): {
                "judged_packets": burn.judged,
                "violations": {"lower": burn.broken, "upper": burn.possibly},
                "observed": burn.observed,
            }
            for span_ns, burn in sorted(judgement.burns.items())
        },
        "delay": {
            "p50": _bucket(judgement.delay_p50_ns),
            "p99": _bucket(judgement.delay_p99_ns),
            "least_seconds": _seconds_or_none(judgement.least_delay_ns),
            "buckets": list(judgement.delays),
        },
        "planned_tests": judgement.planned,
        "last_test": None if judgement.last_test is None else test_document(judgement.last_test),
        "fault": None if judgement.fault is None else fault_document(judgement.fault, names),
    }


def test_document(last: LastTest) -> Document:
    """What a line was last measured to carry."""
    return {
        "bits_per_second": {layer.value: last.rates.get(layer) for layer in Layer},
        "limited_by": None if last.cause is None else last.cause.value,
        "ended_at": None if last.ended_ns is None else utc_time(last.ended_ns),
    }


def _seconds_or_none(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else seconds(duration_ns)


def _counts(counts: Mapping[Outcome, int]) -> Document:
    return {outcome.label: counts.get(outcome, 0) for outcome in Outcome}


def _bucket(edges: tuple[int, int | None] | None) -> Document | None:
    """The histogram bucket that holds a percentile: above one edge, at most the other."""
    if edges is None:
        return None
    above, at_most = edges
    return {
        "above_seconds": seconds(above),
        "at_most_seconds": None if at_most is None else seconds(at_most),
    }


def promise_name(judgement: Judgement) -> Name:
    """What was promised: `≤ 10 ms，P99.9`, `丢包 ≤ 0.1%`."""
    share = "" if judgement.percentile is None else f"P{judgement.percentile:.10g}"
    match judgement.measure:
        case Measure.LOSS:
            return Name(f"丢包 ≤ {percent(judgement.threshold)}", f"loss ≤ {percent(judgement.threshold)}")
        case Measure.AVAILABILITY:
            at_least = f"≥ {(1 - judgement.threshold) * 100:.10g} %"
            return Name(f"可用性 {at_least}", f"availability {at_least}")
        case Measure.BUDGET:
            share = percent(judgement.threshold)
            return Name(f"误差预算 {share}", f"error budget of {share}")
        case Measure.DELAY_VARIATION if judgement.variation is not None:
            variation = limit_text(judgement.variation)
            return Name(f"时延变化 {variation}，{share}", f"variation {variation}, {share}")
        case _ if isinstance(judgement.limit, Floor):
            return floor_name(judgement.limit)
        case _:
            limit = limit_text(judgement.limit)
            return Name(f"{limit}，{share}", f"{limit}, {share}")


def breach_document(breach: Breach, names: Names) -> Document:
    """A breach with the judgements that opened and closed it, and what to tell a person about it."""
    closed_ns = breach.closed_ns
    return {
        "id": breach.id,
        "state": "open" if closed_ns is None else "closed",
        **path_document(breach.key.path),
        "source_name": names.site(breach.key.path.source).document(),
        "target_name": names.site(breach.key.path.target).document(),
        "tier_name": names.tier(breach.key.path.tier).document(),
        "direction": direction_label(breach.key.path.kind, breach.key.direction),
        "objective": breach.key.objective,
        "limit": limit_document(breach.opening.limit),
        "percentile": breach.opening.percentile,
        "measure": breach.opening.measure.value,
        "promise": promise_name(breach.opening).document(),
        "opened_at": utc_time(breach.opened_ns),
        "closed_at": None if closed_ns is None else utc_time(closed_ns),
        "local": {
            "time_zone": TIME_ZONE,
            "opened_at": local_time(breach.opened_ns),
            "closed_at": None if closed_ns is None else local_time(closed_ns),
        },
        "fault": None if breach.fault is None else fault_document(breach.fault, names),
        "summary": breach_summary(breach, names).document(),
        "opening": judgement_document(breach.opening, names),
        "closing": None if breach.closing is None else judgement_document(breach.closing, names),
    }


def breach_summary(breach: Breach, names: Names) -> Name:
    """One sentence on a breach: what, where, against which promise, since when."""
    path = breach.key.path
    source, target = names.site(path.source), names.site(path.target)
    direction = direction_name(path.kind, breach.key.direction)
    promise, what = promise_name(breach.opening), MEASURE_NAMES[breach.opening.measure]
    where_zh = f"{source.zh} → {target.zh} {direction.zh}（承诺 {promise.zh}）"
    where_en = f"{source.en} → {target.en}, {direction.en} (promised {promise.en})"
    opened = local_time(breach.opened_ns)
    if breach.closed_ns is None:
        return Name(
            f"{what.zh}违约：{where_zh}，始于 {opened}", f"{what.en} breach: {where_en}, since {opened}"
        )
    if breach.closing is None:
        return Name(
            f"不再判定：{where_zh}，原超限始于 {opened}",
            f"No longer judged: {where_en}, breached since {opened}",
        )
    lasted = duration_name(breach.closed_ns - breach.opened_ns)
    closed = local_time(breach.closed_ns)
    return Name(
        f"{what.zh}恢复：{where_zh}，{closed} 恢复，历时 {lasted.zh}",
        f"{what.en} restored: {where_en}, at {closed} after {lasted.en}",
    )
