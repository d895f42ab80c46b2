"""Maintenance windows as JSON documents, with what a person reads in Chinese and English; see `collector.documents`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from collector.documents import Document, Names, local_time, utc_time
from collector.sla.maintenance import Category, MaintenanceWindow, Occurrence, WindowState
from collector.sla.names import Name, duration_name
from collector.sla.selector import Selector
from collector.sla.time_zone import TIME_ZONE
from collector.store.maintenance import AuditRow

STATE_NAMES: Final[Mapping[WindowState, Name]] = {
    WindowState.UPCOMING: Name("未开始", "upcoming"),
    WindowState.RUNNING: Name("进行中", "running"),
    WindowState.OVER: Name("已结束", "over"),
    WindowState.CANCELLED: Name("已取消", "cancelled"),
}
CATEGORY_NAMES: Final[Mapping[Category, Name]] = {
    Category.PLANNED: Name("计划", "planned"),
    Category.EMERGENCY: Name("紧急", "emergency"),
}
_FIELD_NAMES: Final[Mapping[str, Name]] = {
    "tiers": Name("层级", "tier"),
    "providers": Name("运营商", "provider"),
    "districts": Name("区", "district"),
    "sites": Name("站点", "site"),
    "sources": Name("起点", "from"),
    "targets": Name("终点", "to"),
    "tags": Name("标签", "tag"),
}


def window_document(window: MaintenanceWindow, names: Names, now_ns: int) -> Document:
    """All that is known of a window, and what follows for the packets that are counted in it.

    `occurrence` is the time that holds now, or else the next one, or else the last one; null where it never held.
    """
    occurrence = window.around(now_ns) or _last(window, now_ns)
    state = window.state(now_ns)
    return {
        "id": window.id,
        "state": state.value,
        "state_name": STATE_NAMES[state].document(),
        "origin": window.origin.value,
        "category": window.category.value,
        "category_name": CATEGORY_NAMES[window.category].document(),
        "approver": window.approver,
        "reason": window.reason,
        "selector": selector_document(window.selector),
        "paths": selector_name(window.selector, names).document(),
        "start": utc_time(window.start_ns),
        "end": utc_time(window.end_ns),
        "rrule": window.rrule or None,
        "announced_at": utc_time(window.announced_ns),
        "created_at": utc_time(window.created_ns),
        "created_by": window.created_by,
        "ended_at": None if window.ended_ns is None else utc_time(window.ended_ns),
        "occurrence": None if occurrence is None else _occurrence_document(occurrence),
        "local": {
            "time_zone": TIME_ZONE,
            "start": local_time(occurrence.start_ns if occurrence else window.start_ns),
            "end": local_time(occurrence.end_ns if occurrence else window.end_ns),
            "announced_at": local_time(window.announced_ns),
        },
    }


def selector_document(selector: Selector) -> Document:
    """What is named of each kind, in order."""
    return {field.name: sorted(getattr(selector, field.name)) for field in fields(selector)}


def selector_name(selector: Selector, names: Names) -> Name:
    """Which paths are meant, in words."""
    zh, en = [], []
    for field, heading in _FIELD_NAMES.items():
        named = sorted(getattr(selector, field))
        if named:
            called = [_called(field, one, names) for one in named]
            zh.append(f"{heading.zh} {'、'.join(one.zh for one in called)}")
            en.append(f"{heading.en} {', '.join(one.en for one in called)}")
    return Name("；".join(zh) or "全部路径", "; ".join(en) or "all paths")


def audit_document(row: AuditRow, names: Names) -> Document:
    """One change: who, when, why, and the window before and after it, as it stood then."""
    at_ns = row.change.at_ns
    return {
        "window": row.window,
        "action": row.action.value,
        "at": utc_time(at_ns),
        "local_at": local_time(at_ns),
        "by": row.change.by,
        "justification": row.change.justification,
        "before": None if row.before is None else window_document(row.before, names, at_ns),
        "after": window_document(row.after, names, at_ns),
    }


def _occurrence_document(occurrence: Occurrence) -> Document:
    notice = duration_name(occurrence.window.rule.notice_ns)
    effect = (
        Name("剔除", "dropped")
        if occurrence.excluded
        else Name(f"照常计入：提前通知不足 {notice.zh}", f"counts: announced less than {notice.en} ahead")
    )
    return {
        "start": utc_time(occurrence.start_ns),
        "end": utc_time(occurrence.end_ns),
        "short_notice": occurrence.short_notice,
        "excluded": occurrence.excluded,
        "effect": effect.document(),
    }


def _last(window: MaintenanceWindow, now_ns: int) -> Occurrence | None:
    last = deque(window.occurrences(0, now_ns), maxlen=1)
    return last[0] if last else None


def _called(field: str, identifier: str, names: Names) -> Name:
    if field == "tiers":
        return names.tier(identifier)
    if field in ("sites", "sources", "targets"):
        return names.site(identifier)
    return Name(identifier, identifier)
