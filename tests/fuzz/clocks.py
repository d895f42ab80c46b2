"""Those who know the local clock: what chronyd and ptp4l answer."""

from __future__ import annotations

from typing import Final

from agent.net.clock import MAX_BOUND_NS, ClockQuality
from agent.net.clocks.candm import MalformedAnswer, Tracking
from agent.net.clocks.chrony import judge
from agent.net.clocks.pmc import PtpStatus, Unanswered
from agent.net.clocks.ptp import PtpClock

SEQUENCE: Final = 0x0102_0304
"""Of the request that is answered."""
_WALL_NS: Final = 1_795_421_060_000_000_000
"""Soon after the recorded reply."""


def candm(data: bytes) -> None:
    """A reply is read or `MalformedAnswer`; what is vouched for is no better than what chronyd says of each part."""
    try:
        tracking = Tracking.parse(data, SEQUENCE)
    except MalformedAnswer:
        return
    quality = judge(tracking, _WALL_NS)
    _check(quality)
    if quality.error_bound_ns is not None:
        parts = (abs(tracking.correction), tracking.root_dispersion, tracking.root_delay / 2)
        assert all(quality.error_bound_ns >= part * 1_000_000_000 >= 0 for part in parts)


def pmc(data: bytes) -> None:
    """What pmc prints is read or `Unanswered`, and any status is judged, with the clocks of this machine's cards."""
    try:
        status = PtpStatus.parse(data.decode(errors="replace"))
    except Unanswered:
        return
    clock = PtpClock(monotonic_ns=lambda: 1_000_000_000)
    clock.learn(status)
    quality = clock.quality()
    _check(quality)
    if quality.error_bound_ns is not None:
        assert quality.error_bound_ns >= abs(status.offset_ns) + status.path_delay_ns
        assert status.traceable


def _check(quality: ClockQuality) -> None:
    assert (quality.error_bound_ns is None) == bool(quality.explanation)
    assert quality.error_bound_ns is None or 0 <= quality.error_bound_ns < MAX_BOUND_NS
    assert quality.drift_ppb >= 0
