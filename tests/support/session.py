"""A session taken one packet at a time, as tests think of it: batches of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS, Integers
from agent.core.ledger import Ledgers, PathLabels, PathLedger, Promise
from agent.core.measurement import Measurement, Measurements, Probes
from agent.core.outcome import Limit, Operator
from agent.core.session import Replies, ReplyFate, SenderSessions
from agent.core.steps import ClockSteps
from agent.core.timestamps import ntp_from_ns

MS = 1_000_000
LABELS = PathLabels("wuhan", "qingyang", "hub", "telecom", "stamp", 0)


def path_ledger(limit_ms: float = 10, floor_ms: float = 0, table: Ledgers | None = None) -> PathLedger:
    """A ledger with the same limit and floor in both directions."""
    limit = Limit(int(limit_ms * MS), Operator.AT_MOST)
    promise = Promise(limit, int(floor_ms * MS))
    table = table or Ledgers(1)
    return table.open(LABELS, promise, promise, Limit(2 * limit.limit_ns, Operator.AT_MOST))


class Reply(NamedTuple):
    """One reply; see `Replies`."""

    sequence: int
    timestamp: int
    reflected: int
    t2_ns: int
    t3_ns: int
    t4_ns: int
    arrival_ns: int | None = 0
    clocks_ns: int | None = 0


@dataclass
class Session:
    """One session of its own table."""

    ledger: PathLedger
    timeout_ns: int
    window: int
    record: Callable[[Measurement], None] = lambda measurement: None
    one_way: bool = True
    steps: ClockSteps = field(default_factory=lambda: ClockSteps(10_000 * MS))
    sessions: SenderSessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = SenderSessions(self.ledger.table, self.steps, self._record, one_way=self.one_way)
        self.sessions.open(self.ledger, self.timeout_ns, self.window)

    def _record(self, measured: Measurements) -> None:
        for measurement in measured.each():
            self.record(measurement)

    @property
    def reflector_is_stateful(self) -> bool:
        """Whether the reflector has been seen to count."""
        return self.sessions.reflector_is_stateful(self.ledger.row)

    def next_probe(self) -> int:
        """The number of the next probe."""
        return int(self.sessions.begin(_one(self.ledger.row)).sequences[0])

    def sent(self, sequence: int, wall_ns: int) -> int:
        """The kernel took it; gives the timestamp it carries."""
        wire = ntp_from_ns(wall_ns)
        self.sessions.sent(self._probe(sequence), _one(wall_ns), np.array([wire], np.uint64))
        return wire

    def send(self, wall_ns: int) -> tuple[int, int]:
        """A probe that the kernel took: its number and the timestamp it carries."""
        sequence = self.next_probe()
        return sequence, self.sent(sequence, wall_ns)

    def transmitted(self, sequence: int, kernel_ns: int) -> int | None:
        """How much later than user space's the kernel's time is; None where it is not used."""
        lags = self.sessions.transmitted(self._probe(sequence), _one(kernel_ns))
        return int(lags[0]) if len(lags) else None

    def expired(self, sequence: int) -> bool:
        """Whether the probe was still unanswered."""
        return self.sessions.expired(self._probe(sequence)) == 1

    def replied(self, *replies: Reply, stamping_ns: int | None, now_ns: int) -> list[ReplyFate]:
        """A batch of replies."""
        columns: list[NDArray[np.int64]] = [np.full(len(replies), self.ledger.row)]
        for name in Reply._fields:
            values = [getattr(reply, name) for reply in replies]
            values = [UNKNOWN_NS if value is None else value for value in values]
            columns.append(np.array(values, np.uint64 if name == "timestamp" else np.int64))
        fates = self.sessions.replied(
            Replies._make(columns), UNKNOWN_NS if stamping_ns is None else stamping_ns, now_ns
        )
        return [ReplyFate(fate) for fate in fates.tolist()]

    def _probe(self, sequence: int) -> Probes:
        return Probes(_one(self.ledger.row), _one(sequence))


def _one(value: int) -> Integers:
    return np.array([value], np.int64)
