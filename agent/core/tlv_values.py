"""What STAMP's TLVs hold (RFC 8972, sections 4.1 to 4.8; RFC 9503, section 4).

Fields that are reserved are sent as zero and ignored on receipt. Numbers that a registry may extend stay numbers: an
unknown synchronisation source is no reason to refuse a reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Final, Self

from agent.core.exceptions import MalformedTlv
from agent.core.stamp import Octets
from agent.core.tlv import HEADER_OCTETS, TlvFields, TlvType, scan, serialise

HMAC_OCTETS: Final = 16


class SyncSource(IntEnum):
    """What a clock follows (RFC 8972, table 7)."""

    UNKNOWN = 0
    NTP = 1
    PTP = 2
    SSU_BITS = 3
    GNSS = 4
    LOCAL = 5


class TimestampMethod(IntEnum):
    """Who took a timestamp (RFC 8972, table 9)."""

    UNKNOWN = 0
    HARDWARE = 1
    SOFTWARE = 2
    CONTROL_PLANE = 3


class ReversePath(IntEnum):
    """RP of the Class of Service TLV: whether the reply is marked as was asked."""

    AS_REQUESTED = 0
    REFUSED = 1


class ReturnPathPart(IntEnum):
    """Sub-TLVs of the Return Path TLV (RFC 9503, table 2)."""

    CONTROL_CODE = 1
    RETURN_ADDRESS = 2
    MPLS_LABEL_STACK = 3
    SRV6_SEGMENT_LIST = 4


@dataclass(frozen=True, slots=True)
class ExtraPadding:
    """Octets that make a packet larger; pseudorandom, for links that compress (RFC 8972, section 4.1).

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                         Extra Padding                         ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """

    octets: bytes
    TYPE: ClassVar = TlvType.EXTRA_PADDING

    def serialise(self) -> bytes:
        """The value."""
        return self.octets

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Any octets are padding."""
        return cls(bytes(value))


_TIMESTAMP_INFORMATION: Final = Struct(">BBBB")


@dataclass(frozen=True, slots=True)
class TimestampInformation:
    """How the reflector's clock is kept and its T2 and T3 are taken (RFC 8972, section 4.3).

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Sync Src In  | Timestamp In  | Sync Src Out  | Timestamp Out |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        sync_in, sync_out: a `SyncSource`, of the clock of T2 and of T3.
        method_in, method_out: a `TimestampMethod`, of T2 and of T3.
    """

    sync_in: int = 0
    method_in: int = 0
    sync_out: int = 0
    method_out: int = 0
    TYPE: ClassVar = TlvType.TIMESTAMP_INFORMATION
    OCTETS: ClassVar = _TIMESTAMP_INFORMATION.size

    def serialise(self) -> bytes:
        """The value."""
        return _TIMESTAMP_INFORMATION.pack(self.sync_in, self.method_in, self.sync_out, self.method_out)

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: not 4 octets.
        """
        _require("a Timestamp Information TLV", value, cls.OCTETS)
        return cls(*_TIMESTAMP_INFORMATION.unpack(value))


_CLASS_OF_SERVICE: Final = Struct(">H2x")


@dataclass(frozen=True, slots=True)
class ClassOfService:
    """Marking asked for and marking that arrived (RFC 8972, section 4.4; erratum 8199 for the ECN).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |   DSCP1   |   DSCP2   |ECN| RP|            Reserved           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        dscp1: the sender's wish for the reply, 0 to 63.
        dscp2, ecn: with which the request reached the reflector.
        rp: a `ReversePath`.
    """

    dscp1: int
    dscp2: int = 0
    ecn: int = 0
    rp: int = 0
    TYPE: ClassVar = TlvType.CLASS_OF_SERVICE
    OCTETS: ClassVar = _CLASS_OF_SERVICE.size

    def serialise(self) -> bytes:
        """The value."""
        return _CLASS_OF_SERVICE.pack(self.dscp1 << 10 | self.dscp2 << 4 | self.ecn << 2 | self.rp)

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: not 4 octets.
        """
        _require("a Class of Service TLV", value, cls.OCTETS)
        (word,) = _CLASS_OF_SERVICE.unpack(value)
        return cls(word >> 10, word >> 4 & 0x3F, word >> 2 & 0x3, word & 0x3)


_DIRECT_MEASUREMENT: Final = Struct(">III")


