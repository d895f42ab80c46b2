"""A session that asks for more than times: signed, marked, of a chosen size, or with TLVs; packet by packet.

A request is drafted before it is due, and finished as it leaves: T1, the count of packets sent, and what signs both.

    base packet, 44 octets or signed 112 | Follow-Up Telemetry | Timestamp Information | Class of Service |
    Direct Measurement | HMAC (of a signed session) | Extra Padding

The HMAC comes after all TLVs but the padding, which needs none (RFC 8972, section 4.8).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from agent.core import authentication, stamp, tlv_integrity
from agent.core.authentication import AUTHENTICATED_OCTETS, Keys, lay_out_sender
from agent.core.exceptions import Truncated
from agent.core.outcome import Direction
from agent.core.session_report import Marking, SessionReport
from agent.core.stamp import BASE_OCTETS, ReflectorPacket, SenderPacket
from agent.core.tlv import HEADER_OCTETS, TlvType
from agent.core.tlv_reception import receive
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    Hmac,
    ReversePath,
    TimestampInformation,
    TlvValue,
    serialise_request,
)
from agent.core.twamp_light import REPLY_OCTETS

_COUNT: Final = Struct(">I")
_SEQUENCE: Final = Struct(">I")
_LOW_32: Final = 0xFFFF_FFFF
_CONGESTION_EXPERIENCED: Final = 3


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a session asks for, and how its packets are marked.

    Attributes:
        follow_up: to be told with each reply when the one before really left.
        timestamp_information: how the reflector's clock is kept and its times are taken.
        class_of_service: with which marking requests arrive, and that replies have it too.
        direct_measurement: how many packets the reflector has received and sent.
        dscp, ecn: with which requests leave.
        octets: of a request's UDP payload; None: as few as it takes.
    """

    follow_up: bool = False
    timestamp_information: bool = False
    class_of_service: bool = False
    direct_measurement: bool = False
    dscp: int = 0
    ecn: int = 0
    octets: int | None = None

    def values(self, *, signed: bool) -> list[TlvValue]:
        """The TLVs of a request but for the padding."""
        asked: list[TlvValue] = []
        if self.follow_up:
            asked.append(FollowUpTelemetry())
        if self.timestamp_information:
            asked.append(TimestampInformation())
        if self.class_of_service:
            asked.append(ClassOfService(self.dscp))
        if self.direct_measurement:
            asked.append(DirectMeasurement(0))
        if signed and asked:
            asked.append(Hmac())
        return asked

    def least_octets(self, *, signed: bool) -> int:
        """What a request takes without padding; one of another size takes at least a TLV header more."""
        base = AUTHENTICATED_OCTETS if signed else BASE_OCTETS
        return base + len(serialise_request(*self.values(signed=signed)))

    def fits(self, *, signed: bool) -> bool:
        """Whether requests can have the size that is asked for."""
        spare = 0 if self.octets is None else self.octets - self.least_octets(signed=signed)
        return spare == 0 or spare >= HEADER_OCTETS


class ExtendedReply(NamedTuple):
    """What a reply says.

    Attributes:
        packet: its base.
        told: what it says of the reply before it; None: nothing.
    """

    packet: ReflectorPacket
    told: FollowUpTelemetry | None


