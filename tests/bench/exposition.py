"""How long /metrics of 1,000 paths takes, and whether probes wait for it: one scrape a second under load.

The time is the client's, from the request to the last octet. How late probes left is the capture's word
(`tests.bench.departures`), for those that were due during a scrape; those due at other times stand beside them in the
note, for on a host that has other work some are late without any scrape. A probe that did not leave at all, for being
overdue, counts as late by what the agent calls overdue.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.capture import Capture, udp_departures
from tests.bench.departures import Departures
from tests.bench.report import Row
from tests.bench.rig import Counts, Load, Waiting, rig

LOADS: Final = (Load(1_000, 1_000), Load(1_000, 10_000))
SCRAPE_BAR_MS: Final = 150.0
LAG_BAR_MS: Final = 5.0
_PERIOD_S: Final = 1.0
_SHARE: Final = 0.8
_OVERDUE_MS: Final = 20.0
_SECOND_NS: Final = 1_000_000_000


def run(seconds: float, loads: tuple[Load, ...] = LOADS, settle_s: float = 2.0) -> list[Row]:
    """Measure and give two rows for each load."""
    return [row for load in loads for row in _under(load, _SHARE * seconds, settle_s)]


def _under(load: Load, seconds: float, settle_s: float) -> list[Row]:
    scrapes: list[Counts] = []
    with rig(load) as running:
        time.sleep(settle_s)
        running.scrape()  # the first one also has the labels to write
        with Capture(udp_departures(running.port)) as capture:
            waiting = Waiting.of(running.sender)
            ahead_ns = time.time_ns() - time.monotonic_ns()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                capture.drain_for(_PERIOD_S - (scrapes[-1].seconds if scrapes else 0.0))
                scrapes.append(running.scrape())
            waited = Waiting.of(running.sender).since(waiting)
            left = Departures(capture.packets(), 1000 * load.interval_us)
    spans = [
        (one.begun * _SECOND_NS + ahead_ns, (one.begun + one.seconds) * _SECOND_NS + ahead_ns)
        for one in scrapes
    ]
    took_ms = [1000 * one.seconds for one in scrapes]
    size = f"{scrapes[-1].octets / 1e6:.1f} MB"
    note = f"{len(took_ms)} scrapes, {min(took_ms):.0f}..{max(took_ms):.0f} ms, {size}, {load}"
    during, otherwise = Lateness(left, spans, True), Lateness(left, spans, False)
    return [
        Row("agent: /metrics", median(took_ms), "ms", SCRAPE_BAR_MS, note=note),
        Row(
            "agent: largest send lag during a scrape",
            during.most_ms,
            "ms",
            LAG_BAR_MS,
            note=f"{load}; {during}; at other times {otherwise}; {waited}",
        ),
    ]


class Lateness:
    """How late those probes were that were due within some spans of time, or outside of them.

    Args:
        left: all probes.
        spans: begin and end, Unix wall time in ns.
        within: which of both.

    Attributes:
        lags_ms: of each probe that left.
        not_sent: how many did not.
    """

    def __init__(self, left: Departures, spans: list[tuple[float, float]], within: bool) -> None:
        self.lags_ms = left.lags_ns[_inside(left.due_ns, spans) == within] / 1e6
        self.not_sent = int(np.count_nonzero(_inside(left.missing_ns, spans) == within))

    @property
    def most_ms(self) -> float:
        """The latest one's."""
        most = float(self.lags_ms.max(initial=0.0))
        return max(most, _OVERDUE_MS) if self.not_sent else most

    def __str__(self) -> str:
        p99 = float(np.percentile(self.lags_ms, 99)) if len(self.lags_ms) else 0.0
        return f"p99 {p99:.2f}, max {self.most_ms:.2f} ms, {self.not_sent} not sent of {len(self.lags_ms)}"


def _inside(times_ns: NDArray[np.int64], spans: list[tuple[float, float]]) -> NDArray[np.bool_]:
    found = np.zeros(len(times_ns), np.bool_)
    for begin, end in spans:
        found |= (times_ns >= begin) & (times_ns <= end)
    return found
