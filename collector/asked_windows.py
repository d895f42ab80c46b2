"""A window as it is asked of the ledger, and of very many paths of some of them after the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from collector.ledger.by_minute import LeftOut
from collector.ledger.minutes import Integers
from collector.ledger.promises import Promises
from collector.ledger.seen import Flags, Seen
from collector.sla.maintenance import MaintenanceCalendar
from collector.sla.observation import Observation
from collector.sla.variation import Beyond

PATHS_AT_ONCE: Final = 5_000
"""Of which a window longer than an hour is read at a time."""


@dataclass(frozen=True, slots=True)
class OfWindow:
    """What is asked of a window.

    Attributes:
        first, stop: minutes since the Unix epoch.
        numbers, promised: paths, and what is held against them.
        without, unavailable: maintenance, and what else is left out.
        blocks: whether products are asked for.
        beyond: what is asked of delay variation, and of which directions of the paths.
    """

    first: int
    stop: int
    numbers: Integers
    promised: Promises
    without: Sequence[LeftOut]
    unavailable: Sequence[LeftOut]
    blocks: bool
    beyond: Mapping[Beyond, Flags]

    def pieces(self) -> Iterator[OfWindow]:
        """The same of some paths at a time."""
        for begin in range(0, len(self.numbers), PATHS_AT_ONCE):
            places = np.arange(begin, min(begin + PATHS_AT_ONCE, len(self.numbers)))
            numbers = self.numbers[places]
            mine = set(numbers.tolist())
            without, unavailable = (
                [one for one in some if one.path in mine] for some in (self.without, self.unavailable)
            )
            yield replace(
                self,
                numbers=numbers,
                promised=self.promised.take(places),
                without=without,
                unavailable=unavailable,
                beyond={one: flags[places] for one, flags in self.beyond.items()},
            )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What an observation is to be made of.

    Attributes:
        counted: what is asked of the ledger.
        rows: of the observation, one for each path that is asked for.
        out, spent: minutes of maintenance, and unavailable ones, [from, to), by row of the observation.
        ends_ns: where each of its windows ends.
    """

    counted: OfWindow
    rows: Integers
    out: Mapping[int, Sequence[tuple[int, int]]]
    spent: Mapping[int, Sequence[tuple[int, int]]]
    ends_ns: Integers


class Renewal:
    """A window that is being read anew, of some paths after the others.

    Attributes:
        since_ns: when that began (Unix wall time).
        asked: what is asked of it.
        left: the pieces that are still to be read.
        found: what there is of the others.
    """

    def __init__(self, since_ns: int, asked: Asked) -> None:
        self.since_ns = since_ns
        self.asked = asked
        self.left = [*asked.counted.pieces()]
        self.found: list[Seen] = []


class Known(NamedTuple):
    """A window as it was observed at some time (Unix wall time), and without which maintenance."""

    since_ns: int
    calendar: MaintenanceCalendar
    observed: Observation

    def stands(self, now_ns: int, lag_ns: int, calendar: MaintenanceCalendar) -> bool:
        """Whether it is true enough, if so long ago is."""
        return self.calendar is calendar and 0 <= now_ns - self.since_ns < lag_ns
