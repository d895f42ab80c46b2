"""When to send: periodic streams with a random phase (RFC 3432), spread so that paths do not send in bursts."""

from __future__ import annotations

import random
from collections.abc import Sequence


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


class PeriodicStream:
    """Send times `start + phase + k * interval`; times that passed are skipped, never caught up in a burst."""

    __slots__ = ("due_ns", "interval_ns")

    def __init__(self, interval_ns: int, first_ns: int) -> None:
        self.interval_ns = interval_ns
        self.due_ns = first_ns

    def advance(self, now_ns: int) -> int:
        """Move `due_ns` to the first send time after `now_ns`.

        Returns:
            How many send times lay between and are skipped: probes that are not sent.
        """
        missed = max(0, (now_ns - self.due_ns) // self.interval_ns)
        self.due_ns += (missed + 1) * self.interval_ns
        return missed
