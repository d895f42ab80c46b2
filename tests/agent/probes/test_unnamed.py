"""Whose replies without SSID are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.probes.unnamed import NOBODY, Unnamed

HERE, THERE = b"here", b"there"


def wrote(unnamed: Unnamed, row: int, sequences: Sequence[int]) -> None:
    """A row's packets are written."""
    unnamed.wrote(np.full(len(sequences), row), np.array(sequences))


def test_the_only_one_at_an_address_has_its_replies() -> None:
    """Also where it is told twice that it is sent to there; from elsewhere nobody has any."""
    unnamed = Unnamed()
    unnamed.enter(3, HERE)
    unnamed.enter(3, HERE)
    wrote(unnamed, 3, [0, 2])
    assert (unnamed.whose(HERE, 2), unnamed.whose(THERE, 2)) == (3, NOBODY)


def test_of_two_nobody_has_them() -> None:
    """A reply may be for either; once one has left, the other has what it can have sent."""
    unnamed = Unnamed()
    for row in (0, 1):
        unnamed.enter(row, HERE)
        wrote(unnamed, row, range(10))
    assert unnamed.whose(HERE, 5) == NOBODY
    unnamed.leave(0)
    assert unnamed.whose(HERE, 5) == 1


def test_who_comes_after_another_has_its_own() -> None:
    """What is numbered beyond what the new one has sent is for the one before; leaving twice changes nothing."""
    unnamed = Unnamed()
    unnamed.enter(0, HERE)
    wrote(unnamed, 0, range(1000))
    unnamed.leave(0)
    unnamed.leave(0)
    assert unnamed.whose(HERE, 999) == 0
    unnamed.enter(70, HERE)
    wrote(unnamed, 70, [0])
    assert (unnamed.whose(HERE, 0), unnamed.whose(HERE, 999)) == (70, 0)


def test_who_moves_is_known_at_both_ends() -> None:
    """Replies to what was sent to the old address still come from there."""
    unnamed = Unnamed()
    unnamed.enter(0, HERE)
    wrote(unnamed, 0, range(4))
    unnamed.enter(0, THERE)
    assert (unnamed.whose(HERE, 3), unnamed.whose(THERE, 3)) == (0, 0)
