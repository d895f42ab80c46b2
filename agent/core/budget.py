"""How much CPU time something may use."""

from __future__ import annotations

from typing import Final

_PERCENT: Final = 100


class CpuBudget:
    """A share of one core, over periods that slide.

    What is used is a debt that is paid back at the share's rate. A period's worth of debt is the budget; beyond three
    times that, the only way to keep to it is to do nothing until a third is paid.

    Args:
        percent: of one core, 1 to 100.
        period_ns: over which the share is kept.
    """

    __slots__ = ("_allowance_ns", "_at_ns", "_debt", "_percent")

    def __init__(self, percent: int, period_ns: int = 100_000_000) -> None:
        self._percent = percent
        self._allowance_ns = period_ns * percent // _PERCENT
        self._debt = 0  # in ns times 100, to stay exact
        self._at_ns = 0

    def spend(self, used_ns: int, now_ns: int) -> None:
        """Take in CPU time that was used until monotonic time `now_ns`."""
        self._debt = self._left(now_ns) + used_ns * _PERCENT
        self._at_ns = now_ns

    def is_spent(self, now_ns: int) -> bool:
        """Whether more than the share of a period has been used."""
        return self._left(now_ns) > self._allowance_ns * _PERCENT

    def rest_ns(self, now_ns: int) -> int:
        """For how long nothing must be done to come near the budget; 0 while it is not exceeded threefold."""
        left, allowance = self._left(now_ns), self._allowance_ns * _PERCENT
        return -(-(left - 2 * allowance) // self._percent) if left > 3 * allowance else 0

    def _left(self, now_ns: int) -> int:
        return max(0, self._debt - max(0, now_ns - self._at_ns) * self._percent)
