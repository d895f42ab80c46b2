"""When to send: periodic streams with a random phase (RFC 3432), spread so that paths do not send in bursts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import Flags, Integers


def spread_phases(intervals_ns: Sequence[int], rng: random.Random) -> list[int]:
    """A random phase for each stream, spread evenly.

    Each stream gets its own slot of its interval, drawn without replacement, and a random place within the slot: the
    phase of any one stream is uniform over its interval (RFC 3432, section 4.1), and n streams of one interval never
    come closer to a burst than two neighbouring slots allow.

    Args:
        intervals_ns: interval of each stream, ns.
        rng: source of the randomness; seed it to repeat a schedule.

    Returns:
        Phases in ns, each at least 0 and below its interval.
    """
    slots = list(range(len(intervals_ns)))
    rng.shuffle(slots)
    return [
        int((slot + rng.random()) * interval / len(slots))
        for slot, interval in zip(slots, intervals_ns, strict=True)
    ]


_FOR_EVER: Final = np.iinfo(np.int64).max


class Due(NamedTuple):
    """Probes to be sent, in order of time.

    Attributes:
        rows: (n,), whose they are.
        times_ns: (n,), when each is due.
        missed: how many send times of a row had passed by a whole interval and are skipped, by row.
    """

    rows: Integers
    times_ns: Integers
    missed: dict[int, int]


class PeriodicStreams:
    """Send times `start + phase + k * interval` of many rows; what is missed is skipped, never caught up in a burst.

    Attributes:
        due_ns: when each row is due next.
        remaining: how often each row is still to be sent to.
    """

    def __init__(self) -> None:
        self._open: Flags = np.zeros(0, np.bool_)
        self._intervals_ns: Integers = np.ones(0, np.int64)
        self.due_ns: Integers = np.zeros(0, np.int64)
        self.remaining: Integers = np.zeros(0, np.int64)

    def set(
        self,
        rows: Sequence[int],
        intervals_ns: Sequence[int],
        first_ns: Sequence[int],
        probes: int | None = None,
    ) -> None:
        """Send to rows from the monotonic times `first_ns` on, so often; None: without end."""
        missing = max(rows, default=-1) + 1 - len(self._open)
        if missing > 0:
            self._open = np.append(self._open, np.zeros(missing, np.bool_))
            self._intervals_ns = np.append(self._intervals_ns, np.ones(missing, np.int64))
            self.due_ns = np.append(self.due_ns, np.zeros(missing, np.int64))
            self.remaining = np.append(self.remaining, np.zeros(missing, np.int64))
        chosen = np.array(rows, np.int64)
        self._open[chosen] = True
        self._intervals_ns[chosen], self.due_ns[chosen] = intervals_ns, first_ns
        self.remaining[chosen] = _FOR_EVER if probes is None else probes

    @property
    def next_due_ns(self) -> int | None:
        """When something is due next; None where nothing ever is."""
        active = self.due_ns[self.remaining > 0]
        return int(active.min()) if len(active) else None

    def stop(self, rows: Sequence[int] | None = None) -> None:
        """Nothing is due any more of these rows; None: of all."""
        chosen = slice(None) if rows is None else np.array(rows, np.int64)
        self._open[chosen], self.remaining[chosen] = False, 0

    def give_back(self, row: int) -> None:
        """A probe that was taken was not sent: the row is still to be sent to once more, unless it was stopped."""
        self.remaining[row] += int(self._open[row])

    def take(self, now_ns: int, until_ns: int) -> Due:
        """Take what is due before `until_ns`, and of what should have been sent long before `now_ns` the last time."""
        rows = np.flatnonzero((self.due_ns < until_ns) & (self.remaining > 0))
        due_ns, intervals_ns = self.due_ns[rows], self._intervals_ns[rows]
        missed = np.maximum(0, (now_ns - due_ns) // intervals_ns)
        skipped = dict(zip(rows[missed > 0].tolist(), missed[missed > 0].tolist(), strict=True))
        due_ns += missed * intervals_ns
        counts = np.minimum(
            np.maximum(1, (until_ns - due_ns + intervals_ns - 1) // intervals_ns), self.remaining[rows]
        )
        self.due_ns[rows] = due_ns + counts * intervals_ns
        self.remaining[rows] -= counts
        spread = np.repeat(np.arange(len(rows)), counts)
        nth = np.arange(len(spread)) - np.repeat(np.cumsum(counts) - counts, counts)
        times_ns = due_ns[spread] + nth * intervals_ns[spread]
        order = np.argsort(times_ns, kind="stable")
        return Due(rows[spread][order], times_ns[order], skipped)
