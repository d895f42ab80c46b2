"""Logs: one line of `key=value` each on standard error, UTC, and no floods."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Final

from agent.runtime.wording import one_line

_MAX_KINDS: Final = 1024
_OTHERS: Final = "others"
_HTTP_SERVER: Final = "aiohttp.server"
_FAULTS_OF_CLIENTS: Final = {
    "HttpProcessingError": "malformed HTTP request",
    "ClientConnectionResetError": "HTTP client gone before it had its answer",
}
"""By name, for not every command that logs has read aiohttp."""


def configure(level: str) -> None:
    """Send everything from `level` on (debug, info, warning, error) to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    server = logging.getLogger(_HTTP_SERVER)
    server.filters = [BadRequests()]


class LineFormatter(logging.Formatter):
    """Writes a record as one line, whatever its text holds: what comes from the network cannot forge a second one."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """`time=2024-05-01T08:00:00.000Z level=info logger=agent.program message="…"`, then any traceback."""
        line = (
            f"time={self.formatTime(record)} level={record.levelname.lower()} logger={record.name} "
            f"message={_in_quotes(record.getMessage())}"
        )
        if record.exc_info:
            line += f" traceback={_in_quotes(self.formatException(record.exc_info))}"
        return line


class BadRequests(logging.Filter):
    """Keeps strangers from filling the log: of malformed HTTP requests, and of clients that hang up before they have
    their answer, one line a minute passes, without traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._complain = RateLimited(logging.getLogger(_HTTP_SERVER).warning)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is anything else; what a client brings about is said in other words, now and then."""
        error = record.exc_info[1] if record.exc_info else None
        for kind in type(error).__mro__:
            if fault := _FAULTS_OF_CLIENTS.get(kind.__name__):
                self._complain(type(error).__name__, f"{fault}: {type(error).__name__}")
                return False
        return True


def _in_quotes(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(escaped)}"'


class RateLimited:
    """Lets one message of a kind through per period and counts the rest.

    Kinds may come from the network (an address, a cause): of more than a thousand in one period, the rest share one.

    Args:
        log: called with the message that may pass.
        period_s: at most one message of a kind in so many seconds.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        period_s: float = 60.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._period_s = period_s
        self._monotonic = monotonic
        self._kinds: dict[str, tuple[float, int]] = {}
        """When one of the kind last passed, and how many were held back since; oldest first."""

    def __call__(self, kind: str, message: str) -> None:
        """Log the message, unless one of its kind was logged within the period."""
        now = self._monotonic()
        if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            oldest = next(iter(self._kinds))
            if now - self._kinds[oldest][0] >= self._period_s:
                del self._kinds[oldest]
            else:
                kind = _OTHERS
        last, held_back = self._kinds.get(kind, (-math.inf, 0))
        if now - last < self._period_s:
            self._kinds[kind] = (last, held_back + 1)
            return
        self._kinds.pop(kind, None)  # to the end: the oldest stays first
        self._kinds[kind] = (now, 0)
        self._log(f"{message} ({held_back} more like this since the last line)" if held_back else message)
