"""The latest minutes in memory: windows out of them are what the same minutes sum to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from agent.core.outcome import Direction, Limit, Operator, Outcome
from collector.ledger.by_minute import LeftOut
from collector.ledger.last_hour import LastHour, needed_since
from collector.ledger.minutes import NO_MINIMUM, WIDTH, Integers, Minutes, begun_within, by_direction
from collector.ledger.promises import Promises
from collector.ledger.sums import Sums, Totals, block_products, totals
from collector.ledger.tails import tails_of_parts
from collector.sla.variation import Beyond, varied
from tests.support.counting import CITY_LIMIT, HUB_LIMIT

FIRST, STOP = 1000, 1030
PATHS = 7
AGENTS = 3
BEYOND = Beyond(Limit(2_000_000, Operator.AT_MOST))
TERMS = {1: dict.fromkeys(Direction, HUB_LIMIT), 2: dict.fromkeys(Direction, CITY_LIMIT)}


def drawn(rng: np.random.Generator, rows: int) -> Minutes:
    """Some minutes, merged; most of their counts are zero."""
    counts = rng.integers(0, 70_000, (rows, WIDTH)) * (rng.random((rows, WIDTH)) < 0.1)
    minima_us = np.where(rng.random((rows, 3)) < 0.3, NO_MINIMUM, rng.integers(-50, 10**7, (rows, 3)))
    return Minutes(
        rng.integers(1, PATHS + 1, rows),
        rng.integers(1, 3, rows),
        rng.integers(FIRST - 5, STOP + 5, rows),
        rng.integers(0, 60_000, rows),
        rng.integers(0, 100, rows),
        minima_us,
        counts,
    ).merged()


def agents_of(minutes: Minutes) -> Integers:
    """Whose the paths are."""
    agents: Integers = minutes.path % AGENTS
    return agents


def filled(parts: list[Minutes]) -> LastHour:
    """With these, one after the other."""
    lately = LastHour(FIRST)
    for part in parts:
        lately.add(agents_of(part), part)
    return lately


def assert_sums(found: Sums, expected: Sums) -> None:
    """The same rows with the same sums."""
    for name in ("path", "terms", "minute", "covered_ms", "reach_s", "minima_us", "counts", "products"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


@pytest.mark.parametrize("pieces", [1, 5, 200])
def test_its_sums_are_those_of_its_minutes(pieces: int) -> None:
    """In however many pieces they came, of any part of the time, in spans of any length."""
    rng = np.random.default_rng(pieces)
    parts = [drawn(rng, 20) for _ in range(pieces)]
    lately, minutes = filled(parts), Minutes.joined(parts).merged()
    for first, stop in ((FIRST, STOP), (FIRST + 3, FIRST + 20), (FIRST, STOP + 100)):
        within = minutes.take((minutes.minute >= first) & (minutes.minute < stop))
        for span in (1, 7, 1000):
            assert_sums(lately.sums(first, stop, span), Sums.of(within, span))


@pytest.mark.parametrize("promised", [[{}] * PATHS, [dict.fromkeys(Direction, HUB_LIMIT)] * PATHS])
def test_a_window_is_what_its_minutes_sum_to(promised: list[dict[Direction, Limit]]) -> None:
    """With the products of blocks of any length, of some paths in any order, counted against what is promised;
    less what may have begun long before the window."""
    rng = np.random.default_rng(1)
    parts = [drawn(rng, 50) for _ in range(30)]
    lately, minutes = filled(parts), Minutes.joined(parts).merged()
    paths = np.array([6, 2, 3, 99, 1])
    held = Promises(promised).take(np.arange(len(paths)))
    seen = lately.window(FIRST, STOP, paths, TERMS, held, (3, 12))
    within = minutes.take((minutes.minute >= FIRST) & (minutes.minute < STOP))
    within = within.take(begun_within(within.minute, within.reach_s, FIRST))
    expected = totals(Sums.of(within), paths, TERMS, held)
    for name in ("covered_ms", "reach_s", "sent", "outcomes", "delays", "minima_us"):
        np.testing.assert_array_equal(getattr(seen.totals, name), getattr(expected, name), name)
    assert not seen.left_out.any()
    for length, products in zip((3, 12), seen.products, strict=True):
        expected_products = block_products(Sums.of(within, 1), paths, TERMS, held, length)
        np.testing.assert_array_equal(products, expected_products)


@dataclass
class Life:
    """The latest minutes as time goes on, and beside them all minutes that there were."""

    rng: np.random.Generator
    now: int = FIRST
    lately: LastHour = field(default_factory=lambda: LastHour(FIRST - 60))
    known: Minutes = field(default_factory=Minutes.empty)
    revision: int = 0

    def go_on(self) -> None:
        """Counts come, most of them of this minute, some late; now and then nobody reads, or another has written."""
        chance = self.rng.random()
        self.now += 20 if chance < 0.05 else int(chance < 0.4)
        some = drawn(self.rng, int(self.rng.integers(0, 30)))
        late = self.rng.integers(0, 70, len(some)) * (self.rng.random(len(some)) < 0.1)
        most = self.rng.choice([100, 100, 4000], len(some))
        some = replace(
            some,
            minute=self.now - late,
            reach_s=self.rng.integers(0, most),
            counts=some.counts * (1 << 20 if chance > 0.97 else 1),
        ).merged()
        if chance > 0.9:
            self.lately.drop([9])
            self.lately.add(np.full(len(self.known), 9), self.known)
        self.revision = self.lately.revisions.get(9, 0) + 1
        self.lately.take([(9, self.revision, some)])
        self.known = Minutes.joined([self.known, some]).merged()
        self.lately.forget(self.now - 62)

    def left_out(self) -> list[LeftOut]:
        """Something, seldom."""
        if self.rng.random() < 0.7:
            return []
        return [
            LeftOut(int(self.rng.integers(1, PATHS)), self.now - 20, self.now - int(self.rng.integers(20)))
        ]

    def expected(
        self, length: int, paths: Integers, promised: Promises, without: list[LeftOut], hidden: list[LeftOut]
    ) -> tuple[Totals, Sums]:
        """What a window that ends with this minute is, of all minutes at once, and its minutes."""
        first = self.now + 1 - length
        within = self.known.take((self.known.minute >= first) & (self.known.minute <= self.now))
        within = within.take(begun_within(within.minute, within.reach_s, first))
        out = np.zeros(len(within), np.bool_)
        for path, begun, stop in (*without, *hidden):
            out |= (within.path == path) & (within.minute >= begun) & (within.minute < stop)
        within = within.take(~out)
        return totals(Sums.of(within), paths, TERMS, promised), Sums.of(within, 1)


PROMISED: list[list[dict[Direction, Limit]]] = [
    [{}] * PATHS,
    [dict.fromkeys(Direction, HUB_LIMIT)] * PATHS,
    [{Direction.FORWARD: HUB_LIMIT, Direction.REVERSE: CITY_LIMIT}] * PATHS,
]


@pytest.mark.parametrize("seed", range(6))
def test_a_window_that_moves_on_is_what_it_is_anew(seed: int) -> None:
    """Whatever comes late, is left out, was counted while nobody read, or is read again; to the packet."""
    rng = np.random.default_rng(seed)
    life, paths = Life(rng), rng.permutation(np.arange(1, PATHS + 2))
    intervals_ns = np.arange(len(paths)) * 20_000_000
    promised = Promises([*PROMISED[seed % 3], {}], intervals_ns, {2: 100_000_000})
    for _ in range(60):
        life.go_on()
        for length, blocks in ((5, (1,)), (30, ()), (60, (1, 3, 12))):
            without, hidden = life.left_out(), life.left_out()
            asked = life.now + 1 - length, life.now + 1, paths, TERMS, promised, blocks, without, hidden
            wanted = rng.random((len(paths), 3)) < 0.7
            seen = life.lately.window(*asked, {BEYOND: wanted})
            expected, minutes = life.expected(length, paths, promised, without, hidden)
            for name in ("covered_ms", "reach_s", "sent", "outcomes", "delays", "minima_us"):
                np.testing.assert_array_equal(getattr(seen.totals, name), getattr(expected, name), name)
            np.testing.assert_allclose(seen.totals.pace, expected.pace)
            for block, products in zip(blocks, seen.products, strict=True):
                told = block_products(minutes, paths, TERMS, promised, block)
                np.testing.assert_array_equal(products, told, f"{length} {block}")
            parts = minutes, paths, TERMS, promised, expected.minima_us, {BEYOND: np.ones_like(wanted)}
            tails, of_parts = seen.tails[BEYOND], tails_of_parts(*parts, blocks)[BEYOND]
            np.testing.assert_array_equal(tails.counts, of_parts.counts)
            told_of = varied(tails.counts) & wanted
            assert [*tails.products] == [*of_parts.products] == [*blocks]
            for block, products in tails.products.items():
                np.testing.assert_array_equal(products[told_of], of_parts.products[block][told_of])


def test_what_is_left_out_of_a_window_is_told_beside_it() -> None:
    """Maintenance is; what was unavailable is in neither."""
    rng = np.random.default_rng(2)
    minutes = Minutes.joined([drawn(rng, 50) for _ in range(30)]).merged()
    lately, paths = filled([minutes]), np.arange(1, PATHS + 1)
    free = Promises([{}] * PATHS)
    without = [LeftOut(2, FIRST + 2, FIRST + 9), LeftOut(3, FIRST, STOP)]
    hidden = [LeftOut(2, FIRST + 8, FIRST + 12)]
    within = minutes.take((minutes.minute >= FIRST) & (minutes.minute < STOP))

    def inside(some: list[LeftOut]) -> Integers:
        found: Integers = np.zeros(len(within), np.bool_)
        for path, first, stop in some:
            found |= (within.path == path) & (within.minute >= first) & (within.minute < stop)
        return found

    seen = lately.window(FIRST, STOP, paths, TERMS, free, (1,), without, hidden)
    begun = begun_within(within.minute, within.reach_s, FIRST)
    kept = within.take(~inside(without + hidden) & begun)
    expected = totals(Sums.of(kept), paths, TERMS, free)
    for name in ("covered_ms", "reach_s", "sent", "outcomes", "delays", "minima_us"):
        np.testing.assert_array_equal(getattr(seen.totals, name), getattr(expected, name), name)
    (products,) = seen.products
    np.testing.assert_array_equal(products, block_products(Sums.of(kept, 1), paths, TERMS, free, 1))
    left_out = totals(Sums.of(within.take(inside(without))), paths, TERMS, free)
    np.testing.assert_array_equal(seen.left_out, left_out.outcomes)


def test_what_an_agent_has_counted_can_be_let_go() -> None:
    """And read again; that of the others stays."""
    rng = np.random.default_rng(3)
    minutes = Minutes.joined([drawn(rng, 50) for _ in range(30)]).merged()
    lately = filled([minutes])
    mine = agents_of(minutes) == 1
    whole = lately.sums(FIRST, STOP, 1)
    lately.drop([1])
    rest = minutes.take(~mine & (minutes.minute >= FIRST) & (minutes.minute < STOP))
    assert_sums(lately.sums(FIRST, STOP, 1), Sums.of(rest, 1))
    lately.add(agents_of(minutes)[mine], minutes.take(mine))
    assert_sums(lately.sums(FIRST, STOP, 1), whole)


def test_nothing_is_added_where_a_revision_is_missing() -> None:
    """Somebody else has written it: the agent is read again, and what comes later is not added to a part."""
    lately = LastHour(FIRST)
    minutes = drawn(np.random.default_rng(4), 30)
    lately.take([(1, 2, minutes)])
    assert not len(lately.sums(FIRST, STOP, 1))
    assert not lately.revisions
    lately.take([(1, 1, minutes)])
    assert lately.revisions == {1: 1}
    assert len(lately.sums(FIRST, STOP, 1))


def test_minutes_are_kept_for_an_hour_and_until_theirs_is_in_blocks() -> None:
    """Eighty at most; what is older is let go, and does not come back."""
    kept = [6000 + minute - needed_since(6000 + minute) for minute in range(60)]
    assert (min(kept), max(kept)) == (62, 84)
    assert all(needed_since(6000 + minute) <= 6000 for minute in range(25, 60))
    lately = filled([drawn(np.random.default_rng(5), 200)])
    lately.forget(FIRST + 10)
    assert lately.since == FIRST + 10
    late = drawn(np.random.default_rng(6), 200)
    lately.add(agents_of(late), late)
    assert lately.sums(0, STOP + 10, 1).minute.min() == FIRST + 10


def test_a_path_that_nobody_has_counted_has_nothing() -> None:
    """Nor has anything without paths."""
    lately = LastHour(FIRST)
    seen = lately.window(FIRST, STOP, np.array([5]), TERMS, Promises([{}]), (1,))
    assert seen.totals.sent.tolist() == [0]
    assert seen.totals.minima_us.min() == NO_MINIMUM
    assert not by_direction(lately.sums(FIRST, STOP, 1).counts)[:, :, : len(Outcome)].size
    nobody = np.empty(0, np.int64)
    known = filled([drawn(np.random.default_rng(7), 50)])
    assert not len(known.window(FIRST, STOP, nobody, TERMS, Promises([]), (1,)).left_out)
