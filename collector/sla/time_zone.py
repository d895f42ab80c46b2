"""The time zone of the plan: its days and months, its maintenance windows, and the times that people read."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Final

TIME_ZONE: Final = "Asia/Shanghai"
SHANGHAI: Final = timezone(timedelta(hours=8), TIME_ZONE)
"""China has had no summer time since 1991, so a fixed offset needs no time zone database on the host."""
