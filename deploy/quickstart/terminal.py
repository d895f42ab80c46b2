"""What the quickstart shows: a live table that repaints itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from collector.documents import local_time
from collector.tables import aligned, bucket_text, width

LANGUAGES: Final = ("zh", "en")
_PLAIN_EVERY: Final = 10
_HEADINGS: Final = {
    "zh": ("路径", "方向", "P50", "P99", "限值", "下限", "结论", "丢失", "理由"),
    "en": ("path", "direction", "P50", "P99", "limit", "floor", "verdict", "loss", "reason"),
}
_DIRECTIONS: Final = {
    "zh": {"forward": "去程", "reverse": "回程", "down": "下行", "up": "上行"},
    "en": {"forward": "forward", "reverse": "reverse", "down": "down", "up": "up"},
}
_VERDICTS: Final = {
    "PASS": ("✔ 达标 PASS", "✔ PASS", "32"),
    "FAIL": ("✘ 不达标 FAIL", "✘ FAIL", "31"),
    "INDETERMINATE": ("? 无法判定 INDETERMINATE", "? INDETERMINATE", "33"),
    "NO_DATA": ("… 无数据 NO_DATA", "… NO_DATA", "90"),
}


class Terminal:
    """The screen: a table at the bottom that is repainted, and lines of the story that stay above it."""

    def __init__(self, lang: str, names: Mapping[str, Mapping[str, str]]) -> None:
        self.lang = lang
        self._names = names
        self._live = sys.stdout.isatty()
        self._painted = 0
        self._skipped = _PLAIN_EVERY

    def say(self, zh: str, en: str) -> None:
        """A line of the story, with the time."""
        now_ns = int(datetime.now(UTC).timestamp() * 1e9)
        self._wipe()
        print(f"[{local_time(now_ns)}] {zh if self.lang == 'zh' else en}", flush=True)

    def table(self, verdicts: Sequence[Mapping[str, Any]], footer: str) -> None:
        """The verdicts as they are now; where nothing repaints, every tenth time."""
        if not self._live:
            self._skipped += 1
            if self._skipped < _PLAIN_EVERY:
                return
            self._skipped = 0
        rows = [_HEADINGS[self.lang], *(self._row(verdict) for verdict in verdicts)]
        lines = aligned(rows).splitlines()
        if self._live:
            room = shutil.get_terminal_size().columns
            lines = [_clipped(line, room) for line in [*lines, footer]]
            lines = [
                self._coloured(line, row) for line, row in zip(lines, [None, *verdicts, None], strict=False)
            ]
        self._wipe()
        print("\n".join(lines), flush=True)
        self._painted = len(lines) if self._live else 0

    def _wipe(self) -> None:
        if self._painted:
            print(f"\x1b[{self._painted}A\x1b[J", end="")
            self._painted = 0

    def _row(self, verdict: Mapping[str, Any]) -> tuple[str, ...]:
        counts = verdict["counts"]
        lost = counts["lost"] + counts["unattributed"]
        total = verdict["packets"]
        source, target = (self._names[verdict[end]][self.lang] for end in ("source", "target"))
        limit, of_delay = verdict["limit"], verdict["measure"] == "delay"
        return (
            f"{source} → {target}",
            _DIRECTIONS[self.lang][verdict["direction"]],
            bucket_text(verdict["delay"]["p50"]),
            bucket_text(verdict["delay"]["p99"]),
            f"{limit['operator']} {limit['seconds'] * 1e3:g} ms"
            if of_delay
            else verdict["promise"][self.lang],
            f"{verdict['floor_seconds'] * 1e3:.2f} ms" if of_delay else "–",
            _VERDICTS[verdict["verdict"]][LANGUAGES.index(self.lang)],
            f"{lost / total:.1%}" if total and of_delay else "–",
            verdict["reason"][self.lang],
        )

    @staticmethod
    def _coloured(line: str, verdict: Mapping[str, Any] | None) -> str:
        return line if verdict is None else f"\x1b[{_VERDICTS[verdict['verdict']][2]}m{line}\x1b[0m"


def _clipped(line: str, room: int) -> str:
    if width(line) <= room:
        return line
    while width(line) > room - 1:
        line = line[:-1]
    return f"{line}…"
