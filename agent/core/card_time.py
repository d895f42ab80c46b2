"""What the times of a network card's own clock are by the system clock.

A card that stamps packets in hardware does so by a clock of its own. The two clocks are compared again and again, and
a stamp lies between two comparisons:

    card clock     ----a----------stamp-----------b---->
    offset         between what it was at a and what it was at b, each as well as it could be read

However the two clocks drift, and whoever disciplines them, between two comparisons a fraction of a second apart the
offset moves from the one to the other. So the middle of the two is off by at most half of what lies between them, and
what the readings admit: a bound that is measured, and that is too wide to be of use where one of the clocks was set. A
stamp that is not between two comparisons has no time.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import UNKNOWN_NS, Flags, Integers

MAX_BOUND_NS: Final = 50_000
"""A stamp whose time is less certain than this is worth less than the kernel's own."""

_KEPT: Final = 128


class Comparison(NamedTuple):
    """Two clocks compared.

    Attributes:
        offset_ns: system clock less the other.
        uncertainty_ns: by how much that may be wrong, for the two cannot be read at the same instant.
        card_ns: the other clock's reading.
    """

    offset_ns: int
    uncertainty_ns: int
    card_ns: int


class CardTime:
    """The latest comparisons of a card's clock with the system clock."""

    def __init__(self) -> None:
        self._comparisons: deque[Comparison] = deque(maxlen=_KEPT)

    @property
    def newest_ns(self) -> int | None:
        """When the clocks were last compared, by the card's; None: never."""
        return self._comparisons[-1].card_ns if self._comparisons else None

    def observe(self, comparison: Comparison) -> None:
        """Take in a comparison; where the card's clock was set back, those before say nothing of what follows."""
        if self._comparisons and comparison.card_ns <= self._comparisons[-1].card_ns:
            self._comparisons.clear()
        self._comparisons.append(comparison)

    def system_ns(self, card_ns: Integers) -> tuple[Integers, Integers]:
        """Times by the system clock.

        Args:
            card_ns: (n,) times by the card's clock.

        Returns:
            (n,) Unix wall time in ns, and (n,) how far each may be off, in either direction; `UNKNOWN_NS` for one that
            is not between two comparisons, or is off by more than `MAX_BOUND_NS`: its time means nothing.
        """
        if len(self._comparisons) < 2:
            return card_ns, np.full(len(card_ns), UNKNOWN_NS, np.int64)
        offsets_ns, uncertainties_ns, at_ns = np.array(self._comparisons, np.int64).T
        after = np.searchsorted(at_ns, card_ns)
        between = (after > 0) & (after < len(at_ns))
        after = np.where(between, after, 1)
        before = after - 1
        low_ns, high_ns = (
            widest(
                widen(offsets_ns[before], uncertainties_ns[before]),
                widen(offsets_ns[after], uncertainties_ns[after]),
            )
            for widest, widen in ((np.minimum, np.subtract), (np.maximum, np.add))
        )
        bounds_ns = (high_ns - low_ns + 1) // 2
        useful: Flags = between & (bounds_ns <= MAX_BOUND_NS)
        return card_ns + low_ns + bounds_ns, np.where(useful, bounds_ns, UNKNOWN_NS)
