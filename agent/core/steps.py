"""Steps of the wall clock, and the samples that they spoil.

REALTIME is MONOTONIC and an offset. The kernel slews both alike, so the offset is constant to the nanosecond, however
fast the clock is being disciplined (500 ppm of the kernel, 100,000 ppm of chrony): it changes only where the wall
clock is set, by settimeofday, by ADJ_SETOFFSET, by a leap second, or by the time spent in suspend. What remains is
that the two cannot be read at the same instant. A reading therefore gives the offset as an interval, and a step is
where two intervals are apart: that needs no guess of how noisy readings are, and an interrupted reading is merely wide.

    MONOTONIC  ----+---------------+---------------+----->     readings
                before          < step >         after
    era            |  offset old   ....   offset new  |        the step lies somewhere in between

Between two steps lies an era of one offset. A step is seen after it has happened, so its moment lies between two
readings, where the eras overlap. A sample crosses a step where its first time may be of one era and its last of a
later one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from agent.core.interval import Flags, Integers

TOLERANCE_NS: Final = 1_000
"""Smaller steps are not told from reading: far below the bound of any clock. They add up, for each reading is
compared with the first of its era."""

_MANY_ERAS: Final = 8
"""With more steps than this within the life of a sample, the clock times nothing."""

_READINGS: Final = 1_000
"""One reading in this part of a sample's life is remembered, and those that are sharper than it."""

_FOREVER_NS: Final = 1 << 62


class ClockPair(NamedTuple):
    """Both clocks at one instant.

    Attributes:
        realtime_ns: Unix wall time.
        monotonic_ns: monotonic time, off by at most `uncertainty_ns`.
    """

    realtime_ns: int
    monotonic_ns: int
    uncertainty_ns: int = 0


class Step(NamedTuple):
    """A step of the wall clock.

    Attributes:
        size_ns: by how much; positive where it was set forward. As exact as the readings are.
        after_ns, before_ns: monotonic times between which it happened.
    """

    size_ns: int
    after_ns: int
    before_ns: int


class _Reading(NamedTuple):
    """The offset as an interval, and the earliest monotonic time at which it may have been read."""

    lower_ns: int
    upper_ns: int
    earliest_ns: int

    def apart(self, lower_ns: int, upper_ns: int) -> bool:
        """Whether the offset was surely another than this."""
        return self.lower_ns - upper_ns > TOLERANCE_NS or lower_ns - self.upper_ns > TOLERANCE_NS


@dataclass(slots=True)
class _Era:
    """A stretch of one offset; its ends are monotonic, as wide as they may be."""

    lower_ns: int
    upper_ns: int
    begin_ns: int
    end_ns: int = _FOREVER_NS

    @property
    def offset_ns(self) -> int:
        return (self.lower_ns + self.upper_ns) // 2

    def narrow(self, reading: _Reading) -> None:
        """Take in a reading of this era; where the two miss each other by less than is told apart, nothing changes."""
        lower_ns, upper_ns = max(self.lower_ns, reading.lower_ns), min(self.upper_ns, reading.upper_ns)
        if lower_ns <= upper_ns:
            self.lower_ns, self.upper_ns = lower_ns, upper_ns


class ClockSteps:
    """What is known of the steps of the local clock.

    Args:
        longest_ns: how long a sample may take; steps longer ago than this are forgotten.

    Attributes:
        count: how many steps there were.
    """

    def __init__(self, longest_ns: int) -> None:
        self.count = 0
        self._longest_ns = longest_ns
        self._eras: deque[_Era] = deque()
        self._readings: deque[_Reading] = deque()

    def remember_for(self, longest_ns: int) -> None:
        """Samples may take so long from now on; never less than before, for those are still under way."""
        self._longest_ns = max(self._longest_ns, longest_ns)

    def observe(self, pair: ClockPair) -> Step | None:
        """Take in a reading, not older than the last one; the step since then, if there was one."""
        offset_ns = pair.realtime_ns - pair.monotonic_ns
        lower_ns, upper_ns = offset_ns - pair.uncertainty_ns, offset_ns + pair.uncertainty_ns
        earliest_ns = pair.monotonic_ns - pair.uncertainty_ns
        reading = _Reading(lower_ns, upper_ns, earliest_ns)
        self._forget(earliest_ns - self._longest_ns)
        if not self._eras:
            self._eras.append(_Era(lower_ns, upper_ns, -_FOREVER_NS))
        era = self._eras[-1]
        if not reading.apart(era.lower_ns, era.upper_ns):
            era.narrow(reading)
            self._remember(reading)
            return None
        self.count += 1
        old = [earlier for earlier in self._readings if earlier.apart(lower_ns, upper_ns)]
        if old:
            # an uncertain reading in between may be of either era: it says nothing of the old offset, nor of when
            era.lower_ns, era.upper_ns = old[0].lower_ns, old[0].upper_ns
            for earlier in old:
                era.narrow(earlier)
        since_ns = (old[-1] if old else self._readings[0]).earliest_ns
        era.end_ns = pair.monotonic_ns + pair.uncertainty_ns
        self._eras.append(_Era(lower_ns, upper_ns, since_ns))
        self._readings = deque([reading])
        return Step(offset_ns - era.offset_ns, since_ns, era.end_ns)

    def _remember(self, reading: _Reading) -> None:
        """Keep a reading, unless the last one says the same at almost the same time: their number is bounded."""
        if self._readings:
            last = self._readings[-1]
            wider = reading.upper_ns - reading.lower_ns >= last.upper_ns - last.lower_ns
            if wider and reading.earliest_ns - last.earliest_ns < self._longest_ns // _READINGS:
                return
        self._readings.append(reading)

    def _forget(self, before_ns: int) -> None:
        """Forget what no sample can have lived through, but for the last reading."""
        while len(self._eras) > 1 and self._eras[0].end_ns < before_ns:
            self._eras.popleft()
        while len(self._readings) > 1 and self._readings[1].earliest_ns < before_ns:
            self._readings.popleft()

    def crossed(self, first_ns: Integers, last_ns: Integers) -> Flags:
        """Which samples may have a step between their first and their last local time.

        Whoever asks has observed a reading after the last of these times was taken: what is not observed is not known.

        Args:
            first_ns, last_ns: (n,) wall times, such as T1 and T4; a sample takes at most `longest_ns`.

        Returns:
            (n,) flags. No sample that crosses an observed step is missed; two steps between the same two readings are
            seen as one. One that crosses none is flagged only where its times would be those of one that does: next
            to a step, by no more than the step or the time between two readings.
        """
        crossed: Flags = np.zeros(len(first_ns), np.bool_)
        if len(self._eras) < 2:
            return crossed
        if len(self._eras) > _MANY_ERAS:
            return ~crossed
        eras = list(self._eras)
        for number, earlier in enumerate(eras):
            for later in eras[number + 1 :]:
                slack_ns = (
                    TOLERANCE_NS + earlier.upper_ns - earlier.lower_ns + later.upper_ns - later.lower_ns
                )
                began_ns, ended_ns = first_ns - earlier.offset_ns, last_ns - later.offset_ns
                crossed |= (
                    (began_ns >= earlier.begin_ns - slack_ns)
                    & (began_ns <= earlier.end_ns + slack_ns)
                    & (ended_ns >= later.begin_ns - slack_ns)
                    & (ended_ns <= later.end_ns + slack_ns)
                    & (ended_ns - began_ns >= -slack_ns)
                    & (ended_ns - began_ns <= self._longest_ns + slack_ns)
                )
        return crossed
