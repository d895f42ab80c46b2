"""What Linux tells of a TCP connection: `struct tcp_info` of include/uapi/linux/tcp.h, which only ever grows.

An older kernel returns fewer octets: a field that they do not cover is not known.

 octet   1   state of congestion control          5 bit 0   options: timestamps
         7 bit 0   delivery rate is limited by the application
 u32 at 16   snd_mss          24  unacked (segments)     60  pmtu           68  rtt (µs)       80  snd_cwnd (segments)
       100   total_retrans   136  segs_out              156  data_segs_out
       144   notsent (octets)                           148  min_rtt (µs)  220  reord_seen       228  snd_wnd (octets)
 u64 at 104  pacing_rate (octets/s)    120  bytes_acked  128  bytes_received   160  delivery_rate (octets/s)
       168   busy_time (µs)  176  rwnd_limited (µs)     184  sndbuf_limited (µs)
       200   bytes_sent      208  bytes_retrans         u32 at 216  dsack_dups (segments)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, Self

from agent.core.exceptions import Truncated
from agent.core.stamp import Octets

TCP_INFO_OCTETS: Final = 232
"""To ask for: what covers all fields that are read."""

_LEAST_OCTETS: Final = 104
"""What every Linux that is still in use returns: up to total_retrans."""
_TIMESTAMPS: Final = 1
_TCP_CA_LOSS: Final = 4


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The fields that tell how a connection fares; None: this kernel does not tell.

    Attributes:
        timestamps: whether its segments carry the timestamp option.
        app_limited: whether the delivery rate was bounded by a sender that had nothing to send.
        timed_out: whether nothing had come back for so long that all under way was taken to be lost, and that is not
            made good yet (RFC 6298, section 5).
        mss: octets of payload of a full segment, options already taken off.
        unacked, cwnd: segments under way, and that may be.
        pmtu: octets of the largest packet.
        rtt_us, min_rtt_us: smoothed and least round trip.
        retransmitted: segments sent again, ever.
        pacing_rate, delivery_rate: octets/s.
        acked, received, sent, sent_again: octets.
        needless: segments of which the peer says that they came twice (DSACK, RFC 2883): what was sent again for
            reordering alone had not been lost.
        notsent: octets that wait in the socket.
        busy_us, rwnd_limited_us, sndbuf_limited_us: how long there was something to send, and of that how long the
            peer's window or our own send buffer was in its way.
        reordered: how often reordering was seen.
        peer_window: octets that the peer offers to receive.
        segments, data_segments: that were sent, all of them and those with payload.
    """

    timestamps: bool
    app_limited: bool
    timed_out: bool
    mss: int
    unacked: int
    pmtu: int
    rtt_us: int
    cwnd: int
    retransmitted: int
    pacing_rate: int | None = None
    acked: int | None = None
    received: int | None = None
    notsent: int | None = None
    min_rtt_us: int | None = None
    delivery_rate: int | None = None
    busy_us: int | None = None
    rwnd_limited_us: int | None = None
    sndbuf_limited_us: int | None = None
    sent: int | None = None
    sent_again: int | None = None
    needless: int | None = None
    reordered: int | None = None
    peer_window: int | None = None
    segments: int | None = None
    data_segments: int | None = None

    @classmethod
    def parse(cls, data: Octets) -> Self:
        """Read what getsockopt(IPPROTO_TCP, TCP_INFO) returned, in this host's byte order.

        Raises:
            Truncated: fewer than 104 octets.
        """
        if len(data) < _LEAST_OCTETS:
            raise Truncated("struct tcp_info", _LEAST_OCTETS, len(data))

        def told(at: int, octets: int) -> int | None:
            end = at + octets
            return int.from_bytes(data[at:end], sys.byteorder) if end <= len(data) else None

        def always(at: int) -> int:
            return int.from_bytes(data[at : at + 4], sys.byteorder)

        return cls(
            timestamps=bool(data[5] & _TIMESTAMPS),
            app_limited=bool(data[7] & 1),
            timed_out=data[1] == _TCP_CA_LOSS,
            mss=always(16),
            unacked=always(24),
            pmtu=always(60),
            rtt_us=always(68),
            cwnd=always(80),
            retransmitted=always(100),
            pacing_rate=told(104, 8),
            acked=told(120, 8),
            received=told(128, 8),
            notsent=told(144, 4),
            min_rtt_us=_measured(told(148, 4)),
            delivery_rate=told(160, 8),
            busy_us=told(168, 8),
            rwnd_limited_us=told(176, 8),
            sndbuf_limited_us=told(184, 8),
            sent=told(200, 8),
            sent_again=told(208, 8),
            needless=told(216, 4),
            reordered=told(220, 4),
            peer_window=told(228, 4),
            segments=told(136, 4),
            data_segments=told(156, 4),
        )


def _measured(min_rtt_us: int | None) -> int | None:
    """The least round trip; before there is one, the kernel says all ones."""
    return None if min_rtt_us == 0xFFFFFFFF else min_rtt_us
