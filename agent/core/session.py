"""One STAMP session as its sender sees it: probes and replies in, counts out.

The slots of a ring hold the last probes. A probe moves through these states, and each arrow counts it exactly once:

    VOID ──send──► IN_FLIGHT ──reply──► ANSWERED
                       │
                       └──timeout──► LOST_FORWARD | LOST_REVERSE | LOST_SOMEWHERE ──reply──► LATE

The direction of a loss is what a stateful reflector's own sequence numbers prove: they count what arrived there
(RFC 8762, section 4.2). Between the nearest replies on both sides of a lost probe lie so many probes sent and so many
reflected; the difference never arrived. A stateless reflector copies the sender's number and proves nothing, and the
two look alike until a number is missing. So the sender leaves out sequence number 1: from the third packet on a
stateful reflector shows that it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from agent.core.interval import Contradiction, Interval, least_round_trip_ns, one_way_interval
from agent.core.ledger import PathLedger
from agent.core.outcome import Outcome, classify, classify_arrived
from agent.core.timestamps import ntp_from_ns

_OMITTED_SEQUENCE: Final = 1
_SEQUENCE_SPACE: Final = 1 << 32


class _Slot(IntEnum):
    VOID = 0
    IN_FLIGHT = 1
    ANSWERED = 2
    LATE = 3
    LOST_FORWARD = 4
    LOST_REVERSE = 5
    LOST_SOMEWHERE = 6


_NONE, _CLOCK, _FLOOR = Contradiction.NONE, Contradiction.CLOCK, Contradiction.FLOOR
_VOID, _IN_FLIGHT, _ANSWERED, _LATE = _Slot.VOID, _Slot.IN_FLIGHT, _Slot.ANSWERED, _Slot.LATE
_REPLIED: Final = (_ANSWERED, _LATE)


class ReplyFate(IntEnum):
    """What a reply turned out to be."""

    COUNTED = 0
    LATE = 1
    DUPLICATE = 2
    UNKNOWN = 3


class Measurement(NamedTuple):
    """What is known of one probe once it is answered or given up; delays in ns, None without a reply in time.

    Attributes:
        sequence: within the session, not wrapped.
        t1_ns: when it was sent (Unix wall time).
        uncertainty_ns: how far the one-way delays may be off; None: not known.
        forward_bounds, reverse_bounds: what is proven of the one-way delays; None without a reply in time.
        outcomes: forward, reverse and round trip; reverse is None for a probe that was lost on the way there.
    """

    sequence: int
    t1_ns: int
    forward_ns: int | None
    reverse_ns: int | None
    round_trip_ns: int | None
    uncertainty_ns: int | None
    forward_bounds: Interval | None
    reverse_bounds: Interval | None
    outcomes: tuple[Outcome, Outcome | None, Outcome]


class Stamps(NamedTuple):
    """Times carried by or taken of one reply, Unix wall time in ns.

    Attributes:
        t2_ns, t3_ns: the reflector's receive and transmit times, by its clock.
        t4_ns: the kernel's receive time here.
        uncertainty_ns: both clocks' error bounds in sum; None: at least one vouches for nothing.
    """

    t2_ns: int
    t3_ns: int
    t4_ns: int
    uncertainty_ns: int | None


class SenderSession:
    """The sender's state of one path.

    Args:
        ledger: where outcomes are counted.
        timeout_ns: a reply that arrives later than this after its probe is late (Tmax of RFC 7680).
        window: how many of the latest probes are remembered; at least what can be in flight at a time.
        record: called with each probe's measurement once it is counted.
    """

    __slots__ = (
        "_first_reflected",
        "_highest",
        "_highest_reflected",
        "_last_reflected",
        "_mask",
        "_record",
        "_sequence",
        "_state",
        "_stateful",
        "_t1_kernel",
        "_t1_ns",
        "_t1_wire",
        "_timeout_ns",
        "ledger",
    )

    def __init__(
        self,
        ledger: PathLedger,
        timeout_ns: int,
        window: int,
        record: Callable[[Measurement], None] | None = None,
    ) -> None:
        size = 1 << max(4, (window - 1).bit_length())
        self._record = record
        self._timeout_ns = timeout_ns
        self.ledger = ledger
        self._mask = size - 1
        self._state: list[_Slot] = [_VOID] * size
        self._t1_ns = [0] * size
        self._t1_wire = [0] * size
        self._t1_kernel = [False] * size
        self._first_reflected = [0] * size
        self._last_reflected = [0] * size
        self._sequence = 0
        self._stateful = False
        self._highest = -1
        self._highest_reflected = -1

    @property
    def window(self) -> int:
        """How many of the latest probes are remembered."""
        return self._mask + 1

    @property
    def reflector_is_stateful(self) -> bool:
        """Whether the reflector has been seen to count by itself."""
        return self._stateful

    def next_probe(self, wall_ns: int) -> tuple[int, int]:
        """Take the next sequence number for a probe with user-space transmit time `wall_ns`.

        Returns:
            (sequence number, 64-bit NTP timestamp). The packet carries the number's low 32 bits. The probe counts
            once `sent` says that the kernel took it; otherwise its number stays unused.
        """
        sequence = self._sequence
        slot = sequence & self._mask
        if self._state[slot] is _IN_FLIGHT:
            self.expired(sequence - self.window)
        self._sequence = sequence + (2 if sequence == _OMITTED_SEQUENCE - 1 else 1)
        wire = ntp_from_ns(wall_ns)
        self._state[slot] = _VOID
        self._t1_ns[slot] = wall_ns
        self._t1_wire[slot] = wire
        self._t1_kernel[slot] = False
        if sequence == _OMITTED_SEQUENCE - 1:
            self._state[_OMITTED_SEQUENCE & self._mask] = _VOID
        return sequence, wire

    def sent(self, sequence: int) -> None:
        """The kernel accepted the probe."""
        self._state[sequence & self._mask] = _IN_FLIGHT
        self.ledger.sent += 1
        self.ledger.in_flight += 1

    def transmitted(self, sequence: int, kernel_ns: int) -> int | None:
        """The kernel's transmit stamp of a probe has come.

        Returns:
            How much later than the user-space time it is (ns), or None where it belongs to no probe in flight or is
            earlier than the user-space time: then it is not used.
        """
        slot = sequence & self._mask
        lag = kernel_ns - self._t1_ns[slot]
        if self._state[slot] is not _IN_FLIGHT or self._t1_kernel[slot] or lag < 0:
            return None
        self._t1_ns[slot] = kernel_ns
        self._t1_kernel[slot] = True
        return lag

    def replied(
        self,
        wire_sequence: int,
        wire_timestamp: int,
        reflected: int,
        stamps: Stamps,
        stamping_ns: int | None,
        now_ns: int,
    ) -> ReplyFate:
        """A reply came in.

        When it is looked at does not matter: its arrival time decides whether it is late.

        Args:
            wire_sequence, wire_timestamp: the sender's own sequence number and T1 as the reply gives them back.
            reflected: the reply's own sequence number.
            stamps: T2, T3 and T4.
            stamping_ns: how far a user-space T1 may lie before the kernel's; used where the kernel's stamp did not
                come; None: not known.
            now_ns: monotonic time.
        """
        sequence = self._unfold(wire_sequence)
        slot = sequence & self._mask
        state = self._state[slot]
        if sequence < 0 or state is _VOID or wire_timestamp != self._t1_wire[slot]:
            return ReplyFate.UNKNOWN
        if reflected != wire_sequence:
            self._stateful = True
        if state in _REPLIED:
            self._count_duplicate(slot, reflected)
            return ReplyFate.DUPLICATE
        if state is _IN_FLIGHT and stamps.t4_ns - self._t1_ns[slot] > self._timeout_ns:
            self.expired(sequence)
            state = self._state[slot]
        self._first_reflected[slot] = self._last_reflected[slot] = reflected
        if state is not _IN_FLIGHT:
            self._state[slot] = _LATE
            self.ledger.late += 1
            return ReplyFate.LATE
        self._count_reordering(sequence, reflected)
        self._state[slot] = _ANSWERED
        self.ledger.in_flight -= 1
        self._measure(sequence, stamps, 0 if self._t1_kernel[slot] else stamping_ns, now_ns)
        return ReplyFate.COUNTED

    def expired(self, sequence: int) -> bool:
        """The timeout of a probe is over.

        Returns:
            Whether it was still unanswered, and so has been counted as lost.
        """
        slot = sequence & self._mask
        if sequence <= self._sequence - 1 - self.window or self._state[slot] is not _IN_FLIGHT:
            return False
        fate = self._direction_of_loss(sequence)
        self._state[slot] = fate
        ledger = self.ledger
        forward: Outcome
        reverse: Outcome | None
        if fate is _Slot.LOST_FORWARD:
            forward, reverse = Outcome.LOST, None
        elif fate is _Slot.LOST_REVERSE:
            promise = ledger.forward.promise
            forward = classify_arrived(promise.floor_ns, promise.limit.largest_ns)
            reverse = Outcome.LOST
        else:
            forward = reverse = Outcome.UNATTRIBUTED
        ledger.in_flight -= 1
        ledger.round_trip.outcomes[Outcome.LOST] += 1
        ledger.forward.outcomes[forward] += 1
        if reverse is not None:
            ledger.reverse.outcomes[reverse] += 1
        if self._record is not None:
            outcomes = (forward, reverse, Outcome.LOST)
            self._record(
                Measurement(sequence, self._t1_ns[slot], None, None, None, None, None, None, outcomes)
            )
        return True

    def _measure(self, sequence: int, stamps: Stamps, stamping_ns: int | None, now_ns: int) -> None:
        """Count a reply's delays and their outcomes in all three directions."""
        t1_ns = self._t1_ns[sequence & self._mask]
        t2_ns, t3_ns, t4_ns, clocks_ns = stamps
        ledger = self.ledger
        forward, reverse, both = ledger.forward, ledger.reverse, ledger.round_trip
        floor_forward, floor_reverse = forward.floor_ns, reverse.floor_ns
        delay_forward = t2_ns - t1_ns
        delay_reverse = t4_ns - t3_ns
        delay_both = delay_forward + delay_reverse
        uncertainty = None if clocks_ns is None or stamping_ns is None else clocks_ns + stamping_ns

        lower_forward, upper_forward, found = one_way_interval(
            delay_forward, uncertainty, floor_forward, floor_reverse, delay_both
        )
        lower_reverse, upper_reverse, found_back = one_way_interval(
            delay_reverse, uncertainty, floor_reverse, floor_forward, delay_both
        )
        if found is not _NONE or found_back is not _NONE:
            ledger.clock_contradictions += _CLOCK in (found, found_back)
            ledger.floor_contradictions += _FLOOR in (found, found_back)

        outcome_forward = classify(lower_forward, upper_forward, forward.largest_ns)
        outcome_reverse = classify(lower_reverse, upper_reverse, reverse.largest_ns)
        least_both = least_round_trip_ns(delay_both, stamping_ns, both.floor_ns)
        outcome_both = classify(least_both, delay_both, both.largest_ns)
        forward.outcomes[outcome_forward] += 1
        reverse.outcomes[outcome_reverse] += 1
        both.outcomes[outcome_both] += 1
        trusted = uncertainty is not None
        forward.observe(delay_forward, now_ns, trusted=trusted)
        reverse.observe(delay_reverse, now_ns, trusted=trusted)
        both.observe(delay_both, now_ns, trusted=True)
        if self._record is not None:
            self._record(
                Measurement(
                    sequence,
                    t1_ns,
                    delay_forward,
                    delay_reverse,
                    delay_both,
                    uncertainty,
                    Interval(lower_forward, upper_forward),
                    Interval(lower_reverse, upper_reverse),
                    (outcome_forward, outcome_reverse, outcome_both),
                )
            )

    def _unfold(self, wire_sequence: int) -> int:
        """The probe that a 32-bit sequence number means, or -1 where it is none of those remembered."""
        latest = self._sequence - 1
        sequence = latest - (latest - wire_sequence) % _SEQUENCE_SPACE
        return sequence if sequence > latest - self.window else -1

    def _count_duplicate(self, slot: int, reflected: int) -> None:
        """Another reply to an answered probe: the reflector's number tells which way it was duplicated (RFC 5560)."""
        if not self._stateful:
            self.ledger.round_trip.duplicates += 1
        elif self._first_reflected[slot] <= reflected <= self._last_reflected[slot]:
            self.ledger.reverse.duplicates += 1
        else:
            self.ledger.forward.duplicates += 1
            self._first_reflected[slot] = min(reflected, self._first_reflected[slot])
            self._last_reflected[slot] = max(reflected, self._last_reflected[slot])

    def _count_reordering(self, sequence: int, reflected: int) -> None:
        """Compare a first reply with the furthest one seen (RFC 4737, section 3.3), per direction where that is known.

        The sender's numbers tell the order of sending, the reflector's the order of arrival there, and the order of
        this call the order of arrival here.
        """
        ledger = self.ledger
        if not self._stateful:
            if sequence < self._highest:
                ledger.round_trip.reordered += 1
        else:
            if (sequence < self._highest) is not (reflected < self._highest_reflected):
                ledger.forward.reordered += 1
            if reflected < self._highest_reflected:
                ledger.reverse.reordered += 1
        if sequence > self._highest:
            self._highest = sequence
            self._highest_reflected = reflected

    def _direction_of_loss(self, sequence: int) -> _Slot:
        """Where a probe without reply was lost, as far as the replies around it prove it."""
        if not self._stateful or self._highest < sequence:
            return _Slot.LOST_SOMEWHERE
        after = self._nearest_reply(range(sequence + 1, self._sequence))
        oldest = max(0, self._sequence - self.window)
        before = self._nearest_reply(range(sequence - 1, oldest - 1, -1))
        if after is None or (before is None and oldest > 0):
            return _Slot.LOST_SOMEWHERE
        reflected_before = -1 if before is None else self._last_reflected[before & self._mask]
        reflected_after = self._first_reflected[after & self._mask]

        between = [
            self._state[other & self._mask] for other in range(-1 if before is None else before, after)
        ][1:]
        sent = len(between) - between.count(_VOID)
        arrived = reflected_after - reflected_before - 1
        if not 0 <= arrived <= sent:
            return _Slot.LOST_SOMEWHERE
        if arrived == 0:
            return _Slot.LOST_FORWARD
        if arrived == sent:
            return _Slot.LOST_REVERSE
        if _Slot.LOST_SOMEWHERE in between:
            return _Slot.LOST_SOMEWHERE
        # Which probe of the gap it was cannot be told, and need not be: how many of each kind is exact.
        lost_on_the_way_there = sent - arrived
        if between.count(_Slot.LOST_FORWARD) < lost_on_the_way_there:
            return _Slot.LOST_FORWARD
        return _Slot.LOST_REVERSE

    def _nearest_reply(self, sequences: range) -> int | None:
        """The first of these probes that was answered, in time or late."""
        return next(
            (sequence for sequence in sequences if self._state[sequence & self._mask] in _REPLIED), None
        )
