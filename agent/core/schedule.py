"""When to send: periodic, jittered and Poisson streams of many paths, spread so that they do not send in bursts.

Every kind sends once an interval in the mean, and differs in what it cannot see:

*Periodic* (RFC 3432): at a fixed distance from a random phase on. The most even; but what recurs on the network in
step with the interval is always met or never.

*Jittered*: each probe at a time of its own, uniform over the whole of its interval, on a grid that never drifts. An
offset uniform over a width w passes a disturbance of frequency f on with sinc(w f) of its strength: a width of the
whole interval (half an interval either way of its middle) is the least at which this is zero at the stream's own
frequency and at all multiples of it. Any less, and something of what recurs in step could still hide, or seem to be
always there. So there is no width to choose.

*Poisson* (RFC 2330, section 11.1.1): exponential gaps, by the algorithm of RFC 4656. Unbiased whatever recurs on the
network, and when the next probe comes cannot be foretold. A gap has no bound in theory; none is imposed, for that
would make it foreseeable. The algorithm itself gives none above 22.2 intervals, and one in 10^9 above 20.7.

What was missed is skipped and told, never caught up in a burst. Of a periodic or jittered stream a send time is missed
once its interval is over. Of a Poisson stream, when one has passed, those that came between it and now are missed, and
so is it itself once it is an interval old; the next gap begins now, as good a beginning as any, for such a stream has
no memory. How many these were is drawn from the Poisson distribution of the time that has passed. So from no stream is
more than one probe ever sent late.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from agent.core.exponential import Exponential, scaled
from agent.core.interval import Flags, Integers
from agent.core.probe_ring import with_room

_FOR_EVER: Final = np.iinfo(np.int64).max
_RARE: Final = math.log(1e9)
"""How rarely more probes than `most_within` says are sent: with a chance of exp(-_RARE)."""


class Schedule(StrEnum):
    """How the send times of a stream follow each other."""

    PERIODIC = "periodic"
    JITTERED = "jittered"
    POISSON = "poisson"


def most_within(schedule: Schedule, interval_ns: int, span_ns: int) -> int:
    """How many probes of a stream can be due within a span of time, and more of a Poisson stream once in 10^9 spans.

    Of a Poisson stream m = span / interval are due in the mean. By Bernstein's inequality, m + x or more are with a
    chance of at most exp(-x² / (2 (m + x / 3))); this is 10^-9 for L = ln 10^9 and x = L / 3 + √(L² / 9 + 2 L m).
    """
    if schedule is not Schedule.POISSON:
        return span_ns // interval_ns + 2
    mean = span_ns / interval_ns
    return math.ceil(mean + _RARE / 3 + math.sqrt(_RARE**2 / 9 + 2 * _RARE * mean))


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


class Due(NamedTuple):
    """Probes to be sent, in order of time.

    Attributes:
        rows: (n,), whose they are.
        times_ns: (n,), when each is due.
        missed: how many send times of a row have passed and are skipped, by row.
    """

    rows: Integers
    times_ns: Integers
    missed: dict[int, int]


class _Taken(NamedTuple):
    """What some streams are to send: rows and times, (n,); and how many times of each stream were missed."""

    rows: Integers
    times_ns: Integers
    missed: Integers


class Streams:
    """The send times of many rows, each with a schedule of its own.

    Args:
        seed: of the randomness; the same seed and the same calls give the same times.

    Attributes:
        due_ns: when each row is due next.
        remaining: how often each row is still to be sent to.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._open: Flags = np.zeros(0, np.bool_)
        self._poisson: Flags = np.zeros(0, np.bool_)
        self._intervals_ns: Integers = np.zeros(0, np.int64)
        # how far beyond the beginning of its interval a probe is due at most
        self._widths_ns: Integers = np.zeros(0, np.int64)
        # when the interval of the next probe begins; of no meaning for Poisson streams
        self._begins_ns: Integers = np.zeros(0, np.int64)
        self.due_ns: Integers = np.zeros(0, np.int64)
        self.remaining: Integers = np.zeros(0, np.int64)

    def set(
        self,
        rows: Sequence[int],
        schedules: Sequence[Schedule],
        intervals_ns: Sequence[int],
        first_ns: Sequence[int],
        probes: int | None = None,
    ) -> None:
        """Send to rows from now on by these schedules.

        Args:
            rows: each at most once.
            schedules, intervals_ns: of each row; the interval is that of the mean.
            first_ns: monotonic time from which on each row is sent to: that of the first probe of a periodic stream,
                the beginning of the first interval of a jittered one, and of the first gap of a Poisson stream.
            probes: how often; None: without end.
        """
        needed = max(rows, default=-1) + 1
        self._open = with_room(self._open, needed)
        self._poisson = with_room(self._poisson, needed)
        self._intervals_ns = with_room(self._intervals_ns, needed)
        self._widths_ns = with_room(self._widths_ns, needed)
        self._begins_ns = with_room(self._begins_ns, needed)
        self.due_ns = with_room(self.due_ns, needed)
        self.remaining = with_room(self.remaining, needed)

        chosen = np.array(rows, np.int64)
        intervals, begins = np.array(intervals_ns, np.int64), np.array(first_ns, np.int64)
        poisson = np.array([schedule is Schedule.POISSON for schedule in schedules], np.bool_)
        jittered = np.array([schedule is Schedule.JITTERED for schedule in schedules], np.bool_)
        self._open[chosen], self._poisson[chosen] = True, poisson
        self._intervals_ns[chosen], self._begins_ns[chosen] = intervals, begins
        self._widths_ns[chosen] = np.where(jittered, intervals, 0)
        self.due_ns[chosen] = begins + self._offsets_ns(self._widths_ns[chosen])
        self.due_ns[chosen[poisson]] += self._gaps_ns(intervals[poisson])
        self.remaining[chosen] = _FOR_EVER if probes is None else probes

    @property
    def next_due_ns(self) -> int | None:
        """When something is due next; None where nothing ever is."""
        active = self.due_ns[self.remaining > 0]
        return int(active.min()) if len(active) else None

    @cached_property
    def _rng(self) -> np.random.Generator:
        """Made when it is first needed: numpy.random takes 7 MB, and periodic streams need none."""
        return np.random.default_rng(self._seed)

    @cached_property
    def _exponential(self) -> Exponential:
        return Exponential(self._rng)

    def stop(self, rows: Sequence[int] | None = None) -> None:
        """Nothing is due any more of these rows; None: of all."""
        chosen = slice(None) if rows is None else np.array(rows, np.int64)
        self._open[chosen], self.remaining[chosen] = False, 0

    def give_back(self, row: int) -> None:
        """A probe that was taken was not sent: the row is still to be sent to once more, unless it was stopped."""
        # what has been set anew meanwhile owes nothing of before, least of all one more than for ever
        self.remaining[row] += int(self._open[row] and self.remaining[row] < _FOR_EVER)

    def take(self, now_ns: int, until_ns: int) -> Due:
        """Take what is due before `until_ns`, which is after `now_ns`; of what has passed by then see above."""
        due = np.flatnonzero((self.due_ns < until_ns) & (self.remaining > 0))
        poisson = self._poisson[due]
        if not poisson.any():
            rows, times_ns, missed = self._take_on_grid(due, now_ns, until_ns)
        elif poisson.all():
            rows, times_ns, missed = self._take_poisson(due, now_ns, until_ns)
        else:
            on_grid, without = due[~poisson], due[poisson]
            taken = (
                self._take_on_grid(on_grid, now_ns, until_ns),
                self._take_poisson(without, now_ns, until_ns),
            )
            rows, times_ns, missed = (np.concatenate(both) for both in zip(*taken, strict=True))
            due = np.concatenate((on_grid, without))
        skipped = missed > 0
        order = np.argsort(times_ns, kind="stable")
        rows, times_ns = self._count_off(rows[order], times_ns[order])
        return Due(rows, times_ns, dict(zip(due[skipped].tolist(), missed[skipped].tolist(), strict=True)))

    def _count_off(self, rows: Integers, times_ns: Integers) -> tuple[Integers, Integers]:
        """Note that rows are sent to, and leave out what is more than they are still to be sent to."""
        if (self.remaining[rows] < len(rows)).any():
            by_row = np.argsort(rows, kind="stable")
            ordered = rows[by_row]
            rank = np.empty_like(by_row)
            rank[by_row] = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
            wanted = rank < self.remaining[rows]
            rows, times_ns = rows[wanted], times_ns[wanted]
        np.subtract.at(self.remaining, rows, 1)
        return rows, times_ns

    def _take_on_grid(self, rows: Integers, now_ns: int, until_ns: int) -> _Taken:
        """Take from rows whose send times lie one in each interval.

        Each row's next intervals are laid out side by side, up to the first that begins at `until_ns` or later.
        """
        intervals_ns, begins_ns = self._intervals_ns[rows], self._begins_ns[rows]
        missed = np.maximum(0, (now_ns - begins_ns) // intervals_ns)
        begins_ns += missed * intervals_ns
        laid_out = (until_ns - 1 - begins_ns) // intervals_ns + 2
        ends = np.cumsum(laid_out)
        firsts = ends - laid_out
        which = np.repeat(np.arange(len(rows)), laid_out)
        nth = np.arange(len(which)) - firsts[which]
        slots_ns = begins_ns[which] + nth * intervals_ns[which]
        times_ns = slots_ns + self._offsets_ns(self._widths_ns[rows][which])
        planned = missed == 0
        times_ns[firsts[planned]] = self.due_ns[rows[planned]]

        taken = times_ns < until_ns
        following = ends - laid_out + _counts(taken, firsts)
        self._begins_ns[rows], self.due_ns[rows] = slots_ns[following], times_ns[following]
        return _Taken(rows[which[taken]], times_ns[taken], missed)

    def _take_poisson(self, rows: Integers, now_ns: int, until_ns: int) -> _Taken:
        """Take from rows whose send times are an exponential gap apart.

        In each round as many gaps are drawn as are to be expected, and one; where a row is still not beyond `until_ns`
        it takes part in another round.
        """
        due_ns, intervals_ns = self.due_ns[rows], self._intervals_ns[rows]
        late_ns = np.maximum(0, now_ns - due_ns)
        stale = late_ns >= intervals_ns
        missed = stale.astype(np.int64)
        if late_ns.any():
            missed += self._rng.poisson(late_ns / intervals_ns)
        found = [rows[~stale]]
        found_ns = [due_ns[~stale]]
        latest_ns = np.maximum(now_ns, due_ns)
        while len(rows):
            drawn = (until_ns - latest_ns) // intervals_ns + 1
            ends = np.cumsum(drawn)
            firsts = ends - drawn
            which = np.repeat(np.arange(len(rows)), drawn)
            sums_ns = np.cumsum(self._gaps_ns(intervals_ns[which]))
            before_ns = np.append(0, sums_ns)[firsts]
            times_ns = sums_ns + (latest_ns - before_ns)[which]
            taken = times_ns < until_ns
            counts = _counts(taken, firsts)
            found.append(rows[which[taken]])
            found_ns.append(times_ns[taken])
            beyond = counts < drawn
            self.due_ns[rows[beyond]] = times_ns[(firsts + counts)[beyond]]
            latest_ns = times_ns[ends - 1][~beyond]
            rows, intervals_ns = rows[~beyond], intervals_ns[~beyond]
        return _Taken(np.concatenate(found), np.concatenate(found_ns), missed)

    def _offsets_ns(self, widths_ns: Integers) -> Integers:
        """Uniform over so many ns, each."""
        if not widths_ns.any():
            return np.zeros_like(widths_ns)
        return (self._rng.random(len(widths_ns)) * widths_ns).astype(np.int64)

    def _gaps_ns(self, means_ns: Integers) -> Integers:
        """Exponential, of these means."""
        if not len(means_ns):
            return means_ns
        return scaled(self._exponential.draw(len(means_ns)), means_ns)


def _counts(flags: Flags, firsts: Integers) -> Integers:
    """How many flags are set from each of these positions up to the next of them."""
    if len(firsts) == 0:
        return np.zeros(0, np.int64)
    return np.add.reduceat(flags, firsts, dtype=np.int64)
