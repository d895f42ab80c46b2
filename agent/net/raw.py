"""Raw sockets that see one flow only: to send and hear packets of a five-tuple whose port another socket holds.

A raw socket gets a copy of every packet of its protocol that reaches the host; a filter lets the kernel drop all but
the flow's before they cost anything. All of it needs CAP_NET_RAW.

What the program sees begins with the IP header for IPv4, and after it for IPv6:

    ICMP error      type(1) code(1) checksum(2) unused(4), then the IP header and the first octets of what it concerns
    quoted IPv4     0 version and length(1)   9 protocol(1)     16 destination(4)    20 UDP
    quoted IPv6     0 version and class(4)    6 next header(1)  24 destination(16)   40 UDP
    UDP             0 source port(2)   2 destination port(2)
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from agent.core.route import Flow
from agent.net.control import MSG_ERRQUEUE
from agent.net.icmp_errors import (
    Message,
    SocketAddress,
    Transmitted,
    enable_stamps,
    read_queue,
    transmitted,
)
from agent.net.packet_filter import Field, attach, program

_ICMP_HEADER: Final = 8
_IPV4_WITHOUT_OPTIONS: Final = 0x45
_WORD: Final = 4


class RawFlow:
    """Sends complete packets of a flow, and hears the ICMP errors and the answers that concern it.

    Args:
        flow: whose addresses and ports are watched.
        destination: the flow's destination as the kernel takes it.

    Raises:
        PermissionError: CAP_NET_RAW is missing.
        OSError: there is no way to the destination.
    """

    def __init__(self, flow: Flow, destination: SocketAddress) -> None:
        there = ipaddress.ip_address(flow.destination)
        self.version = there.version
        self._destination: SocketAddress = (destination[0], 0, *destination[2:])
        icmp = socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6
        self._sockets: list[socket.socket] = []
        try:
            self._out = self._open(socket.IPPROTO_RAW)
            self._errors = self._open(icmp, _quoting(flow))
            self._answers = self._open(
                socket.IPPROTO_UDP, [Field(0, 2, flow.destination_port), Field(2, 2, flow.source_port)]
            )
            # connected, so that it gets nothing from anybody else
            self._answers.connect(self._destination)
        except OSError:
            self.close()
            raise

    def filenos(self) -> list[int]:
        """The descriptors to wait for."""
        return [socket_.fileno() for socket_ in self._sockets]

    def close(self) -> None:
        """Close the sockets."""
        for socket_ in self._sockets:
            socket_.close()

    def send(self, packet: bytes) -> None:
        """Send a packet, IP header and all.

        Raises:
            OSError: the kernel refuses it.
        """
        self._out.sendto(packet, self._destination)

    def transmitted(self) -> Iterator[Transmitted]:
        """Which packets have left."""
        return transmitted(read_queue(self._out, MSG_ERRQUEUE))

    def errors(self) -> Iterator[Message]:
        """The ICMP errors that quote the flow: from the IP header on for IPv4, from the ICMP header on for IPv6."""
        return read_queue(self._errors, 0)

    def answers(self) -> Iterator[Message]:
        """The flow's datagrams the other way: from the IP header on for IPv4, from the UDP header on for IPv6."""
        return read_queue(self._answers, 0)

    def _open(self, protocol: int, wanted: Sequence[Field] = ()) -> socket.socket:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(opened)
        if wanted:
            attach(opened, program([wanted], self.version))
        enable_stamps(opened)
        return opened


def _quoting(flow: Flow) -> list[Field]:
    """The fields of an ICMP error that quotes a packet of the flow."""
    there = ipaddress.ip_address(flow.destination)
    if there.version == 4:
        fields = [Field(_ICMP_HEADER, 1, _IPV4_WITHOUT_OPTIONS)]
        protocol, destination, udp = 9, 16, 20
    else:
        fields = []
        protocol, destination, udp = 6, 24, 40
    fields.append(Field(_ICMP_HEADER + protocol, 1, socket.IPPROTO_UDP))
    fields += [
        Field(_ICMP_HEADER + destination + at, _WORD, int.from_bytes(there.packed[at : at + _WORD], "big"))
        for at in range(0, len(there.packed), _WORD)
    ]
    fields.append(Field(_ICMP_HEADER + udp, 2, flow.source_port))
    fields.append(Field(_ICMP_HEADER + udp + 2, 2, flow.destination_port))
    return fields
