"""One evaluation over what is in memory and in the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.core.outcome import Direction, Outcome
from collector.documents import Names, judgement_document
from collector.evaluation import evaluate
from collector.fleet.plan import Plan, compile_plan
from collector.ledger.recent import RecentSlices
from collector.sla.counts import DirectionCounts, Reading
from collector.sla.fault_watch import Standing
from collector.sla.faults import FaultKind
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.measure import Measure
from collector.sla.selector import Selector
from collector.sla.verdict import Judgement, PathKey, Verdict
from collector.sla.verdicts import Shown, shown
from collector.sources.samples import AgentReading
from collector.state import NEVER_READ, CollectorState, SourceStatus
from collector.store.store import Store
from collector.windows import Windows
from tests.support.counting import CITY_LIMIT, HUB_LIMIT, SECOND_NS, counts, reading
from tests.support.fleets import FLEET, changed, fleet
from tests.support.maintenance import window
from tests.support.verdicts import CUT_OFF

HUB = PathKey("wuhan", "qingyang", "hub", "unicom", "stamp", 46)
NOW_NS = 30_000_000 * 60 * SECOND_NS
"""A whole minute."""

UP = SourceStatus(True, "", NOW_NS, "declared", 50_000)
SHORT = changed("window: 5m", "window: 100s")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty one."""
    opened = await Store.open(tmp_path / "state.sqlite")
    yield opened
    await opened.close()


class Life:
    """A collector that knows one fleet file, of which the hub's path is looked at.

    Attributes:
        told_ns: the interval that the agent says it was told.
    """

    def __init__(self, store: Store, text: str | None = None) -> None:
        self.store = store
        # at the pace at which these tests count
        self.plan: Plan = compile_plan(fleet((text or FLEET).replace("interval: 50ms", "interval: 100ms")))
        self.recent = RecentSlices()
        self.state = CollectorState(sources={"wuhan": UP})
        self.calendar = MaintenanceCalendar()
        self.windows = Windows.of_plan(self.plan, store, self.recent, lambda: self.calendar)
        self._read: Reading | None = None
        self.told_ns: int | None = None

    async def count(self, taken_ns: int, **directions: DirectionCounts) -> None:
        """The agent of Wuhan is read, and has counted this much more since the last time; or in five minutes, but since
        five minutes ago at most where that is a minute at least."""
        since_ns = max(taken_ns - 300 * SECOND_NS, min(taken_ns - MINUTE_NS, NOW_NS - 300 * SECOND_NS))
        before = self._read or replace(reading(taken_ns / SECOND_NS, path=HUB), epoch=since_ns / SECOND_NS)
        more = {way: directions.get(way.value, directions.get("all", counts())) for way in Direction}
        summed = {way: before.directions[way] + more[way] for way in Direction}
        self._read = replace(
            before,
            taken_ns=taken_ns,
            sent=summed[Direction.FORWARD].packets,
            directions=summed,
            interval_ns=self.told_ns,
        )
        self.recent.add(await self.store.ledger.ingest([self._read]))
        self.state.note([self._read], self.plan.promised)

    async def count_minutes(self, first: int, lost: Sequence[int]) -> None:
        """The agent is read at the end of each minute from this one on, and has lost so many of 600 packets."""
        readings = []
        for minute, one in enumerate(lost, first):
            before = self._read or replace(
                reading(minute * 60, path=HUB), epoch=float(minute * 60), taken_ns=minute * MINUTE_NS
            )
            more = counts(within=600 - one, lost=one)
            summed = {way: before.directions[way] + more for way in Direction}
            self._read = replace(
                before,
                taken_ns=(minute + 1) * MINUTE_NS,
                sent=summed[Direction.FORWARD].packets,
                directions=summed,
            )
            readings.append(self._read)
        self.recent.add(await self.store.ledger.ingest(readings))

    async def judged(self, now_ns: int = NOW_NS) -> dict[Direction, Judgement]:
        """The verdicts on the hub's path."""
        verdicts = await evaluate(self.plan, self.windows, self.state, now_ns)
        return {one.direction: one for one in verdicts if (one.path, one.objective) == (HUB, "detection")}


