"""Which requests claim to be of STAMP's authenticated mode, and whether a valid key has signed them.

Both modes share a port and no packet names its own (RFC 8762, section 4). Octets 4 to 15 tell them apart: an
authenticated sender must send zeros there, where an unauthenticated one has its timestamp and its Error Estimate,
whose multiplier must not be zero. So of a source that needs no key a packet with zeros there claims to be signed, and
any other is none. Of a source that is answered for its key alone every packet claims to be signed, whatever these
octets hold, for they are to be ignored on receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.authentication import AUTHENTICATED_OCTETS, Key, KeyRing, parse_sender, signer, ssid_of
from agent.core.interval import Flags
from agent.core.stamp import Octets, SenderPacket

_MBZ: Final = slice(4, 16)
_ZEROS: Final = bytes(12)
_SSID: Final = slice(26, 28)
_WHOLE: Final = f"V{AUTHENTICATED_OCTETS}"


class Signed(NamedTuple):
    """A request that a valid key has signed, and that key."""

    packet: SenderPacket
    key: Key


def claims(request: Octets, *, listed: bool) -> bool:
    """Whether a request claims to be signed.

    Args:
        request: the datagram's payload.
        listed: its source needs no key.
    """
    return len(request) >= AUTHENTICATED_OCTETS and not (listed and request[_MBZ] != _ZEROS)


def claims_of(packets: NDArray[np.uint8], octets: NDArray[Any], listed: Flags) -> Flags:
    """The same of many.

    Args:
        packets: (n, octets of the longest), of which `octets` (n,) are meant.
        listed: (n,).
    """
    claiming: Flags = octets >= AUTHENTICATED_OCTETS
    if claiming.any():
        claiming &= ~(listed & packets[:, _MBZ].any(axis=1))
    return claiming


def prove_all(packets: NDArray[np.uint8], rows: Sequence[int], ring: KeyRing) -> dict[int, Signed]:
    """Verify requests that claim to be signed.

    Args:
        packets: (n, octets of the longest).
        rows: which of them claim.

    Returns:
        Those that a valid key has signed, by row.
    """
    claimed = packets[rows, :AUTHENTICATED_OCTETS]
    ssids = np.ascontiguousarray(claimed[:, _SSID]).view(">u2")[:, 0].tolist()
    found: dict[int, Signed] = {}
    for row, ssid, request in zip(rows, ssids, claimed.view(_WHOLE)[:, 0].tolist(), strict=True):
        keys = ring.keys(ssid)
        # no exception here: a flood of forgeries would cost twice as much
        if signer(request, keys) is not None:
            found[row] = Signed(*parse_sender(request, keys))
    return found


def prove(request: Octets, ring: KeyRing) -> Signed:
    """Verify a request that claims to be signed, with the keys of its SSID.

    Raises:
        NotAuthentic: no valid key has signed it.
        Truncated: fewer than 112 octets.
    """
    return Signed(*parse_sender(request, ring.keys(ssid_of(request))))
