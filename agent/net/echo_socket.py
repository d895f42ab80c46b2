"""Sockets for ICMP echo: raw where that is permitted, else the datagram ("ping") socket, chosen and opened by icmplib.

A raw socket gets a copy of every ICMP message that reaches the host; a filter leaves it the replies to its own
requests, and the errors that quote them. A datagram socket gets replies to its own requests only, from the kernel,
which gives it an identifier of its own and writes the checksums; it hears of no errors.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

from icmplib import ICMPSocketError, ICMPv4Socket, ICMPv6Socket, SocketPermissionError

from agent.core.icmp import COOKIE_AT, ICMPV4, ICMPV6, IDENTIFIER_AT, EchoProtocol
from agent.net.packet_filter import Field, attach, program
from agent.runtime.exceptions import IsochroneError

_DISCARDED_AT_ONCE: Final = 2048
_IPV4_WITHOUT_OPTIONS: Final = 0x45
_TYPE_FILTERS: Final = {4: (255, 1, 1), 6: (socket.IPPROTO_ICMPV6, 1, 8)}
"""By version of IP, level and number of ICMP_FILTER or ICMPV6_FILTER (`man 7 raw`, RFC 3542), and its 32-bit words."""
_REMEDIES: Final = (
    "give the program CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in its systemd unit), or let its group open ping "
    "sockets (sysctl net.ipv4.ping_group_range='{group} {group}')"
)


class EchoNotPermitted(IsochroneError, PermissionError):
    """Neither kind of ICMP socket may be opened; says what would mend it."""


class EchoSocket(NamedTuple):
    """An ICMP socket, non-blocking.

    Attributes:
        socket: to be closed by whoever asked for it.
        raw: whether it is a raw one, whose sender writes identifier and checksum.
        identifier: of its requests.
        cookie: 32 bits that its requests carry, by which replies to others with the same identifier are told apart.
    """

    socket: socket.socket
    raw: bool
    identifier: int
    cookie: int


def protocol_of(family: socket.AddressFamily) -> EchoProtocol:
    """The protocol that is spoken over an address family."""
    return ICMPV6 if family == socket.AF_INET6 else ICMPV4


def open_echo_socket(family: socket.AddressFamily) -> EchoSocket:
    """Open a socket for echo requests to any number of targets.

    Raises:
        EchoNotPermitted: neither kind may be opened.
        OSError: it cannot be opened.
    """
    made = ICMPv6Socket if family == socket.AF_INET6 else ICMPv4Socket
    identifier, cookie = (int.from_bytes(os.urandom(octets), "big") for octets in (2, 4))
    try:
        opened, raw = _opened(made, privileged=True), True
    except SocketPermissionError:
        try:
            opened, raw = _opened(made, privileged=False), False
        except SocketPermissionError:
            remedies = _REMEDIES.format(group=os.getegid())
            raise EchoNotPermitted(f"ICMP echo is not permitted: {remedies}") from None
    try:
        if raw:
            _ignore_others(opened, protocol_of(family))
            attach(opened, echo_filter(protocol_of(family), identifier, cookie))
            _discard(opened)
        else:
            opened.bind(("", 0))
            identifier = opened.getsockname()[1]
    except OSError:
        opened.close()
        raise
    return EchoSocket(opened, raw, identifier, cookie)


def echo_filter(protocol: EchoProtocol, identifier: int, cookie: int) -> bytes:
    """A filter for the replies to requests of ours, and for the errors that quote one."""
    reply = [Field(0, 1, protocol.reply), Field(IDENTIFIER_AT, 2, identifier), Field(COOKIE_AT, 4, cookie)]
    quoted = [
        Field(protocol.quoted_next_header, 1, protocol.next_header),
        Field(protocol.quoted_message, 1, protocol.request),
        Field(protocol.quoted_message + IDENTIFIER_AT, 2, identifier),
    ]
    if protocol is ICMPV4:
        quoted.insert(0, Field(protocol.quoted_message - 20, 1, _IPV4_WITHOUT_OPTIONS))
    return program([reply, *([Field(0, 1, kind), *quoted] for kind in protocol.errors)], protocol.version)


def _ignore_others(opened: socket.socket, protocol: EchoProtocol) -> None:
    """Let only the types that matter come as far as the filter: a message is copied before it gets there."""
    level, option, words = _TYPE_FILTERS[protocol.version]
    wanted = sum(1 << kind for kind in (protocol.reply, *protocol.errors))
    everything = (1 << 32 * words) - 1
    # a bit for each type that is thrown away, in words in the host's order
    bits = everything & ~wanted
    opened.setsockopt(
        level, option, struct.pack(f"={words}I", *(bits >> 32 * word & 0xFFFF_FFFF for word in range(words)))
    )


def _opened(made: type[ICMPv4Socket | ICMPv6Socket], *, privileged: bool) -> socket.socket:
    """A socket that icmplib has opened, taken from it, for it would close it at the end of its own object."""
    try:
        with made(privileged=privileged) as theirs:
            opened = socket.socket(fileno=theirs.sock.detach())
    except SocketPermissionError:
        raise
    except ICMPSocketError as error:
        raise OSError(str(error)) from error
    opened.setblocking(False)
    return opened


def _discard(opened: socket.socket) -> None:
    """Throw away what came before there was a filter."""
    for _ in range(_DISCARDED_AT_ONCE):
        try:
            opened.recv(1)
        except BlockingIOError:
            return
