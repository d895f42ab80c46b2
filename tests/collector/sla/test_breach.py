"""Breaches open and close by runs of proof."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.outcome import Direction
from collector.sla.breach import (
    BreachClosed,
    BreachEvent,
    BreachKey,
    BreachOpened,
    Hysteresis,
    Watch,
    breach_id,
)
from collector.sla.verdict import Verdict
from tests.support.verdicts import HUB_PATH, SECOND_NS, advanced, judgement

PASS, FAIL, UNKNOWN, ABSENT = Verdict.PASS, Verdict.FAIL, Verdict.INDETERMINATE, Verdict.NO_DATA
KEY = BreachKey(HUB_PATH, Direction.FORWARD, "detection")


def play(
    verdicts: list[Verdict], open_after: int = 1, close_after: int = 3
) -> tuple[dict[BreachKey, Watch], list[tuple[int, BreachEvent]]]:
    """One evaluation a second with these verdicts; events with the number of their evaluation."""
    watches: dict[BreachKey, Watch] = {}
    events: list[tuple[int, BreachEvent]] = []
    needed = {"detection": Hysteresis(open_after, close_after)}
    for number, verdict in enumerate(verdicts):
        watches, new = advanced(watches, [judgement(verdict)], needed, number * SECOND_NS)
        events += [(number, event) for event in new]
    return watches, events


def kinds(events: list[tuple[int, BreachEvent]]) -> list[tuple[int, str]]:
    """Numbers and types."""
    return [(number, type(event).__name__) for number, event in events]


def test_a_breach_opens_with_the_first_fail_and_closes_after_three_passes() -> None:
    """Quick to open, slow to close, as configured."""
    watches, events = play([PASS, FAIL, FAIL, PASS, PASS, PASS, PASS])
    assert kinds(events) == [(1, "BreachOpened"), (5, "BreachClosed")]
    assert watches == {}


def test_a_single_pass_amid_fails_closes_nothing() -> None:
    """The run of PASS must be unbroken."""
    assert kinds(play([FAIL, PASS, PASS, FAIL, PASS, PASS])[1]) == [(0, "BreachOpened")]


def test_not_knowing_neither_opens_nor_closes_and_ends_a_run() -> None:
    """INDETERMINATE and NO_DATA are no recovery and no violation."""
    assert kinds(play([FAIL, UNKNOWN, FAIL, ABSENT, FAIL], open_after=2)[1]) == []
    assert kinds(play([FAIL, PASS, PASS, ABSENT, PASS, PASS])[1]) == [(0, "BreachOpened")]
    assert kinds(play([FAIL, PASS, PASS, UNKNOWN, PASS, PASS, PASS])[1]) == [
        (0, "BreachOpened"),
        (6, "BreachClosed"),
    ]


@pytest.mark.parametrize(("before", "verdict"), [([FAIL, FAIL], FAIL), ([FAIL] * 3 + [PASS] * 2, PASS)])
def test_an_evaluation_that_knows_nothing_new_neither_lengthens_nor_ends_a_run(
    before: list[Verdict], verdict: Verdict
) -> None:
    """However often the last verdict of a silent agent is repeated: no breach opens or closes by that."""
    watches, _ = play(before, open_after=3)
    needed = {"detection": Hysteresis(3, 3)}
    for unread in (verdict, PASS, FAIL, ABSENT):
        assert advanced(watches, [judgement(unread)], needed, 0, unread=True) == (watches, [])
    _, events = advanced(watches, [judgement(verdict)], needed, 0)
    assert len(events) == 1


def test_a_run_of_fails_is_needed_where_it_is_configured() -> None:
    """The breach opens at the end of the run, with the evidence of that evaluation."""
    watches, events = play([FAIL, FAIL, FAIL], open_after=3)
    assert kinds(events) == [(2, "BreachOpened")]
    breach = watches[KEY].open
    assert breach is not None
    assert breach.opened_ns == 2 * SECOND_NS
    assert breach.opening.verdict is FAIL


def test_a_closed_breach_keeps_what_opened_and_what_closed_it() -> None:
    """The evidence of both ends."""
    _, events = play([FAIL, PASS], close_after=1)
    closed = events[1][1].breach
    assert isinstance(events[1][1], BreachClosed)
    assert closed.id == events[0][1].breach.id
    assert (closed.opening.verdict, closed.closing.verdict if closed.closing else None) == (FAIL, PASS)
    assert closed.closed_ns == SECOND_NS


def test_directions_are_watched_apart() -> None:
    """A breach forward says nothing of the way back."""
    judgements = [judgement(FAIL), judgement(PASS, direction=Direction.REVERSE)]
    watches, events = advanced({}, judgements, {"detection": Hysteresis(1, 1)}, 0)
    assert [event.breach.key.direction for event in events] == [Direction.FORWARD]
    assert BreachKey(HUB_PATH, Direction.REVERSE, "detection") not in watches


def test_what_is_no_longer_judged_is_closed_without_a_proof() -> None:
    """A path that has left the fleet file must not alert for ever; nor does it count as recovered."""
    watches, _ = play([FAIL])
    after, events = advanced(watches, [], {}, 9 * SECOND_NS)
    assert after == {}
    assert [type(event) for event in events] == [BreachClosed]
    assert events[0].breach.closed_ns == 9 * SECOND_NS
    assert events[0].breach.closing is None


def test_a_run_of_what_is_no_longer_judged_is_forgotten() -> None:
    """Without an event: nothing was announced of it."""
    watches, _ = play([FAIL], open_after=2)
    assert advanced(watches, [], {}, SECOND_NS) == ({}, [])


def test_the_id_of_a_breach_follows_from_what_it_is_about_and_when() -> None:
    """The same for whoever computes it, and another for another direction or another time."""
    other = BreachKey(HUB_PATH, Direction.REVERSE, "detection")
    assert breach_id(KEY, 1) == breach_id(KEY, 1)
    assert len({breach_id(KEY, 1), breach_id(KEY, 2), breach_id(other, 1)}) == 3


@given(st.lists(st.sampled_from(list(Verdict)), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_openings_and_closings_alternate(verdicts: list[Verdict], open_after: int, close_after: int) -> None:
    """Never two open breaches of one key, never a closing without an opening; each at the end of an unbroken run."""
    watches, events = play(verdicts, open_after, close_after)
    for index, (number, event) in enumerate(events):
        opened = isinstance(event, BreachOpened)
        assert opened is (index % 2 == 0)
        run = open_after if opened else close_after
        assert set(verdicts[number - run + 1 : number + 1]) == {FAIL if opened else PASS}
    is_open = bool(events) and isinstance(events[-1][1], BreachOpened)
    assert (watches.get(KEY, Watch()).open is not None) is is_open


@given(st.lists(st.sampled_from(list(Verdict)), max_size=40), st.integers(0, 39))
def test_a_restart_between_evaluations_changes_nothing(verdicts: list[Verdict], at: int) -> None:
    """All that is needed to go on is in the watches."""
    needed = {"detection": Hysteresis(2, 3)}
    watches: dict[BreachKey, Watch] = {}
    events: list[BreachEvent] = []
    for number, verdict in enumerate(verdicts):
        if number == at:
            watches = {
                key: Watch(watch.open, watch.run) for key, watch in watches.items() if watch != Watch()
            }
        watches, new = advanced(watches, [judgement(verdict)], needed, number)
        events += new
    assert events == [event for _, event in _replayed(verdicts, needed)]


def _replayed(verdicts: list[Verdict], needed: dict[str, Hysteresis]) -> list[tuple[int, BreachEvent]]:
    watches: dict[BreachKey, Watch] = {}
    events: list[tuple[int, BreachEvent]] = []
    for number, verdict in enumerate(verdicts):
        watches, new = advanced(watches, [judgement(verdict)], needed, number)
        events += [(number, event) for event in new]
    return events
