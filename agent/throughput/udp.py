"""UDP streams: bursts that the kernel cuts into datagrams (UDP_SEGMENT), and puts together again (UDP_GRO).

A datagram's payload is as long as the path lets it be without fragments, in multiples of eight octets:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |        Sequence number within the stream, from 0 (8 octets)   |
  8 |        When the burst was sent: sender's monotonic clock, ns  |
 16 ~        random                                                 ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What is missing between sequence numbers was lost: by this host where the socket had no room (its own count of drops,
each of as many datagrams as the kernel had put together), else by the path.

Nothing paces UDP but the sender: SO_MAX_PACING_RATE is ignored without the fq queueing discipline. Bursts are of a
quarter of a millisecond, up to what two calls can send.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import Final

from agent.core.throughput.preamble import PREAMBLE_OCTETS
from agent.core.timestamps import SECOND_NS
from agent.throughput.flow import ip_version_of

SOL_UDP: Final = 17
WORD_OCTETS: Final = 8
HEADER: Final = struct.Struct(">QQ")
SILENCE_NS: Final = SECOND_NS
"""So long without a word from the other end, and it is taken to be gone."""
FIRST_SILENCE_NS: Final = 3 * SECOND_NS // 2
"""The same at the beginning: both ends do not start at once."""

_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_HEADERS: Final = {4: 28, 6: 48}
_MOST_PAYLOAD: Final = {4: 1_472, 6: 1_448}
BUFFER_OCTETS: Final = 16 << 20
_ENDS: Final = 3


def payload_of(one: socket.socket) -> int:
    """Octets of a datagram that a connected socket's path takes in one piece, as far as this host knows."""
    version = ip_version_of(one)
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if version == 6 else (socket.IPPROTO_IP, _IP_MTU)
    mtu = one.getsockopt(level, option)
    return min(_MOST_PAYLOAD[version], (mtu - _HEADERS[version]) // WORD_OCTETS * WORD_OCTETS)


def repeat_accept(
    accepts: Mapping[int, tuple[bytes, bytes]], stream: int, one: socket.socket, came: bytes
) -> None:
    """The peer has not heard that it is admitted, and asks again."""
    known = accepts.get(stream)
    if known is not None and len(came) == PREAMBLE_OCTETS and came == known[0]:
        with contextlib.suppress(OSError):
            one.send(known[1], socket.MSG_DONTWAIT)


def say_end(one: socket.socket, message: bytes) -> None:
    """Send a message that nobody acknowledges, a few times."""
    for _ in range(_ENDS):
        with contextlib.suppress(OSError):
            # one datagram, whatever the socket cuts its bursts into
            one.sendmsg([message], [], socket.MSG_DONTWAIT)


def make_room(one: socket.socket, force: int, ask: int, octets: int = BUFFER_OCTETS) -> None:
    """Give a socket a large buffer, as large as this process may.

    Args:
        force, ask: the options that set it, with CAP_NET_ADMIN and without.
        octets: how large.
    """
    try:
        one.setsockopt(socket.SOL_SOCKET, force, octets)
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, ask, octets)