async def test_everything_of_the_plan_is_judged_even_where_nothing_was_read(store: Store) -> None:
    """NO_DATA is a verdict too."""
    life = Life(store)
    life.state = CollectorState()
    judgements = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    assert len(judgements) == len(life.plan.targets) == 7
    assert [(one.path, one.direction, one.objective) for one in judgements] == life.plan.keys
    assert {one.verdict for one in judgements} == {Verdict.NO_DATA}
    assert {one.reason.code for one in judgements} == {"agent_silent"}


@pytest.mark.parametrize("text", [None, SHORT])
async def test_the_window_of_a_running_agent_ends_with_its_last_reading(
    store: Store, text: str | None
) -> None:
    """What happened since is not known yet, and is no gap; from memory or from the ledger alike."""
    life = Life(store, text)
    seen_ns = NOW_NS - 5 * SECOND_NS
    await life.count(seen_ns - 100 * SECOND_NS, all=counts(within=1500))
    await life.count(seen_ns, all=counts(within=3000))
    life.state.sources["wuhan"] = replace(UP, seen_ns=seen_ns)
    for judgement in (await life.judged()).values():
        assert (judgement.verdict, judgement.coverage) == (Verdict.PASS, 1)
        assert judgement.window_end_ns == seen_ns
        assert judgement.packets == (3000 if text else 4500)


async def test_the_window_of_a_silent_agent_goes_on(store: Store) -> None:
    """The longer it is silent the less is covered, until nothing is claimed any more."""
    life = Life(store)
    await life.count(NOW_NS - 5 * SECOND_NS, all=counts(within=3000))
    await life.judged()
    life.state.sources["wuhan"] = replace(UP, up=False, reason="gone", seen_ns=NOW_NS - 5 * SECOND_NS)
    assert (await life.judged())[Direction.FORWARD].verdict is Verdict.PASS
    later = (await life.judged(NOW_NS + 200 * SECOND_NS))[Direction.FORWARD]
    assert (later.verdict, later.reason.code) == (Verdict.NO_DATA, "agent_silent")


@pytest.mark.parametrize("text", [None, SHORT])
async def test_no_verdict_turns_while_its_agent_is_not_read(store: Store, text: str | None) -> None:
    """The window goes on, and good minutes leave it before the bad ones: that proves nothing that anybody has seen.

    Nor do bad ones leave it to a PASS; and once nothing is claimed it stays so, until the agent is read again.
    """
    life = Life(store, text)
    for seconds, counted in (
        (90, counts(within=3000)),
        (60, counts(within=12_000)),
        (5, counts(within=2980, over=20)),
    ):
        await life.count(NOW_NS - seconds * SECOND_NS, all=counted)
    life.state.sources["wuhan"] = replace(UP, seen_ns=NOW_NS - 5 * SECOND_NS)
    assert (await life.judged())[Direction.FORWARD].verdict is Verdict.INDETERMINATE
    life.state.sources["wuhan"] = replace(UP, up=False, reason="gone", seen_ns=NOW_NS - 5 * SECOND_NS)
    said = []
    for seconds in range(0, 400, 10):
        one = (await life.judged(NOW_NS + seconds * SECOND_NS))[Direction.FORWARD]
        said.append(one.verdict)
    assert set(said) <= {Verdict.INDETERMINATE, Verdict.NO_DATA}
    assert said[-1] is Verdict.NO_DATA