@dataclass(frozen=True, slots=True)
class DirectMeasurement:
    """Packets of the session, counted at three places (RFC 8972, section 4.5).

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              Session-Sender Tx counter  (S_TxC)               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             Session-Reflector Rx counter (R_RxC)              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             Session-Reflector Tx counter (R_TxC)              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        sender_tx, reflector_rx, reflector_tx: counts modulo 2^32.
    """

    sender_tx: int
    reflector_rx: int = 0
    reflector_tx: int = 0
    TYPE: ClassVar = TlvType.DIRECT_MEASUREMENT
    OCTETS: ClassVar = _DIRECT_MEASUREMENT.size

    def serialise(self) -> bytes:
        """The value."""
        return _DIRECT_MEASUREMENT.pack(self.sender_tx, self.reflector_rx, self.reflector_tx)

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: not 12 octets.
        """
        _require("a Direct Measurement TLV", value, cls.OCTETS)
        return cls(*_DIRECT_MEASUREMENT.unpack(value))


_FOLLOW_UP_TELEMETRY: Final = Struct(">IQB3x")


@dataclass(frozen=True, slots=True)
class FollowUpTelemetry:
    """When the previous reply really left the reflector (RFC 8972, section 4.7; erratum 8339).

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                        Sequence Number                        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                      Follow-Up Timestamp                      |
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Timestamp M  |                   Reserved                    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        sequence: the reflector's number of that reply.
        timestamp: 64 bits in the reflector's format (its Z bit); 0 where nothing is known.
        method: a `TimestampMethod`.
    """

    sequence: int = 0
    timestamp: int = 0
    method: int = 0
    TYPE: ClassVar = TlvType.FOLLOW_UP_TELEMETRY
    OCTETS: ClassVar = _FOLLOW_UP_TELEMETRY.size

    def serialise(self) -> bytes:
        """The value."""
        return _FOLLOW_UP_TELEMETRY.pack(self.sequence, self.timestamp, self.method)

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: not 16 octets.
        """
        _require("a Follow-Up Telemetry TLV", value, cls.OCTETS)
        return cls(*_FOLLOW_UP_TELEMETRY.unpack(value))


@dataclass(frozen=True, slots=True)
class Hmac:
    """HMAC-SHA-256, its first 16 octets, over the sequence number and all TLVs before this (RFC 8972, section 4.8).

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                       HMAC, 16 octets                         ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """

    digest: bytes = bytes(HMAC_OCTETS)
    TYPE: ClassVar = TlvType.HMAC
    OCTETS: ClassVar = HMAC_OCTETS

    def serialise(self) -> bytes:
        """The value."""
        return self.digest

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: not 16 octets.
        """
        _require("an HMAC TLV", value, cls.OCTETS)
        return cls(bytes(value))


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """The way on which a reply is wished (RFC 9503, section 4): sub-TLVs, framed as TLVs are.

    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |STAMP TLV Flags|    Type=10    |            Length             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |STAMP TLV Flags|    Type=2     |        Length=4 or 16         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    ~                        Return Address                         ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        parts: the sub-TLVs, at least one.
    """

    parts: tuple[TlvFields, ...]
    TYPE: ClassVar = TlvType.RETURN_PATH

    def serialise(self) -> bytes:
        """The value."""
        return serialise(self.parts)

    @classmethod
    def parse(cls, value: Octets) -> Self:
        """Read the value.

        Raises:
            MalformedTlv: no sub-TLV, or one that does not end within the value.
        """
        tlvs, intact = scan(value)
        if not tlvs or intact != len(value):
            raise MalformedTlv(f"a Return Path TLV of {len(value)} octets does not hold whole sub-TLVs")
        return cls(
            tuple(
                TlvFields(kind, bytes(value[start + HEADER_OCTETS : end]), flags)
                for start, flags, kind, end in tlvs
            )
        )

    def leads_to(self, address: bytes) -> bool:
        """Whether it asks for nothing but a reply to `address` (4 or 16 octets)."""
        return all(
            part.type == ReturnPathPart.RETURN_ADDRESS and part.value == address for part in self.parts
        )


TlvValue = (
    ExtraPadding
    | TimestampInformation
    | ClassOfService
    | DirectMeasurement
    | FollowUpTelemetry
    | Hmac
    | ReturnPath
)

_KINDS: Final[dict[int, type[TlvValue]]] = {
    kind.TYPE: kind
    for kind in (
        ExtraPadding,
        TimestampInformation,
        ClassOfService,
        DirectMeasurement,
        FollowUpTelemetry,
        Hmac,
        ReturnPath,
    )
}


def parse_value(kind: int, value: Octets) -> TlvValue | None:
    """Read the value of a TLV of type `kind`; None where the type is not known here.

    Raises:
        MalformedTlv: the length is not that of the type.
    """
    known = _KINDS.get(kind)
    return None if known is None else known.parse(value)


def serialise_request(*values: TlvValue) -> bytes:
    """The TLVs of a request, U set as section 4 wants; an `Hmac` among them is yet to be sealed."""
    return serialise(TlvFields(value.TYPE, value.serialise()) for value in values)


def _require(name: str, value: Octets, octets: int) -> None:
    if len(value) != octets:
        raise MalformedTlv(f"{name} has {octets} octets, got {len(value)}")
