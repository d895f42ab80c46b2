"""What people call things, in both languages."""

from __future__ import annotations

import math
from typing import Final

from agent.core.names import Name

__all__ = ("Name", "duration_name", "percent")

_SECOND_NS: Final = 1_000_000_000
_USUAL_DECIMALS: Final = 3
_MOST_DECIMALS: Final = 9
_TELLING: Final = 0.1
"""How far off what is shown may be, of what it shows."""


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


def percent(share: float, *beside: float) -> str:
    """A share in percent, to three decimals, or as many as tell it from nothing and from others that it stands beside.

    What P99.99999 allows is 0.00001 %, and no 0.000 %; a bound of 0.10004 % is above 0.10000 %.
    """
    for decimals in range(_USUAL_DECIMALS, _MOST_DECIMALS):
        text = f"{share:.{decimals}%}"
        shown = float(text[:-1]) / 100
        others = {f"{other:.{decimals}%}" for other in beside if not math.isclose(other, share, rel_tol=1e-9)}
        if math.isclose(shown, share, rel_tol=_TELLING) and text not in others:
            return text
    return f"{share:.{_MOST_DECIMALS}%}"