async def test_no_verdict_turns_while_its_agent_tells_nothing_of_the_path(store: Store) -> None:
    """A source that leaves a whole path out, or an agent whose file lacks it: either way nothing new is known of it."""
    life = Life(store)
    for seconds, counted in (
        (90, counts(within=3000)),
        (60, counts(within=12_000)),
        (5, counts(within=2980, over=20)),
    ):
        await life.count(NOW_NS - seconds * SECOND_NS, all=counted)
    told = AgentReading(
        "wuhan", True, "", NOW_NS, [reading(0, path=path) for path in life.plan.leaving["wuhan"]]
    )
    without = replace(told, readings=[one for one in told.readings if one.path != HUB])
    life.state.hear(told, life.plan.leaving["wuhan"])
    assert (await life.judged())[Direction.FORWARD].verdict is Verdict.INDETERMINATE
    said = set()
    for seconds in range(0, 400, 10):
        now_ns = NOW_NS + seconds * SECOND_NS
        life.state.sources["wuhan"] = replace(UP, seen_ns=now_ns)
        life.state.hear(without, life.plan.leaving["wuhan"])
        one = (await life.judged(now_ns))[Direction.FORWARD]
        said.add(one.verdict)
    assert said == {Verdict.INDETERMINATE, Verdict.NO_DATA}
    assert one.reason.code == "path_untold"
    now_ns += 10 * SECOND_NS
    life.state.sources["wuhan"] = replace(UP, seen_ns=now_ns)
    await life.count(now_ns, all=counts(within=30_000))
    # what was counted before anybody read again is not this window's
    now_ns += 180 * SECOND_NS
    await life.count(now_ns, all=counts(within=30_000))
    life.state.hear(replace(told, up=False, readings=()), life.plan.leaving["wuhan"])
    assert (await life.judged(now_ns))[Direction.FORWARD].verdict is Verdict.NO_DATA
    life.state.hear(told, life.plan.leaving["wuhan"])
    assert (await life.judged(now_ns))[Direction.FORWARD].verdict is Verdict.PASS


async def test_a_verdict_of_an_agent_that_was_never_read_is_none(store: Store) -> None:
    """After a restart nobody knows what was said before: what the ledger has of the window may be its better part."""
    life = Life(store)
    await life.count(NOW_NS - 5 * SECOND_NS, all=counts(within=3000))
    life.state.sources["wuhan"] = replace(NEVER_READ, reason="gone")
    one = (await life.judged())[Direction.FORWARD]
    assert (one.verdict, one.reason.code, one.packets) == (Verdict.NO_DATA, "agent_silent", 3000)


async def test_a_verdict_says_which_fault_its_path_is_part_of(store: Store) -> None:
    """Beside its own reason; but of a clock that a proof has done without it says nothing."""
    life = Life(store)
    await life.count(NOW_NS, all=counts(within=3000))
    of_path = np.zeros(len(life.plan.paths), np.int64)
    life.state.standing = Standing([CUT_OFF], of_path)
    passing = (await life.judged())[Direction.FORWARD]
    assert (passing.verdict, passing.fault) == (Verdict.PASS, CUT_OFF)
    assert "Fault" not in passing.reason.en
    life.state.standing = Standing([replace(CUT_OFF, kind=FaultKind.CLOCK_BAD)], of_path)
    assert (await life.judged())[Direction.FORWARD].fault is None
    life.state.standing = Standing([CUT_OFF], of_path)
    await life.count(NOW_NS + 10 * SECOND_NS, all=counts(unattributed=300))
    one = (await life.judged(NOW_NS + 10 * SECOND_NS))[Direction.FORWARD]
    assert (one.verdict, one.fault) == (Verdict.INDETERMINATE, CUT_OFF)
    assert one.reason.en.endswith(
        "Fault: site cut off: qingyang (no path between it and 2 sites is answered)"
    )
    assert "。故障：站点失联：qingyang" in one.reason.zh


async def test_what_the_agent_says_of_itself_is_in_the_verdict(store: Store) -> None:
    """Its limit, its clock and whether it finds its target, as of its last reading."""
    life = Life(store)
    await life.count(NOW_NS, all=counts(uncertain=3000))
    life.state.sources["wuhan"] = replace(UP, clock_bound_ns=None)
    assert "not synchronised" in (await life.judged())[Direction.FORWARD].reason.en
    other = reading(NOW_NS / SECOND_NS, path=HUB, limit=CITY_LIMIT)
    life.state.note([other], life.plan.promised)
    assert (await life.judged())[Direction.FORWARD].reason.code == "other_limit"
    life.state.note([replace(other, limits={})], life.plan.promised)
    unknown = (await life.judged())[Direction.FORWARD]
    assert (unknown.verdict, unknown.reason.code) == (Verdict.NO_DATA, "limit_unknown")
    assert "does not say what limit it counts against" in unknown.reason.en
    life.state.note([replace(other, limits=dict.fromkeys(Direction, HUB_LIMIT))], life.plan.promised)
    assert life.state.other_limits == {}


