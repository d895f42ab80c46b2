"""The STAMP Session-Reflector without its socket: a request and its times in, a reply out (RFC 8762, section 4.3)."""

from __future__ import annotations

from enum import StrEnum
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core import twamp_light
from agent.core.admission import Verdict
from agent.core.interval import Integers
from agent.core.remembered import Remembered
from agent.core.stamp import (
    BASE_OCTETS,
    REFLECTOR_COLUMNS,
    SENDER_COLUMNS,
    Octets,
    ReflectorPacket,
    SenderPacket,
)

_SSID: Final = Struct(">H")
_SSID_COLUMN: Final = slice(14, 16)
_MBZ: Final = (slice(38, 40), slice(41, BASE_OCTETS))
_LOW_32: Final = 0xFFFF_FFFF


class ReflectorMode(StrEnum):
    """How replies are numbered: by the reflector's own count of the session, or with the sender's number."""

    STATEFUL = "stateful"
    STATELESS = "stateless"


class ReflectionResult(StrEnum):
    """What became of a datagram that reached the reflector: the `result` label.

    OVERFLOWED came faster than it was read, and the kernel had no room for it; OVER_BUDGET was read when the
    reflector had used up its CPU time.
    """

    REFLECTED = "reflected"
    NOT_ALLOWED = Verdict.NOT_ALLOWED.value
    TOO_SHORT = Verdict.TOO_SHORT.value
    TOO_LONG = Verdict.TOO_LONG.value
    RATE_LIMITED = Verdict.RATE_LIMITED.value
    OVER_BUDGET = Verdict.OVER_BUDGET.value
    REFLECTOR = Verdict.REFLECTOR.value
    OVERFLOWED = "overflowed"
    SEND_FAILED = "send_failed"


class _Session:
    """What a stateful reflector knows of a session."""

    __slots__ = ("next_sequence",)

    def __init__(self) -> None:
        self.next_sequence = 0


class Reflection:
    """Numbers and builds replies to requests that have been admitted.

    A session is what comes from one address with one SSID to one of ours. Where there are more than `max_sessions`,
    one is forgotten that has not been used for long, and then starts again from 0: its sender cannot prove a direction
    of loss across that. Sessions of a single packet push out only each other.

    Args:
        mode: stateful or stateless.
        max_sessions: how many sessions are remembered.
    """

    def __init__(self, mode: ReflectorMode, max_sessions: int = 65_536) -> None:
        self.mode = mode
        self.max_sessions = max_sessions
        self._sessions: Remembered[bytes, _Session] = Remembered(max_sessions)

    @property
    def sessions(self) -> int:
        """How many sessions are remembered."""
        return len(self._sessions)

    def reply(
        self,
        request: Octets,
        source: bytes,
        destination: bytes,
        ttl: int,
        t2_wire: int,
        error_estimate: int,
        *,
        light: bool = False,
    ) -> bytearray:
        """The reply to a request, but for T3: as long as the request, octets beyond the base copied.

        Args:
            request: the datagram's payload.
            source, destination: where it came from and which of our addresses it reached, in any stable form.
            ttl: TTL or hop limit with which it arrived.
            t2_wire: receive time, in the format that the error estimate tells.
            error_estimate: the 16 bits for this reply.
            light: a peer of TWAMP Light, whose requests may be shorter than the reply.

        Raises:
            Truncated: fewer octets than a request needs: answering more than was asked would amplify.
        """
        packet = twamp_light.parse_request(request) if light else SenderPacket.parse(request)
        sequence, t1_wire, sender_estimate, ssid = packet
        own = sequence
        if self.mode is ReflectorMode.STATEFUL:
            own = self._count(source + destination + _SSID.pack(ssid))
        answer = ReflectorPacket(
            own, 0, error_estimate, ssid, t2_wire, sequence, t1_wire, sender_estimate, ttl
        )
        if light:
            return twamp_light.serialise_reply(answer, request)
        reply = bytearray(request)
        reply[:BASE_OCTETS] = answer.serialise()
        return reply

    def reply_all(
        self,
        packets: NDArray[np.uint8],
        sources: NDArray[np.uint8],
        destinations: NDArray[np.uint8],
        ttls: Integers,
        t2_wire: NDArray[np.uint64],
        error_estimates: NDArray[np.uint16] | int,
    ) -> None:
        """Turn requests into replies in place, as `reply` does.

        Args:
            packets: (n, 44 octets or more), requests; what is beyond the base is left as it is.
            sources, destinations: (n, octets) each.
            ttls, t2_wire, error_estimates: (n,) each.
        """
        base = packets[:, :BASE_OCTETS]
        if self.mode is ReflectorMode.STATEFUL:
            keys = np.concatenate((sources, destinations, packets[:, _SSID_COLUMN]), axis=1)
            count = self._count
            own = [count(key) for key in keys.view(f"V{keys.shape[1]}")[:, 0].tolist()]
        requests = base.view(SENDER_COLUMNS)[:, 0]
        replies = base.view(REFLECTOR_COLUMNS)[:, 0]
        replies["sender_sequence"] = requests["sequence"]
        replies["sender_timestamp"] = requests["timestamp"]
        replies["sender_error_estimate"] = requests["error_estimate"]
        replies["sender_ttl"] = ttls
        replies["receive_timestamp"] = t2_wire
        replies["error_estimate"] = error_estimates
        if self.mode is ReflectorMode.STATEFUL:
            replies["sequence"] = own
        replies["timestamp"] = 0
        for zero in _MBZ:
            packets[:, zero] = 0

    def _count(self, key: bytes) -> int:
        session = self._sessions.find(key)
        if session is None:
            session = _Session()
            self._sessions.add(key, session)
        own = session.next_sequence
        session.next_sequence = (own + 1) & _LOW_32
        return own
