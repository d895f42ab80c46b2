"""STAMP sessions as their sender sees them: probes and replies in, counts out, whole batches at a time.

A probe moves through these states, and each arrow counts it exactly once:

    VOID ──send──► IN_FLIGHT ──reply──► ANSWERED
                       │
                       └──timeout──► LOST_FORWARD | LOST_REVERSE | LOST_SOMEWHERE ──reply──► LATE

What is ordinary, a first reply in time and in order, is decided for all packets of a batch at once; the replies of a
session among which one is not are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core import ledger as columns
from agent.core.interval import (
    UNKNOWN_NS,
    Flags,
    Integers,
    classify,
    least_round_trip_ns,
    one_way_bounds,
    sum_of_uncertainties,
)
from agent.core.ledger import Ledgers, PathLedger, Promise
from agent.core.load_windows import LoadWindows
from agent.core.measurement import NO_NUMBER, NO_OUTCOME, Measurements, Probes
from agent.core.outcome import Outcome, classify_arrived
from agent.core.probe_ring import OMITTED_SEQUENCE, REPLIED, UNSTAMPED, ProbeRings, ProbeState
from agent.core.steps import ClockSteps

_IN_FLIGHT: Final = np.uint8(ProbeState.IN_FLIGHT)
_ANSWERED: Final = np.uint8(ProbeState.ANSWERED)


class ReplyFate(IntEnum):
    """What a reply turned out to be."""

    COUNTED = 0
    LATE = 1
    DUPLICATE = 2
    UNKNOWN = 3


class Replies(NamedTuple):
    """Replies in order of arrival, (n,) each; times are Unix wall time in ns.

    Attributes:
        rows: the session that each claims to belong to.
        sequences, timestamps: the sender's own 32-bit number and 64-bit timestamp as the reply gives them back.
        reflected: the reply's own number.
        t2_ns, t3_ns: the reflector's receive and transmit times, by its clock.
        t4_ns: the receive time here.
        arrival_ns: how much earlier than `t4_ns` it may really have come: 0 for the kernel's time, a card's own bound,
            `UNKNOWN_NS` for user space's.
        clocks_ns: both clocks' error bounds in sum; `UNKNOWN_NS`: at least one vouches for nothing.
    """

    rows: Integers
    sequences: Integers
    timestamps: NDArray[np.uint64]
    reflected: Integers
    t2_ns: Integers
    t3_ns: Integers
    t4_ns: Integers
    arrival_ns: Integers
    clocks_ns: Integers

    def take(self, chosen: Integers) -> Replies:
        """Those at these positions, in their order."""
        return Replies._make(values[chosen] for values in self)


def joined(earlier: Replies, later: Replies) -> Replies:
    """Both, one after the other."""
    return Replies._make(np.concatenate(both) for both in zip(earlier, later, strict=True))


NO_REPLIES: Final = Replies._make(
    np.zeros(0, np.uint64 if field == "timestamps" else np.int64) for field in Replies._fields
)


class SenderSessions:
    """The sender's state of all its paths; the rows of its arrays are those of the ledgers.

    Args:
        ledgers: where outcomes are counted.
        steps: of the local clock; whoever hands in replies has observed a reading after their arrival.
        record: called with measurements once they are counted.
        one_way: whether replies tell T2 and T3; else only the round trip is measured, and what it proves of both
            directions is counted.

    Attributes:
        rings: what was sent.
        loads: when throughput tests filled the lines of which paths.
    """

    def __init__(
        self,
        ledgers: Ledgers,
        steps: ClockSteps,
        record: Callable[[Measurements], None] = lambda measurements: None,
        *,
        one_way: bool = True,
    ) -> None:
        self.rings = ProbeRings()
        self._ledgers = ledgers
        self._steps = steps
        self._one_way = one_way
        self._record = record
        self._paths: dict[int, PathLedger] = {}
        self.loads = LoadWindows()

    def open(self, path: PathLedger, timeout_ns: int, window: int) -> None:
        """Begin a session.

        Args:
            path: its ledger.
            timeout_ns: a reply that arrives later than this after its probe is late (Tmax of RFC 7680).
            window: how many of the latest probes are remembered; at least what can be in flight at a time.
        """
        self._paths[path.row] = path
        self.rings.open(path.row, window, timeout_ns)

    def change(self, path: PathLedger, timeout_ns: int, window: int) -> None:
        """Go on with a session under another timeout and window; what is under way stays so."""
        self.rings.widen(path.row, window, timeout_ns)

    def reflector_is_stateful(self, row: int) -> bool:
        """Whether the reflector has been seen to count by itself."""
        return bool(self.rings.stateful[row])

    # Probes

    def begin(self, rows: Integers) -> Probes:
        """Take the next sequence number of a session for each probe; a session may be named more than once.

        A probe counts once `sent` says that the kernel took it; otherwise its number stays unused. Where a ring has no
        room for another probe its oldest one is given up.
        """
        rings = self.rings
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        first = np.searchsorted(ordered, ordered)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(rows)) - first
        following = rings.next[rows]
        sequences = following + rank
        sequences[(following < OMITTED_SEQUENCE) & (sequences >= OMITTED_SEQUENCE)] += 1
        slots = rings.slots(rows, sequences)
        unanswered = rings.state[slots] == _IN_FLIGHT
        if unanswered.any():
            # of these only: a slot that was never used has the number 0, which is another slot's
            self.expired(Probes(rows[unanswered], rings.sequence[slots[unanswered]]))
        # of the numbers of one session the last one assigned is the greatest
        rings.next[rows] = sequences + 1 + (sequences == OMITTED_SEQUENCE - 1)
        rings.state[slots] = ProbeState.VOID
        rings.sequence[slots] = sequences
        rings.departure_ns[slots] = UNSTAMPED
        return Probes(rows, sequences)

    def sent(self, probes: Probes, wall_ns: Integers, wire: NDArray[np.uint64]) -> None:
        """The kernel accepted the probes.

        Args:
            probes: which.
            wall_ns: (n,), when that was, by user space.
            wire: (n,), the 64-bit timestamps that they carry.
        """
        rings, slots = self.rings, self.rings.slots(*probes)
        rings.state[slots] = _IN_FLIGHT
        rings.t1_ns[slots] = wall_ns
        rings.wire[slots] = wire
        self._ledgers.add(probes.rows, _SENT_AND_IN_FLIGHT, 1)

    def transmitted(self, probes: Probes, kernel_ns: Integers, bounds_ns: Integers | None = None) -> Integers:
        """The kernel's transmit stamps of probes have come, or a network card's.

        Args:
            probes: which.
            kernel_ns: (n,), when they left (Unix wall time).
            bounds_ns: (n,), how much later that may really have been, below 4 s; None: not at all.

        Returns:
            How much later than the user-space time each probe left at most (ns), of those that belong to a probe in
            flight and are not earlier than the user-space time: the others are not used.
        """
        rings, slots = self.rings, self.rings.slots(*probes)
        lags: Integers = kernel_ns - rings.t1_ns[slots]
        useful = self._in_flight(probes, slots) & (rings.departure_ns[slots] == UNSTAMPED) & (lags >= 0)
        slots = slots[useful]
        rings.t1_ns[slots] = kernel_ns[useful]
        lags = lags[useful]
        if bounds_ns is None:
            rings.departure_ns[slots] = 0
        else:
            rings.departure_ns[slots] = bounds_ns[useful]
            lags += bounds_ns[useful]
        return lags

    def expired(self, probes: Probes) -> int:
        """The timeout of probes is over: those without a reply are counted as lost.

        Returns:
            How many those are.
        """
        unanswered = np.flatnonzero(self._in_flight(probes, self.rings.slots(*probes)))
        for index in unanswered.tolist():
            self._give_up(int(probes.rows[index]), int(probes.sequences[index]))
        return len(unanswered)

    def _in_flight(self, probes: Probes, slots: Integers) -> Flags:
        rings = self.rings
        found: Flags = (rings.state[slots] == _IN_FLIGHT) & (rings.sequence[slots] == probes.sequences)
        return found

    def _give_up(self, row: int, sequence: int) -> None:
        rings, path = self.rings, self._paths[row]
        slot = int(rings.slots(np.array([row]), np.array([sequence]))[0])
        fate = rings.direction_of_loss(row, sequence)
        rings.state[slot] = fate
        forward: Outcome
        reverse: Outcome | None
        if fate is ProbeState.LOST_FORWARD:
            forward, reverse = Outcome.LOST, None
        elif fate is ProbeState.LOST_REVERSE:
            forward, reverse = _arrived(path.forward.promise), Outcome.LOST
        else:
            forward = reverse = Outcome.UNATTRIBUTED
        self._resolve(row, slot, sequence, (forward, reverse, Outcome.LOST))

    def _reject(self, row: int, sequence: int, slot: int) -> None:
        """Count a probe that was answered while the local clock was set: it arrived, and nothing is known of when."""
        path = self._paths[row]
        path.count(columns.STEPPED)
        outcomes = [_arrived(counted.promise) for _, counted in path.directions()]
        self._resolve(row, slot, sequence, outcomes)

    def _resolve(self, row: int, slot: int, sequence: int, outcomes: Sequence[Outcome | None]) -> None:
        """Count a probe of which no time is known, by its outcomes forward, reverse and round trip."""
        path = self._paths[row]
        path.count(columns.IN_FLIGHT, -1)
        loaded = self.loads.under(np.array([row]), self.rings.t1_ns[slot : slot + 1])
        first = columns.OUTCOMES if loaded is None else columns.UNDER_LOAD
        for (_, counted), outcome in zip(path.directions(), outcomes, strict=True):
            if outcome is not None:
                counted.count(first + outcome)
        nothing = np.zeros((3, 1), np.int64)
        self._record(
            Measurements(
                Probes(np.array([row]), np.array([sequence])),
                False,
                self.rings.t1_ns[slot : slot + 1].copy(),
                nothing,
                np.full(1, UNKNOWN_NS, np.int64),
                nothing[:2],
                nothing[:2],
                np.array([[NO_OUTCOME if outcome is None else outcome] for outcome in outcomes], np.int64),
                np.full(1, NO_NUMBER, np.int64),
                loaded,
            )
        )

    # Replies

    def replied(self, replies: Replies, stamping_ns: int, now_ns: int) -> NDArray[np.uint8]:
        """Replies came in. When they are looked at does not matter: its arrival time decides whether one is late.

        Args:
            replies: in order of arrival.
            stamping_ns: how far a user-space T1 may lie before the true one; used where no stamp of the kernel or a
                card came; `UNKNOWN_NS`: not known.
            now_ns: monotonic time.

        Returns:
            (n,), the `ReplyFate` of each.
        """
        rings = self.rings
        sequences = rings.unfold(replies.rows, replies.sequences)
        slots = rings.slots(replies.rows, sequences)
        state = rings.state[slots]
        known = (
            (sequences >= 0)
            & (rings.sequence[slots] == sequences)
            & (state != ProbeState.VOID)
            & (rings.wire[slots] == replies.timestamps)
        )
        fates = np.full(len(known), ReplyFate.UNKNOWN, np.uint8)
        chosen = np.flatnonzero(known)
        if len(chosen) == 0:
            return fates
        if len(chosen) < len(known) or (replies.rows[1:] < replies.rows[:-1]).any():
            # by session, and within a session in order of arrival
            chosen = chosen[np.argsort(replies.rows[chosen], kind="stable")]
            replies = replies.take(chosen)
            sequences, slots, state = sequences[chosen], slots[chosen], state[chosen]
        rows = replies.rows
        rings.stateful[rows[replies.reflected != replies.sequences]] = True

        t1_ns = rings.t1_ns[slots]
        stepped = self._steps.crossed(t1_ns, replies.t4_ns)
        # across a step nothing is known of the time but that nobody has given the probe up yet
        in_time = (replies.t4_ns - t1_ns <= rings.timeout_ns[rows]) | stepped
        ordinary = in_time & (state == _IN_FLIGHT) & self._in_order(rows, sequences, replies.reflected)
        found = np.full(len(chosen), ReplyFate.COUNTED, np.uint8)
        if not ordinary.all():
            unusual = np.isin(rows, rows[~ordinary])
            ordinary = ~unusual
            for index in np.flatnonzero(unusual).tolist():
                found[index] = self._judge(
                    int(rows[index]),
                    int(sequences[index]),
                    int(slots[index]),
                    int(replies.reflected[index]),
                    bool(in_time[index]),
                )
        self._accept(rows[ordinary], sequences[ordinary], slots[ordinary], replies.reflected[ordinary])
        fates[chosen] = found

        counted = np.flatnonzero((found == ReplyFate.COUNTED) & ~stepped)
        if len(counted) == len(found):
            self._measure(replies, sequences, slots, stamping_ns, now_ns)
        elif len(counted):
            self._measure(replies.take(counted), sequences[counted], slots[counted], stamping_ns, now_ns)
        for index in np.flatnonzero((found == ReplyFate.COUNTED) & stepped).tolist():
            self._reject(int(rows[index]), int(sequences[index]), int(slots[index]))
        return fates

    def _in_order(self, rows: Integers, sequences: Integers, reflected: Integers) -> Flags:
        """Whether each reply is further than the one before it of its session, by both ends' numbers."""
        rings = self.rings
        earlier, earlier_reflected = rings.highest[rows], rings.highest_reflected[rows]
        same = np.flatnonzero(rows[1:] == rows[:-1]) + 1
        earlier[same], earlier_reflected[same] = sequences[same - 1], reflected[same - 1]
        further: Flags = (sequences > earlier) & ((reflected > earlier_reflected) | ~rings.stateful[rows])
        return further

    def _accept(self, rows: Integers, sequences: Integers, slots: Integers, reflected: Integers) -> None:
        """Note first replies that came in order."""
        rings = self.rings
        rings.state[slots] = _ANSWERED
        rings.first_reflected[slots] = rings.last_reflected[slots] = reflected
        # of one session's replies the last one is the furthest
        rings.highest[rows], rings.highest_reflected[rows] = sequences, reflected

    def _judge(self, row: int, sequence: int, slot: int, reflected: int, in_time: bool) -> ReplyFate:
        """Look at one reply of a known probe by itself, count what is beside the law, and note it."""
        rings, path = self.rings, self._paths[row]
        directions = dict(path.directions())
        if rings.state[slot] in REPLIED:
            directions[rings.duplicated_in(row, slot, reflected)].count(columns.DUPLICATES)
            return ReplyFate.DUPLICATE
        if rings.state[slot] == _IN_FLIGHT and not in_time:
            self._give_up(row, sequence)
        rings.first_reflected[slot] = rings.last_reflected[slot] = reflected
        if rings.state[slot] != _IN_FLIGHT:
            rings.state[slot] = ProbeState.LATE
            path.count(columns.LATE)
            return ReplyFate.LATE
        for direction in rings.reordered_in(row, sequence, reflected):
            directions[direction].count(columns.REORDERED)
        rings.state[slot] = _ANSWERED
        return ReplyFate.COUNTED

    def _measure(
        self, replies: Replies, sequences: Integers, slots: Integers, stamping_ns: int, now_ns: int
    ) -> None:
        """Count the delays of first replies in time, ordered by row, and their outcomes in all three directions."""
        rows, ledgers = replies.rows, self._ledgers
        t1_ns = self.rings.t1_ns[slots]
        stamped = self.rings.departure_ns[slots].astype(np.int64)
        departure = np.where(stamped == UNSTAMPED, stamping_ns, stamped)
        stamping = sum_of_uncertainties(departure, replies.arrival_ns)
        uncertainty = sum_of_uncertainties(replies.clocks_ns, stamping)
        t2_ns, t3_ns = replies.t2_ns, replies.t3_ns
        residence = t3_ns - t2_ns
        absurd = (residence < 0) | (residence > replies.t4_ns - t1_ns)
        if absurd.any():
            # It answered before it was asked, or only after we had its answer: times that tell nothing, as if it had
            # given none. What is left is the whole time until the reply, which no delay exceeds.
            t2_ns, t3_ns = (np.where(absurd, replies.t4_ns, times_ns) for times_ns in (t2_ns, t3_ns))
            stamping, uncertainty = (np.where(absurd, UNKNOWN_NS, known) for known in (stamping, uncertainty))
            ledgers.add(rows[absurd], columns.CLOCK_CONTRADICTIONS, 1)
        delays = np.empty((3, len(rows)), np.int64)
        np.subtract(t2_ns, t1_ns, out=delays[0])
        np.subtract(replies.t4_ns, t3_ns, out=delays[1])
        np.add(delays[0], delays[1], out=delays[2])

        floors = ledgers.floors_ns[:, rows]
        copied = (residence == 0) & self._one_way
        bounds = one_way_bounds(delays[:2], uncertainty, floors[:2], delays[2], copied)
        if copied.any():
            stamping = np.where(copied, UNKNOWN_NS, stamping)
        for found, counted in (
            (bounds.clock, columns.CLOCK_CONTRADICTIONS),
            (bounds.floor, columns.FLOOR_CONTRADICTIONS),
        ):
            if found.any():
                ledgers.add(rows[found], counted, 1)
        least = least_round_trip_ns(delays[2], stamping, floors[2])
        outcomes = classify(
            np.vstack((bounds.lower_ns, least)),
            np.vstack((bounds.upper_ns, delays[2])),
            ledgers.largest_ns[:, rows],
        )
        ledgers.add(rows, columns.IN_FLIGHT, -1)
        loaded = self.loads.under(rows, t1_ns)
        ledgers.add_outcomes(rows, outcomes, loaded)
        trusted = uncertainty != UNKNOWN_NS
        if loaded is None:
            ledgers.observe(rows, sequences, delays, trusted, now_ns, one_way=self._one_way)
        elif len(idle := np.flatnonzero(~loaded)):
            ledgers.observe(
                rows[idle], sequences[idle], delays[:, idle], trusted[idle], now_ns, one_way=self._one_way
            )
        self._record(
            Measurements(
                Probes(rows, sequences),
                True,
                t1_ns,
                delays,
                uncertainty,
                bounds.lower_ns,
                bounds.upper_ns,
                outcomes,
                replies.reflected,
                loaded,
                copied,
            )
        )


def _arrived(promise: Promise) -> Outcome:
    """The outcome of a packet that arrived, nobody knows when."""
    return classify_arrived(promise.floor_ns, promise.limit.largest_ns)


_SENT_AND_IN_FLIGHT: Final = np.array([[columns.SENT], [columns.IN_FLIGHT]], np.int64)
