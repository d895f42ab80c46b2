"""The STAMP Session-Reflector without its socket: a request and its times in, a reply out (RFC 8762, section 4.3;
RFC 8972)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core import authentication, metrics, twamp_light
from agent.core.admission import Verdict
from agent.core.authentication import Key, KeyRing, Keys
from agent.core.claims import Signed
from agent.core.interval import Flags, Integers
from agent.core.reflected_sessions import NOT_KNOWN, ReflectedSession, ReflectedSessions
from agent.core.stamp import (
    BASE_OCTETS,
    REFLECTOR_COLUMNS,
    SENDER_COLUMNS,
    Octets,
    ReflectorPacket,
    SenderPacket,
)
from agent.core.timestamps import ntp_from_ns
from agent.core.tlv_columns import ColumnsAbout, TlvLayouts
from agent.core.tlv_reflection import Circumstances, reflect
from agent.core.tlv_values import FollowUpTelemetry, TimestampInformation

_SSID: Final = Struct(">H")
SSID_COLUMN: Final = slice(14, 16)
"""Where a request of unauthenticated mode has its session identifier."""
_MBZ: Final = (slice(38, 40), slice(41, BASE_OCTETS))
_LOW_32: Final = 0xFFFF_FFFF
_SIGNED: Final = b"signed"
"""Marks the sessions of authenticated mode: who has no key must not move their numbers."""
_DSCPS: Final = 64
BEST_EFFORT: Final = 0


class ReflectorMode(StrEnum):
    """How replies are numbered: by the reflector's own count of the session, or with the sender's number."""

    STATEFUL = "stateful"
    STATELESS = "stateless"


class ReflectionResult(StrEnum):
    """What became of a datagram that reached the reflector: the `result` label.

    OVERFLOWED came faster than it was read, and the kernel had no room for it; OVER_BUDGET was read when the
    reflector had used up its CPU time.
    """

    REFLECTED = metrics.REFLECTED
    NOT_ALLOWED = Verdict.NOT_ALLOWED.value
    NOT_AUTHENTIC = Verdict.NOT_AUTHENTIC.value
    TOO_SHORT = Verdict.TOO_SHORT.value
    TOO_LONG = Verdict.TOO_LONG.value
    RATE_LIMITED = Verdict.RATE_LIMITED.value
    OVER_BUDGET = Verdict.OVER_BUDGET.value
    REFLECTOR = Verdict.REFLECTOR.value
    OVERFLOWED = "overflowed"
    SEND_FAILED = "send_failed"


class Taker(IntEnum):
    """Who took a receive time."""

    PROGRAM = 0
    KERNEL = 1
    CARD = 2


class Timestamping(NamedTuple):
    """How T2 and T3 are taken, by the `Taker` of T2."""

    by_program: TimestampInformation = TimestampInformation()
    by_kernel: TimestampInformation = TimestampInformation()
    by_card: TimestampInformation = TimestampInformation()


class Request(NamedTuple):
    """A request that has been admitted, and how it came.

    Attributes:
        payload: of the datagram.
        source, destination: where it came from and which of our addresses it reached, in any stable form.
        address: the source's, 4 or 16 octets.
        ttl: TTL or hop limit with which it arrived.
        traffic_class: DSCP and ECN with which it arrived.
        received: T2, in the format that the error estimate tells.
        error_estimate: the 16 bits for the reply.
        taker: of T2.
        light: a peer of TWAMP Light, whose requests may be shorter than the reply, and have no TLVs.
        signed: what `agent.core.claims` has verified; None in unauthenticated mode.
    """

    payload: Octets
    source: bytes
    destination: bytes
    address: bytes
    ttl: int
    traffic_class: int
    received: int
    error_estimate: int
    taker: Taker = Taker.KERNEL
    light: bool = False
    signed: Signed | None = None


class Reply(NamedTuple):
    """A reply but for T3.

    Attributes:
        octets: as many as the request had, but for peers of TWAMP Light.
        dscp: with which it is sent.
        key: signs it once T3 is written; None in unauthenticated mode.
        session, sequence: whose reply it is, and which, modulo nothing; None where nothing is remembered.
    """

    octets: bytearray
    dscp: int
    key: Key | None
    session: ReflectedSession | None
    sequence: int


class RequestColumns(NamedTuple):
    """Requests of unauthenticated mode that have been admitted: (n,) each, as of `Request`, unless said otherwise.

    Attributes:
        packets: (n, octets of the longest), turned into replies.
        octets: how many of each packet are meant.
        sources, destinations, addresses: (n, octets) each.
    """

    packets: NDArray[np.uint8]
    octets: NDArray[Any]
    sources: NDArray[np.uint8]
    destinations: NDArray[np.uint8]
    addresses: NDArray[np.uint8]
    ttls: Integers
    traffic_classes: Integers
    received: NDArray[np.uint64]
    error_estimates: NDArray[np.uint16]
    takers: Integers


class ReplyColumns(NamedTuple):
    """What else must be known to send replies: (n,) each.

    Attributes:
        dscps: with which each is sent.
        sessions, sequences: whose reply each is, and which; no sessions where nothing is remembered.
        waiting: the sessions of those replies whose time of leaving the next one tells; empty: of none.
    """

    dscps: Integers
    sessions: Sequence[ReflectedSession]
    sequences: Sequence[int]
    waiting: Sequence[ReflectedSession | None]


class Reflection:
    """Numbers and builds replies to requests that have been admitted.

    A session is what comes from one address with one SSID to one of ours, in one mode. Where there are more than
    `max_sessions`, one is forgotten that has not been used for long, and then starts again from 0: its sender cannot
    prove a direction of loss across that. Sessions of a single packet push out only each other.

    Args:
        mode: stateful or stateless.
        max_sessions: how many sessions are remembered.

    Attributes:
        keys: verify the HMAC TLV in unauthenticated mode; None: nobody has a key.
        timestamping: how T2 and T3 are taken.
    """

    def __init__(self, mode: ReflectorMode, max_sessions: int = 65_536) -> None:
        self.mode = mode
        self.max_sessions = max_sessions
        self.keys: KeyRing | None = None
        self.timestamping = Timestamping()
        self._markable: frozenset[int] = frozenset((BEST_EFFORT,))
        self._markable_column: Flags = np.arange(_DSCPS) == BEST_EFFORT
        self._sessions = ReflectedSessions(max_sessions)
        self._layouts = TlvLayouts()

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return len(self._sessions)

    def allow_markings(self, dscps: Iterable[int]) -> None:
        """Choose which DSCPs replies may carry besides best effort where a Class of Service TLV asks for one."""
        self._markable = frozenset((BEST_EFFORT, *dscps))
        self._markable_column = np.isin(np.arange(_DSCPS), sorted(self._markable))

    def reply(self, request: Request) -> Reply:
        """The reply to a request: as long as the request, its TLVs answered.

        Raises:
            Truncated: fewer octets than a request needs: answering more than was asked would amplify.
        """
        payload, signed = request.payload, request.signed
        key = None
        if signed is not None:
            packet, key = signed
        elif request.light:
            packet = twamp_light.parse_request(payload)
        else:
            packet = SenderPacket.parse(payload)
        session, own = None, packet.sequence
        if self.mode is ReflectorMode.STATEFUL:
            mark = b"" if key is None else _SIGNED
            session = self._sessions.of(
                b"".join((request.source, request.destination, _SSID.pack(packet.ssid), mark))
            )
            own = session.count()
        base = ReflectorPacket(
            own & _LOW_32,
            0,
            request.error_estimate,
            packet.ssid,
            request.received,
            packet.sequence,
            packet.timestamp,
            packet.error_estimate,
            request.ttl,
        )
        if request.light:
            return Reply(twamp_light.serialise_reply(base, payload), BEST_EFFORT, None, session, own)
        reply = bytearray(base.serialise() if key is None else authentication.lay_out_reflector(base))
        dscp = BEST_EFFORT
        if len(payload) > len(reply):
            about = self._about(
                packet.sequence,
                packet.ssid,
                session,
                own,
                request.address,
                request.traffic_class,
                taker=request.taker,
                key=key,
            )
            tlvs = reflect(payload[len(reply) :], about)
            reply += tlvs.octets
            if tlvs.dscp in self._markable:
                dscp = tlvs.dscp
        return Reply(reply, dscp, key, session, own)

    def reply_all(self, requests: RequestColumns) -> ReplyColumns:
        """Turn requests into replies in place, as `reply` does."""
        packets = requests.packets
        sessions: list[ReflectedSession] | None = None
        base = packets[:, :BASE_OCTETS]
        asked, replies = base.view(SENDER_COLUMNS)[:, 0], base.view(REFLECTOR_COLUMNS)[:, 0]
        if self.mode is ReflectorMode.STATEFUL:
            keys = np.concatenate((requests.sources, requests.destinations, packets[:, SSID_COLUMN]), axis=1)
            sessions = list(map(self._sessions.of, keys.view(f"V{keys.shape[1]}")[:, 0].tolist()))
            own = [session.count() for session in sessions]
        else:
            own = asked["sequence"].tolist()
        sequences = np.array(own, np.int64)
        replies["sender_sequence"] = asked["sequence"]
        replies["sender_timestamp"] = asked["timestamp"]
        replies["sender_error_estimate"] = asked["error_estimate"]
        replies["sender_ttl"] = requests.ttls
        replies["receive_timestamp"] = requests.received
        replies["error_estimate"] = requests.error_estimates
        replies["sequence"] = sequences & _LOW_32
        replies["timestamp"] = 0
        for zero in _MBZ:
            packets[:, zero] = 0
        dscps = np.zeros(len(packets), np.int64)
        waiting: Sequence[ReflectedSession | None] = ()
        if requests.octets.max() > BASE_OCTETS:
            waiting = self._answer_tlvs(requests, sequences, sessions, dscps)
        return ReplyColumns(dscps, sessions or (), own, waiting)

    def _answer_tlvs(
        self,
        requests: RequestColumns,
        sequences: Integers,
        sessions: Sequence[ReflectedSession] | None,
        dscps: Integers,
    ) -> Sequence[ReflectedSession | None]:
        """Answer the TLVs behind base packets that are replies already; `dscps` are those of the replies, written here.

        Returns:
            The sessions that wait to know when their replies left; empty: none.
        """
        packets, octets = requests.packets, requests.octets
        about = ColumnsAbout(
            sequences,
            sessions,
            requests.traffic_classes >> 2,
            requests.traffic_classes & 0x3,
            self._markable_column,
            requests.takers,
            self.timestamping,
        )
        followed = np.zeros(len(packets), np.bool_)
        for layout, rows in self._layouts.sort(packets, BASE_OCTETS, octets):
            if layout is not None:
                layout.answer(packets, BASE_OCTETS, rows, about, dscps)
                followed[rows] = layout.follows_up
                continue
            followed[rows] = True
            for row in rows.tolist():
                whole = packets[row, : octets[row]]
                base = ReflectorPacket.parse(whole.data)
                circumstances = self._about(
                    base.sender_sequence,
                    base.ssid,
                    None if sessions is None else sessions[row],
                    int(sequences[row]),
                    requests.addresses[row].tobytes(),
                    int(requests.traffic_classes[row]),
                    taker=int(requests.takers[row]),
                )
                tlvs = reflect(whole[BASE_OCTETS:].tobytes(), circumstances)
                whole[BASE_OCTETS:] = np.frombuffer(tlvs.octets, np.uint8)
                dscps[row] = tlvs.dscp or BEST_EFFORT
        dscps[~self._markable_column[dscps]] = BEST_EFFORT
        if sessions is None or not followed.any():
            return ()
        return [
            session if waits else None for session, waits in zip(sessions, followed.tolist(), strict=True)
        ]

    def _about(
        self,
        asked: int,
        ssid: int,
        session: ReflectedSession | None,
        own: int,
        address: bytes,
        traffic_class: int,
        *,
        taker: int,
        key: Key | None = None,
    ) -> Circumstances:
        """What the TLVs of one reply depend on; its request is number `asked` of its sender's, itself it is `own`."""
        counters = previous = None
        if session is not None:
            counters = own + 1, session.sent(own)
            left_ns = session.left_before(own)
            if left_ns != NOT_KNOWN:
                previous = FollowUpTelemetry((own - 1) & _LOW_32, ntp_from_ns(left_ns), session.left_by)
        keys: Keys = () if self.keys is None else self.keys.keys(ssid)
        return Circumstances(
            address,
            asked,
            own & _LOW_32,
            traffic_class >> 2,
            traffic_class & 0x3,
            self._markable,
            self.timestamping[taker],
            counters,
            previous,
            keys if key is None else (key,),
            hmac_required=key is not None,
        )
