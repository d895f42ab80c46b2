"""Loss and delay that come in bursts, simulated, and how often a bound of their share is true.

Loss comes in bursts of exponentially distributed length between exponentially distributed pauses (Gilbert 1960, Elliott
1963), delay excess from a queue that wanders (an AR(1) process above a limit). Each scenario is one long stationary
process cut into windows, so that windows begin inside of bursts, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri

from agent.core.histogram import BUCKETS, EDGES_NS

HOUR: Final = 60
DAY: Final = 24 * HOUR
CLAIMED: Final = 0.94


@dataclass(frozen=True)
class Bursts:
    """Loss in bursts.

    Attributes:
        share: of all packets that is lost.
        rate: packets a second.
        seconds: mean length of a burst.
        density: share of the packets of a burst that is lost.
        steady: share of all packets that is lost one by one beside.
    """

    share: float
    rate: int
    seconds: float
    density: float = 1.0
    steady: float = 0.0

    @property
    def true_share(self) -> float:
        """Of packets lost, in the long run."""
        return self.share + self.steady

    def by_minute(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """How many packets are lost in each of so many minutes on end."""
        pause = self.seconds * (self.density / self.share - 1)
        expected = minutes * 60 / (self.seconds + pause)
        number = int(expected + 10 * expected**0.5) + 20
        lengths = generator.exponential(self.seconds, number)
        ends = np.cumsum(generator.exponential(pause, number) + lengths)
        assert ends[-1] > minutes * 60
        first = np.ceil((ends - lengths) * self.rate).astype(np.int64)
        after = np.ceil(ends * self.rate).astype(np.int64)
        edges = np.arange(minutes + 1) * 60 * self.rate
        before = np.concatenate([[0], np.cumsum(after - first)])
        begun = np.searchsorted(first, edges, "right")
        still = np.where(begun > 0, np.maximum(0, after[np.maximum(begun - 1, 0)] - edges), 0)
        bad = np.diff(before[begun] - still)
        lost = generator.binomial(bad, self.density)
        return lost + generator.binomial(60 * self.rate - bad, self.steady / (1 - self.share))


@dataclass(frozen=True)
class Queue:
    """Delay above a limit, for a share of packets, with an autocorrelation of exp(-1) after so many seconds."""

    share: float
    rate: int
    seconds: float

    @property
    def true_share(self) -> float:
        """Of packets over the limit, in the long run."""
        return self.share

    def delays(self, generator: np.random.Generator, minutes: int) -> Iterator[NDArray[np.float64]]:
        """How full the queue is at each packet of so many minutes on end (some of them, packets)."""
        kept = np.exp(-1 / (self.seconds * self.rate))
        state = generator.normal()
        for some in np.array_split(np.arange(minutes), max(1, minutes * self.rate // 20_000)):
            steps = generator.normal(size=60 * self.rate * len(some)) * np.sqrt(1 - kept**2)
            delay, _ = lfilter([1.0], [1.0, -kept], steps, zi=[kept * state])
            state = delay[-1]
            yield delay.reshape(len(some), -1)

    def by_minute(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """How many packets are over the limit in each of so many minutes on end."""
        over = (delay > -ndtri(self.share) for delay in self.delays(generator, minutes))
        return np.concatenate([one.sum(1) for one in over])

    def histograms(self, generator: np.random.Generator, minutes: int) -> NDArray[np.int64]:
        """The delays of each of so many minutes on end by bucket, 4 ms where the queue is empty, 5 ms at the limit."""
        found = []
        for delay in self.delays(generator, minutes):
            delays_ns = 4_000_000 + np.maximum(0, delay) / -ndtri(self.share) * 1_000_000
            cells = np.searchsorted(EDGES_NS, delays_ns) + np.arange(len(delay))[:, None] * BUCKETS
            found.append(np.bincount(cells.ravel(), minlength=len(delay) * BUCKETS).reshape(-1, BUCKETS))
        return np.concatenate(found)


class Scenario(NamedTuple):
    """What happens, and how it is looked at; `history` and `window` in minutes, the window follows its history."""

    process: Bursts | Queue
    window: int
    windows: int = 2000
    history: int = 0


class Coverage(NamedTuple):
    """In which share of windows a bound was on the right side of the true share."""

    lower: float
    upper: float

    @classmethod
    def of(cls, truth: float, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Coverage:
        """Of these bounds."""
        return cls(float(np.mean(lower <= truth)), float(np.mean(upper >= truth)))


def numbered(scenarios: Sequence[Scenario], first: int) -> list[object]:
    """Parameters, each with its seed."""
    return [
        pytest.param(one, first + i, id=f"{one.process}-{one.window}m") for i, one in enumerate(scenarios)
    ]