async def test_a_target_that_is_not_found_is_named(store: Store) -> None:
    """Where the agent sends nothing for it does not know whither."""
    life = Life(store)
    await life.count(NOW_NS, all=counts())
    lost = replace(reading(NOW_NS / SECOND_NS, path=HUB), resolved=False)
    life.state.note([lost], life.plan.promised)
    assert (await life.judged())[Direction.FORWARD].reason.code == "target_unresolved"
    life.state.note([replace(lost, resolved=True)], life.plan.promised)
    assert (await life.judged())[Direction.FORWARD].reason.code == "below_coverage"
    await life.count(NOW_NS, round_trip=counts(within=3000))
    assert (await life.judged(NOW_NS + 5 * SECOND_NS))[Direction.FORWARD].reason.code == "no_packets"


async def test_time_in_which_nothing_was_sent_is_not_covered(store: Store) -> None:
    """The agent is read all the while, and for an hour but its first minute no packet of the path has an outcome: that
    the path was available then nobody has seen, nor that it kept any other promise."""
    life = Life(
        store, changed("percentile: 99.9, window: 5m", "measure: availability, availability: 99, window: 1h")
    )
    await life.count(NOW_NS - 61 * MINUTE_NS, all=counts(within=600))
    for minutes in range(60, -1, -1):
        await life.count(NOW_NS - minutes * MINUTE_NS, all=counts(within=600) if minutes == 59 else counts())
    one = (await life.judged())[Direction.ROUND_TRIP]
    assert (one.verdict, one.reason.code, one.packets) == (Verdict.NO_DATA, "below_coverage", 600)
    assert one.coverage == pytest.approx(67.5 / 3600, abs=0.001)


@pytest.mark.parametrize(("text", "seconds"), [(None, 300), (SHORT, 100)])
async def test_half_the_packets_cover_half_the_time(store: Store, text: str | None, seconds: int) -> None:
    """Whichever half of it they were sent in, for all that the agent was read."""
    life = Life(store, text)
    await life.count(NOW_NS - seconds * SECOND_NS, all=counts(within=600))
    for ago in range(seconds - 10, -1, -10):
        await life.count(NOW_NS - ago * SECOND_NS, all=counts(within=100) if ago < seconds / 2 else counts())
    one = (await life.judged())[Direction.FORWARD]
    assert one.coverage == pytest.approx(0.55, abs=0.06)


async def test_a_path_that_is_probed_once_a_minute_is_covered_all_the_same(store: Store) -> None:
    """Most readings of it tell nothing new."""
    text = changed("interval: 50ms", "interval: 1m").replace("timeout: 2s", "timeout: 2s, schedule: jittered")
    life = Life(store, text)
    await life.count(NOW_NS - 300 * SECOND_NS, all=counts(within=1))
    for ago in range(290, -1, -10):
        await life.count(NOW_NS - ago * SECOND_NS, all=counts(within=int(ago % 60 == 30)))
    one = (await life.judged())[Direction.FORWARD]
    assert (one.packets, one.coverage) == (5, 1)


