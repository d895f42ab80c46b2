"""What a test comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer, Packets, Rate, Window, goodput_of
from agent.core.throughput.result import ErrorReason, Floor, Outcome, Verdict, failed, judge

PACKETS = Packets(1448, 52)


def rate_of(mean: float, half: float = 1.0) -> Rate:
    return Rate(mean, mean - half, mean + half, 5)


@pytest.mark.parametrize(
    ("goodput", "floor", "cause", "verdict"),
    [
        (rate_of(970.0), Floor(1000), Cause.PACING_CAP, Verdict.PASS),
        (rate_of(970.0), Floor(1000), Cause.HOST_STARVED, Verdict.PASS),
        (rate_of(970.0), Floor(1000, Layer.GOODPUT), Cause.PATH_RATE, Verdict.FAIL),
        (rate_of(970.0), Floor(1000, Layer.GOODPUT), Cause.PATH_LOSS, Verdict.FAIL),
        (rate_of(970.0), Floor(1000, Layer.GOODPUT, 0.05), Cause.PATH_LOSS, Verdict.PASS),
        (rate_of(970.0, 100.0), Floor(1000), Cause.PATH_RATE, Verdict.INCONCLUSIVE),
        (rate_of(900.0), Floor(1000), None, Verdict.INCONCLUSIVE),
        *(
            (rate_of(900.0), Floor(1000), cause, Verdict.INCONCLUSIVE)
            for cause in Cause
            if cause not in (Cause.PATH_RATE, Cause.PATH_LOSS)
        ),
        (rate_of(900.0), None, Cause.PATH_RATE, None),
    ],
)
def test_verdicts(goodput: Rate, floor: Floor | None, cause: Cause | None, verdict: Verdict | None) -> None:
    """A floor is met at its layer whatever was in the way, and only the path can miss it; no floor, no verdict."""
    outcome = judge(Way.DOWN, goodput, PACKETS, floor, cause)
    assert outcome == Outcome(Way.DOWN, verdict, floor, goodput, goodput.scaled(1500 / 1448), cause)


@given(
    floor=st.floats(1e6, 1e12),
    layer=st.sampled_from(Layer),
    packets=st.builds(Packets, st.integers(500, 65_000), st.integers(28, 72)),
    wobble=st.lists(st.floats(-0.001, 0.001), min_size=5, max_size=20),
)
def test_one_percent_is_told(floor: float, layer: Layer, packets: Packets, wobble: list[float]) -> None:
    """A line that carries exactly its floor passes, and one of 1 % less (9.9 instead of 10) fails, at each layer, with
    windows that differ by 0.1 % from each other; it takes five."""
    for share, verdict in ((1.0, Verdict.PASS), (0.99, Verdict.FAIL)):
        exact = share * floor if layer is Layer.GOODPUT else packets.goodput(share * floor)
        off = sum(wobble) / len(wobble)
        windows = [
            Window(0, 1_000_000_000_000, round(exact * (1 + each - off) * 1_000 / 8)) for each in wobble
        ]
        outcome = judge(Way.DOWN, goodput_of(windows), packets, Floor(floor, layer), Cause.PATH_RATE)
        assert outcome.verdict is verdict


def test_a_way_carries_the_other_ones_acknowledgements() -> None:
    """They are IP packets that the line carries, and no goodput."""
    goodput = rate_of(960.0)
    for acknowledgements, verdict in ((0.0, Verdict.FAIL), (10.0, Verdict.PASS)):
        outcome = judge(Way.UP, goodput, PACKETS, Floor(1005), Cause.PATH_RATE, acknowledgements)
        assert outcome.verdict is verdict
        assert outcome.goodput == goodput
        assert outcome.ip_layer == goodput.scaled(1500 / 1448).raised(acknowledgements)


def test_a_failure_is_no_rate() -> None:
    """An error has its reason and no rate: never 0."""
    assert failed(Way.UP, ErrorReason.REFUSED, "busy", Floor(5)) == Outcome(
        Way.UP, Verdict.ERROR, Floor(5), None, None, None, ErrorReason.REFUSED, "busy"
    )
    empty = judge(Way.UP, None, PACKETS, Floor(5), Cause.PATH_RATE)
    assert (empty.verdict, empty.error, empty.goodput, empty.ip_layer) == (
        Verdict.ERROR,
        ErrorReason.EMPTY,
        None,
        None,
    )
