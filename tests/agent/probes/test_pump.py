"""The thread that sends, and those who keep the interpreter busy beside it."""

from __future__ import annotations

import threading
import time

import pytest

from agent.probes import pump as pump_module
from agent.probes.pump import Pump

_SECOND_NS = 1_000_000_000


class _Plan:
    """Packets due at some times; sending takes the plan's lock, so that a test can hold it up."""

    def __init__(self, due_ns: list[int]) -> None:
        self.sent_ns: list[int] = []
        self.may_send = threading.Lock()
        self._due_ns = due_ns

    @property
    def next_due_ns(self) -> int | None:
        return self._due_ns[0] if self._due_ns else None

    def send_due(self, now_ns: int) -> None:
        with self.may_send:
            while self._due_ns and self._due_ns[0] <= now_ns:
                self.sent_ns.append(self._due_ns.pop(0))


def _pump(plan: _Plan) -> Pump:
    pump = Pump(lambda error: None)
    pump.add(plan)
    return pump


def test_way_is_given_to_what_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives way goes on once everything that was due by then has been sent."""
    monkeypatch.setattr(pump_module, "_LONGEST_WAY_NS", 20 * _SECOND_NS)
    now_ns = time.monotonic_ns()
    plan = _Plan([now_ns + 1_000_000 * number for number in range(20)])
    pump = _pump(plan)
    pump.start()
    for number in range(20):
        while time.monotonic_ns() < now_ns + 1_000_000 * number:
            pass
        pump.give_way()
        assert len(plan.sent_ns) > number
    pump.stop()


def test_nothing_due_keeps_nobody_waiting() -> None:
    """What is due later, or nothing at all, lets one go on at once."""
    for due_ns in ([], [time.monotonic_ns() + 3600 * _SECOND_NS]):
        plan = _Plan(due_ns)
        _pump(plan).give_way()
        assert plan.sent_ns == []


def test_a_thread_that_is_stuck_keeps_nobody_waiting_for_ever() -> None:
    """Sending may be held up; who gives way goes on all the same."""
    plan = _Plan([1])
    pump = _pump(plan)
    with plan.may_send:
        pump.start()
        pump.give_way()
        assert plan.sent_ns == []
    pump.stop()
