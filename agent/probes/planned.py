"""Probes that are planned by the event loop and sent by one thread while it plans more, whatever sending them means."""

from __future__ import annotations

import abc
import threading
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import Integers
from agent.core.measurement import Probes
from agent.core.session import NO_REPLIES, Replies, SenderSessions
from agent.core.session_report import SessionReport
from agent.net.datagram import TimestampedSocket
from agent.settings import PathSettings

_OVERDUE_NS: Final = 20_000_000
OVERDUE: Final = 0
"""Stands among error numbers for what was left out because it was late."""


class Taken(NamedTuple):
    """Probes that the kernel took, (n,) each.

    Attributes:
        probes: which.
        due_ns, sent_ns: when they should have left and when they did, monotonic time.
        wall_ns, wire: when that was by user space, as Unix wall time and as the packet says it.
    """

    probes: Probes
    due_ns: Integers
    sent_ns: Integers
    wall_ns: Integers
    wire: NDArray[np.uint64]


class Plan:
    """Probes in order of their time, and how far they have been sent.

    Attributes:
        probes: which.
        due: when, monotonic time.
        due_ns: the same as a list.
        position: of the first one that has not been sent.
    """

    def __init__(self, probes: Probes, due: Integers) -> None:
        self.probes = probes
        self.due = due
        self.due_ns: list[int] = due.tolist()
        self.position = 0


PlanT = TypeVar("PlanT", bound=Plan)


class Span(NamedTuple, Generic[PlanT]):
    """Neighbouring probes of a plan and what became of them.

    Attributes:
        plan, first, stop: which.
        result: as in `agent.net.departures.Sending`; None where they were left out.
        sent_ns, wall_ns, wire: as in `Taken`.
    """

    plan: PlanT
    first: int
    stop: int
    result: int | None
    sent_ns: int
    wall_ns: int
    wire: int


