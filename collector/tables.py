"""Verdicts, breaches and maintenance as aligned text for a terminal; Chinese characters are two columns wide."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Final

_HEADINGS: Final = {
    "zh": (
        "结论",
        "路径",
        "层级",
        "方向",
        "目标",
        "限值",
        "P50",
        "P99",
        "包数",
        "超限/丢失/不确定",
        "覆盖",
        "理由",
    ),
    "en": (
        "verdict",
        "path",
        "tier",
        "direction",
        "objective",
        "limit",
        "P50",
        "P99",
        "packets",
        "over/lost/uncertain",
        "coverage",
        "reason",
    ),
}
_BREACH_HEADINGS: Final = {
    "zh": ("状态", "开始", "结束", "摘要"),
    "en": ("state", "opened", "closed", "summary"),
}
_WINDOW_HEADINGS: Final = {
    "zh": ("状态", "编号", "类别", "开始", "结束", "路径", "批准人", "原因", "统计"),
    "en": ("state", "id", "category", "start", "end", "paths", "approver", "reason", "its packets"),
}


def verdicts_table(document: dict[str, Any], lang: str) -> str:
    """The API's verdicts as a table."""
    rows = [_HEADINGS[lang]]
    for verdict in document["verdicts"]:
        counts = verdict["counts"]
        unclear = counts["uncertain"] + counts["unattributed"]
        rows.append(
            (
                verdict["verdict"],
                f"{verdict['source']} → {verdict['target']}",
                verdict["tier"],
                verdict["direction"],
                verdict["objective"],
                verdict["promise"][lang],
                bucket_text(verdict["delay"]["p50"]),
                bucket_text(verdict["delay"]["p99"]),
                str(verdict["packets"]),
                f"{counts['over']}/{counts['lost']}/{unclear}",
                f"{verdict['coverage']:.0%}",
                verdict["reason"][lang],
            )
        )
    return aligned(rows)


def breaches_table(document: dict[str, Any], lang: str) -> str:
    """The API's breaches as a table."""
    rows = [_BREACH_HEADINGS[lang]]
    rows += [
        (
            breach["state"],
            breach["local"]["opened_at"],
            breach["local"]["closed_at"] or "",
            breach["summary"][lang],
        )
        for breach in document["breaches"]
    ]
    return aligned(rows)


def maintenance_table(document: dict[str, Any], lang: str) -> str:
    """The API's maintenance windows as a table, each with the time that holds now or comes next."""
    rows = [_WINDOW_HEADINGS[lang]]
    rows += [
        (
            window["state_name"][lang],
            window["id"],
            window["category_name"][lang],
            window["local"]["start"],
            window["local"]["end"],
            window["paths"][lang],
            window["approver"],
            window["reason"],
            window["occurrence"]["effect"][lang] if window["occurrence"] else "",
        )
        for window in document["windows"]
    ]
    return aligned(rows)


def bucket_text(bucket: dict[str, float | None] | None) -> str:
    """A percentile as exactly as counts know it: `≤ 0.5 ms`."""
    if bucket is None:
        return "–"
    at_most = bucket["at_most_seconds"]
    if at_most is None:
        above = bucket["above_seconds"]
        return f"> {(above or 0) * 1e3:g} ms"
    return f"≤ {at_most * 1e3:g} ms"


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows with their columns aligned."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (room - width(cell)) for cell, room in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
