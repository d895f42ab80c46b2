"""How a program runs and ends: one event for SIGTERM and SIGINT, SIGHUP from its first moment on, one way to report
what the person can mend.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from enum import IntEnum
from typing import Any, Final

from agent.runtime.exceptions import IsochroneError

_asked_early: Final = threading.Event()


class ExitStatus(IntEnum):
    """Exit statuses of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 128 + signal.SIGINT


def stop_requested() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT set; a second signal of the kind changes nothing."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


def note_reloads() -> None:
    """SIGHUP no longer ends the program: one that comes before `on_reload` is kept for it."""
    signal.signal(signal.SIGHUP, lambda number, frame: _asked_early.set())


def on_reload(reload: Callable[[], None]) -> None:
    """Call `reload` in the running loop for each SIGHUP, and for those of the time since `note_reloads` once."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    if _asked_early.is_set():
        _asked_early.clear()
        reload()


def execute(run: Callable[[], Coroutine[Any, Any, int]] | Callable[[], int]) -> int:
    """Run a command and give its exit status; what the person can mend is printed without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names are Chinese and verdicts have signs: what the locale's encoding lacks is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = run()
        status = result if isinstance(result, int) else asyncio.run(result)
        if sys.stdout:  # None where the program was started without
            sys.stdout.flush()  # here, where a closed pipe can still be told from a fault
    except IsochroneError as error:
        print(error, file=sys.stderr)
        return ExitStatus.USAGE
    except BrokenPipeError:
        # The reader (`head`) has what it wanted. What is left to write goes nowhere, or the interpreter would try
        # once more at its end and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"cannot write: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.USAGE
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return status
