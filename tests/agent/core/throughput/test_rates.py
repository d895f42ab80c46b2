"""Rates: windows, layers, when there are enough, and how often a decision is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agent.core.throughput.lease import Protocol
from agent.core.throughput.rates import (
    WINDOW_NS,
    Decision,
    Layer,
    Packets,
    Rate,
    Window,
    Windows,
    after_ramp,
    decide,
    goodput_of,
    is_steady,
    t_quantile,
)

SECOND_NS = 1_000_000_000
GBIT = 1_000_000_000
FLOOR = 10.0 * GBIT
ETHERNET_OVERHEAD = 38
"""Octets beside the IP packet: preamble, header, check sequence and gap."""


def windows_of(rates: list[float]) -> list[Window]:
    return [
        Window(number * WINDOW_NS, (number + 1) * WINDOW_NS, round(rate / 16))
        for number, rate in enumerate(rates)
    ]


# Layers


def test_what_a_10_gigabit_port_carries() -> None:
    """At MTU 1500 it tops out at 9.41 Gbit/s of TCP payload and 9.75 at the IP layer: a floor must name its layer."""
    packets = Packets.of(Protocol.TCP, 4, 1448, timestamps=True)
    assert packets == Packets(1448, 52)
    ip_layer = 10 * GBIT * 1500 / (1500 + ETHERNET_OVERHEAD)
    assert ip_layer / GBIT == pytest.approx(9.75, abs=0.005)
    assert packets.goodput(ip_layer) / GBIT == pytest.approx(9.41, abs=0.005)
    assert packets.at(Layer.IP, 1448) == 1500
    assert packets.at(Layer.GOODPUT, 1448) == 1448


def test_headers() -> None:
    """IPv4 has 20 octets and IPv6 40, TCP 20 and 12 of timestamps, UDP 8."""
    assert Packets.of(Protocol.TCP, 6, 1440).headers == 60
    assert Packets.of(Protocol.UDP, 4, 1448, timestamps=True).headers == 28
    assert Packets.of(Protocol.UDP, 6, 1448).headers == 48


@given(st.integers(1, 65_000), st.integers(20, 72), st.floats(1, 1e12))
def test_layers_invert_each_other(payload: int, headers: int, goodput: float) -> None:
    """The goodput of the IP layer's rate of a goodput is the same."""
    packets = Packets(payload, headers)
    assert packets.goodput(packets.ip_layer(goodput)) == pytest.approx(goodput)


# Windows


def test_windows_are_as_long_as_they_were() -> None:
    """A reading ends a window at or after its time, and the next one begins there: nothing is lost between them."""
    windows = Windows(100, 1_000)
    readings = [(500, 600), (900, 1_099), (1_200, 1_100), (1_300, 2_500), (9_000, 3_600)]
    closed = [windows.read(octets, now_ns) for octets, now_ns in readings]
    assert closed == [False, False, True, True, True]
    assert windows.closed == [
        Window(100, 1_100, 1_200),
        Window(1_100, 2_500, 100),
        Window(2_500, 3_600, 7_700),
    ]
    assert windows.closed[0].goodput == 1_200 * 8 * 1_000_000


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 400_000_000)), max_size=60))
def test_windows_lose_nothing(steps: list[tuple[int, int]]) -> None:
    """Windows follow each other without gaps, none is shorter than half a second, and all octets are in one."""
    windows, octets, now_ns, seen = Windows(0), 0, 0, 0
    for more, later in steps:
        octets, now_ns = octets + more, now_ns + later
        if windows.read(octets, now_ns):
            seen = octets
    assert sum(window.octets for window in windows.closed) == seen
    edges = [0, *(window.end_ns for window in windows.closed)]
    assert [window.begin_ns for window in windows.closed] == edges[:-1]
    assert all(window.end_ns - window.begin_ns >= WINDOW_NS for window in windows.closed)


def test_the_ramp_is_left_out() -> None:
    """One window at least, and all that begin before ten of the least round trips are over."""
    windows = windows_of([1.0 * GBIT] * 6)
    assert after_ramp([], 0) == []
    assert after_ramp(windows, 100_000) == windows[1:]
    assert after_ramp(windows, SECOND_NS // 10) == windows[2:]
    assert after_ramp(windows, SECOND_NS // 10 + 1) == windows[3:]
    assert after_ramp(windows, 9 * SECOND_NS) == []


def test_steady() -> None:
    """The last two windows within 2 % of the greater one are steady; one alone is not, whatever came before."""
    assert not is_steady([])
    assert not is_steady(windows_of([5.0]))
    assert is_steady(windows_of([1.0 * GBIT, 9.8 * GBIT, 10.0 * GBIT]))
    assert is_steady(windows_of([10.0 * GBIT, 9.8 * GBIT]))
    assert not is_steady(windows_of([10.0 * GBIT, 9.79 * GBIT]))
    assert is_steady(windows_of([0.0, 0.0]))


# How sure


def test_quantiles() -> None:
    """They are scipy's, to the digits that the table has."""
    for degrees in [*range(1, 60), 100, 1_000]:
        assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.99, degrees), abs=3e-4)


