"""Logs: one line each on standard error, UTC, and no floods."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Send everything from `level` on (debug, info, warning, error) to standard error."""
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class RateLimited:
    """Lets one message of a kind through per period and counts the rest.

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

    def __call__(self, kind: str, message: str) -> None:
        """Log the message, unless one of its kind was logged within the period."""
        now = self._monotonic()
        last, held_back = self._kinds.get(kind, (-self._period_s, 0))
        if now - last < self._period_s:
            self._kinds[kind] = (last, held_back + 1)
            return
        self._kinds[kind] = (now, 0)
        self._log(f"{message} ({held_back} more like this since the last line)" if held_back else message)
