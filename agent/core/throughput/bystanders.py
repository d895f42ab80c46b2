"""Whether users need the line that is about to be tested: told by what its interface carried just now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from agent.core.timestamps import SECOND_NS


@dataclass(frozen=True, slots=True)
class InterfaceOctets:
    """Counters of a network interface.

    Attributes:
        received, sent: octets since it came up.
        at_ns: when they were read, monotonic.
    """

    received: int
    sent: int
    at_ns: int

    @classmethod
    def parse(cls, text: str, interface: str, at_ns: int) -> Self | None:
        """The counters that /proc/net/dev has of an interface; None: it has none of it.

        Source: Linux, net/core/net-procfs.c: `NAME: ` and 16 numbers, of which the 1st and the 9th are octets.
        """
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            numbers = rest.split()
            if (
                name.strip() == interface
                and len(numbers) >= 9
                and numbers[0].isdigit()
                and numbers[8].isdigit()
            ):
                return cls(int(numbers[0]), int(numbers[8]), at_ns)
        return None

    def rate_since(self, before: InterfaceOctets) -> float | None:
        """What the busier way has carried since, bit/s; None: the counters tell nothing, for they began anew."""
        received, sent = self.received - before.received, self.sent - before.sent
        if received < 0 or sent < 0 or self.at_ns <= before.at_ns:
            return None
        return 8 * max(received, sent) * SECOND_NS / (self.at_ns - before.at_ns)


class Next(StrEnum):
    """What to do now: test, look again in a moment, or leave it."""

    TEST = "test"
    WAIT = "wait"
    LEAVE = "leave"


class Deferral:
    """Puts a test off as long as users need the line, and off altogether once its slot is over.

    Where the interface or its counters are not there, nothing is known of users, and the test waits as for them: a test
    that is left out harms nobody.

    Args:
        above: what users' traffic is, bit/s: beyond what is always there, such as our own probes.
        until_ns: when the latest test of the slot begins, monotonic.
    """

    def __init__(self, above: float, until_ns: int) -> None:
        self._above = above
        self._until_ns = until_ns
        self._before: InterfaceOctets | None = None

    def look(self, octets: InterfaceOctets | None, now_ns: int) -> Next:
        """What to do, the counters being these now, monotonic."""
        before, self._before = self._before, octets
        if before is not None and octets is not None:
            rate = octets.rate_since(before)
            if rate is not None and rate <= self._above:
                return Next.TEST
        return Next.LEAVE if now_ns >= self._until_ns else Next.WAIT
