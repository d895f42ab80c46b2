"""When replies really left: each says it of the one before it (RFC 8972, section 4.7), which waits to be told.

A reply carries T3 as the reflector's program knew it, and left some microseconds later. The next reply of its session
carries the reflector's transmit stamp of the one before. So the latest reply of a session is held back until the next
one comes, or until its probe would be given up: then the program's T3 has to do, with the bound that the reflector's
Error Estimate states for it. Nothing else changes: when a reply is looked at does not matter, its arrival time counts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import Flags, Integers
from agent.core.measurement import Probes
from agent.core.probe_ring import with_room
from agent.core.session import NO_REPLIES, Replies, joined

_LONGEST_LAG_NS: Final = 1_000_000_000
"""What leaves later than this after its T3, or before it, was not told truly."""
_LOW_32: Final = 0xFFFF_FFFF


class Told(NamedTuple):
    """What replies say of the ones before them, (n,) each.

    Attributes:
        reflected: the reflector's number of that reply.
        left_ns: when it left, by the reflector's clock, Unix wall time in ns; 0: nothing is said.
    """

    reflected: Integers
    left_ns: Integers


class FollowUps:
    """Holds back the latest reply of each session until the next one tells when it left.

    Attributes:
        told, untold: how many replies were and were not told of by the next one.
    """

    def __init__(self) -> None:
        self.told = 0
        self.untold = 0
        self._holds: Flags = np.zeros(0, np.bool_)
        self._held = NO_REPLIES

    def exchange(self, replies: Replies, told: Told) -> Replies:
        """Take in replies in order of arrival; those that are held back no longer, each session's in order of arrival.

        Args:
            replies: of sessions that ask to be told.
            told: what each says.
        """
        if len(replies.rows) == 0:
            return replies
        self._make_room(int(replies.rows.max()) + 1)
        arrived = np.zeros_like(self._holds)
        arrived[replies.rows] = True
        waiting = np.flatnonzero(arrived & self._holds)
        everything = joined(self._held.take(waiting), replies)
        # by session; within each, what was held first, then as it arrived
        order = np.argsort(everything.rows, kind="stable")
        rows = everything.rows[order]
        followed = np.append(rows[1:] == rows[:-1], False)
        ready = everything.take(order[followed])
        # what follows has arrived just now, for no more than one of a session was held
        following = order[1:][followed[:-1]] - len(waiting)
        reflected, left_ns = told.reflected[following], told.left_ns[following]

        lags_ns = left_ns - ready.t3_ns
        true = (left_ns != 0) & (reflected == ready.reflected) & (lags_ns >= 0) & (lags_ns <= _LONGEST_LAG_NS)
        ready.t3_ns[true] += lags_ns[true]
        told_now = int(np.count_nonzero(true))
        self.told += told_now
        self.untold += len(true) - told_now

        self._hold(everything.take(order[~followed]))
        return ready

    def release(self, probes: Probes | None = None) -> Replies:
        """Replies that will be held back no longer: those to these probes, or all."""
        if probes is None:
            rows = np.flatnonzero(self._holds)
        else:
            known = probes.rows < len(self._holds)
            rows, sequences = probes.rows[known], probes.sequences[known] & _LOW_32
            rows = rows[self._holds[rows] & (self._held.sequences[rows] == sequences)]
        self._holds[rows] = False
        self.untold += len(rows)
        return self._held.take(rows)

    def _hold(self, replies: Replies) -> None:
        for held, values in zip(self._held, replies, strict=True):
            held[replies.rows] = values
        self._holds[replies.rows] = True

    def _make_room(self, rows: int) -> None:
        self._holds = with_room(self._holds, rows)
        self._held = Replies._make(with_room(values, rows) for values in self._held)
