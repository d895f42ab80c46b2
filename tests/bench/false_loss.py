"""Loss that is none, and how evenly probes leave: 10,000 targets once a second, each of which answers on loopback.

What is given up is counted by the agent. When probes leave is the capture's word (`tests.bench.departures`): the
largest bunch is the most that went past the tap within any one millisecond. The agent's own histogram of its lateness
stands beside the capture's.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from agent.core import metrics
from tests.bench.capture import Capture, udp_departures
from tests.bench.departures import Departures
from tests.bench.report import Row
from tests.bench.rig import Load, Waiting, lag_quantile, receive_drops, rig

LOAD: Final = Load(10_000, 10_000)
LEAST_SECONDS: Final = 20.0
_GIVEN_UP_WITHIN_S: Final = 1.5
_BUNCH_NS: Final = 1_000_000


def run(
    seconds: float, load: Load = LOAD, settle_s: float = 2.0, least_seconds: float = LEAST_SECONDS
) -> list[Row]:
    """Measure and give the rows."""
    measured_s = max(seconds, least_seconds)
    with rig(load) as running:
        time.sleep(settle_s)
        before, dropped = running.scrape(), receive_drops()
        with Capture(udp_departures(running.port)) as capture:
            waiting = Waiting.of(running.sender)
            capture.drain_for(measured_s)
            waited = Waiting.of(running.sender).since(waiting)
            packets = capture.packets()
        time.sleep(_GIVEN_UP_WITHIN_S)  # so that every probe that the capture saw is answered or given up
        after = running.scrape()
        dropped = receive_drops() - dropped
    after.assert_law()
    left = Departures(packets, 1000 * load.interval_us)
    sent = after.sent - before.sent
    p99_us, most_us = (np.percentile(left.lags_ns, (99, 100)) / 1e3).tolist()
    own_s = lag_quantile(after.lags_since(before), 0.99)
    unattributed = after.total(metrics.PROBE_OUTCOMES, 'direction="forward"', 'outcome="unattributed"')
    lost = (
        f"{sent:.0f} sent, {load}, {unattributed:.0f} of unknown direction, {after.not_sent - before.not_sent:.0f} "
        f"not sent, scrapes included, {dropped} dropped by full sockets of this host"
    )
    pace = (
        f"even would be {load.probes_per_second / 1000:.0f}; {len(left.at_ns)} seen in {measured_s:g} s, "
        f"{len(left.missing_ns)} missing between them"
    )
    late = (
        f"max {most_us:.0f} µs, by the capture; the agent's own p99 is at most {own_s * 1e6:.0f} µs; {waited}"
    )
    return [
        Row("agent: false loss", after.lost - before.lost, "probes", 0.0, note=lost),
        Row("agent: largest bunch within 1 ms", left.largest_bunch(_BUNCH_NS), "probes", note=pace),
        Row("agent: send lag p99", p99_us, "µs", note=late),
    ]