@pytest.mark.parametrize(("text", "seconds"), [(None, 300), (SHORT, 100)])
@pytest.mark.parametrize("known", ["planned", "told"])
@pytest.mark.parametrize(
    ("before_ms", "after_ms", "goes_on"), [(100, 1000, False), (100, 1000, True), (1000, 100, True)]
)
async def test_packets_cover_time_at_the_pace_at_which_they_were_sent(
    store: Store, text: str | None, seconds: int, known: str, before_ms: int, after_ms: int, goes_on: bool
) -> None:
    """The plan has changed in the middle of the window, and the agent sends nothing since: what it had sent until then
    stands for half of the window, whatever the interval is now. Where it goes on at the new one all is covered."""
    life = Life(store, (text or FLEET).replace("interval: 50ms", f"interval: {after_ms}ms"))
    for ago in range(seconds, -1, -10):
        interval_ms = before_ms if ago >= seconds / 2 else after_ms
        if known == "told":
            life.told_ns = interval_ms * 1_000_000
        else:
            store.ledger.expect({HUB: interval_ms * 1_000_000})
        times = 6 if ago == seconds else int(goes_on or ago >= seconds / 2)
        await life.count(NOW_NS - ago * SECOND_NS, all=counts(within=10_000 // interval_ms * times))
    one = (await life.judged())[Direction.FORWARD]
    assert one.coverage == (1 if goes_on else pytest.approx(0.55, abs=0.06))


@pytest.mark.parametrize("lost", [0, 3000])
async def test_what_was_counted_while_nobody_read_is_in_no_window_that_began_since(
    store: Store, lost: int
) -> None:
    """An hour of it in one reading neither passes nor fails the last five minutes; the ledger has it all, and a window
    that holds the whole hour too."""
    life = Life(store, changed("window: 1h, tiers: [hub], min_coverage: 0.9", "window: 2h, tiers: [hub]"))
    await life.count(NOW_NS - 3700 * SECOND_NS, all=counts(within=600))
    await life.count(NOW_NS, all=counts(within=37_000 - lost, lost=lost))
    verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    judged = {one.objective: one for one in verdicts if (one.path, one.direction) == (HUB, Direction.FORWARD)}
    short, long = judged["detection"], judged["hourly"]
    assert (short.verdict, short.packets, short.coverage) == (Verdict.NO_DATA, 0, 0)
    assert (long.verdict, long.packets) == (Verdict.FAIL if lost else Verdict.PASS, 37_600)
    found = await store.ledger.minutes(0, NOW_NS // MINUTE_NS + 1)
    assert found.counts[:, 0].sum() == 37_600


async def test_a_slow_clock_covers_no_time_before_a_restart(store: Store) -> None:
    """The agent's clock is a day slow, so its start is no bound: what it has counted since is."""
    life = Life(store)
    begun_ns = NOW_NS - 300 * SECOND_NS
    await life.count(begun_ns, all=counts(within=600))
    first = reading(NOW_NS / SECOND_NS, path=HUB, epoch=NOW_NS / SECOND_NS - 86_410, within=100)
    life.recent.add(await store.ledger.ingest([first]))
    one = (await life.judged())[Direction.FORWARD]
    assert (one.verdict, one.packets) == (Verdict.NO_DATA, 100)
    assert one.coverage == pytest.approx(13.1 / 300, abs=0.001)


async def test_directions_are_judged_apart(store: Store) -> None:
    """By their own counts."""
    life = Life(store)
    late, good = counts(within=2000, over=1000), counts(within=3000)
    await life.count(NOW_NS, forward=late, reverse=good, round_trip=good)
    judged = {way: one.verdict for way, one in (await life.judged()).items()}
    assert judged == {Direction.FORWARD: Verdict.FAIL, Direction.REVERSE: Verdict.PASS}


async def test_a_long_window_may_lag_and_says_so(store: Store) -> None:
    """An hour's window is not read anew within 36 seconds, and ends where it was read."""
    life = Life(store, changed("window: 5m", "window: 1h, min_coverage: 0.01"))
    await life.count(NOW_NS, all=counts(within=3000))
    first = (await life.judged())[Direction.FORWARD]
    await life.count(NOW_NS + 30 * SECOND_NS, all=counts(within=500))
    life.state.sources["wuhan"] = replace(UP, seen_ns=NOW_NS + 30 * SECOND_NS)
    same = (await life.judged(NOW_NS + 30 * SECOND_NS))[Direction.FORWARD]
    assert (same.packets, same.window_end_ns) == (first.packets, NOW_NS) == (3000, NOW_NS)
    later = (await life.judged(NOW_NS + 60 * SECOND_NS))[Direction.FORWARD]
    assert (later.packets, later.window_end_ns) == (3500, NOW_NS + 30 * SECOND_NS)


async def test_a_month_is_that_of_the_calendar(store: Store) -> None:
    """It begins at midnight in Shanghai, and what was counted before is another month's."""
    life = Life(store, changed("window: 5m", "window: month, min_coverage: 0.000001"))
    before = (await life.judged())[Direction.FORWARD].window_start_ns
    await life.count(before, all=counts(within=4000))
    await life.count(before + 60 * SECOND_NS, all=counts(within=3000))
    now_ns = before + 90 * SECOND_NS
    life.state.sources["wuhan"] = replace(UP, seen_ns=before + 60 * SECOND_NS)
    assert (await life.judged(now_ns))[Direction.FORWARD].packets == 3000


def maintenance(start_ns: int, end_ns: int, **selector: set[str]) -> MaintenanceCalendar:
    """Announced long before."""
    chosen = Selector(**{field: frozenset(names) for field, names in selector.items()})
    times = {"start_ns": start_ns, "end_ns": end_ns, "announced_ns": 1, "created_ns": 1}
    return MaintenanceCalendar([window(selector=chosen, **times)])


@pytest.mark.parametrize("text", [None, SHORT])
async def test_maintenance_drops_good_and_bad_alike(store: Store, text: str | None) -> None:
    """What was lost while a path was worked on neither fails it nor lowers its coverage, and is told beside the rest;
    another path's maintenance changes nothing."""
    life = Life(store, text)
    bad = counts(within=10, lost=2990)
    for minutes, counted in (
        (4, counts(within=3000)),
        (3, bad),
        (2, bad),
        (1, bad),
        (0, counts(within=4000)),
    ):
        await life.count(NOW_NS - minutes * 60 * SECOND_NS, all=counted)
    assert (await life.judged())[Direction.FORWARD].verdict is Verdict.FAIL
    worked_on = NOW_NS - 239 * SECOND_NS, NOW_NS - 61 * SECOND_NS
    life.calendar = maintenance(*worked_on, providers={"telecom"})
    assert (await life.judged())[Direction.FORWARD].verdict is Verdict.FAIL
    life.calendar = maintenance(*worked_on, targets={"qingyang"}, tiers={"hub"})
    one = (await life.judged())[Direction.FORWARD]
    assert (one.verdict, one.coverage) == (Verdict.PASS, 1)
    assert one.counts[Outcome.LOST] == 0
    assert one.maintenance_counts[Outcome.LOST] == 2990 * (1 if text else 3)
    assert one.maintenance_ns == (40 if text else 180) * SECOND_NS


async def test_a_window_of_nothing_but_maintenance_is_no_data(store: Store) -> None:
    """And says so."""
    life = Life(store)
    await life.count(NOW_NS, all=counts(within=3000))
    life.calendar = maintenance(NOW_NS - 3600 * SECOND_NS, NOW_NS + 60 * SECOND_NS)
    one = (await life.judged())[Direction.FORWARD]
    assert (one.verdict, one.reason.code, one.packets) == (Verdict.NO_DATA, "in_maintenance", 0)


async def test_an_objective_is_asked_of_whom_it_selects(store: Store) -> None:
    """By provider, district, site or tag."""
    for selector, number in (
        ("providers: [unicom]", 2),
        ("districts: [洪山区]", 5),
        ("sites: [guanggu]", 3),
        ("targets: [qingyang], providers: [telecom]", 0),
    ):
        life = Life(store, changed("window: 5m", f"window: 5m, {selector}"))
        verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
        assert sum(one.objective == "detection" for one in verdicts) == number, selector


def test_a_status_remembers_when_and_how_an_agent_was_last_seen() -> None:
    """A failed reading changes whether it is up and why, not what is known of it."""
    seen = NEVER_READ.after(AgentReading("wuhan", True, "", 5, (), "declared", 50_000))
    assert seen == SourceStatus(True, "", 5, "declared", 50_000)
    gone = seen.after(AgentReading("wuhan", False, "does not answer", 9))
    assert gone == SourceStatus(False, "does not answer", 5, "declared", 50_000)
    assert NEVER_READ.after(AgentReading("wuhan", False, "x", 9)).seen_ns is None


AVAILABLE = changed(
    "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
    "{id: available, measure: availability, availability: 99, consecutive: 3, window: 41h, tiers: [hub]}",
)
MINUTES = 41 * 60
MINUTE_NS = 60 * SECOND_NS


async def test_unavailable_time_is_found_in_the_ledger(store: Store) -> None:
    """In days and hours that are settled as in the last minutes; a run across the edge of two days is one; short runs,
    and what is maintenance, are none. It is asked of round trips alone."""
    life = Life(store, AVAILABLE)
    first = NOW_NS // MINUTE_NS - MINUTES
    midnight = first + 60
    down = {*range(midnight - 5, midnight + 6), *range(first + 100, first + 102), first + MINUTES - 4}
    await life.count_minutes(first, [600 * (minute in down) for minute in range(first, first + MINUTES)])
    await store.ledger.settle(midnight + 1440 + 60)

    async def judged(now_ns: int) -> Judgement:
        verdicts = await evaluate(life.plan, life.windows, life.state, now_ns)
        (one,) = (one for one in verdicts if one.objective == "available")
        return one

    one = await judged(NOW_NS)
    assert (one.direction, one.measure) == (Direction.ROUND_TRIP, Measure.AVAILABILITY)
    assert (one.trials, one.violation_lower) == (MINUTES, 11 / MINUTES)
    assert one.bound_lower == one.bound_upper == one.violation_lower
    assert (one.verdict, one.reason.code) == (Verdict.PASS, "available")
    assert (
        "11 of 2460 intervals of 1 min were unavailable (runs of 3 or more that lost over 20%)"
        in one.reason.en
    )
    assert await judged(NOW_NS) == one
    life.calendar = maintenance((midnight - 5) * MINUTE_NS, (midnight + 3) * MINUTE_NS, tiers={"hub"})
    rest = await judged(NOW_NS)
    assert (rest.trials, rest.violation_lower) == (MINUTES - 8, 3 / (MINUTES - 8))
    # what was looked into is not read again, but where something was added
    life.calendar = MaintenanceCalendar()
    await life.count_minutes(first + MINUTES, [0] * 5 + [600] * 5)
    later_ns = NOW_NS + 10 * MINUTE_NS
    life.state.sources["wuhan"] = replace(UP, seen_ns=later_ns)
    assert (await judged(later_ns)).violation_lower == 16 / MINUTES


async def test_a_delay_is_judged_in_available_time_only(store: Store) -> None:
    """An outage of eleven minutes breaks no promise of a delay over two hours, which says so; a loss over the same time
    is one all the same, and five minutes are too short to tell an outage from anything else."""
    text = changed(
        "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
        """{id: available, measure: availability, availability: 99, consecutive: 3, window: 1d, tiers: [hub]}
  - {id: delay, percentile: 99, window: 2h, tiers: [hub]}
  - {id: loss, measure: loss, loss_ratio: 0.01, window: 2h, tiers: [hub]}""",
    )
    life = Life(store, text)
    first = NOW_NS // MINUTE_NS - 120
    await life.count_minutes(
        first, [600 if 60 <= minute < 71 or minute >= 118 else 0 for minute in range(120)]
    )
    life.calendar = maintenance((first + 65) * MINUTE_NS, (first + 67) * MINUTE_NS, tiers={"hub"})
    verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    judged = {
        one.objective: one for one in verdicts if one.path == HUB and one.direction is Direction.FORWARD
    }
    delay, loss, short = judged["delay"], judged["loss"], judged["detection"]
    assert (delay.unavailable_ns, delay.maintenance_ns) == (9 * MINUTE_NS, 2 * MINUTE_NS)
    assert delay.counts[Outcome.LOST] == 2 * 600
    assert delay.packets == (120 - 11) * 600
    assert delay.maintenance_counts[Outcome.LOST] == 2 * 600
    assert delay.coverage == 1
    assert delay.reason.en.endswith(
        ". Another 9 min were unavailable, which the availability objective judges"
    )
    assert (loss.unavailable_ns, loss.counts[Outcome.LOST]) == (0, 11 * 600)
    assert (short.unavailable_ns, short.counts[Outcome.LOST]) == (0, 2 * 600)


async def test_a_budget_of_a_delay_is_spent_in_available_time_only(store: Store) -> None:
    """As its objective is judged: an outage spends what availability is allowed, and the budget of losses."""
    text = changed(
        "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
        """{id: available, measure: availability, availability: 99, consecutive: 3, window: 1d, tiers: [hub]}
  - {id: delay, percentile: 99.9, window: 30d, tiers: [hub]}
  - {id: loss, measure: loss, loss_ratio: 0.001, window: 30d, tiers: [hub]}""",
    )
    life = Life(store, text)
    first = NOW_NS // MINUTE_NS - 120
    await life.count_minutes(first, [600 * (60 <= minute < 71) for minute in range(120)])
    verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    judged = {
        one.objective: one for one in verdicts if one.path == HUB and one.direction is Direction.FORWARD
    }
    delay, loss = (judged[name].burns[120 * MINUTE_NS] for name in ("delay:budget", "loss:budget"))
    assert (delay.judged, delay.broken) == (109 * 600, 0)
    assert delay.observed == pytest.approx(109 / 120)
    assert (loss.judged, loss.broken, loss.observed) == (120 * 600, 11 * 600, 1)
    assert judged["delay"].budget_remaining == 1
    assert judged["loss"].budget_remaining == pytest.approx(1 - 11_000 / 120)
    document = judgement_document(judged["loss:budget"], Names())
    assert document["burns"]["2h"] == {
        "judged_packets": 72_000,
        "violations": {"lower": 6_600, "upper": 6_600},
        "observed": 1,
    }
    assert document["burn_rates"]["2h"] == pytest.approx(11_000 / 120)


async def test_a_verdict_says_how_much_of_its_window_nobody_saw(store: Store) -> None:
    """Beside its reason, in both languages, and in seconds; what was seen to the last reading is all that counts."""
    life = Life(store)
    await life.count(NOW_NS, all=counts(within=3000))
    whole = (await life.judged())[Direction.FORWARD]
    assert (whole.verdict, whole.unobserved_ns) == (Verdict.PASS, 0)
    assert "observed" not in whole.reason.en
    life.state.sources["wuhan"] = replace(UP, up=False, reason="gone", seen_ns=NOW_NS)
    one = (await life.judged(NOW_NS + 60 * SECOND_NS))[Direction.FORWARD]
    assert (one.verdict, one.coverage, one.unobserved_ns) == (Verdict.PASS, 0.8, 60 * SECOND_NS)
    assert one.reason.en.endswith(". 1 min of the window were not observed, and count neither way")
    assert one.reason.zh.endswith("。时间窗中有 1 分钟 没有观测到，不计入")
    assert judgement_document(one, Names())["unobserved_seconds"] == 60


async def test_a_window_of_nothing_but_outage_has_no_delay_to_judge(store: Store) -> None:
    """And says so: that is what the availability objective fails for."""
    text = changed(
        "{id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}",
        """{id: available, measure: availability, availability: 99, window: 2h, tiers: [hub]}
  - {id: delay, percentile: 99, window: 2h, tiers: [hub]}""",
    )
    life = Life(store, text)
    await life.count_minutes(NOW_NS // MINUTE_NS - 120, [600] * 120)
    verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    said = {one.objective: (one.verdict, one.reason.code) for one in verdicts if one.path == HUB}
    assert said["delay"] == (Verdict.NO_DATA, "no_available_time")
    assert said["available"] == (Verdict.FAIL, "unavailable")


async def test_what_is_shown_of_very_many_verdicts_is_what_each_of_them_says(store: Store) -> None:
    """The figures that come from arrays are those of the judgements that are put together one by one."""
    life = Life(store)
    await life.count(NOW_NS, forward=counts(within=2000, over=1000), reverse=counts(within=3000))
    verdicts = await evaluate(life.plan, life.windows, life.state, NOW_NS)
    told = list(shown(verdicts))
    assert len(told) == len(verdicts)
    for short, whole in zip(told, verdicts, strict=True):
        assert isinstance(short, Shown)
        for name, value in short._asdict().items():
            expected = getattr(whole, name)
            assert value == (pytest.approx(expected) if isinstance(expected, float) else expected), name
    assert list(shown([*verdicts])) == [*verdicts]
