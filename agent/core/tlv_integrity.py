"""The HMAC TLV: whether the TLVs of a packet are what their sender sent (RFC 8972, section 4.8)."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from agent.core.authentication import Key, Keys
from agent.core.stamp import Octets
from agent.core.tlv import HEADER_OCTETS, Frames, TlvType
from agent.core.tlv_values import HMAC_OCTETS

_SEQUENCE: Final = Struct(">I")


class Proof(NamedTuple):
    """What the HMAC TLV proves.

    Attributes:
        intact: the TLVs may be used: an HMAC verifies, or there is none and none is needed.
        key: that has signed, None where there is no HMAC TLV.
        start: offset of the HMAC TLV, of use with a key only.
    """

    intact: bool
    key: Key | None = None
    start: int = 0


def prove(octets: Octets, frames: Frames, sequence: int, keys: Keys, *, required: bool) -> Proof:
    """Verify the HMAC TLV before anything is used.

    The HMAC TLV follows all others but Extra Padding; in another place, of another length, or where no key is known to
    verify it with, it counts as failed.

    Args:
        octets, frames: what `scan` was given, and what it found.
        sequence: of the base packet that carries the TLVs.
        keys: one of them must have signed.
        required: authenticated mode, or protection agreed on in unauthenticated mode. One TLV that is Extra Padding
            needs no HMAC even then; a TLV that is cut off does, for it may have been the HMAC.
    """
    tlvs, covered = frames
    kinds = [tlv.type for tlv in tlvs]
    if TlvType.HMAC not in kinds:
        harmless = covered == len(octets) and kinds in ([], [TlvType.EXTRA_PADDING])
        return Proof(harmless or not required)
    at = kinds.index(TlvType.HMAC)
    start, _, _, end = tlvs[at]
    if end - start != HEADER_OCTETS + HMAC_OCTETS or any(
        kind != TlvType.EXTRA_PADDING for kind in kinds[at + 1 :]
    ):
        return Proof(intact=False)
    signed, digest = _signed(octets, sequence, start), octets[start + HEADER_OCTETS : end]
    for key in keys:
        if key.has_signed(signed, digest):
            return Proof(intact=True, key=key, start=start)
    return Proof(intact=False)


def seal(octets: bytearray | memoryview, sequence: int, key: Key, start: int) -> None:
    """Sign TLVs in place.

    Args:
        octets: all TLVs of a packet.
        sequence: of the base packet that will carry them.
        start: offset of the HMAC TLV.
    """
    value = start + HEADER_OCTETS
    octets[value : value + HMAC_OCTETS] = key.sign(_signed(octets, sequence, start))


def _signed(octets: Octets, sequence: int, start: int) -> bytes:
    return b"".join((_SEQUENCE.pack(sequence), octets[:start]))
