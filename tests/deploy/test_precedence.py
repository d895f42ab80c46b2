"""Asking the kernel to be woken in time, with what privileges there are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deploy.quickstart.precedence import go_first

PROGRAM = """
import os
from deploy.quickstart.precedence import go_first
granted = go_first()
print(granted, os.sched_getscheduler(0) == os.SCHED_FIFO)
"""


def test_what_is_granted_is_said() -> None:
    """Real-time is said only where the kernel agrees, and asking costs an unprivileged process nothing."""
    # in a process of its own, so that the tests do not run before others
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("real-time True", "short slice False", "nothing False")


def test_without_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where real-time is refused the process stays an ordinary one, of the same niceness."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert go_first() in ("short slice", "nothing")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice


def test_on_an_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the number of the system call is not known, nothing is asked for."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert go_first() == "nothing"
