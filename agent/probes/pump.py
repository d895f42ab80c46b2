"""A thread that sends packets when they are due, whatever the event loop is doing meanwhile.

It sleeps, sends what is due of packets that were written beforehand, and sleeps again; all else is the event loop's. So
a send costs little, and is late by no more than the interpreter makes a thread wait for its turn.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from agent.net.timer import sharpen_timers

_TURN_S: Final = 0.0005
_WAY_S: Final = 0.00002
_LONGEST_WAY_NS: Final = 5_000_000
_SECOND_NS: Final = 1_000_000_000


class Plan(Protocol):
    """Packets to be sent; used by the thread while others add to it."""

    @property
    def next_due_ns(self) -> int | None:
        """When the next packet is due, monotonic time; None where there is none."""

    def send_due(self, now_ns: int) -> int | None:
        """Send what is due; when the next packet is."""


class Pump:
    """Sends plans until it is stopped.

    Args:
        failed: called in the thread, with what ended it, should that happen.

    Attributes:
        bunch_ns: packets that are due within the same span of this length leave together.
    """

    def __init__(self, failed: Callable[[Exception], object]) -> None:
        self._changed = threading.Condition()
        self.bunch_ns = 1
        self._failed = failed
        self._plans: list[Plan] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)

    def add(self, plan: Plan) -> None:
        """Send this plan too, from now on."""
        with self._changed:
            self._plans = [*self._plans, plan]

    def start(self) -> None:
        """Begin to send. A waiting thread gets its turn within half a millisecond from here on."""
        sys.setswitchinterval(min(_TURN_S, sys.getswitchinterval()))
        self._thread.start()

    def wake(self) -> None:
        """A plan has packets again."""
        with self._changed:
            self._changed.notify()

    def give_way(self) -> None:
        """Let the thread send what is overdue, before whoever has much to compute goes on.

        The interpreter's lock alone does not see to that: who lets it go often, as each system call does, takes it
        again before a thread that waits for it has woken up.
        """
        end_ns = time.monotonic_ns() + _LONGEST_WAY_NS
        while (due_ns := self._next_due_ns()) is not None and self._leaves_ns(
            due_ns
        ) <= time.monotonic_ns() < end_ns:
            time.sleep(_WAY_S)

    def stop(self) -> None:
        """Stop, and wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            sharpen_timers()
            due_ns = self._wait_for_plan()
            while due_ns is not None:
                ahead_ns = self._leaves_ns(due_ns) - time.monotonic_ns()
                if ahead_ns > 0:
                    time.sleep(ahead_ns / _SECOND_NS)
                due_ns = self._send_due(time.monotonic_ns())
        except Exception as error:
            self._failed(error)

    def _send_due(self, now_ns: int) -> int | None:
        """Send what is due; when the next packet is, as soon as there is one; None once stopped."""
        following = [due_ns for plan in self._plans if (due_ns := plan.send_due(now_ns)) is not None]
        return min(following) if following and not self._stopped else self._wait_for_plan()

    def _leaves_ns(self, due_ns: int) -> int:
        """When a packet that is due leaves with its bunch."""
        return -(-due_ns // self.bunch_ns) * self.bunch_ns

    def _wait_for_plan(self) -> int | None:
        """When the next packet is due, as soon as there is one; None once stopped."""
        while not self._stopped:
            due_ns = self._next_due_ns()
            if due_ns is not None:
                return due_ns
            with self._changed:
                if self._next_due_ns() is None and not self._stopped:
                    self._changed.wait()
        return None

    def _next_due_ns(self) -> int | None:
        return min((due_ns for plan in self._plans if (due_ns := plan.next_due_ns) is not None), default=None)
