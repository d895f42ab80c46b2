"""What a stateful reflector knows of each session that it answers."""

from __future__ import annotations

from typing import Final

from agent.core.remembered import Remembered
from agent.core.tlv_values import TimestampMethod

NOT_KNOWN: Final = 0
"""Stands for a transmit time that is not known."""


class ReflectedSession:
    """Counts of one session, and when its latest reply left.

    Attributes:
        next_sequence: of the next reply; how many requests were answered, modulo nothing.
        unsent: replies that the kernel did not take.
        left_by: a `TimestampMethod`, of the transmit time that is known.
    """

    __slots__ = ("_left_ns", "_left_sequence", "left_by", "next_sequence", "unsent")

    def __init__(self) -> None:
        self.next_sequence = 0
        self.unsent = 0
        self._left_sequence = -1
        self._left_ns = NOT_KNOWN
        self.left_by = TimestampMethod.UNKNOWN

    def count(self) -> int:
        """The number of one more reply."""
        own = self.next_sequence
        self.next_sequence = own + 1
        return own

    def left(
        self, sequence: int, transmitted_ns: int, method: TimestampMethod = TimestampMethod.SOFTWARE
    ) -> None:
        """Learn when a reply left; of an older one than is known nothing is learnt."""
        if sequence > self._left_sequence:
            self._left_sequence = sequence
            self._left_ns = transmitted_ns
            self.left_by = method

    def left_before(self, sequence: int) -> int:
        """When the reply before the one of this number left (ns); `NOT_KNOWN`."""
        return self._left_ns if self._left_sequence == sequence - 1 else NOT_KNOWN

    def sent(self, sequence: int) -> int:
        """How many replies were sent, with the one of this number."""
        return sequence + 1 - self.unsent


class ReflectedSessions:
    """Sessions by a key that tells them apart; where there are too many, one is forgotten that was not used for long.

    Args:
        size: how many there are at most.
    """

    def __init__(self, size: int) -> None:
        self._sessions: Remembered[bytes, ReflectedSession] = Remembered(size)

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, key: bytes) -> ReflectedSession:
        """The session of a key, a new one if need be."""
        session = self._sessions.find(key)
        if session is None:
            session = ReflectedSession()
            self._sessions.add(key, session)
        return session
