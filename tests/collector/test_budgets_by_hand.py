"""Error budgets and burn rates, held against figures that were reckoned by hand from what the agent sent and lost.

It sends ten packets a second, 600 a minute, and loses, in the minutes that begin so many minutes ago:

    ago     2000   200   35   25    3           one in a thousand may be lost over 30 days
    lost    1740   480  240  300   60

The figures are fractions, without a program's rounding; what follows them is how they come about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest

from agent.core.outcome import Direction
from agent.runtime.quantities import parse_duration
from collector.sla.counts import Reading
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.selector import Selector
from collector.sla.verdict import Judgement, PathKey, Verdict
from tests.support.counting import SECOND_NS, counts, reading
from tests.support.evaluated import MINUTE_NS, evaluated
from tests.support.fleets import changed
from tests.support.maintenance import window

HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 30_000_000 * MINUTE_NS
LOST = {2000: 1740, 200: 480, 35: 240, 25: 300, 3: 60}
ALL = [*range(4320, 4260, -1), *range(4260, 420, -10), *range(420, -1, -1)]
"""When the agent is read, in minutes ago; every minute in the first hour, which is left out whole otherwise."""

FLEET = changed(
    "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
    "{id: month, measure: loss, loss_ratio: 0.001, window: 30d, tiers: [hub]}",
).replace("interval: 50ms", "interval: 100ms")


@dataclass(frozen=True)
class Story:
    """What befell the agent, and what follows from it.

    Attributes:
        read: when it is read, in minutes ago; the first time it has just begun to count.
        restart: when it has begun anew, after a minute in which it was not there.
        worked_on: from when until when the path was maintained.
        figures: judged and lost packets, and the share of the window that was observed, by window.
        rates: burn rates, by window.
        left: of the error budget.
        verdict, reason: on whether it burns.
    """

    read: Sequence[int]
    figures: Mapping[str, tuple[int, int, Fraction | float]]
    rates: Mapping[str, Fraction | float]
    left: Fraction
    verdict: Verdict
    reason: str
    restart: int | None = None
    worked_on: tuple[int, int] | None = None


def explained(packets: int, minutes: int) -> float:
    """The share of so many minutes that packets stand for at ten a second: a Poisson stream may be √n off, thrice."""
    return (packets + 1 + 3 * math.sqrt(packets)) / (600 * minutes)


WHOLE = Fraction(1)
STORIES = {
    "all is seen": Story(
        ALL,
        {
            "5m": (3_000, 60, WHOLE),
            "30m": (18_000, 360, WHOLE),
            "1h": (36_000, 600, WHOLE),
            "6h": (216_000, 1_080, WHOLE),
            "3d": (2_592_000, 2_820, WHOLE),
        },
        # 60 / 3,000 is 2 %, twenty times a thousandth; 600 / 36,000 is 1.667 %, more than 14.4 times
        {
            "5m": Fraction(20),
            "30m": Fraction(20),
            "1h": Fraction(50, 3),
            "6h": Fraction(5),
            "3d": Fraction(235, 216),
        },
        1 - Fraction(2_820, 2_592),
        Verdict.FAIL,
        "budget_burns",
    ),
    "twenty minutes of maintenance take the losses of two with them": Story(
        ALL,
        {
            "30m": (12_000, 60, Fraction(2, 3)),
            "1h": (24_000, 60, Fraction(2, 3)),
            "6h": (204_000, 540, Fraction(17, 18)),
            "3d": (2_580_000, 2_280, Fraction(4_300, 4_320)),
        },
        # 60 of the 36 that an hour of 36,000 may lose: maintenance spends nothing, and does not make the hour shorter
        {
            "1h": Fraction(60, 36),
            "30m": Fraction(60, 18),
            "6h": Fraction(540, 216),
            "3d": Fraction(2_280, 2_592),
        },
        1 - Fraction(2_280, 2_580),
        Verdict.PASS,
        "budget_holds",
        worked_on=(40, 20),
    ),
    "half an hour nobody reads, and the agent counts on": Story(
        [ago for ago in ALL if not 20 < ago < 50],
        {
            "5m": (3_000, 60, WHOLE),
            # its first ten minutes were counted with the twenty before them, and which of them is not known
            "30m": (12_000, 60, explained(12_000, 30)),
            "1h": (36_000, 600, WHOLE),
            "3d": (2_592_000, 2_820, WHOLE),
        },
        {"5m": Fraction(20), "1h": Fraction(50, 3), "30m": 5 * explained(12_000, 30)},
        1 - Fraction(2_820, 2_592),
        Verdict.FAIL,
        "budget_burns",
    ),
    "the agent restarts": Story(
        [ago for ago in ALL if ago != 30],
        {
            "30m": (18_000, 360, WHOLE),
            "1h": (35_400, 600, Fraction(59, 60)),
            "6h": (215_400, 1_080, Fraction(359, 360)),
            "3d": (2_591_400, 2_820, Fraction(4_319, 4_320)),
        },
        # the minute in which it was not there has lost nothing: 600 of the 36 that the hour may lose
        {
            "30m": Fraction(20),
            "1h": Fraction(600, 36),
            "6h": Fraction(1_080, 216),
            "3d": Fraction(2_820, 2_592),
        },
        1 - Fraction(2_820_000, 2_591_400),
        Verdict.FAIL,
        "budget_burns",
        restart=30,
    ),
    "it was first read ten minutes ago": Story(
        range(10, -1, -1),
        {
            "5m": (3_000, 60, WHOLE),
            "1h": (6_000, 60, Fraction(1, 6)),
            "3d": (6_000, 60, Fraction(10, 4_320)),
        },
        # one in a hundred, ten times what is allowed, for a sixth of the hour: 60 of 36, and not 360
        {"5m": Fraction(20), "1h": Fraction(60, 36), "3d": Fraction(60, 2_592)},
        1 - Fraction(60, 6),
        Verdict.NO_DATA,
        "below_coverage",
    ),
}


def readings(story: Story) -> list[Reading]:
    """The agent as it is read, its counters from zero at the first time and where it begins anew."""
    begun = story.read[0]
    found, lost = [], 0
    for ago in story.read:
        if story.restart is not None and ago < story.restart <= begun:
            begun = story.restart
        sent = 600 * (begun - ago)
        lost = sum(packets for at, packets in LOST.items() if ago < at <= begun)
        one = replace(
            reading(0, path=HUB),
            epoch=(NOW_NS - begun * MINUTE_NS) / SECOND_NS,
            taken_ns=NOW_NS - ago * MINUTE_NS,
        )
        counted = dict.fromkeys(Direction, counts(within=sent - lost, lost=lost))
        found.append(replace(one, sent=sent, directions=counted))
    return found


async def judged(file: Path, story: Story) -> dict[str, Judgement]:
    """The verdicts on the objective and on its budget."""
    calendar = MaintenanceCalendar()
    if story.worked_on:
        begun, ended = story.worked_on
        times = {"start_ns": NOW_NS - begun * MINUTE_NS, "end_ns": NOW_NS - ended * MINUTE_NS}
        calendar = MaintenanceCalendar([window(selector=Selector(), announced_ns=1, created_ns=1, **times)])
    verdicts = await evaluated(file, FLEET, readings(story), NOW_NS, calendar)
    return {one.objective: one for one in verdicts if (one.path, one.direction) == (HUB, Direction.FORWARD)}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_budgets_burn_as_reckoned_by_hand(tmp_path: Path, story: Story) -> None:
    """Packets, observed time, burn rates and what is left; from the ledger's last hour, its hours and its days."""
    found = await judged(tmp_path / "state.sqlite", story)
    objective, budget = found["month"], found["month:budget"]
    for name, (packets, lost, observed) in story.figures.items():
        burn = budget.burns[parse_duration(name)]
        assert (burn.judged, burn.broken) == (packets, lost), name
        assert burn.observed == pytest.approx(float(observed), abs=1e-6), name
    for name, rate in story.rates.items():
        assert budget.burn_rates[parse_duration(name)] == pytest.approx(float(rate), rel=1e-6), name
    assert objective.budget_remaining == pytest.approx(float(story.left), rel=1e-9)
    assert (budget.verdict, budget.reason.code) == (story.verdict, story.reason)
