"""What people call things, in both languages."""

from __future__ import annotations

from typing import Final

from agent.core.names import Name

__all__ = ("Name", "duration_name")

_SECOND_NS: Final = 1_000_000_000


def duration_name(duration_ns: int) -> Name:
    """How long something lasted, to the second, the two largest units of it."""
    total = round(duration_ns / _SECOND_NS)
    parts = (
        (total // 86_400, "天", "d"),
        (total // 3600 % 24, "小时", "h"),
        (total // 60 % 60, "分钟", "min"),
        (total % 60, "秒", "s"),
    )
    first = next((at for at, (amount, _, _) in enumerate(parts) if amount), len(parts) - 1)
    shown = [part for part in parts[first : first + 2] if part[0]] or [parts[-1]]
    return Name(
        " ".join(f"{amount} {zh}" for amount, zh, _ in shown),
        " ".join(f"{amount} {en}" for amount, _, en in shown),
    )
