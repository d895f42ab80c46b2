"""How fast data arrived: windows, layers, and when there are enough of them.

A rate is always that of the receiver. *Goodput* is payload; the *IP layer* has the headers of IP and above too, counted
for full segments, so that it is never overstated (RFC 9097, section 5.1; TR-471, section 5.2: IP-Layer Capacity). A
10GbE port of MTU 1500 carries 9.75 Gbit/s of the latter and 9.41 of the former: a floor must name its layer.

A window ends with the first reading at or after its time, and is as long as it then really is: nothing is interpolated.

The interval of a rate is that of Student's t over its windows. Half a second of a test shares queues and congestion
windows with the next one, and a test that looks again after each window has many chances to be wrong; so each look asks
for 99 %, and the scatter is taken as no less than 0.1 % of the rate, which is what clocks and timers are good for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import NormalDist, fmean, stdev
from typing import Final

from agent.core.throughput.lease import Protocol
from agent.core.timestamps import SECOND_NS

WINDOW_NS: Final = SECOND_NS // 2
STEADY: Final = 0.02
"""Two windows in a row that differ by no more tell what will come: at most 0.6 % off, with a fifth of the data."""
RAMP_ROUND_TRIPS: Final = 10
TOLERANCE: Final = 0.005
"""By so much of a floor a rate may miss it: a line exactly at its floor passes, one 1 % below fails."""
LEAST_WINDOWS: Final = 3

_IP_OCTETS: Final = {4: 20, 6: 40}
_TCP_OCTETS: Final = 20
_TIMESTAMP_OCTETS: Final = 12
_UDP_OCTETS: Final = 8
_LOOK: Final = 0.99
_LEAST_SCATTER: Final = 0.001
# The 0.99 quantiles of Student's t for 1 to 30 degrees of freedom; beyond, Cornish-Fisher (Abramowitz & Stegun 26.7.5)
# is off by less than 0.0003.
_T_99: Final = (
    *(31.8205, 6.9646, 4.5407, 3.7469, 3.3649, 3.1427, 2.9980, 2.8965, 2.8214, 2.7638),
    *(2.7181, 2.6810, 2.6503, 2.6245, 2.6025, 2.5835, 2.5669, 2.5524, 2.5395, 2.5280),
    *(2.5176, 2.5083, 2.4999, 2.4922, 2.4851, 2.4786, 2.4727, 2.4671, 2.4620, 2.4573),
)


class Layer(StrEnum):
    """At which layer octets are counted."""

    IP = "ip"
    GOODPUT = "goodput"


@dataclass(frozen=True, slots=True)
class Packets:
    """How payload is packed.

    Attributes:
        payload: octets of a full segment or datagram, as the transport carries them.
        headers: octets of IP and transport before them.
    """

    payload: int
    headers: int

    @classmethod
    def of(cls, protocol: Protocol, ip_version: int, payload: int, *, timestamps: bool = False) -> Packets:
        """Those of a protocol.

        Args:
            ip_version: 4 or 6.
            payload: octets of a full segment (`TcpInfo.mss`) or of a datagram.
            timestamps: whether TCP segments carry that option.
        """
        transport = _UDP_OCTETS
        if protocol is Protocol.TCP:
            transport = _TCP_OCTETS + (_TIMESTAMP_OCTETS if timestamps else 0)
        return cls(payload, _IP_OCTETS[ip_version] + transport)

    def ip_layer(self, goodput: float) -> float:
        """The rate at the IP layer of a goodput."""
        return goodput * (self.payload + self.headers) / self.payload

    def goodput(self, ip_layer: float) -> float:
        """The goodput of a rate at the IP layer."""
        return ip_layer * self.payload / (self.payload + self.headers)

    def at(self, layer: Layer, goodput: float) -> float:
        """The rate at a layer of a goodput."""
        return self.ip_layer(goodput) if layer is Layer.IP else goodput


@dataclass(frozen=True, slots=True)
class Window:
    """What arrived in about half a second.

    Attributes:
        begin_ns, end_ns: monotonic, of the receiver.
        octets: of payload.
    """

    begin_ns: int
    end_ns: int
    octets: int

    @property
    def goodput(self) -> float:
        """bit/s."""
        return self.octets * 8 * SECOND_NS / (self.end_ns - self.begin_ns)


class Windows:
    """Cuts a growing count of octets into windows.

    Args:
        begin_ns: when the first octet came, monotonic.
        length_ns: of a window.

    Attributes:
        closed: the windows that are over, in order, without gaps.
    """

    def __init__(self, begin_ns: int, length_ns: int = WINDOW_NS) -> None:
        self._length_ns = length_ns
        self._begin_ns = begin_ns
        self._octets = 0
        self.closed: list[Window] = []

    def read(self, octets: int, now_ns: int) -> bool:
        """Take a reading.

        Args:
            octets: that have come in all.
            now_ns: monotonic.

        Returns:
            Whether it closed a window.
        """
        if now_ns - self._begin_ns < self._length_ns:
            return False
        self.closed.append(Window(self._begin_ns, now_ns, octets - self._octets))
        self._begin_ns, self._octets = now_ns, octets
        return True


def after_ramp(windows: Sequence[Window], min_rtt_ns: int) -> Sequence[Window]:
    """The windows that begin when a flow has had ten round trips to grow, and at least one window."""
    if not windows:
        return windows
    grown_ns = windows[0].begin_ns + RAMP_ROUND_TRIPS * min_rtt_ns
    first = next(
        (at for at, window in enumerate(windows) if at and window.begin_ns >= grown_ns), len(windows)
    )
    return windows[first:]


def is_steady(windows: Sequence[Window]) -> bool:
    """Whether the last two windows, of those after the ramp, differ by at most 2 %: a search may stop."""
    if len(windows) < 2:
        return False
    before, last = windows[-2].goodput, windows[-1].goodput
    return abs(last - before) <= STEADY * max(last, before)


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate and how sure it is, bit/s.

    Attributes:
        mean: over the windows, each as heavy as it is long.
        lower, upper: each holds with 99 %.
        windows: how many it was taken from.
    """

    mean: float
    lower: float
    upper: float
    windows: int

    def scaled(self, factor: float) -> Rate:
        """The same at another layer."""
        return Rate(self.mean * factor, self.lower * factor, self.upper * factor, self.windows)

    def raised(self, rate: float) -> Rate:
        """The same with so many bit/s beside it."""
        return Rate(self.mean + rate, self.lower + rate, self.upper + rate, self.windows)


