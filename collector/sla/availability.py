"""Availability: in how much of the time a path carried traffic at all.

Time is divided into small intervals. One that lost too large a share of its round trips is a high-loss interval; a run
of several makes the path unavailable, from the first of them on and until as many in a row are none. Of two directions
one that is down is enough, so round trips are what is looked at: where nothing comes back nothing tells the direction.

    here          MEF 10.4, 8.8    ITU-T Y.1540, 7
    interval      Δt               T_av
    loss          C                c1 (0.2)
    consecutive   n                1
    availability  Â                PIA

The intervals of a window are no sample of it but all of it, so there is nothing to estimate: what is not known are the
intervals that were not observed, and those may all have been unavailable.

Source: MEF 10.4 (2018), section 8.8, "Service Level Specification": availability and the transitions between available
and unavailable time; ITU-T Y.1540 (12/2019), section 7, "IP service availability".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.outcome import Direction
from collector.sla.judge import Exact, Question
from collector.sla.names import duration_name, percent
from collector.sla.objective import AvailabilityRule
from collector.sla.observation import DIRECTIONS, Integers, Observation
from collector.sla.verdict import Reason, Verdict

_ROUND_TRIP: Final = DIRECTIONS.index(Direction.ROUND_TRIP)
_MINUTE_MS: Final = 60_000
_MS_NS: Final = 1_000_000
_ROUNDING: Final = 1e-9
_LEAST_SHARE: Final = 0.5
"""An interval with fewer packets than this share of what is usual is not judged: a restart is no outage."""


def suspects(
    rule: AvailabilityRule, lost: Integers, packets: Integers, covered_ms: Integers
) -> NDArray[np.bool_]:
    """Which longer parts of time may hold a high-loss interval: the others lost too little in all.

    Args:
        rule: what a high-loss interval is.
        lost, packets: round trips of each part (n,).
        covered_ms: how much of it was observed (n,).
    """
    usual = packets * rule.interval_minutes * _MINUTE_MS / np.maximum(covered_ms, 1)
    found: NDArray[np.bool_] = (lost > 0) & (lost > rule.loss * _LEAST_SHARE * np.minimum(usual, packets))
    return found


def high_loss(
    rule: AvailabilityRule, minutes: Integers, lost: Integers, packets: Integers, usual: float
) -> Integers:
    """The high-loss intervals of some minutes of a path, by their number since the Unix epoch, in order.

    Args:
        rule: what a high-loss interval is.
        minutes: since the Unix epoch (n,), in order.
        lost, packets: round trips of each of them (n,).
        usual: packets of a minute.
    """
    interval, place = np.unique(minutes // rule.interval_minutes, return_inverse=True)
    of_lost = np.bincount(place, lost, minlength=len(interval))
    of_packets = np.bincount(place, packets, minlength=len(interval))
    enough = of_packets >= _LEAST_SHARE * usual * rule.interval_minutes
    found: Integers = interval[(of_lost > rule.loss * of_packets) & enough]
    return found


def unavailable(rule: AvailabilityRule, high: Integers) -> list[tuple[int, int]]:
    """The spans of unavailable intervals, [from, to), that follow from the high-loss ones (n,), in order."""
    if not len(high):
        return []
    needed = rule.consecutive
    runs = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1)
    spans: list[tuple[int, int]] = []
    for run in runs:
        first, stop = int(run[0]), int(run[-1]) + 1
        if spans and first - spans[-1][1] < needed:
            spans[-1] = spans[-1][0], stop
        elif len(run) >= needed:
            spans.append((first, stop))
    return spans


@dataclass(frozen=True, slots=True, eq=False)
class Counted(Exact):
    """Intervals of all of a window: `trials`, of which `surely` were unavailable and `possibly`
    these or not observed."""


def judge_availability(question: Question, observed: Observation, spent: Integers) -> Counted:
    """Judge all targets of an availability objective.

    Args:
        question: the objective and its targets.
        observed: all paths over its window.
        spent: unavailable intervals of each path in that window.
    """
    rule, rows = question.objective.availability, question.rows
    assert rule is not None
    interval_ms = rule.interval_minutes * _MINUTE_MS
    length_ms = (observed.end_ns - observed.begin_ns) // _MS_NS - observed.left_out_ms
    trials = np.rint(np.maximum(length_ms, 0) / interval_ms).astype(np.int64)[rows]
    seen = np.rint(observed.covered_ms[:, _ROUND_TRIP] / interval_ms).astype(np.int64)[rows]
    surely = np.minimum(spent[rows], trials)
    possibly = np.minimum(surely + np.maximum(0, trials - seen), trials)
    coverage = observed.coverage()[rows, question.places]
    allowed = np.floor(question.objective.threshold * trials + _ROUNDING)
    codes = np.full(len(rows), Verdict.INDETERMINATE, np.int8)
    codes[possibly <= allowed] = Verdict.PASS
    codes[surely > allowed] = Verdict.FAIL
    codes[(coverage < question.objective.min_coverage) | (trials == 0)] = Verdict.NO_DATA
    whole = trials.astype(np.float64)
    return Counted(trials, surely, possibly, whole, whole, coverage, codes)


def explain_availability(question: Question, counted: Counted, index: int) -> Reason:
    """Why a path was available enough, or not, where that was judged at all."""
    rule = question.objective.availability
    assert rule is not None
    trials, surely, possibly = (int(one[index]) for one in (counted.trials, counted.surely, counted.possibly))
    least, most = (percent(one / trials, question.objective.threshold) for one in (surely, possibly))
    length = duration_name(rule.interval_minutes * 60_000_000_000)
    allowed, unseen = percent(question.objective.threshold), possibly - surely
    zh = f"{trials} 个 {length.zh} 区间中 {surely} 个不可用（连续 {rule.consecutive} 个丢包超过 {rule.loss:.0%}）"
    en = (
        f"{surely} of {trials} intervals of {length.en} were unavailable (runs of {rule.consecutive} or more that lost "
        f"over {rule.loss:.0%})"
    )
    match Verdict(int(counted.codes[index])):
        case Verdict.PASS:
            return Reason(
                "available",
                f"{zh}，{unseen} 个没有观测到：至多 {most}，允许 {allowed}",
                f"{en}, {unseen} were not observed: at most {most}, {allowed} are allowed",
            )
        case Verdict.FAIL:
            return Reason(
                "unavailable",
                f"{zh}：{least}，超过允许的 {allowed}",
                f"{en}: {least}, {allowed} are allowed",
            )
        case _:
            return Reason(
                "intervals_unobserved",
                f"{zh}，{unseen} 个没有观测到，可能也不可用：至多 {most}，允许 {allowed}",
                f"{en}, {unseen} were not observed and may have been, too: at most {most}, "
                f"{allowed} are allowed",
            )
