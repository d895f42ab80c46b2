"""What a test comes to, for each way.

PASS: the rate proves the floor. FAIL: it refutes it, and it was the path. INCONCLUSIVE: neither, or a host was in the
way: such a test has not tested the path. ERROR: there was no test, for a reason; it has no rate, least of all 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import TOLERANCE, Decision, Layer, Packets, Rate, decide


class Verdict(StrEnum):
    """What a test says of a floor."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class ErrorReason(StrEnum):
    """Why there was no test.

    REFUSED: the server grants no lease now. UNAUTHORISED: nor ever, with this token or from here. UNREACHABLE: nobody
    answers. MALFORMED: what answers is not what it should be. BROKEN_OFF: an end went away in the middle. EMPTY: the
    test ran and too little arrived to tell a rate. INTERNAL: our own process failed.
    """

    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
    BROKEN_OFF = "broken_off"
    EMPTY = "empty"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Floor:
    """What a way is promised to carry.

    Attributes:
        rate: bit/s.
        layer: at which it is meant.
        tolerance: by which share of it a rate may miss it.
    """

    rate: float
    layer: Layer = Layer.IP
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test comes to, one way.

    Attributes:
        way: which.
        verdict: None where there is no floor to hold the rate against.
        floor: what it was held against.
        goodput, ip_layer: the rate at each layer; None: not measured.
        cause: why it was not faster; None: not known.
        error: why there was no test; set with the verdict ERROR, and with no other.
        detail: the same in words.
    """

    way: Way
    verdict: Verdict | None
    floor: Floor | None = None
    goodput: Rate | None = None
    ip_layer: Rate | None = None
    cause: Cause | None = None
    error: ErrorReason | None = None
    detail: str = ""

    @property
    def spoiled(self) -> bool:
        """Whether a host kept it below its floor: then nothing was learnt of the line, as without a test."""
        if self.verdict is not Verdict.INCONCLUSIVE or self.cause is None or self.cause.of_path:
            return False
        assert self.floor is not None
        return _decision(self.goodput, self.ip_layer, self.floor) is Decision.MISSED


def failed(way: Way, error: ErrorReason, detail: str, floor: Floor | None = None) -> Outcome:
    """The outcome of a test that has not taken place."""
    return Outcome(way, Verdict.ERROR, floor, error=error, detail=detail)


def judge(
    way: Way,
    goodput: Rate | None,
    packets: Packets,
    floor: Floor | None = None,
    cause: Cause | None = None,
    acknowledgements: float = 0.0,
) -> Outcome:
    """The outcome of a test that has.

    Args:
        way: which.
        goodput: at the receiver, after the ramp.
        packets: that carried it.
        floor: to hold it against.
        cause: why it was not faster.
        acknowledgements: of data that flows the other way, which the way carries too; bit/s at the IP layer.
    """
    if goodput is None:
        return failed(way, ErrorReason.EMPTY, "fewer than two windows after the ramp", floor)
    ip_layer = goodput.scaled(packets.ip_layer(1.0)).raised(acknowledgements)
    verdict = None if floor is None else _verdict(goodput, ip_layer, floor, cause)
    return Outcome(way, verdict, floor, goodput, ip_layer, cause)


def _verdict(goodput: Rate, ip_layer: Rate, floor: Floor, cause: Cause | None) -> Verdict:
    """A floor that is met is met whatever was in the way; one that is missed counts where it was the path."""
    match _decision(goodput, ip_layer, floor):
        case Decision.MET:
            return Verdict.PASS
        case Decision.MISSED if cause is not None and cause.of_path:
            return Verdict.FAIL
        case _:
            return Verdict.INCONCLUSIVE


def _decision(goodput: Rate | None, ip_layer: Rate | None, floor: Floor) -> Decision:
    return decide(ip_layer if floor.layer is Layer.IP else goodput, floor.rate, floor.tolerance)
