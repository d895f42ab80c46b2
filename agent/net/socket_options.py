"""What is asked of the kernel for a datagram socket: buffers, markings, and what it tells of what is received."""

from __future__ import annotations

import socket
from typing import Final

from agent.net.addresses import bindable
from agent.net.protocols import IPV4, IPV6, Protocol

_SO_RCVBUFFORCE: Final = 33
_IP_RECVTTL: Final = 12
_IP_RECVTOS: Final = 13
_IP_MTU_DISCOVER: Final = 10
_IP_PMTUDISC_PROBE: Final = 3

_RECEIVE_BUFFER_OCTETS: Final = 4 << 20
_ANSWERING_BUFFER_OCTETS: Final = 16 << 20
"""Whoever answers does not choose what comes: a moment without the CPU must not be loss."""


def configure(
    socket_: socket.socket, protocol: Protocol, *, dscp: int, answering: bool, hear_errors: bool, whole: bool
) -> None:
    """Ask for what `agent.net.datagram.TimestampedSocket` says of these arguments.

    Args:
        socket_, protocol: which.
        dscp, answering, hear_errors: as there.
        whole: what is sent is so short that it is never fragmented.

    Raises:
        OSError: the kernel refuses something.
    """
    option = socket_.setsockopt
    if hear_errors:
        option(protocol.level, protocol.error, 1)
    room = _ANSWERING_BUFFER_OCTETS if answering else _RECEIVE_BUFFER_OCTETS
    try:
        option(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
    except PermissionError:
        option(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    if protocol is IPV6:
        option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        option(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        if answering:
            option(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            option(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            option(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        option(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        option(socket.IPPROTO_IP, socket.IP_TTL, 255)
        if whole:
            # then the kernel need not draw a number for its fragments (RFC 6864, section 4.1)
            option(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        if answering:
            option(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            option(socket.IPPROTO_IP, IPV4.packet_info, 1)
            option(socket.IPPROTO_IP, _IP_RECVTOS, 1)


def bind(socket_: socket.socket, protocol: Protocol, address: tuple[str, int]) -> None:
    """Bind to an address; one of IPv6 to that alone.

    Raises:
        OSError: it cannot be bound.
    """
    if protocol is IPV6:
        socket_.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    socket_.bind(bindable(*address))
