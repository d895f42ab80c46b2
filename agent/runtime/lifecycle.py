"""How a program runs and ends: one event for SIGTERM and SIGINT, one way to report what the person can mend."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from enum import IntEnum
from typing import Any

from agent.runtime.exceptions import IsochroneError


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


def execute(run: Callable[[], Coroutine[Any, Any, int]] | Callable[[], int]) -> int:
    """Run a command and give its exit status; what the person can mend is printed without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names are Chinese and verdicts have signs: what the locale's encoding lacks is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = run()
        status = result if isinstance(result, int) else asyncio.run(result)
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
