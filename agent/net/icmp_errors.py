"""A UDP socket that hears of the ICMP errors its datagrams cause, without any privilege.

IP_RECVERR (`man 7 ip`): an error that quotes one of the socket's datagrams is queued with who sent it, its type and
code, the kernel's receive time, and what it quotes of the payload. The times at which datagrams left come through the
same queue, each with the datagram itself. The socket is not connected, so that IPv6 datagrams carry the flow label
that the kernel gives every unconnected socket of the same five-tuple.

    sock_extended_err     errno(4) origin(1) type(1) code(1) pad(1) info(4) data(4), then the sender's sockaddr
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from agent.net.addresses import decode_address
from agent.net.control import (
    MSG_ERRQUEUE,
    ORIGIN_TIMESTAMPING,
    SECOND_NS,
    SO_TIMESTAMPING,
    SOL_SOCKET,
    icmp_errors_among,
)
from agent.net.protocols import IPV4, IPV6, Protocol

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

READ_AT_ONCE: Final = 64
"""How many datagrams or errors are taken before the event loop gets its turn again."""
MAX_OCTETS: Final = 2048
_CONTROL_OCTETS: Final = 512

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE = 2, 8, 16
_STAMPING: Final = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE
_TIMESPEC: Final = struct.Struct("=qq")
_ORIGIN: Final = struct.Struct("=4xB11x")
_INT: Final = struct.Struct("=i")
_SEND_ATTEMPTS: Final = 3


class Transmitted(NamedTuple):
    """A datagram left.

    Attributes:
        datagram: with all its headers.
        at_ns: the kernel's transmit time, Unix wall time.
    """

    datagram: bytes
    at_ns: int


class IcmpError(NamedTuple):
    """Somebody could not pass on or deliver a datagram.

    Attributes:
        quote: what the error quotes of the UDP payload, perhaps followed by what does not belong to it.
        address: who says so.
        kind, code: ICMP type and code.
        at_ns: when it arrived, Unix wall time: the kernel's time, or of the reading where that gave none.
    """

    quote: bytes
    address: str
    kind: int
    code: int
    at_ns: int


class Received(NamedTuple):
    """A datagram came.

    Attributes:
        payload: of UDP.
        address, port: where from.
        at_ns: as for `IcmpError`.
    """

    payload: bytes
    address: str
    port: int
    at_ns: int


Event = Transmitted | IcmpError | Received


class Message(NamedTuple):
    """What one `recvmsg` gave: data, control messages, and whom the datagram came from."""

    data: bytes
    control: list[tuple[int, int, bytes]]
    name: SocketAddress

    @property
    def stamped_ns(self) -> int | None:
        """The kernel's software time; None where it gave none."""
        for level, kind, data in self.control:
            if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= _TIMESPEC.size:
                seconds, nanos = _TIMESPEC.unpack_from(data)
                if seconds:
                    return int(seconds) * SECOND_NS + int(nanos)
        return None


def read_queue(socket_: socket.socket, flags: int) -> Iterator[Message]:
    """Take what is queued, at most `READ_AT_ONCE`; an error that is pending on the socket is cleared and passed by."""
    for _ in range(READ_AT_ONCE):
        try:
            data, control, _, name = socket_.recvmsg(MAX_OCTETS, _CONTROL_OCTETS, flags)
        except BlockingIOError:
            return
        except OSError:
            continue
        yield Message(data, control, name)


def transmitted(messages: Iterable[Message]) -> Iterator[Transmitted]:
    """The transmit times among what the error queue of a socket gave."""
    for message in messages:
        at_ns = message.stamped_ns
        if at_ns is not None and ORIGIN_TIMESTAMPING in _origins(message):
            yield Transmitted(message.data, at_ns)


def enable_stamps(socket_: socket.socket) -> None:
    """Ask for transmit and receive times; where the kernel has none, there are none."""
    try:
        socket_.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, _STAMPING)
    except OSError:
        return


class ErrorQueueSocket:
    """A non-blocking UDP socket that hears of ICMP errors and knows the kernel's times.

    Args:
        family: AF_INET or AF_INET6.
        port: to bind to; 0 for one of the kernel's choice.
        destination: where everything is sent.
        dscp: code point of what is sent, 0 to 63.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(
        self, family: socket.AddressFamily, port: int, destination: SocketAddress, dscp: int
    ) -> None:
        self._protocol: Protocol = IPV6 if family == socket.AF_INET6 else IPV4
        self._destination = destination
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        option = self._socket.setsockopt
        try:
            if self._protocol is IPV6:
                option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
                option(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                option(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
                option(socket.IPPROTO_IP, _IP_RECVERR, 1)
            enable_stamps(self._socket)
            self._socket.bind(("", port))
        except OSError:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """The port that the socket is bound to."""
        port: int = self._socket.getsockname()[1]
        return port

    def filenos(self) -> list[int]:
        """The descriptors to wait for."""
        return [self._socket.fileno()]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, payload: bytes, ttl: int) -> None:
        """Send one datagram.

        Raises:
            OSError: the kernel refuses it.
        """
        control = [(self._protocol.level, self._protocol.ttl, _INT.pack(ttl))]
        for attempt in range(_SEND_ATTEMPTS):
            try:
                self._socket.sendmsg([payload], control, 0, self._destination)
                return
            except OSError:
                # The error of an earlier datagram is told at the next send, which it keeps from being sent; once.
                if attempt == _SEND_ATTEMPTS - 1:
                    raise

    def events(self) -> Iterator[Event]:
        """What has happened; where there was much, the descriptor stays readable."""
        failures = list(read_queue(self._socket, MSG_ERRQUEUE))
        yield from transmitted(failures)
        for message in failures:
            for kind, code, sender in icmp_errors_among(message.control):
                if address := sender_of(sender, self._protocol):
                    at_ns = message.stamped_ns or time.time_ns()
                    yield IcmpError(message.data, address, kind, code, at_ns)
        for message in read_queue(self._socket, 0):
            at_ns = message.stamped_ns or time.time_ns()
            yield Received(message.data, plain(message.name[0]), message.name[1], at_ns)


def plain(address: str) -> str:
    """An address without the interface that it was heard on."""
    return address.partition("%")[0]


def sender_of(encoded: bytes, protocol: Protocol) -> str:
    """Who sent an ICMP error, of what `icmp_errors_among` gives; empty where the kernel does not say."""
    if len(encoded) < protocol.name_octets or not any(encoded[:2]):
        return ""
    return str(ipaddress.ip_address(plain(decode_address(encoded)[0])))


def _origins(message: Message) -> Iterator[int]:
    """Where the extended errors of a message come from."""
    for level, kind, data in message.control:
        for protocol in (IPV4, IPV6):
            if (level, kind) == (protocol.level, protocol.error) and len(data) >= _ORIGIN.size:
                yield _ORIGIN.unpack_from(data)[0]
