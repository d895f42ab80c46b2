"""Requests that came together, in rounds."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from agent.core.rounds import in_rounds


def test_requests_of_different_sessions_are_one_round() -> None:
    """However many."""
    assert in_rounds("abc") == [range(3)]
    assert in_rounds("") == [range(0)]


def test_a_session_has_one_request_in_each_round() -> None:
    """Where one would have a second, a round begins."""
    assert in_rounds("abacba") == [range(2), range(2, 5), range(5, 6)]


def test_the_last_round_takes_what_is_left() -> None:
    """Rounds are bounded, whatever one session sends."""
    assert in_rounds("a" * 20) == [*(range(n, n + 1) for n in range(7)), range(7, 20)]


@given(st.lists(st.integers(0, 5), max_size=60))
def test_everything_once_and_in_order(sessions: list[int]) -> None:
    """Each request is in one round, in order of arrival, and but for the last no session is twice in one."""
    rounds = in_rounds(sessions)
    assert list(chain.from_iterable(rounds)) == list(range(len(sessions)))
    for places in rounds[:-1]:
        named = [sessions[place] for place in places]
        assert len(set(named)) == len(named)
