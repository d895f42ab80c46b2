#!/usr/bin/env python3
"""Recompute verdicts from the figures that are printed beside them, with nothing of the program that gave them.

    isochrone-collector verdicts --json | python3 recompute.py
    isochrone-collector breaches --json | python3 recompute.py

Python's standard library suffices. Each verdict is one line: what was counted, the bounds that follow, and the verdict;
what differs from what is printed is named, and the status is 1 then. How many independent packets the counts are worth
(`effective`) follows from sums over blocks of time (`blocks`) and from what a longer history has told of the path
(`prior_design_effect`). What it cannot tell is whether these and the counts are true: see README.md, "Recompute it
yourself".
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

CONFIDENCE = 0.95
EDGES = (
    *(number * 1e-4 for number in (0.5, *range(1, 11))),
    *(number * 1e-3 for number in (1.25, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 25, 50, 100, 250, 1000)),
)
"""Upper edges of the delay histogram, in seconds; beyond the last there is one more bucket."""

LONG_AND_SHORT = (
    ("1h", "5m", 3600, 0.02),
    ("6h", "30m", 21_600, 0.05),
    ("1d", "2h", 86_400, 0.1),
    ("3d", "6h", 259_200, 0.1),
)
"""A budget burns where this share of it is spent in the long window, and the short one burns as fast."""

HELD_BACK = ("agent_silent", "path_untold", "other_limit", "limit_unknown")
"""Reasons for which nothing is claimed, whatever the figures say."""

FEWEST_BLOCKS, FEWEST_DEGREES = 4, 3
"""Longer blocks count where there are so many; an upper bound has so many degrees of freedom where blocks allow it."""

EXACT = ("availability", "throughput")
"""Measures of which a window has all there is, and no sample: bounds are the shares themselves."""

Document = dict[str, Any]


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun, 26.5.8)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = (
        math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
        / a
    )
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(100_000):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        d = 1 / ((1 + term * d) or 1e-300)
        c = (1 + term / c) or 1e-300
        fraction *= c * d
        if abs(1 - c * d) < 1e-14:
            break
    return front * (fraction - 1)


def solved(grows: Callable[[float], float], value: float) -> float:
    """Where a growing function of a proportion has this value."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if grows(middle) < value else (low, middle)
    return middle


def upper_bound(events: float, trials: float) -> float:
    """The one-sided 95 % upper bound of Clopper and Pearson."""
    if events >= trials:
        return 1.0
    return solved(lambda p: incomplete_beta(p, events + 1, trials - events), CONFIDENCE)


def lower_bound(events: float, trials: float) -> float:
    """The lower one."""
    if events <= 0:
        return 0.0
    return solved(lambda p: incomplete_beta(p, events, trials - events + 1), 1 - CONFIDENCE)


@functools.cache
def t_quantile(degrees: float) -> float:
    """The t quantile at 95 %, of 1 degree of freedom and more, by the beta distribution of t² / (t² + degrees)."""
    share = solved(lambda y: incomplete_beta(y, 0.5, degrees / 2), 2 * CONFIDENCE - 1)
    return math.sqrt(degrees * share / (1 - share))


def design_effect(x: int, n: int, sums: Sequence[Sequence[int]], upper: bool) -> float:
    """How many of n packets, x of which broke the promise, are worth one independent of the others; 1 or more.

    Args:
        x, n: over the whole window.
        sums: of blocks of each length Σx², Σxn and Σn².
        upper: whether the upper bound is asked for.
    """
    if not 0 < x < n:
        return 1.0
    numbers = [n * n / nn if nn else 0.0 for _, _, nn in sums]
    effects = [1.0]
    for m, (xx, xn, nn) in zip(numbers, sums, strict=True):
        if m < 2 - 1e-9 or (m < FEWEST_BLOCKS and m < max(numbers)):
            continue
        between = (xx * n * n - 2 * x * n * xn + x * x * nn) / (n * n)
        effect = max(1.0, m / (m - 1) * between / (x * (n - x) / n))
        degrees = min(m - 1, max(FEWEST_DEGREES, x / effect / 2)) if upper else m - 1
        effects.append(effect * (t_quantile(degrees) / NormalDist().inv_cdf(CONFIDENCE)) ** 2)
    return max(effects)


def effective(one: Document) -> Document:
    """How many independent packets the judged ones are worth for each bound; as printed where no blocks tell it."""
    blocks, judged = one.get("blocks"), one["judged_packets"]
    if blocks is None:
        printed: Document = one["effective"]
        return printed
    surely, possibly = broken(one)
    lower = design_effect(surely, judged, [block["lower"] for block in blocks], upper=False)
    upper = design_effect(possibly, judged, [block["upper"] for block in blocks], upper=True)
    return {"lower": judged / lower, "upper": judged / max(upper, one["prior_design_effect"] or 1)}


def broken(one: Document) -> tuple[int, int]:
    """How many of what was judged broke the promise for sure, and how many may have."""
    counts = one["counts"]
    match one["measure"]:
        case "delay":
            surely = counts["over"] + counts["lost"]
            return surely, surely + counts["uncertain"] + counts["unattributed"]
        case "loss":
            return counts["lost"], counts["lost"] + counts["unattributed"]
        case "delay_variation":
            return beyond(one)
        case "throughput":
            return counts["over"], counts["over"] + counts["uncertain"]
        case _:
            # intervals of availability are not outcomes of packets; a budget's are those of its longest window
            judged, ratio = one["judged_packets"], one["violation_ratio"]
            return round(judged * (ratio["lower"] or 0)), round(judged * (ratio["upper"] or 0))


