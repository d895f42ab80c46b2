"""The last probes of every session, and what a stateful reflector's numbers prove of them.

The direction of a loss is what a stateful reflector's own sequence numbers prove: they count what arrived there
(RFC 8762, section 4.2). Between the nearest replies on both sides of a lost probe lie so many probes sent and so many
reflected; the difference never arrived. A stateless reflector copies the sender's number and proves nothing, and the
two look alike until a number is missing. So the sender leaves out sequence number 1: from the third packet on a
stateful reflector shows that it counts. Where its numbers are the sender's all the same, on both sides of a loss, it
may have begun to copy (another one answers now, or a duplicate on the way there has made up for number 1), and they
prove nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Flags, Integers
from agent.core.outcome import Direction

OMITTED_SEQUENCE: Final = 1
UNSTAMPED: Final = 0xFFFF_FFFF
_SEQUENCE_SPACE: Final = 1 << 32
_LEAST_WINDOW: Final = 16
_PER_SLOT: Final = ("state", "sequence", "t1_ns", "wire", "departure_ns", "first_reflected", "last_reflected")

Kind = TypeVar("Kind", bound=np.generic)


class ProbeState(IntEnum):
    """Where a probe stands; a number that was never sent is void."""

    VOID = 0
    IN_FLIGHT = 1
    ANSWERED = 2
    LATE = 3
    LOST_FORWARD = 4
    LOST_REVERSE = 5
    LOST_SOMEWHERE = 6


REPLIED: Final = (ProbeState.ANSWERED, ProbeState.LATE)


class ProbeRings:
    """A ring of slots for each session: arrays over all slots, and arrays over all sessions.

    Attributes, one element per slot:
        state: `ProbeState`.
        sequence: whose slot it is, not wrapped.
        t1_ns: when it was sent (Unix wall time): the kernel's time or a card's once that has come, before that user
            space's.
        departure_ns: how much later that may really have been: 0 for the kernel's time; `UNSTAMPED` for user space's.
        wire: the 64-bit timestamp that the packet carries.
        first_reflected, last_reflected: the least and greatest number under which the reflector answered it.

    Attributes, one element per session:
        timeout_ns: a reply that arrives later than this after its probe is late.
        next: the sequence number of its next probe.
        stateful: whether its reflector has been seen to count by itself.
        highest, highest_reflected: the furthest probe answered, and the reflector's number for it.
    """

    def __init__(self) -> None:
        self.state: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.sequence: Integers = np.zeros(0, np.int64)
        self.t1_ns: Integers = np.zeros(0, np.int64)
        self.wire: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self.departure_ns: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self.first_reflected: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self.last_reflected: NDArray[np.uint32] = np.zeros(0, np.uint32)

        self.timeout_ns: Integers = np.zeros(0, np.int64)
        self.next: Integers = np.zeros(0, np.int64)
        self.stateful: Flags = np.zeros(0, np.bool_)
        self.highest: Integers = np.zeros(0, np.int64)
        self.highest_reflected: Integers = np.zeros(0, np.int64)
        self._base: Integers = np.zeros(0, np.int64)
        self._mask: Integers = np.zeros(0, np.int64)
        self._slots = 0

    def open(self, row: int, window: int, timeout_ns: int) -> None:
        """Give a session a ring that remembers at least its last `window` probes; it begins anew.

        A row that has been open before gets a new ring.
        """
        base, mask = self._allocate(window)
        for name in ("timeout_ns", "next", "stateful", "highest", "highest_reflected", "_base", "_mask"):
            setattr(self, name, with_room(getattr(self, name), row + 1))
        self.timeout_ns[row], self.next[row], self.stateful[row] = timeout_ns, 0, False
        self.highest[row] = self.highest_reflected[row] = -1
        self._base[row], self._mask[row] = base, mask

    def _allocate(self, window: int) -> tuple[int, int]:
        """First slot and mask of a new ring."""
        size = _size_of(window)
        base, self._slots = self._slots, self._slots + size
        for name in _PER_SLOT:
            setattr(self, name, with_room(getattr(self, name), self._slots))
        return base, size - 1

    def widen(self, row: int, window: int, timeout_ns: int) -> None:
        """Let an open session remember at least so many probes from now on; what it remembers stays."""
        self.timeout_ns[row] = timeout_ns
        if _size_of(window) <= int(self._mask[row]) + 1:
            return
        newest = int(self.next[row])
        kept = np.arange(max(0, newest - int(self._mask[row]) - 1), newest)
        before = self._base[row] + (kept & self._mask[row])
        self._base[row], self._mask[row] = self._allocate(window)
        after = self._base[row] + (kept & self._mask[row])
        for name in _PER_SLOT:
            values = getattr(self, name)
            values[after] = values[before]

    def slots(self, rows: Integers, sequences: Integers) -> Integers:
        """The slots of probes, whether or not they are still theirs."""
        return self._base[rows] + (sequences & self._mask[rows])

    def unfold(self, rows: Integers, wire_sequences: Integers) -> Integers:
        """The probes that 32-bit sequence numbers mean: of all it could be, each session's newest."""
        latest = self.next[rows] - 1
        return latest - ((latest - wire_sequences) & (_SEQUENCE_SPACE - 1))

    def duplicated_in(self, row: int, slot: int, reflected: int) -> Direction:
        """Which way another reply to an answered probe was duplicated (RFC 5560), and note its number."""
        if not self.stateful[row]:
            return Direction.ROUND_TRIP
        first, last = int(self.first_reflected[slot]), int(self.last_reflected[slot])
        if first <= reflected <= last:
            return Direction.REVERSE
        self.first_reflected[slot], self.last_reflected[slot] = min(reflected, first), max(reflected, last)
        return Direction.FORWARD

    def reordered_in(self, row: int, sequence: int, reflected: int) -> list[Direction]:
        """In which directions a first reply was overtaken (RFC 4737, section 3.3), as far as that is known.

        The sender's numbers tell the order of sending, the reflector's the order of arrival there, and the order of
        these calls the order of arrival here.
        """
        behind = sequence < int(self.highest[row])
        found: list[Direction] = []
        if not self.stateful[row]:
            if behind:
                found.append(Direction.ROUND_TRIP)
        else:
            overtaken_by = int(self.highest_reflected[row]) - reflected
            behind_there = overtaken_by > 0
            if behind or overtaken_by <= int(self._mask[row]):
                if behind is not behind_there:
                    found.append(Direction.FORWARD)
                if behind_there:
                    found.append(Direction.REVERSE)
            # else it would have been overtaken by more than are ever under way: the reflector numbers anew
        if sequence > int(self.highest[row]):
            self.highest[row], self.highest_reflected[row] = sequence, reflected
        return found

    def direction_of_loss(self, row: int, sequence: int) -> ProbeState:
        """Where a probe without reply was lost, as far as the replies around it prove it."""
        if not self.stateful[row] or int(self.highest[row]) < sequence:
            return ProbeState.LOST_SOMEWHERE
        newest = int(self.next[row])
        oldest = max(0, newest - int(self._mask[row]) - 1)
        slots = self._base[row] + (np.arange(oldest, newest) & self._mask[row])
        states = self.state[slots]
        at = sequence - oldest
        replied = np.flatnonzero(np.isin(states, REPLIED))
        position = int(np.searchsorted(replied, at))
        if position == len(replied) or (position == 0 and oldest > 0):
            return ProbeState.LOST_SOMEWHERE
        before, after = (int(replied[position - 1]) if position else -1), int(replied[position])
        reflected_before = int(self.last_reflected[slots[before]]) if position else -1
        reflected_after = int(self.first_reflected[slots[after]])

        if (
            position
            and self._copied(slots[before], reflected_before)
            and self._copied(slots[after], reflected_after)
        ):
            return ProbeState.LOST_SOMEWHERE
        between = states[before + 1 : after]
        sent = int(np.count_nonzero(between != ProbeState.VOID))
        arrived = reflected_after - reflected_before - 1
        if not 0 <= arrived <= sent:
            return ProbeState.LOST_SOMEWHERE
        if arrived == 0:
            return ProbeState.LOST_FORWARD
        if arrived == sent:
            return ProbeState.LOST_REVERSE
        if (between == ProbeState.LOST_SOMEWHERE).any():
            return ProbeState.LOST_SOMEWHERE
        # Which probe of the gap it was cannot be told, and need not be: how many of each kind is exact.
        lost_on_the_way_there = sent - arrived
        if np.count_nonzero(between == ProbeState.LOST_FORWARD) < lost_on_the_way_there:
            return ProbeState.LOST_FORWARD
        return ProbeState.LOST_REVERSE

    def _copied(self, slot: np.int64, reflected: int) -> bool:
        """Whether the reflector has answered a probe under the probe's own number."""
        return int(self.sequence[slot]) % _SEQUENCE_SPACE == reflected


def _size_of(window: int) -> int:
    """The least power of two that holds a window."""
    return 1 << (max(_LEAST_WINDOW, window) - 1).bit_length()


def with_room(values: NDArray[Kind], length: int) -> NDArray[Kind]:
    """The array with at least this length, what is new being zero; doubled, so that growing stays cheap."""
    if length <= len(values):
        return values
    grown: NDArray[Kind] = np.zeros(max(length, 2 * len(values)), values.dtype)
    grown[: len(values)] = values
    return grown
