"""Numbers for what is sent, never used twice, and the kernel's 32-bit numbers that stand for them.

The kernel reports a transmit time under a number that the sender has chosen (SCM_TS_OPT_ID, from Linux 6.13 on) or
that it has counted itself (SOF_TIMESTAMPING_OPT_ID). Where it counts, a refused datagram may have cost a number or
not, depending on where in the kernel and in which version it was refused; so after a refusal the kernel's count is
begun anew. A time that comes late from before would then pass for that of a later datagram: where both can be meant,
it is thrown away. A missing time is made up for by the user-space one with its larger bound; a wrong one is not.
"""

from __future__ import annotations

from typing import Final

from agent.net.control import Integers

_MASK: Final = 0xFFFF_FFFF
_SETTLING_NS: Final = 1_000_000_000
"""How long a packet is held at most by the queues of this host, and its transmit time with it."""
_REMEMBERED: Final = 16_384


class TransmitIds:
    """The numbers of one socket's datagrams: 0, 1, 2, … whatever the kernel's are.

    Args:
        counted: whether the kernel counts; else it takes `next_wire` and what follows.

    Attributes:
        next: the number of the next datagram.
    """

    __slots__ = ("_counted", "_epoch", "_open", "_suspects", "next")

    def __init__(self, counted: bool) -> None:
        self.next = 0
        self._counted = counted
        self._epoch = 0
        self._open: set[int] = set()
        self._suspects: dict[int, int] = {}

    @property
    def next_wire(self) -> int:
        """The kernel's number for the next datagram."""
        return (self.next - self._epoch) & _MASK

    def take(self, count: int) -> range:
        """The numbers of `count` datagrams that were sent."""
        taken = range(self.next, self.next + count)
        self.next += count
        if self._counted:
            self._open.update(taken)
            if len(self._open) > 2 * _REMEMBERED:
                self._open = {number for number in self._open if number >= self.next - _REMEMBERED}
        return taken

    def begin_anew(self, now_ns: int) -> None:
        """The kernel counts from 0 again, from the next datagram on.

        Args:
            now_ns: monotonic time; `stamped` must have been told all that has come until then.
        """
        if len(self._suspects) > 2 * _REMEMBERED:
            self._suspects = {wire: until for wire, until in self._suspects.items() if now_ns < until}
        until_ns = now_ns + _SETTLING_NS
        for number in self._open:
            self._suspects[(number - self._epoch) & _MASK] = until_ns
        self._open.clear()
        self._epoch = self.next

    def unfold(self, wire: Integers) -> Integers:
        """The numbers that the kernel's stand for where it does not count: of all they could be, the newest."""
        newest = self.next - 1
        return newest - ((newest - wire) & _MASK)

    def stamped(self, wire: int, now_ns: int) -> int | None:
        """The number that the kernel's stands for: of all it could be, the newest; None where none is certain."""
        number = self.next - 1 - ((self.next - 1 - self._epoch - wire) & _MASK)
        if number < self._epoch:
            return None
        if self._counted:
            if now_ns < self._suspects.get(wire, 0):
                return None
            self._open.discard(number)
        return number
