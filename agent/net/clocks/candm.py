"""chronyd's command and monitoring protocol, version 6: the TRACKING request and its reply, as bytes.

    request, padded to the length of the reply so that it amplifies nothing:
    version(1)=6 type(1)=1 res(2) command(2)=33 attempt(2) sequence(4) pad(8), 84 octets of zero

    reply: version(1)=6 type(1)=2 res(2) command(2)=33 reply(2)=5 status(2) pad(6) sequence(4) pad(8), and from 28:
    ref_id(4) address(16) family(2) pad(2) stratum(2) leap(2) ref_time(12: seconds high, low, ns)
    then nine floats: current_correction last_offset rms_offset freq_ppm resid_freq_ppm skew_ppm root_delay
    root_dispersion last_update_interval

A float has a signed exponent of 7 bits and a signed coefficient of 25: coefficient * 2^(exponent - 25).

Source: chrony's candm.h, cmdmon.c (`handle_tracking`), util.c (`UTI_FloatNetworkToHost`), pktlength.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Self

from agent.core.exceptions import WireError

VERSION: Final = 6
REQUEST: Final = 1
REPLY: Final = 2
TRACKING_REQUEST: Final = 33
TRACKING_REPLY: Final = 5
TRACKING_OCTETS: Final = 104
LEAP_UNSYNCHRONISED: Final = 3
LOCAL_REFERENCE: Final = 0x7F7F_0101
"""The reference id 127.127.1.1 of a chronyd that serves its own time (`local`)."""

STATUSES: Final = {
    1: "failed",
    2: "not authorised",
    3: "invalid request",
    6: "not enabled",
    18: "another protocol version",
    19: "wrong packet length",
}

_REQUEST_HEAD: Final = struct.Struct(">BBHHHIQ")
_REPLY_HEAD: Final = struct.Struct(">BBHHHHHHHIII")
_TRACKING: Final = struct.Struct(">I16sHHHHIII9I")
_NO_HIGH_SECONDS: Final = 0x7FFF_FFFF
_COEFFICIENT_BITS: Final = 25


class MalformedAnswer(WireError):
    """What came back is no TRACKING reply to our request."""


def tracking_request(sequence: int) -> bytes:
    """A TRACKING request; `sequence` is any 32 bits, which the reply copies."""
    head = _REQUEST_HEAD.pack(VERSION, REQUEST, 0, TRACKING_REQUEST, 0, sequence, 0)
    return head.ljust(TRACKING_OCTETS, b"\0")


@dataclass(frozen=True, slots=True)
class Tracking:
    """What chronyd says of its reference; times in seconds, exactly as on the wire and no nearer to zero than they
    were before they were rounded to it.

    Attributes:
        reference_id: of the source that is followed.
        stratum: 0 where there is none.
        leap: 0 to 2; 3: not synchronised.
        updated_ns: Unix wall time of the last update of the clock.
        correction: how far the system clock is from what chronyd takes for true, still to be slewed away.
        residual_ppm, skew_ppm: how far the frequency is off what it should be, and how well it is known.
        root_delay, root_dispersion: of the way to the primary reference.
        update_interval: between the last two updates of the clock.
    """

    reference_id: int
    stratum: int
    leap: int
    updated_ns: int
    correction: Fraction
    residual_ppm: Fraction
    skew_ppm: Fraction
    root_delay: Fraction
    root_dispersion: Fraction
    update_interval: Fraction

    @classmethod
    def parse(cls, data: bytes, sequence: int) -> Self:
        """Parse a reply.

        Args:
            data: UDP payload.
            sequence: of the request.

        Raises:
            MalformedAnswer: it is too short, of another kind, answers something else, or refuses.
        """
        if len(data) < _REPLY_HEAD.size:
            raise MalformedAnswer(f"{len(data)} octets, a reply has at least {_REPLY_HEAD.size}")
        version, kind, _, command, reply, status, _, _, _, echoed, _, _ = _REPLY_HEAD.unpack_from(data)
        if (kind, command, echoed) != (REPLY, TRACKING_REQUEST, sequence):
            raise MalformedAnswer("no reply to our request")
        if status:
            raise MalformedAnswer(f"refused: {STATUSES.get(status, f'status {status}')}")
        if version != VERSION or reply != TRACKING_REPLY:
            raise MalformedAnswer(
                f"protocol version {version}, reply {reply}, known is {VERSION}, {TRACKING_REPLY}"
            )
        if len(data) < TRACKING_OCTETS:
            raise MalformedAnswer(f"{len(data)} octets, a tracking reply has {TRACKING_OCTETS}")
        identifier, _, _, _, stratum, leap, high, low, nanos, *floats = _TRACKING.unpack_from(
            data, _REPLY_HEAD.size
        )
        correction, _, _, _, residual, skew, delay, dispersion, interval = map(_float, floats)
        seconds = (0 if high == _NO_HIGH_SECONDS else high) << 32 | low
        updated_ns = seconds * 1_000_000_000 + min(nanos, 999_999_999)
        return cls(
            identifier, stratum, leap, updated_ns, correction, residual, skew, delay, dispersion, interval
        )


def _float(word: int) -> Fraction:
    """A float, away from zero by the half unit that rounding may have taken from it."""
    exponent, coefficient = word >> _COEFFICIENT_BITS, word & ((1 << _COEFFICIENT_BITS) - 1)
    if exponent >= 1 << 6:
        exponent -= 1 << 7
    if coefficient >= 1 << (_COEFFICIENT_BITS - 1):
        coefficient -= 1 << _COEFFICIENT_BITS
    half = Fraction((coefficient > 0) - (coefficient < 0), 2)
    return (coefficient + half) * Fraction(2) ** (exponent - _COEFFICIENT_BITS)