class PlannedOutlet(abc.ABC, Generic[PlanT]):
    """Where probes of one address family and code point leave, and their replies come in.

    Attributes:
        one_way: whether replies tell the times at which the target received and answered.
        spans: what was sent and has not been settled; to be touched while `sending` is held only.
        sending: held while probes are being sent: whoever has it knows of every one that is gone what became of it.
    """

    one_way: ClassVar[bool]

    def __init__(self) -> None:
        self.sending = threading.Lock()
        self.spans: list[Span[PlanT]] = []
        self._plans: deque[PlanT] = deque()

    # For each kind to say

    @abc.abstractmethod
    def prepare(self, probes: Probes, due_ns: Integers) -> PlanT:
        """Prepare probes, in the order in which they are due."""

    @abc.abstractmethod
    def depart(self, plan: PlanT, first: int, stop: int, now_ns: int) -> None:
        """Send probes of a plan, and note in `spans` what became of all of them."""

    @abc.abstractmethod
    def settled(self, taken: list[Span[PlanT]], done: list[PlanT], probes: Probes) -> None:
        """Probes have been counted as sent.

        Args:
            taken: what the kernel took.
            done: plans of which nothing is left to send.
            probes: those of `taken`, in their order.
        """

    @abc.abstractmethod
    def receive(self) -> bool:
        """Take in what has come; whether there may be more. What was taken before is forgotten."""

    @abc.abstractmethod
    def take_stamps(self, sessions: SenderSessions) -> None:
        """Hand all transmit times that have come to their sessions."""

    @abc.abstractmethod
    def replies(self, discarded: Counter[str]) -> Replies:
        """The replies among what was taken in; what is none is counted by reason."""

    def serve(self, row: int, settings: PathSettings, report: SessionReport) -> None:
        """Send to this row from now on, as its settings say; what is special to a kind of probe is noted here.

        Args:
            row: of a path.
            settings: its.
            report: takes what replies tell besides times.
        """

    def leave(self, row: int) -> None:
        """This row is not sent to any more, or from elsewhere; what is planned is still sent, and may be answered."""

    def release(self, probes: Probes | None) -> Replies:
        """Replies held back for what a later one may say, which are so no longer: those to these probes, or all."""
        return NO_REPLIES

    @property
    def follow_ups(self) -> dict[str, int]:
        """How many replies were and were not told of by the next one; empty where none ever is."""
        return {}

    @property
    @abc.abstractmethod
    def departure_ns(self) -> int:
        """How far a user-space time of departure may lie before the true one; `UNKNOWN_NS`: not known."""

    @property
    @abc.abstractmethod
    def waiting_room(self) -> int:
        """How many replies can wait to be received."""

    @property
    @abc.abstractmethod
    def sockets(self) -> list[TimestampedSocket]:
        """Its sockets that give the kernel's times."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close whatever is open; closing again changes nothing."""

    # In the event loop

    @property
    def pending(self) -> bool:
        """Whether probes wait to be sent, or to be settled."""
        return bool(self._plans or self.spans)

    def plan(self, probes: Probes, due_ns: Integers) -> None:
        """Plan probes in the order in which they are due, after those planned before."""
        self._plans.append(self.prepare(probes, due_ns))

    def forget_unsent(self) -> None:
        """Send no more of what is planned."""
        with self.sending:
            self._plans.clear()

    def settle(self) -> tuple[Taken | None, list[tuple[int, int]]]:
        """What the kernel took since the last time; and what was not sent: row, and errno or `OVERDUE`."""
        with self.sending:
            spans, self.spans = self.spans, []
        taken = [span for span in spans if span.result is not None and span.result >= 0]
        not_sent = [
            (row, OVERDUE if span.result is None else -span.result)
            for span in spans
            if span.result is None or span.result < 0
            for row in span.plan.probes.rows[span.first : span.stop].tolist()
        ]
        done = [span.plan for span in spans if span.stop == len(span.plan.due_ns)]
        if not taken:
            self.settled(taken, done, Probes(_NONE, _NONE))
            return None, not_sent

        counts = np.array([span.stop - span.first for span in taken])
        columns = np.array([(span.sent_ns, span.wall_ns) for span in taken], np.int64)
        sent_ns, wall_ns = np.repeat(columns, counts, axis=0).T
        wire = np.repeat(np.array([span.wire for span in taken], np.uint64), counts)
        pieces = _pieces(taken)
        probes = Probes(
            np.concatenate([plan.probes.rows[first:stop] for plan, first, stop in pieces]),
            np.concatenate([plan.probes.sequences[first:stop] for plan, first, stop in pieces]),
        )
        due_ns = np.concatenate([plan.due[first:stop] for plan, first, stop in pieces])
        self.settled(taken, done, probes)
        return Taken(probes, due_ns, sent_ns, wall_ns, wire), not_sent

    # In the sending thread

    @property
    def next_due_ns(self) -> int | None:
        """When the next probe is due."""
        with self.sending:
            return self._plans[0].due_ns[self._plans[0].position] if self._plans else None

    def send_due(self, now_ns: int) -> int | None:
        """Send what is due at monotonic time `now_ns`, but for what is overdue; when the next probe is due."""
        with self.sending:
            plans = self._plans
            while plans:
                plan = plans[0]
                due_ns, position = plan.due_ns, plan.position
                if due_ns[position] > now_ns:
                    return due_ns[position]
                first = position
                if due_ns[position] < now_ns - _OVERDUE_NS:
                    first = bisect_left(due_ns, now_ns - _OVERDUE_NS, position)
                    self.spans.append(Span(plan, position, first, None, 0, 0, 0))
                stop = bisect_right(due_ns, now_ns, first)
                if stop > first:
                    self.depart(plan, first, stop, now_ns)
                plan.position = stop
                if stop == len(due_ns):
                    plans.popleft()
            return None


def _pieces(spans: Sequence[Span[PlanT]]) -> list[tuple[PlanT, int, int]]:
    """What of which plan spans are made of; of those that follow each other in a plan, one piece."""
    pieces: list[tuple[PlanT, int, int]] = []
    for span in spans:
        if pieces and pieces[-1][0] is span.plan and pieces[-1][2] == span.first:
            pieces[-1] = (span.plan, pieces[-1][1], span.stop)
        else:
            pieces.append((span.plan, span.first, span.stop))
    return pieces


_NONE: Final[Integers] = np.zeros(0, np.int64)
