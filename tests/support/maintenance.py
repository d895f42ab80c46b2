"""Maintenance windows for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collector.sla.maintenance import DAY_NS, Category, MaintenanceWindow
from collector.sla.selector import Selector

HOUR_NS = 3_600_000_000_000
BASE_NS = 1_796_058_000_000_000_000
"""2026-12-01 01:00 in Shanghai, a Tuesday."""

USUAL = MaintenanceWindow(
    id="cutover",
    start_ns=BASE_NS,
    end_ns=BASE_NS + 2 * HOUR_NS,
    category=Category.PLANNED,
    approver="Li Na",
    reason="cutover of the ring",
    selector=Selector(),
    announced_ns=BASE_NS - 10 * DAY_NS,
    created_ns=BASE_NS - 10 * DAY_NS,
    created_by="zhang.wei",
)


def window(**changed: Any) -> MaintenanceWindow:
    """Two hours of planned work on every path, announced ten days before, but for what is given."""
    return replace(USUAL, **changed)
