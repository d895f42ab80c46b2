"""The Session-Sender's rules for the TLVs of a reply (RFC 8972, section 4).

A U that the reflector has left set: that TLV is not answered, and is skipped. M: nothing from there on is used. I, or
an HMAC that does not verify here: no TLV of the packet is used; the base packet still is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from agent.core.authentication import Keys
from agent.core.exceptions import MalformedTlv
from agent.core.stamp import Octets
from agent.core.tlv import HEADER_OCTETS, INTEGRITY, MALFORMED, UNRECOGNISED, scan
from agent.core.tlv_integrity import prove
from agent.core.tlv_values import TlvValue, parse_value


class TlvFault(StrEnum):
    """Why not all TLVs of a reply could be used."""

    MALFORMED_REQUEST = "malformed_request"
    """The reflector found ours malformed."""
    MALFORMED_REPLY = "malformed_reply"
    REFUSED_INTEGRITY = "refused_integrity"
    """The reflector could not verify our HMAC."""
    INTEGRITY = "integrity"
    """We could not verify the reflector's."""


class ReceivedTlvs(NamedTuple):
    """What the TLVs of a reply say.

    Attributes:
        values: those that are answered and known here, in their order.
        unrecognised: types that the reflector has not answered.
        fault: why there may be more.
    """

    values: tuple[TlvValue, ...] = ()
    unrecognised: tuple[int, ...] = ()
    fault: TlvFault | None = None


def receive(reply: Octets, sequence: int, keys: Keys = (), *, hmac_required: bool = False) -> ReceivedTlvs:
    """Read the TLVs of a reply; never raises, whatever the octets.

    Args:
        reply: what follows the base packet.
        sequence: the reflector's, of the base packet.
        keys: valid for the HMAC TLV; in authenticated mode the one that has signed the base packet.
        hmac_required: an HMAC was sent, or the mode is authenticated.
    """
    frames = tlvs, covered = scan(reply)
    cut_off = reply[covered] if covered < len(reply) else None  # the flags of a TLV that does not end
    if any(tlv.flags & INTEGRITY for tlv in tlvs) or (cut_off or 0) & INTEGRITY:
        return ReceivedTlvs(fault=TlvFault.REFUSED_INTEGRITY)
    if not prove(reply, frames, sequence, keys, required=hmac_required).intact:
        return ReceivedTlvs(fault=TlvFault.INTEGRITY)
    values: list[TlvValue] = []
    unrecognised: list[int] = []
    for start, flags, kind, end in tlvs:
        if flags & MALFORMED:
            return ReceivedTlvs(tuple(values), tuple(unrecognised), TlvFault.MALFORMED_REQUEST)
        if flags & UNRECOGNISED:
            unrecognised.append(kind)
            continue
        try:
            value = parse_value(kind, reply[start + HEADER_OCTETS : end])
        except MalformedTlv:
            return ReceivedTlvs(tuple(values), tuple(unrecognised), TlvFault.MALFORMED_REPLY)
        if value is not None:
            values.append(value)
    fault = None
    if cut_off is not None:
        fault = TlvFault.MALFORMED_REQUEST if cut_off & MALFORMED else TlvFault.MALFORMED_REPLY
    return ReceivedTlvs(tuple(values), tuple(unrecognised), fault)
