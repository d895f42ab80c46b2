"""The Session-Reflector's rules for TLVs: those of a request in, those of the reply out, as long (RFC 8972, section 4).

    type not known                            echoed, U=1; the others are answered
    known and answered                        U=0
    length wrong for the type or the packet   M=1, nothing behind it is looked at, the rest is a copy
    HMAC wrong, misplaced, or missing         everything is echoed with I=1

A Return Path TLV (type 10) that would lead the reply elsewhere is refused: whoever can spoof a source could otherwise
aim our replies at a third party. RFC 9503, section 4, has U=1 for a Return Path that is known but cannot be used, and
the reply goes to where the request came from.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from struct import Struct
from typing import Final, NamedTuple

from agent.core.authentication import Keys
from agent.core.exceptions import MalformedTlv
from agent.core.stamp import Octets
from agent.core.tlv import (
    HEADER_OCTETS,
    INTEGRITY,
    MALFORMED,
    UNRECOGNISED,
    Frame,
    TlvType,
    scan,
)
from agent.core.tlv_integrity import prove, seal
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    FollowUpTelemetry,
    ReturnPath,
    ReversePath,
    TimestampInformation,
)

_FOLLOW_UP_ZEROED: Final = 12
_COUNTERS: Final = Struct(">II")
_COUNTERS_OFFSET: Final = 4
_LOW_32: Final = 0xFFFF_FFFF


class Circumstances(NamedTuple):
    """What a reply's TLVs depend on besides the request's.

    Attributes:
        source: address of the sender, 4 or 16 octets.
        request_sequence, reply_sequence: of the two base packets.
        dscp, ecn: with which the request arrived.
        markable: DSCPs that local policy and our socket allow a reply to carry.
        timestamping: how T2 and T3 of this reply are taken.
        counters: packets received and sent in this session, the request and the reply included; None if stateless.
        previous: the last reply of this session, once its transmit time is known; None if stateless.
        keys: valid for the TLVs' HMAC; in authenticated mode the one that has signed the base packet.
        hmac_required: authenticated mode, or protection agreed on in unauthenticated mode.
    """

    source: bytes
    request_sequence: int
    reply_sequence: int
    dscp: int
    ecn: int
    markable: Container[int]
    timestamping: TimestampInformation
    counters: tuple[int, int] | None = None
    previous: FollowUpTelemetry | None = None
    keys: Keys = ()
    hmac_required: bool = False


class ReflectedTlvs(NamedTuple):
    """The TLVs of a reply.

    Attributes:
        octets: as many as the request had.
        dscp: with which the reply must be sent; None where the request does not say.
        intact: False where the HMAC of the request failed.
    """

    octets: bytearray
    dscp: int | None
    intact: bool


def reflect(request: Octets, about: Circumstances) -> ReflectedTlvs:
    """Answer the TLVs of a request; never raises, whatever the octets.

    Args:
        request: what follows the base packet.
        about: the rest that is known.

    Source: RFC 8972, section 4, errata 8199 and 8339; RFC 9503, section 4.
    """
    octets = bytearray(request)
    frames = tlvs, covered = scan(octets)
    proof = prove(octets, frames, about.request_sequence, about.keys, required=about.hmac_required)
    if covered < len(octets):
        octets[covered] |= MALFORMED
    if not proof.intact:
        for start, flags, _, _ in tlvs:
            octets[start] = flags | INTEGRITY
        if covered < len(octets):
            octets[covered] |= INTEGRITY
        return ReflectedTlvs(octets, None, intact=False)
    reflection = _Reflection(octets, about)
    for tlv in tlvs:
        flags = reflection.answer(tlv)
        octets[tlv.start] = flags
        if flags & MALFORMED:
            break
    if proof.key is not None:
        # Also behind a malformed TLV, where the rest is a copy: a signature of other octets would say tampering.
        octets[proof.start] = 0
        seal(octets, about.reply_sequence, proof.key, proof.start)
    return ReflectedTlvs(octets, reflection.dscp, intact=True)


class _Reflection:
    """One reply in the making: what `answer` writes, and what the TLVs want of the packet."""

    __slots__ = ("_about", "_octets", "_return_path_seen", "dscp")

    def __init__(self, octets: bytearray, about: Circumstances) -> None:
        self.dscp: int | None = None
        self._octets = octets
        self._about = about
        self._return_path_seen = False

    def answer(self, tlv: Frame) -> int:
        """Fill in one TLV in place; the flags that it gets."""
        known = _KNOWN.get(tlv.type)
        if known is None:
            return UNRECOGNISED
        octets, answer = known
        start = tlv.start + HEADER_OCTETS
        if octets is not None and tlv.end - start != octets:
            if tlv.type == TlvType.FOLLOW_UP_TELEMETRY:
                # Section 4.7: an invalid length zeroes what there is of sequence number and timestamp.
                end = min(tlv.end, start + _FOLLOW_UP_ZEROED)
                self._octets[start:end] = bytes(end - start)
            return MALFORMED
        return 0 if answer(self, start, tlv.end) else UNRECOGNISED

    def _copied(self, start: int, end: int) -> bool:
        return True

    def _timestamping(self, start: int, end: int) -> bool:
        self._octets[start:end] = self._about.timestamping.serialise()
        return True

    def _class_of_service(self, start: int, end: int) -> bool:
        """Section 4.4: the first TLV decides how the reply is marked; a wish that is not met has RP=1."""
        about = self._about
        wish = self._octets[start] >> 2
        if self.dscp is None:
            self.dscp = wish if wish in about.markable else about.dscp
            refused = wish not in about.markable
        else:
            refused = wish != self.dscp
        rp = ReversePath.REFUSED if refused else ReversePath.AS_REQUESTED
        self._octets[start:end] = ClassOfService(wish, about.dscp, about.ecn, rp).serialise()
        return True

    def _direct_measurement(self, start: int, end: int) -> bool:
        """Section 4.5; without counters it is not answered, for a zero would be read as loss."""
        counters = self._about.counters
        if counters is None:
            return False
        received, sent = counters
        _COUNTERS.pack_into(self._octets, start + _COUNTERS_OFFSET, received & _LOW_32, sent & _LOW_32)
        return True

    def _follow_up(self, start: int, end: int) -> bool:
        self._octets[start:end] = (self._about.previous or _NOTHING_PREVIOUS).serialise()
        return True

    def _return_path(self, start: int, end: int) -> bool:
        """RFC 9503, section 4: only the first is looked at; the rest, and what we do not obey, keeps U=1."""
        if self._return_path_seen:
            return False
        self._return_path_seen = True
        try:
            path = ReturnPath.parse(self._octets[start:end])
        except MalformedTlv:
            return False
        if not path.leads_to(self._about.source):
            return False
        answered = ReturnPath(tuple(part._replace(flags=0) for part in path.parts))
        self._octets[start:end] = answered.serialise()
        return True


_NOTHING_PREVIOUS: Final = FollowUpTelemetry()
_Answer = Callable[[_Reflection, int, int], bool]
_KNOWN: Final[dict[int, tuple[int | None, _Answer]]] = {
    TlvType.EXTRA_PADDING: (None, _Reflection._copied),
    TlvType.TIMESTAMP_INFORMATION: (TimestampInformation.OCTETS, _Reflection._timestamping),
    TlvType.CLASS_OF_SERVICE: (ClassOfService.OCTETS, _Reflection._class_of_service),
    TlvType.DIRECT_MEASUREMENT: (DirectMeasurement.OCTETS, _Reflection._direct_measurement),
    TlvType.FOLLOW_UP_TELEMETRY: (FollowUpTelemetry.OCTETS, _Reflection._follow_up),
    TlvType.HMAC: (None, _Reflection._copied),
    TlvType.RETURN_PATH: (None, _Reflection._return_path),
}
