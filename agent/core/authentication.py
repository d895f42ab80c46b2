"""STAMP's authenticated mode: RFC 8762 sections 4.2.2, 4.3.2 and 4.4, with the SSID of RFC 8972 section 3.

The packets are those of `agent.core.stamp` in a wider frame, signed with HMAC-SHA-256 over octets 0 to 95, of which the
first 16 octets are kept. Nothing of a packet can be read here without a key that has signed it. There is no protection
against replay: RFC 8762 defines none.

Session-Sender, 112 octets (figure 3):           Session-Reflector, 112 octets (figure 6):

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |                        Sequence Number                        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  4 ~                        MBZ (12 octets)                        ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 16 |            Timestamp: T1 in a request, T3 in a reply          |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 24 |        Error Estimate         |             SSID              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 28 |         MBZ (68 octets) in a request, 4 in a reply            |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 32 |                      T2 Timestamp (reply)                     |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 40 ~                        MBZ (8 octets)                         ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 48 |             Session-Sender Sequence Number (reply)            |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 52 ~                        MBZ (12 octets)                        ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 64 |               Session-Sender Timestamp T1 (reply)             |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 72 | Session-Sender Error Estimate |        MBZ (6 octets)         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 80 |Ses-Sender TTL |              MBZ (15 octets)                  ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 96 ~                       HMAC (16 octets)                        ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from agent.core.exceptions import NotAuthentic, Truncated
from agent.core.stamp import Octets, ReflectorPacket, SenderPacket

AUTHENTICATED_OCTETS: Final = 112
DIGEST_OCTETS: Final = 16
MIN_KEY_OCTETS: Final = 16
MAX_KEYS: Final = 2
"""For one SSID: the one in use, and the one that comes or goes while keys are rotated."""

_SIGNED_OCTETS: Final = 96
_SENDER: Final = Struct(">I12xQHH68x16x")
_REFLECTOR: Final = Struct(">I12xQHH4xQ8xI12xQH6xB15x16x")
_TIMESTAMP: Final = Struct(">Q")
_TIMESTAMP_OFFSET: Final = 16
_SSID: Final = Struct(">H")
_SSID_OFFSET: Final = 26


@dataclass(frozen=True, slots=True)
class Key:
    """A shared secret; it is in no `repr`.

    Args:
        secret: 16 octets or more.

    Raises:
        ValueError: it is shorter; the message does not show it.
    """

    secret: bytes = field(repr=False)
    _keyed: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_KEY_OCTETS:
            raise ValueError(f"a key of {len(self.secret)} octets is too short: at least {MIN_KEY_OCTETS}")
        object.__setattr__(self, "_keyed", hmac.new(self.secret, digestmod="sha256"))

    def sign(self, octets: Octets) -> bytes:
        """HMAC-SHA-256, its first 16 octets (RFC 8762, section 4.4)."""
        # a copy of what the key has been worked into takes half the time of working it in anew
        signing = self._keyed.copy()
        signing.update(octets)
        return signing.digest()[:DIGEST_OCTETS]

    def has_signed(self, octets: Octets, digest: Octets) -> bool:
        """Whether `digest` is the signature of `octets`, in a time that does not tell where it differs."""
        return hmac.compare_digest(self.sign(octets), digest)


Keys = tuple[Key, ...]


class KeyRing:
    """The keys of all sessions.

    The first key of an SSID signs; all of them verify. A key is rotated without a gap in three steps on both ends: the
    new key is added behind the old one, then they change places, then the old one is removed.

    Args:
        by_ssid: one or two keys for each SSID that has its own.
        default: the keys of every other SSID; none: such packets are not authentic.
    """

    __slots__ = ("_by_ssid", "_default")

    def __init__(self, by_ssid: Mapping[int, Keys], default: Keys = ()) -> None:
        self._by_ssid = dict(by_ssid)
        self._default = default

    def __repr__(self) -> str:
        return f"KeyRing(ssids={sorted(self._by_ssid)}, default={bool(self._default)})"

    def keys(self, ssid: int) -> Keys:
        """Those that are valid for an SSID, the signing one first; empty where there is none."""
        return self._by_ssid.get(ssid, self._default)


def ssid_of(data: Octets) -> int:
    """The SSID of an authenticated packet, for choosing the keys to verify it with: all that may be read before.

    Raises:
        Truncated: fewer than 112 octets.
    """
    if len(data) < AUTHENTICATED_OCTETS:
        raise Truncated("an authenticated STAMP packet", AUTHENTICATED_OCTETS, len(data))
    ssid: int = _SSID.unpack_from(data, _SSID_OFFSET)[0]
    return ssid


def verify(data: Octets, keys: Iterable[Key]) -> Key:
    """The key that has signed a packet, of those that are valid for it.

    Raises:
        Truncated: fewer than 112 octets.
        NotAuthentic: none has.

    Source: RFC 8762, section 4.4.
    """
    if len(data) < AUTHENTICATED_OCTETS:
        raise Truncated("an authenticated STAMP packet", AUTHENTICATED_OCTETS, len(data))
    key = signer(data, keys)
    if key is None:
        raise NotAuthentic("no valid key has signed the packet")
    return key


def signer(data: Octets, keys: Iterable[Key]) -> Key | None:
    """The key that has signed 112 octets or more, of those that are valid for them; None: none has."""
    signed, digest = data[:_SIGNED_OCTETS], data[_SIGNED_OCTETS:AUTHENTICATED_OCTETS]
    for key in keys:
        if key.has_signed(signed, digest):
            return key
    return None


def seal(packet: bytearray | memoryview, key: Key) -> None:
    """Sign a base packet that is otherwise complete, in place."""
    packet[_SIGNED_OCTETS:AUTHENTICATED_OCTETS] = key.sign(packet[:_SIGNED_OCTETS])


def set_timestamp(packet: bytearray | memoryview, stamp: int, key: Key) -> None:
    """Write T1 or T3 into a packet that is otherwise complete, and sign it: as late before the send as can be."""
    _TIMESTAMP.pack_into(packet, _TIMESTAMP_OFFSET, stamp)
    seal(packet, key)


def lay_out_sender(packet: SenderPacket) -> bytes:
    """The 112 octets of a request, yet to be signed by `set_timestamp`."""
    return _SENDER.pack(*packet)


def serialise_sender(packet: SenderPacket, key: Key) -> bytearray:
    """The 112 octets of a request, signed."""
    return _sealed(lay_out_sender(packet), key)


def lay_out_reflector(packet: ReflectorPacket) -> bytearray:
    """The 112 octets of a reply, yet to be signed by `set_timestamp`."""
    return bytearray(_REFLECTOR.pack(*packet))


def serialise_reflector(packet: ReflectorPacket, key: Key) -> bytearray:
    """The 112 octets of a reply, signed."""
    return _sealed(_REFLECTOR.pack(*packet), key)


def parse_sender(data: Octets, keys: Iterable[Key]) -> tuple[SenderPacket, Key]:
    """Verify and read a request; octets beyond the base are not looked at.

    Returns:
        The packet, and the key that has signed it, which signs the reply.

    Raises:
        Truncated: fewer than 112 octets.
        NotAuthentic: none of the keys has signed it.

    Source: RFC 8762, section 4.2.2, figure 3.
    """
    key = verify(data, keys)
    return SenderPacket._make(_SENDER.unpack_from(data)), key


def parse_reflector(data: Octets, keys: Iterable[Key]) -> tuple[ReflectorPacket, Key]:
    """Verify and read a reply; octets beyond the base are not looked at, those that must be zero are ignored.

    Raises:
        Truncated: fewer than 112 octets.
        NotAuthentic: none of the keys has signed it.

    Source: RFC 8762, section 4.3.2, figure 6.
    """
    key = verify(data, keys)
    return ReflectorPacket._make(_REFLECTOR.unpack_from(data)), key


def _sealed(base: bytes, key: Key) -> bytearray:
    packet = bytearray(base)
    seal(packet, key)
    return packet
