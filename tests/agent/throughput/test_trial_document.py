"""Turns as documents: from what is told of one, what it came to can be reckoned again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from scipy import stats

from agent.core.throughput.cause import Cause, HostLoad, Pressure
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import TOLERANCE, Layer, Packets, Window, after_ramp, goodput_of
from agent.core.throughput.result import ErrorReason, Floor, failed, judge
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import Confirmation, LineRecord
from agent.throughput.trial_document import turn_document

FLOOR = Floor(1e9)
SIZES = Packets(1448, 52)
HOST = HostLoad(3 * 10**9, 10**9)


def tried(*goodputs: float) -> Trial:
    """A test that saw these windows down, bit/s, and was refused up."""
    windows = []
    begin_ns = 5
    for number, goodput in enumerate(goodputs):
        end_ns = begin_ns + 500_000_000 + 1_000_000 * number
        windows.append(Window(begin_ns, end_ns, round(goodput * (end_ns - begin_ns) / 8e9)))
        begin_ns = end_ns
    outcome = judge(Way.DOWN, goodput_of(after_ramp(windows, 0)), SIZES, FLOOR, Cause.PATH_RATE)
    return Trial(
        {Way.DOWN: outcome, Way.UP: failed(Way.UP, ErrorReason.BROKEN_OFF, "gone")},
        began_ns=1,
        ended_ns=2,
        windows={Way.DOWN: windows},
        host=HOST,
        pressures={Way.DOWN: [Pressure(1e9)]},
    )


def reckoned(test: dict[str, Any], floor: float) -> str:
    """The verdict on a floor at the IP layer, from what is told of a test and nothing else."""
    count = test["goodput"]["windows"]
    rates: Sequence[float] = test["window_goodputs_bits_per_second"][-count:]
    lengths: Sequence[float] = test["window_seconds"][-count:]
    mean = sum(rate * length for rate, length in zip(rates, lengths, strict=True)) / sum(lengths)
    scatter = max(float(stats.tstd(rates)), 0.001 * mean)
    half = float(stats.t.ppf(0.99, count - 1)) * scatter / count**0.5
    layer = test["ip_layer"]["bits_per_second"] / test["goodput"]["bits_per_second"]
    assert test["goodput"]["bits_per_second"] == pytest.approx(mean)
    assert test["goodput"]["lower_bits_per_second"] == pytest.approx(mean - half, rel=1e-4)
    if (mean - half) * layer >= floor * (1 - TOLERANCE):
        return "pass"
    return "fail" if (mean + half) * layer < floor * (1 - TOLERANCE) else "inconclusive"


@pytest.mark.parametrize(
    ("goodputs", "verdict"),
    [
        ((4e8, 9.8e8, 9.81e8, 9.79e8, 9.8e8), "pass"),
        ((4e8, 9.2e8, 9.21e8, 9.19e8, 9.2e8), "fail"),
        ((4e8, 8.8e8, 10.2e8, 9.1e8, 10e8), "inconclusive"),
    ],
)
def test_a_turn_can_be_reckoned_again(goodputs: Sequence[float], verdict: str) -> None:
    """Its windows tell the rate and its bounds, these the verdict on the floor, and that of both tests the result."""
    record = LineRecord({Way.DOWN: FLOOR, Way.UP: FLOOR}, Confirmation(1, 1))
    attempts = [tried(*goodputs), tried(*goodputs)]
    turn = turn_document(attempts, record.take(attempts, 9), Layer.IP, 9)
    down, up = turn["ways"]["down"], turn["ways"]["up"]
    assert (turn["at_ns"], down["result"], up["result"]) == (9, verdict, "error")
    for test in down["attempts"]:
        assert test["verdict"] == verdict == reckoned(test, test["floor_bits_per_second"])
        assert (test["began_ns"], test["ended_ns"], test["cause"]) == (1, 2, "path_rate")
    assert {test["error"] for test in up["attempts"]} == {"broken_off"}


def test_a_turn_without_a_test() -> None:
    """Is told with its reason, and with nothing that was not."""
    attempts = [Trial({Way.DOWN: failed(Way.DOWN, ErrorReason.REFUSED, "busy", FLOOR)})]
    record = LineRecord({Way.DOWN: FLOOR}, Confirmation())
    (test,) = turn_document(attempts, record.take(attempts, 9), Layer.IP, 9)["ways"]["down"]["attempts"]
    assert (test["error"], test["detail"], test["goodput"]) == ("refused", "busy", None)
    assert "window_seconds" not in test
