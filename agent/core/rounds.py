"""Requests that came together, in rounds: none of a session before its one before has been answered, and has left.

A reply tells when the one before it left (RFC 8972, section 4.7), which is known only once that has happened.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

_MOST: Final = 8
"""Sending has its price for each round; of a session that sends faster not all is told."""


def in_rounds(sessions: Sequence[Hashable]) -> list[range]:
    """The places of requests, in rounds that follow each other: whatever their sessions, they stay in order.

    Args:
        sessions: whose each request is, in order of arrival.
    """
    everything = range(len(sessions))
    if len(set(sessions)) == len(sessions):
        return [everything]
    rounds: list[range] = []
    seen: set[Hashable] = set()
    first = 0
    for place, session in enumerate(sessions):
        if session in seen:
            rounds.append(everything[first:place])
            if len(rounds) == _MOST - 1:
                return [*rounds, everything[place:]]
            first = place
            seen.clear()
        seen.add(session)
    return [*rounds, everything[first:]]
