"""Many paths in one table: each has its own counts, however many there are and however they are mixed."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core import ledger as columns
from agent.core.interval import Integers
from agent.core.ledger import COLUMNS, Ledgers, column
from agent.core.outcome import Direction, Outcome
from agent.core.session import Replies, ReplyFate, SenderSessions
from agent.core.steps import ClockSteps
from agent.core.timestamps import ntp_from_ns
from tests.support.network import WALL_EPOCH_NS, FakeNetwork, Leg
from tests.support.session import MS, path_ledger


def test_paths_of_one_table_do_not_touch_each_other() -> None:
    """What a path counts does not depend on the table it is in, also while the table grows under it."""
    table = Ledgers(1)
    for seed in range(5):
        alone, among = (
            FakeNetwork(seed, Leg(loss=0.1), Leg(duplication=0.1, jitter_ns=20 * MS), ledger=ledger)
            for ledger in (path_ledger(), path_ledger(table=table))
        )
        alone.run(100)
        among.run(100)
        assert among.ledger.row == seed
        assert np.array_equal(table.counts[seed], alone.ledger.table.counts[0])
    assert len(table.counts) == 8
    assert not table.counts[5:].any()


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 60))
def test_batches_of_many_sessions(seed: int, paths: int, probes: int) -> None:
    """Probes and replies of many sessions, mixed as they come, find their own session, and every law holds."""
    rng = random.Random(seed)
    table = Ledgers(1)
    sessions = SenderSessions(table, ClockSteps(MS))
    ledgers = [path_ledger(table=table) for _ in range(paths)]
    for ledger in ledgers:
        sessions.open(ledger, 100 * MS, 64)
    rows = np.array([rng.randrange(paths) for _ in range(probes)])
    begun = sessions.begin(rows)
    for row in range(paths):
        own = begun.sequences[rows == row].tolist()
        assert own == [0, *range(2, len(own) + 1)][: len(own)]
    wall_ns = np.full(probes, WALL_EPOCH_NS)
    wire = np.full(probes, ntp_from_ns(WALL_EPOCH_NS), np.uint64)
    sessions.sent(begun, wall_ns, wire)
    lost = np.array([rng.random() < 0.2 for _ in range(probes)])
    answered = np.array(rng.sample(answering := np.flatnonzero(~lost).tolist(), len(answering)), np.int64)

    def after(delay_ns: int) -> Integers:
        return wall_ns[answered] + delay_ns

    nothing = np.zeros(len(answered), np.int64)
    fates = sessions.replied(
        Replies(
            rows[answered],
            begun.sequences[answered],
            wire[answered],
            begun.sequences[answered],
            after(MS),
            after(MS),
            after(3 * MS),
            nothing,
            nothing,
        ),
        0,
        0,
    )
    assert (fates == ReplyFate.COUNTED).all()
    assert sessions.expired(begun) == lost.sum()
    for row, ledger in enumerate(ledgers):
        assert ledger.broken_laws() == []
        assert (ledger.sent, ledger.in_flight) == ((rows == row).sum(), 0)
        assert ledger.round_trip.outcomes[Outcome.LOST] == lost[rows == row].sum()
        assert ledger.forward.delay.total == ledger.sent - lost[rows == row].sum()


def test_columns_are_distinct() -> None:
    """Every count has a column of its own, and all columns are used."""
    of_a_direction = range(columns.IPDV_SUM + 1)
    used = [columns.SENT, columns.IN_FLIGHT, columns.LATE]
    used += [columns.CLOCK_CONTRADICTIONS, columns.FLOOR_CONTRADICTIONS, columns.STEPPED]
    used += [column(direction, within) for direction in Direction for within in of_a_direction]
    assert sorted(used) == list(range(COLUMNS))