def beyond(one: Document) -> tuple[int, int]:
    """Packets that took longer than the least delay and the variation: for sure, and as far as their bucket tells."""
    buckets, least = one["delay"]["buckets"], one["delay"]["least_seconds"]
    if least is None:
        return 0, sum(buckets)
    bound, below = least + one["variation"]["seconds"], one["variation"]["operator"] == "<"
    lower, upper = (-math.inf, *EDGES), (*EDGES, math.inf)
    tiny = 1e-12
    surely = sum(n for n, edge in zip(buckets, lower, strict=True) if bound + 1e-6 <= edge + tiny)
    may = sum(
        n
        for n, edge in zip(buckets, upper, strict=True)
        if (bound <= edge + tiny if below else bound < edge - tiny)
    )
    return surely, may


def budget_verdict(one: Document) -> str:
    """Whether a budget burns."""
    fails = possible = False
    for long, short, seconds, share in LONG_AND_SHORT:
        factor = share * one["budget_window_seconds"] / seconds
        if factor < 1:
            continue
        sure, may = [], []
        for window in (long, short):
            burn = one["burns"][window]
            allowed = burn["judged_packets"] * one["threshold"]
            sure.append(burn["violations"]["lower"] / allowed * burn["observed"] if allowed else math.nan)
            may.append(burn["violations"]["upper"] / allowed if allowed else math.nan)
        fails |= min(sure) >= factor
        possible |= min(may) >= factor
    return "FAIL" if fails else "INDETERMINATE" if possible else "PASS"


def recomputed(one: Document) -> Document:
    """What follows from the figures of a verdict, under the names that it has for that."""
    surely, possibly = broken(one)
    judged, threshold = one["judged_packets"], one["threshold"]
    window, away = one["window"], one["maintenance"]["seconds"] + one["unavailable_seconds"]
    found: Document = {}
    if judged:
        worth = found["effective"] = effective(one)
        found["violation_ratio"] = {"lower": surely / judged, "upper": possibly / judged}
        found["violation_bound"] = (
            dict(found["violation_ratio"])
            if one["measure"] in EXACT
            else {
                "lower": lower_bound(surely * worth["lower"] / judged, worth["lower"]),
                "upper": upper_bound(possibly * worth["upper"] / judged, worth["upper"]),
            }
        )
    if one["measure"] == "budget":
        verdict = budget_verdict(one)
        found["burn_rates"] = {
            name: burn["violations"]["lower"] / burn["judged_packets"] / threshold * burn["observed"]
            for name, burn in one["burns"].items()
            if burn["judged_packets"]
        }
    else:
        bound = found.get("violation_bound", {"lower": 0, "upper": 1})
        close = threshold * (1 + 1e-9)
        verdict = "PASS" if bound["upper"] <= close else "FAIL" if bound["lower"] > close else "INDETERMINATE"
    if one.get("planned_tests") is not None:
        found["coverage"] = min(1, judged / max(1, one["planned_tests"]))
    elif one["measure"] not in ("budget", "throughput"):
        # a budget is covered as its shortest window or its least covered one is
        left = window["seconds"] - away
        found["coverage"] = min(1, 1 - one["unobserved_seconds"] / left) if left > 1e-3 else 0
    if one["error_budget_remaining_ratio"] is not None and judged:
        seen = window["seconds"] - away - one["unobserved_seconds"]
        to_come = window["whole_seconds"] - window["seconds"] if one["window"]["calendar"] else 0
        share = seen / (seen + to_come) if seen > 0 else 0
        found["error_budget_remaining_ratio"] = 1 - surely / judged * share / threshold
    if one["coverage"] < one["min_coverage"] or not judged:
        verdict = "NO_DATA"
    held_back = one["verdict"] == "NO_DATA" and one["reason"]["code"] in HELD_BACK
    found["verdict"] = "NO_DATA" if held_back else verdict
    return found


def differences(one: Document, found: Document, where: str = "") -> Iterator[str]:
    """What is printed otherwise than it follows."""
    for name, value in found.items():
        printed = one[name]
        if isinstance(value, dict):
            yield from differences(printed, value, f"{where}{name}.")
        elif isinstance(value, str):
            if printed != value:
                yield f"{where}{name} is printed as {printed}, and follows as {value}"
        elif not math.isclose(printed, value, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{where}{name} is printed as {printed!r}, and follows as {value!r}"


def judgements(document: Document) -> Iterator[Document]:
    """The verdicts of a document of verdicts, or of breaches."""
    yield from document.get("verdicts", ())
    for breach in document.get("breaches", ()):
        yield from (one for one in (breach["opening"], breach["closing"]) if one is not None)


def main() -> int:
    """Recompute what standard input has."""
    try:
        document = json.load(sys.stdin)
    except ValueError as error:
        print(f"no JSON document on standard input: {error}", file=sys.stderr)
        return 2
    number = wrong = 0
    for one in judgements(document):
        found = recomputed(one)
        problems = [*differences(one, found)]
        bound, surely = found.get("violation_bound"), broken(one)[0]
        told = f"{surely} of {one['judged_packets']}"
        if bound is not None:
            told += f": {bound['lower']:.5%} to {bound['upper']:.5%}, {one['threshold']:.5%} allowed"
        name = f"{one['source']} → {one['target']} {one['direction']} {one['objective']}"
        print(f"{name}: {told}: {found['verdict']}", *(f"\n    {problem}" for problem in problems), sep="")
        number += 1
        wrong += bool(problems)
    print(f"{number} verdicts recomputed, {wrong or 'none'} printed otherwise")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
