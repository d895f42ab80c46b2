"""Socket addresses as the kernel takes them.

sockaddr_in     0 family(2)   2 port(2)   4 address(4)    8 zero(8)
sockaddr_in6    0 family(2)   2 port(2)   4 flow label(4)   8 address(16)   24 interface(4)
"""

from __future__ import annotations

import ipaddress
import socket
import struct


def encode_address(address: str, port: int) -> bytes:
    """A socket address as the kernel takes it: sockaddr_in or sockaddr_in6 by the form of the address.

    Args:
        address: an IPv4 or IPv6 address, not a name; `fe80::1%eth0` names the interface of a link-local one.
        port: 0 to 65535.

    Raises:
        ValueError: not an address.
        OSError: no such interface.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + parsed.packed + bytes(8)
    scope = parsed.scope_id
    index = 0 if scope is None else int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack(">HI", port, 0)
        + parsed.packed
        + struct.pack("=I", index)
    )


def bindable(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """The same for `socket.bind`, which without the fourth forgets the interface of a link-local address.

    Args:
        address, port: as of `encode_address`; or no address, for all.

    Raises:
        OSError: no such interface.
    """
    host, _, scope = address.partition("%")
    if not scope:
        return address, port
    return host, port, 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)


def decode_address(encoded: bytes) -> tuple[str, int]:
    """Address and port of an encoded socket address."""
    (port,) = struct.unpack_from(">H", encoded, 2)
    if struct.unpack_from("=H", encoded)[0] == socket.AF_INET:
        return str(ipaddress.IPv4Address(encoded[4:8])), port
    address = str(ipaddress.IPv6Address(encoded[8:24]))
    (index,) = struct.unpack_from("=I", encoded, 24)
    return (f"{address}%{index}" if index else address), port