class ExtendedSession:
    """One session, its requests and its replies.

    Args:
        ssid: its identifier.
        extensions: what it asks for; its size must fit.
        keys: the first one signs, all verify; empty: unauthenticated mode.
        report: takes what replies tell besides times.
        random_octets: gives so many octets of padding.

    Attributes:
        ssid, extensions, keys: as given; the keys may be replaced by others while they are rotated.
    """

    def __init__(
        self,
        ssid: int,
        extensions: Extensions,
        keys: Keys,
        report: SessionReport,
        random_octets: Callable[[int], bytes] = random.randbytes,
    ) -> None:
        self.ssid = ssid
        self.extensions = extensions
        self.keys = keys
        self._report = report
        self._signed = bool(keys)
        self._sent = 0
        self._base_octets = AUTHENTICATED_OCTETS if keys else BASE_OCTETS
        tlvs, places = b"", {}
        for value in extensions.values(signed=self._signed):
            places[value.TYPE] = len(tlvs)
            tlvs += serialise_request(value)
        if extensions.octets is not None and (spare := extensions.octets - self._base_octets - len(tlvs)):
            tlvs += serialise_request(ExtraPadding(random_octets(spare - HEADER_OCTETS)))
        self._tlvs: Final = tlvs
        self._hmac_at: Final = places.get(TlvType.HMAC)
        self._direct_at: Final = places.get(TlvType.DIRECT_MEASUREMENT)

    def draft(self, sequence: int, error_estimate: int) -> bytes:
        """A request without T1, counts and signatures; the sequence number is the low 32 bits of `sequence`."""
        base = SenderPacket(sequence & _LOW_32, 0, error_estimate, self.ssid)
        return (lay_out_sender(base) if self._signed else base.serialise()) + self._tlvs

    def finish(self, request: memoryview, timestamp: int) -> None:
        """Write into a draft that is about to leave what could not be known before.

        Args:
            request: the draft, written to.
            timestamp: T1, 64 bits.
        """
        tlvs = request[self._base_octets :]
        self._sent += 1
        if self._direct_at is not None:
            _COUNT.pack_into(tlvs, self._direct_at + HEADER_OCTETS, self._sent & _LOW_32)
        if not self._signed:
            stamp.set_timestamp(request, timestamp)
            return
        key = self.keys[0]
        authentication.set_timestamp(request, timestamp, key)
        if self._hmac_at is not None:
            (sequence,) = _SEQUENCE.unpack_from(request)
            tlv_integrity.seal(tlvs, sequence, key, self._hmac_at)

    def read(self, reply: bytes, traffic_class: int | None) -> ExtendedReply:
        """Read a reply, and note in the report what it tells besides times.

        Args:
            reply: UDP payload.
            traffic_class: DSCP and ECN with which it arrived, where that is known.

        Raises:
            NotAuthentic: the session is signed, and none of its keys has signed the reply.
            Truncated: it is too short to be one.
        """
        if self._signed:
            packet, key = authentication.parse_reflector(reply, self.keys)
            tlvs = receive(reply[AUTHENTICATED_OCTETS:], packet.sequence, (key,), hmac_required=True)
        else:
            if len(reply) < REPLY_OCTETS:
                raise Truncated("a STAMP reflector packet", REPLY_OCTETS, len(reply))
            # all that follows the last field of a shorter one is zero by the protocol
            packet = ReflectorPacket.parse(reply.ljust(BASE_OCTETS, b"\0"))
            tlvs = receive(reply[BASE_OCTETS:], packet.sequence)
        report = self._report
        report.unanswered = report.unanswered.union(tlvs.unrecognised)
        if tlvs.fault is not None:
            report.faults[tlvs.fault] += 1
        told = None
        for value in tlvs.values:
            match value:
                case FollowUpTelemetry():
                    told = value
                case TimestampInformation():
                    report.timestamping = value
                case DirectMeasurement():
                    report.direct = value
                case ClassOfService():
                    self._compare(value, traffic_class)
        return ExtendedReply(packet, told)

    def _compare(self, said: ClassOfService, traffic_class: int | None) -> None:
        """Count a request, and its reply, that arrived with another marking than they left with."""
        asked, remarked = self.extensions, self._report.remarked
        if said.dscp2 != asked.dscp:
            remarked[Direction.FORWARD, Marking.DSCP] += 1
        if said.ecn != asked.ecn:
            congested = asked.ecn != 0 and said.ecn == _CONGESTION_EXPERIENCED
            remarked[Direction.FORWARD, Marking.CONGESTION if congested else Marking.ECN] += 1
        if traffic_class is None or said.rp != ReversePath.AS_REQUESTED:
            return
        if traffic_class >> 2 != said.dscp1:
            remarked[Direction.REVERSE, Marking.DSCP] += 1
