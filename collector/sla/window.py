"""Windows of time that objectives look at: the last so much of it, or a day or a month of the plan's calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from collector.sla.time_zone import SHANGHAI

_SECOND_NS: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NS: Final = {"day": 24 * 3600 * _SECOND_NS, "month": 31 * 24 * 3600 * _SECOND_NS}


class Calendar(StrEnum):
    """Spans that begin at midnight in Asia/Shanghai."""

    DAY = "day"
    MONTH = "month"

    def begin_ns(self, now_ns: int) -> int:
        """When the span began that holds this moment (Unix wall time)."""
        local = datetime.fromtimestamp(now_ns // _SECOND_NS, SHANGHAI)
        midnight = local.replace(hour=0, minute=0, second=0)
        begun = midnight if self is Calendar.DAY else midnight.replace(day=1)
        return round((begun - _EPOCH).total_seconds()) * _SECOND_NS

    def end_ns(self, now_ns: int) -> int:
        """When the span ends that holds this moment."""
        # midday of the day after, and of a day of the next month, for no span is shorter than this
        later_ns = self.begin_ns(now_ns) + _LONGEST_NS[self.value] + _LONGEST_NS["day"] // 2
        return self.begin_ns(later_ns)


@dataclass(frozen=True, slots=True)
class Window:
    """How far back an objective looks.

    Attributes:
        span: so long (ns), or since the begin of a calendar span.
    """

    span: int | Calendar

    @property
    def longest_ns(self) -> int:
        """How far back it looks at most."""
        return _LONGEST_NS[self.span] if isinstance(self.span, Calendar) else self.span

    def begin_ns(self, now_ns: int) -> int:
        """Where the window begins that ends now."""
        return self.span.begin_ns(now_ns) if isinstance(self.span, Calendar) else now_ns - self.span

    def length_ns(self, now_ns: int) -> int:
        """How long the window is that ends now, or that a calendar span will have been at its end."""
        if isinstance(self.span, Calendar):
            return self.span.end_ns(now_ns) - self.span.begin_ns(now_ns)
        return self.span


HISTORY: Final = Window(_LONGEST_NS["day"])
"""Tells how much packets depend on each other, of windows too short to tell it themselves."""
