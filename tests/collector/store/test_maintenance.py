"""Maintenance windows in the database: nothing changes without a word of who, when and why."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL

from collector.sla.maintenance import (
    DAY_NS,
    LATEST_NS,
    MaintenanceCalendar,
    MaintenanceWindow,
    NoticeRule,
    Origin,
)
from collector.sla.selector import PathFacts, Selector
from collector.store.exceptions import UnknownWindow, WindowRefused
from collector.store.maintenance import FILE, Action, AuditRow, Change, Configured
from collector.store.store import Store
from tests.support.killing import Killed, killed_at
from tests.support.maintenance import BASE_NS, HOUR_NS, window
from tests.support.verdicts import HUB_PATH

BEFORE = Change("zhang.wei", BASE_NS - 6 * DAY_NS)
AFTER = Change("zhang.wei", BASE_NS + DAY_NS)
WHY = "the contractor's log shows it"
FACTS = PathFacts(HUB_PATH)


def replayed(rows: list[AuditRow]) -> dict[str, MaintenanceWindow]:
    """What the audit says the windows are; each row must go on from where the one before has left."""
    found: dict[str, MaintenanceWindow] = {}
    for row in rows:
        assert found.get(row.window) == row.before
        found[row.window] = row.after
    return found


def written(**changed: Any) -> Configured:
    """A window as the fleet file says it."""

    def made(identifier: str, created_ns: int) -> MaintenanceWindow:
        said = {"announced_ns": created_ns, "origin": Origin.FILE, "created_by": FILE} | changed
        return window(id=identifier, created_ns=created_ns, **said)

    return Configured(made, WHY)


async def test_a_window_is_kept_with_all_that_it_says(where: Path | URL) -> None:
    """Over a restart too; the audit has who wrote it and when."""
    one = window(selector=Selector(tiers=frozenset({"hub"}), districts=frozenset({"洪山区", "江夏区"})))
    store = await Store.open(where)
    await store.maintenance.add(one, BEFORE)
    await store.close()
    store = await Store.open(where)
    assert await store.maintenance.windows() == [one]
    assert await store.maintenance.audit() == [AuditRow(one.id, BEFORE, Action.ADDED, None, one)]
    await store.close()


async def test_ending_now_needs_no_reason_and_leaves_a_row(store: Store) -> None:
    """While it runs, and before it begins, which calls it off."""
    now = Change("li.na", BASE_NS + HOUR_NS)
    for name, end_ns, change in (("a", now.at_ns, now), ("b", BEFORE.at_ns, BEFORE)):
        await store.maintenance.add(window(id=name), BEFORE)
        ended = await store.maintenance.end(name, end_ns, change)
        assert ended == window(id=name, ended_ns=end_ns)
        last = (await store.maintenance.audit())[-1]
        assert last == AuditRow(name, change, Action.ENDED, window(id=name), ended)
    assert {one.id: one.ended_ns for one in await store.maintenance.windows()} == {
        "a": now.at_ns,
        "b": BEFORE.at_ns,
    }


@pytest.mark.parametrize("empty", ["", "  \n"])
async def test_the_past_is_not_changed_without_a_justification(store: Store, empty: str) -> None:
    """Neither by a new window, nor by ending one that is over or was over earlier; and nothing is written."""
    unjustified = replace(AFTER, justification=empty)
    with pytest.raises(WindowRefused, match=r"begin in the past, .*a justification is needed"):
        await store.maintenance.add(window(), unjustified)
    await store.maintenance.add(window(), BEFORE)
    during = Change("li.na", BASE_NS + HOUR_NS, empty)
    for end_ns, change in ((BASE_NS, during), (BASE_NS + HOUR_NS, unjustified)):
        with pytest.raises(WindowRefused, match=r"changed in the past, .*a justification is needed"):
            await store.maintenance.end("cutover", end_ns, change)
    await store.maintenance.end("cutover", during.at_ns, during)
    later = Change("li.na", during.at_ns + 1, empty)
    with pytest.raises(WindowRefused, match="a justification is needed"):
        await store.maintenance.end("cutover", later.at_ns, later)
    assert len(await store.maintenance.audit()) == 2


async def test_the_past_is_changed_with_a_justification_that_is_kept(store: Store) -> None:
    """In the row of that change."""
    justified = replace(AFTER, justification=WHY)
    await store.maintenance.add(window(), justified)
    await store.maintenance.end("cutover", BASE_NS + HOUR_NS, justified)
    assert [row.change.justification for row in await store.maintenance.audit()] == [WHY, WHY]
    calendar = MaintenanceCalendar(await store.maintenance.windows())
    assert calendar.intervals(FACTS, 0, BASE_NS + DAY_NS) == [(BASE_NS, BASE_NS + HOUR_NS)]


async def test_a_notice_that_the_collector_has_not_seen_is_justified(store: Store) -> None:
    """Otherwise an outage would be dropped while it happens, by a window that is said to have been announced."""
    late = Change("zhang.wei", BASE_NS - 5 * DAY_NS + 1)
    with pytest.raises(WindowRefused, match="too late to show that it was announced before: a justification"):
        await store.maintenance.add(window(announced_ns=late.at_ns - 1, created_ns=late.at_ns), late)
    short = window(id="short", announced_ns=late.at_ns, created_ns=late.at_ns)
    await store.maintenance.add(short, late)
    told = window(id="told", created_ns=late.at_ns)
    await store.maintenance.add(told, replace(late, justification="letter of the 21st"))
    in_time = Change("zhang.wei", BASE_NS - 5 * DAY_NS)
    await store.maintenance.add(window(id="early", created_ns=in_time.at_ns), in_time)
    found = {one.id: next(one.occurrences(0, LATEST_NS)) for one in await store.maintenance.windows()}
    assert {name: one.excluded for name, one in found.items()} == {
        "short": False,
        "told": True,
        "early": True,
    }


async def test_what_makes_no_sense_is_refused(store: Store) -> None:
    """Whatever the justification."""
    justified = replace(BEFORE, justification=WHY)
    await store.maintenance.add(window(), justified)
    with pytest.raises(WindowRefused, match="there is a maintenance window cutover already"):
        await store.maintenance.add(window(reason="another"), justified)
    with pytest.raises(WindowRefused, match="announced in the future"):
        await store.maintenance.add(window(id="b", announced_ns=BEFORE.at_ns + 1), justified)
    with pytest.raises(WindowRefused, match="ends before that anyway"):
        await store.maintenance.end("cutover", BASE_NS + 2 * HOUR_NS, justified)
    with pytest.raises(UnknownWindow, match="no maintenance window nothing"):
        await store.maintenance.end("nothing", BASE_NS, justified)
    assert await store.maintenance.windows() == [window()]
    assert len(await store.maintenance.audit()) == 1


async def test_a_window_of_the_file_is_taken_over_once(store: Store) -> None:
    """A restart with the same file changes nothing; a later reading is no later announcement."""
    (added,) = await store.maintenance.adopt({"nightly": written(rrule="FREQ=DAILY")}, BEFORE.at_ns)
    assert (added.id, added.announced_ns) == ("nightly@1", BEFORE.at_ns)
    assert await store.maintenance.adopt({"nightly": written(rrule="FREQ=DAILY")}, AFTER.at_ns) == []
    assert await store.maintenance.windows() == [added]
    with pytest.raises(WindowRefused, match="stands in the fleet file"):
        await store.maintenance.end("nightly@1", BASE_NS, BEFORE)


async def test_a_changed_line_of_the_file_does_not_change_the_past(store: Store) -> None:
    """The old wording holds until the new one was read; what is taken out ends then; what comes back is new."""
    day = DAY_NS
    tables = store.maintenance
    await tables.adopt({"nightly": written(rrule="FREQ=DAILY", announced_ns=0)}, BEFORE.at_ns)
    longer = written(rrule="FREQ=DAILY", announced_ns=0, end_ns=BASE_NS + 3 * HOUR_NS)
    await tables.adopt({"nightly": longer}, BASE_NS + day // 2)
    await tables.adopt({}, BASE_NS + day + day // 2)
    await tables.adopt({"nightly": longer}, BASE_NS + 2 * day + HOUR_NS)
    windows = await tables.windows()
    assert [one.id for one in windows] == ["nightly@1", "nightly@2", "nightly@3"]
    assert MaintenanceCalendar(windows).intervals(FACTS, 0, BASE_NS + 4 * day) == [
        (BASE_NS, BASE_NS + 2 * HOUR_NS),
        (BASE_NS + day, BASE_NS + day + 3 * HOUR_NS),
        (BASE_NS + 2 * day + HOUR_NS, BASE_NS + 2 * day + 3 * HOUR_NS),
        (BASE_NS + 3 * day, BASE_NS + 3 * day + 3 * HOUR_NS),
    ]
    rows = await tables.audit()
    assert [(row.window, row.action) for row in rows] == [
        ("nightly@1", Action.ADDED),
        ("nightly@1", Action.ENDED),
        ("nightly@2", Action.ADDED),
        ("nightly@2", Action.ENDED),
        ("nightly@3", Action.ADDED),
    ]
    assert {row.change.by for row in rows} == {FILE}
    assert [row.change.justification for row in rows] == [WHY, "", WHY, "", WHY]


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "end", "adopt"]),
        st.sampled_from("ab"),
        st.integers(0, 60),
        st.integers(1, 30),
        st.sampled_from(["", WHY]),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_audit_replays_to_the_windows(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is added, ended and listed, in whatever order, refused or killed at any statement."""
    asyncio.run(_audited(steps, tmp_path_factory.mktemp("state") / "state.sqlite"))