def test_the_interval_is_that_of_t() -> None:
    """Mean and bounds are those that scipy gives for the same windows."""
    rates = [9.9 * GBIT, 10.1 * GBIT, 10.0 * GBIT, 9.6 * GBIT]
    rate = goodput_of(windows_of(rates))
    assert rate is not None
    low, high = stats.t.interval(0.98, 3, sum(rates) / 4, stats.sem(rates))
    assert (rate.mean, rate.lower, rate.upper) == pytest.approx((sum(rates) / 4, low, high), rel=1e-5)
    assert rate.windows == 4


def test_equal_windows_are_not_certainty() -> None:
    """Windows that are all the same still leave what timers are good for; nothing below 0 is claimed."""
    rate = goodput_of(windows_of([FLOOR] * 4))
    assert rate is not None
    assert 0.001 < (rate.upper - rate.lower) / rate.mean < 0.005
    wild = goodput_of(windows_of([1.0 * GBIT, 9.0 * GBIT]))
    assert wild is not None
    assert wild.lower == 0
    assert goodput_of(windows_of([FLOOR])) is None


def test_scaling() -> None:
    """A rate at another layer has its bounds there too."""
    assert Rate(100.0, 90.0, 110.0, 3).scaled(2.0) == Rate(200.0, 180.0, 220.0, 3)


def looked_at(rates: Iterator[float], most: int = 20) -> tuple[Decision, int]:
    """What is decided when one looks after every window."""
    windows: list[float] = []
    for rate in rates:
        windows.append(rate)
        decision = decide(goodput_of(windows_of(windows)), FLOOR)
        if decision is not Decision.GO_ON or len(windows) == most:
            return decision, len(windows)
    raise AssertionError


def noisy(rng: random.Random, mean: float, scatter: float, memory: float) -> Iterator[float]:
    """Windows of a rate, each of which remembers the one before."""
    level = 0.0
    while True:
        level = memory * level + (1 - memory**2) ** 0.5 * rng.gauss(0, scatter)
        yield mean * (1 + level)


def test_a_line_at_its_floor_passes_and_one_below_fails() -> None:
    """Exactly the floor is met, 1 % below is missed, within 2.5 s where the rate is steady, as that of a shaper is."""
    for true_rate, expected in (
        (FLOOR, Decision.MET),
        (1.05 * FLOOR, Decision.MET),
        (0.99 * FLOOR, Decision.MISSED),
        (0.9 * FLOOR, Decision.MISSED),
    ):
        for seed in range(50):
            decision, windows = looked_at(noisy(random.Random(seed), true_rate, 0.001, 0))
            assert (decision, windows <= 5) == (expected, True)


@pytest.mark.parametrize(
    ("scatter", "memory"), [(0.002, 0.0), (0.005, 0.0), (0.01, 0.0), (0.002, 0.5), (0.005, 0.5)]
)
def test_looking_after_every_window_is_rarely_wrong(scatter: float, memory: float) -> None:
    """A line at its floor is refuted, and one 1 % below proven, in fewer than 5 of 100 tests, though each of them looks
    up to 20 times and windows may resemble the one before."""
    wrong = 0
    for seed in range(300):
        rng = random.Random(seed)
        wrong += looked_at(noisy(rng, FLOOR, scatter, memory))[0] is Decision.MISSED
        wrong += looked_at(noisy(rng, 0.99 * FLOOR, scatter, memory))[0] is Decision.MET
    assert wrong < 0.05 * 600


def test_too_few_windows_decide_nothing() -> None:
    """Not before three."""
    assert decide(None, FLOOR) is Decision.GO_ON
    assert decide(Rate(2 * FLOOR, 2 * FLOOR, 2 * FLOOR, 2), FLOOR) is Decision.GO_ON
    assert decide(Rate(2 * FLOOR, 2 * FLOOR, 2 * FLOOR, 3), FLOOR) is Decision.MET
    assert decide(Rate(FLOOR, 0.9 * FLOOR, 1.1 * FLOOR, 9), FLOOR) is Decision.GO_ON
    assert decide(Rate(9.94 * GBIT, 9.93 * GBIT, 9.9499 * GBIT, 9), FLOOR) is Decision.MISSED
    assert decide(Rate(9.94 * GBIT, 9.93 * GBIT, 9.9499 * GBIT, 9), FLOOR, 0.01) is Decision.MET