def goodput_of(windows: Sequence[Window]) -> Rate | None:
    """The goodput of windows after the ramp; None: of fewer than two nothing is known."""
    if len(windows) < 2:
        return None
    span_ns = sum(window.end_ns - window.begin_ns for window in windows)
    mean = sum(window.octets for window in windows) * 8 * SECOND_NS / span_ns
    rates = [window.goodput for window in windows]
    scatter = max(stdev(rates, fmean(rates)), _LEAST_SCATTER * mean)
    half = t_quantile(len(windows) - 1) * scatter / sqrt(len(windows))
    return Rate(mean, max(0.0, mean - half), mean + half, len(windows))


def t_quantile(degrees: int) -> float:
    """The 0.99 quantile of Student's t."""
    if degrees <= len(_T_99):
        return _T_99[degrees - 1]
    z = NormalDist().inv_cdf(_LOOK)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


class Decision(StrEnum):
    """What is known of a floor so far."""

    MET = "met"
    MISSED = "missed"
    GO_ON = "go_on"


def decide(rate: Rate | None, floor: float, tolerance: float = TOLERANCE) -> Decision:
    """Whether a rate proves or refutes a floor, of the same layer; asked again after each window.

    Args:
        rate: so far.
        floor: bit/s.
        tolerance: by which share of the floor it may be missed.
    """
    if rate is None or rate.windows < LEAST_WINDOWS:
        return Decision.GO_ON
    needed = floor * (1 - tolerance)
    if rate.lower >= needed:
        return Decision.MET
    return Decision.MISSED if rate.upper < needed else Decision.GO_ON
