"""Which interface leads to a peer, and what it has carried."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Final

from agent.core.throughput.bystanders import InterfaceOctets

_COUNTERS: Final = Path("/proc/net/dev")
_HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port."""
_ROUTE: Final = struct.Struct("=8BI")
"""rtmsg: family, bits of the destination and the source, then nothing that is asked for."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_INDEX: Final = struct.Struct("=I")
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_WITHIN_S: Final = 1.0


def interface_towards(host: str, port: int) -> str | None:
    """The interface through which packets to a peer leave; None: there is no way there, or it is not known.

    Blocks while a name is looked up.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.settimeout(_WITHIN_S)
            netlink.send(_question(family, packed))
            index = outgoing_interface(netlink.recv(65_536))
        return None if index is None else socket.if_indextoname(index)
    except OSError:
        return None


def read_octets(interface: str) -> InterfaceOctets | None:
    """What an interface has carried; None: there is none of that name."""
    try:
        return InterfaceOctets.parse(_COUNTERS.read_text(), interface, time.monotonic_ns())
    except OSError:
        return None


def _question(family: int, packed: bytes) -> bytes:
    """Which way packets to an address take (man 7 rtnetlink, RTM_GETROUTE)."""
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _RTA_DST) + packed
    length = _HEADER.size + _ROUTE.size + len(attribute)
    header = _HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0)
    return header + _ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + attribute


def outgoing_interface(answer: bytes) -> int | None:
    """The index of the interface that an answer of the kernel names; None: it names none."""
    if len(answer) < _HEADER.size + _ROUTE.size:
        return None
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _RTM_NEWROUTE:
        return None
    at, end = _HEADER.size + _ROUTE.size, min(length, len(answer))
    while at + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if size < _ATTRIBUTE.size or at + size > end:
            return None
        if name == _RTA_OIF and size == _ATTRIBUTE.size + 4:
            return int(_INDEX.unpack_from(answer, at + _ATTRIBUTE.size)[0])
        at += -(-size // 4) * 4
    return None