async def _audited(steps: list[tuple[Any, ...]], where: Path | URL) -> None:
    store = await Store.open(where)
    now_ns = BASE_NS
    for kind, name, hours, length, why, moment, forward in steps:
        now_ns += HOUR_NS * forward
        before = await store.maintenance.windows()
        change = Change("li.na", now_ns, why)
        start_ns = BASE_NS + hours * HOUR_NS
        end_ns = start_ns + length * HOUR_NS
        with killed_at(moment), contextlib.suppress(Killed, WindowRefused, UnknownWindow):
            if kind == "add":
                made = window(
                    id=name, start_ns=start_ns, end_ns=end_ns, announced_ns=now_ns, rule=NoticeRule(0)
                )
                await store.maintenance.add(made, change)
            elif kind == "end":
                await store.maintenance.end(name, start_ns, change)
            else:
                line = written(start_ns=start_ns, end_ns=end_ns, announced_ns=0)
                await store.maintenance.adopt({name: line} if length % 3 else {}, now_ns)
        windows = await store.maintenance.windows()
        assert {one.id: one for one in windows} == replayed(await store.maintenance.audit())
        if not why:
            _same_past(before, windows, now_ns)
    await store.close()


def _same_past(before: list[MaintenanceWindow], after: list[MaintenanceWindow], now_ns: int) -> None:
    """What was dropped before now is what it was."""
    old, new = (MaintenanceCalendar(windows).intervals(FACTS, 0, now_ns) for windows in (before, after))
    assert old == new


async def test_the_audit_replays_to_the_windows_on_every_database(where: Path | URL) -> None:
    """One history with each kind of step, on PostgreSQL too."""
    await _audited(
        [
            ("add", "a", 1, 5, "", 0, False),
            ("add", "a", 2, 5, "", 0, True),
            ("adopt", "b", 1, 4, "", 0, True),
            ("end", "a", 3, 1, "", 3, False),
            ("end", "a", 3, 1, "", 0, False),
            ("adopt", "b", 1, 7, "", 0, True),
            ("adopt", "b", 1, 7, "", 2, True),
            ("end", "a", 2, 1, WHY, 0, True),
            ("adopt", "b", 1, 3, "", 0, True),
        ],
        where,
    )
