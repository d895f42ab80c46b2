"""Delay variation over windows of a real ledger: in memory, hour by hour, and with what is left out of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.core.outcome import Direction, Limit, Operator
from collector.sla.counts import DirectionCounts, Reading
from collector.sla.effective import block_minutes
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.measure import Measure
from collector.sla.selector import Selector
from collector.sla.variation import ALL, PAIRS, POSSIBLY, Beyond
from collector.sla.verdict import PathKey
from collector.sla.window import HISTORY, Window
from tests.support.counting import MS, SECOND_NS, counts, reading
from tests.support.evaluated import MINUTE_NS, evaluated, observed
from tests.support.fleets import changed
from tests.support.maintenance import window

HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 30_000_000 * MINUTE_NS
HOURS = 6
LIMIT = Limit(MS, Operator.AT_MOST)
HOUR, LONG = Window(3600 * SECOND_NS), Window(5 * 3600 * SECOND_NS)
FLEET = changed(
    "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
    """{id: steady, measure: delay_variation, percentile: 99, variation: "<= 1ms", window: 1h, tiers: [hub]}
  - {id: steadily, measure: delay_variation, percentile: 99, variation: "<= 1ms", window: 5h, tiers: [hub]}
  - {id: up, measure: availability, availability: 99, consecutive: 3, window: 5h, tiers: [hub]}""",
).replace("interval: 50ms", "interval: 100ms")
GAP = range(50, 58)
"""Minutes ago in which every packet was lost."""

MAINTAINED = (range(30, 40), range(200, 260))


def slow(ago: int) -> int:
    """How many packets of a minute took longer than the quickest and a millisecond."""
    return 60 * (ago % 7 == 0) + ago % 5


def minute(ago: int) -> DirectionCounts:
    """What was counted in one."""
    if ago in GAP:
        return counts(lost=600)
    return counts(within=600, delays={5 * MS: 600 - slow(ago), int(7.5 * MS): slow(ago)})


def readings() -> list[Reading]:
    """One at the end of each minute."""
    begin_ns = NOW_NS - HOURS * 3600 * SECOND_NS
    read = replace(reading(0, path=HUB), epoch=begin_ns / SECOND_NS, directions={}, taken_ns=begin_ns)
    summed = dict.fromkeys(Direction, counts())
    found = [replace(read, directions=summed, minima_ns={})]
    for ago in range(60 * HOURS - 1, -1, -1):
        summed = {way: summed[way] + minute(ago) for way in Direction}
        found.append(
            replace(
                read,
                taken_ns=NOW_NS - ago * MINUTE_NS,
                sent=summed[Direction.FORWARD].packets,
                directions=summed,
                minima_ns=dict.fromkeys(Direction, 4 * MS),
            )
        )
    return found


def maintenance() -> MaintenanceCalendar:
    """Twice."""
    times = [(NOW_NS - one.stop * MINUTE_NS, NOW_NS - one.start * MINUTE_NS) for one in MAINTAINED]
    return MaintenanceCalendar(
        [
            window(selector=Selector(), announced_ns=1, created_ns=1, start_ns=start, end_ns=end)
            for start, end in times
        ]
    )


@pytest.mark.parametrize(("over", "minutes"), [(HOUR, 60), (LONG, 300)])
def test_the_blocks_of_a_window_leave_out_what_the_window_does(
    tmp_path: Path, over: Window, minutes: int
) -> None:
    """Maintenance and unavailable time, minute by minute in memory and of hours that are summed up; they sum to what is
    judged, and nothing of it is counted for paths that nobody asks of."""

    async def look() -> None:
        async with observed(tmp_path / "state", FLEET, readings(), NOW_NS, maintenance()) as at_hand:
            plan, windows, _ = at_hand
            seen = await windows.observe(over, np.full(len(plan.paths), NOW_NS), NOW_NS, available=True)
            row = plan.rows[HUB]
            (tails,) = seen.tails.values()
            out = {ago for span in (*MAINTAINED, GAP) for ago in span}
            kept = [ago for ago in range(minutes) if ago not in out]
            told = sum(slow(ago) for ago in kept)
            assert tails.counts[row, 0].tolist() == [0, told, 600 * len(kept)]
            assert seen.delays[row, 0].sum() == 600 * len(kept)
            assert not np.delete(tails.counts, row, axis=0)[:, :, :ALL].any()
            lengths = block_minutes(minutes)
            assert [*tails.products] == [*lengths[over is LONG :]]
            first = NOW_NS // MINUTE_NS - minutes
            for length, products in tails.products.items():
                by_block: dict[int, list[int]] = defaultdict(lambda: [0, 0])
                for ago in kept:
                    begin = first + minutes - 1 - ago
                    # of a long window hours that are over are summed up, and not divided
                    block = by_block[(begin // 60 * 60 if ago >= 60 else begin) // length]
                    block[:] = block[0] + slow(ago), block[1] + 600
                x, n = np.array([*by_block.values()]).T
                expected = {(POSSIBLY, POSSIBLY): x @ x, (POSSIBLY, ALL): x @ n, (ALL, ALL): n @ n}
                assert {pair: products[row, 0, PAIRS.index(pair)] for pair in expected} == expected

    asyncio.run(look())


def test_only_windows_of_variations_and_their_history_are_asked(tmp_path: Path) -> None:
    """An hour by its own least delay, the day before it part by part; of a window of which nobody asks, nothing."""

    async def look() -> None:
        async with observed(tmp_path / "state", FLEET, readings(), NOW_NS, MaintenanceCalendar()) as at_hand:
            plan, windows, _ = at_hand
            asked = {window: {*beyond} for window, beyond in plan.variations.items()}
            history = {Beyond(LIMIT, apart=True)}
            assert asked == {HOUR: {Beyond(LIMIT)}, LONG: {Beyond(LIMIT)}, HISTORY: history}
            ends_ns = np.full(len(plan.paths), NOW_NS)
            for window in (HISTORY, Window(7200 * SECOND_NS)):
                seen = await windows.observe(window, ends_ns, NOW_NS, available=True)
                assert {*seen.tails} == asked.get(window, set())
            assert not (await windows.observe(HOUR, ends_ns, NOW_NS, blocks=False)).tails

    asyncio.run(look())


def test_a_variation_that_comes_in_bursts_is_worth_fewer_packets(tmp_path: Path) -> None:
    """Each seventh minute has a tenth of slow ones: of the packets of an hour a thirtieth, at most, are independent."""
    found = asyncio.run(evaluated(tmp_path / "state", FLEET, readings(), NOW_NS, MaintenanceCalendar()))
    varied = [one for one in found if one.measure is Measure.DELAY_VARIATION and one.trials]
    assert {one.objective for one in varied} == {"steady", "steadily"}
    for one in varied:
        assert one.trials is not None
        assert one.effective_upper is not None
        assert one.effective_upper < one.trials / (30 if one.objective == "steady" else 2)
