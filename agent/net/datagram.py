"""UDP sockets whose packets carry the kernel's own transmit and receive times.

SO_TIMESTAMPING with OPT_ID and OPT_TSONLY (Documentation/networking/timestamping.rst of the kernel): every datagram
sent gets a number, and its transmit time comes back under that number through the error queue, which makes the
descriptor readable. Whoever waits for the descriptor must drain both queues or the event loop spins.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from agent.net.mmsg import NAME_OCTETS, MessageBatch

_SO_TIMESTAMPING: Final = 37
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = 2, 8, 16, 128, 2048
_STAMPING_FLAGS: Final = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY
_MSG_ERRQUEUE: Final = 0x2000
_ORIGIN_TIMESTAMPING: Final = 4
_IP_RECVTTL: Final = 12
_IP_PKTINFO: Final = 8
_IP_TTL: Final = 2
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25

_CONTROL_HEADER: Final = struct.Struct("=Qii")
_TIMESTAMP_MESSAGE: Final = struct.Struct("=Qiiqq")  # header and the first, software, timespec of three
_ERROR_MESSAGE: Final = struct.Struct("=QiiIBBBxII")  # header and struct sock_extended_err
_TIMESTAMP_MESSAGE_OCTETS: Final = 64
_SECOND_NS: Final = 1_000_000_000

MAX_PAYLOAD: Final = 2048
_BATCH: Final = 64
_CONTROL_OCTETS: Final = 192
_RECEIVE_BUFFER_OCTETS: Final = 4 << 20


class Datagram(NamedTuple):
    """One received datagram.

    Attributes:
        payload: valid until the next `receive` on the same socket.
        source: the sender's address, encoded as `encode_address` does.
        received_ns: the kernel's receive time (Unix wall time), None where it gave none.
        ttl: TTL or hop limit with which it arrived, None where not asked for.
        local: which of our addresses it reached, as packet info to answer from; empty where not asked for.
        truncated: whether the payload was longer than what fits.
    """

    payload: memoryview
    source: bytes
    received_ns: int | None
    ttl: int | None
    local: bytes
    truncated: bool


class TransmitStamp(NamedTuple):
    """When a datagram left.

    Attributes:
        transmit_id: what `send` gave for it.
        transmitted_ns: the kernel's transmit time (Unix wall time).
    """

    transmit_id: int
    transmitted_ns: int


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


def decode_address(encoded: bytes) -> tuple[str, int]:
    """Address and port of an encoded socket address."""
    (port,) = struct.unpack_from(">H", encoded, 2)
    if struct.unpack_from("=H", encoded)[0] == socket.AF_INET:
        return str(ipaddress.IPv4Address(encoded[4:8])), port
    address = str(ipaddress.IPv6Address(encoded[8:24]))
    (index,) = struct.unpack_from("=I", encoded, 24)
    return (f"{address}%{index}" if index else address), port


class TimestampedSocket:
    """A non-blocking UDP socket that sends and receives in batches and reports the kernel's times.

    Args:
        family: AF_INET or AF_INET6.
        address: address and port to bind to; none: any address, a port of the kernel's choice.
        dscp: code point of what is sent, 0 to 63.
        answering: ask for TTL and destination of what is received, to answer from the address that was hit.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int] | None = None,
        *,
        dscp: int = 0,
        answering: bool = False,
    ) -> None:
        self.family = family
        self._ipv6 = family == socket.AF_INET6
        self._answering = answering
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._configure(dscp)
            self._socket.bind(address or ("", 0))
        except OSError:
            self._socket.close()
            raise
        control = self._packet_info_octets if answering else 0
        self._outgoing = MessageBatch(_BATCH, MAX_PAYLOAD, control)
        self._outgoing.set_name_octets(NAME_OCTETS if self._ipv6 else 16)
        self._incoming = MessageBatch(_BATCH, MAX_PAYLOAD, _CONTROL_OCTETS)
        self._errors = MessageBatch(_BATCH, 0, _CONTROL_OCTETS)
        self._received = memoryview(self._incoming.payload)
        self._next_id = 0
        self._stray: list[TransmitStamp] = []
        self.kernel_transmit_stamps = self._enable_stamping()
        self.kernel_receive_stamps = self.kernel_transmit_stamps

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    @property
    def address(self) -> tuple[str, int]:
        """Address and port that the socket is bound to."""
        name = self._socket.getsockname()
        return name[0], name[1]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, datagrams: Sequence[tuple[bytes | bytearray, bytes, bytes]]) -> list[int]:
        """Send datagrams in order.

        Args:
            datagrams: (payload, encoded destination, packet info of our address as `Datagram.local` gave it; empty
                for the routing's choice).

        Returns:
            For each, the number under which its transmit time will come; or minus the errno with which the kernel
            refused it. A full buffer refuses the rest too; any other refusal concerns one datagram alone.
        """
        results: list[int] = []
        for start in range(0, len(datagrams), _BATCH):
            results += self._send_batch(datagrams[start : start + _BATCH])
        return results

    def receive(self) -> Iterator[Datagram]:
        """Take up to 64 queued datagrams; none where nothing is queued. Read each before asking for the next."""
        batch = self._incoming
        control = batch.control
        for position, octets, name_octets, control_octets, flags in batch.receive(self.fileno(), 0):
            name_at = position * NAME_OCTETS
            payload_at = position * MAX_PAYLOAD
            control_at = position * _CONTROL_OCTETS
            received_ns: int | None = None
            ttl: int | None = None
            local = b""
            if control_octets:
                _, level, kind, seconds, nanos = _TIMESTAMP_MESSAGE.unpack_from(control, control_at)
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING and seconds:
                    received_ns = seconds * _SECOND_NS + nanos
                if self._answering:
                    ttl, local = self._arrival(control_at, control_octets)
            yield Datagram(
                self._received[payload_at : payload_at + octets],
                bytes(batch.names[name_at : name_at + name_octets]),
                received_ns,
                ttl,
                local,
                bool(flags & socket.MSG_TRUNC),
            )

    def transmit_stamps(self) -> Iterator[TransmitStamp]:
        """Take up to 64 transmit times from the error queue; what else is queued there is thrown away."""
        if self._stray:
            stray, self._stray = self._stray, []
            yield from stray
        control = self._errors.control
        error_level, error_kind = (
            (socket.IPPROTO_IPV6, _IPV6_RECVERR) if self._ipv6 else (socket.IPPROTO_IP, _IP_RECVERR)
        )
        for message in self._errors.receive(self.fileno(), _MSG_ERRQUEUE):
            at = message.position * _CONTROL_OCTETS
            if message.control_octets < _TIMESTAMP_MESSAGE_OCTETS + _ERROR_MESSAGE.size:
                continue
            _, level, kind, seconds, nanos = _TIMESTAMP_MESSAGE.unpack_from(control, at)
            if level != socket.SOL_SOCKET or kind != _SO_TIMESTAMPING or not seconds:
                continue
            _, level, kind, _, origin, _, _, _, number = _ERROR_MESSAGE.unpack_from(
                control, at + _TIMESTAMP_MESSAGE_OCTETS
            )
            if (level, kind, origin) == (error_level, error_kind, _ORIGIN_TIMESTAMPING):
                yield TransmitStamp(number, seconds * _SECOND_NS + nanos)

    @property
    def _packet_info_octets(self) -> int:
        return 40 if self._ipv6 else 32

    def _configure(self, dscp: int) -> None:
        option = self._socket.setsockopt
        option(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
        if self._ipv6:
            option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            option(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            if self._answering:
                option(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                option(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            option(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            option(socket.IPPROTO_IP, socket.IP_TTL, 255)
            if self._answering:
                option(socket.IPPROTO_IP, _IP_RECVTTL, 1)
                option(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def _enable_stamping(self) -> bool:
        """Turn stamping on anew, which starts the numbering of transmissions at 0; whether the kernel agrees."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _STAMPING_FLAGS)
        except OSError:
            return False
        self._next_id = 0
        return True

    def _send_batch(self, datagrams: Sequence[tuple[bytes | bytearray, bytes, bytes]]) -> list[int]:
        batch = self._outgoing
        results: list[int] = []
        for index, (payload, destination, local) in enumerate(datagrams):
            batch.prepare(index, payload, destination)
            if self._answering:
                self._answer_from(index, local)
        position = 0
        while position < len(datagrams):
            taken = batch.send(self.fileno(), position, len(datagrams) - position)
            if taken > 0:
                results += range(self._next_id, self._next_id + taken)
                self._next_id += taken
                position += taken
                continue
            self._renumber()
            full = -taken in (errno.EAGAIN, errno.ENOBUFS)
            refused = len(datagrams) - position if full else 1
            results += [taken] * refused
            position += refused
        return results

    def _renumber(self) -> None:
        """After a refusal nobody knows whether the kernel spent a number on it: begin anew, keeping what is queued."""
        self._stray = self._drain()
        self._enable_stamping()

    def _drain(self) -> list[TransmitStamp]:
        found: list[TransmitStamp] = []
        while batch := list(self.transmit_stamps()):
            found += batch
        return found

    def _answer_from(self, index: int, local: bytes) -> None:
        """Write the control message that chooses the source address of an outgoing datagram."""
        level, kind = (
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) if self._ipv6 else (socket.IPPROTO_IP, _IP_PKTINFO)
        )
        info = local or bytes(20 if self._ipv6 else 12)
        at = index * self._packet_info_octets
        header = _CONTROL_HEADER.pack(_CONTROL_HEADER.size + len(info), level, kind)
        self._outgoing.control[at : at + len(header) + len(info)] = header + info

    def _arrival(self, control_at: int, control_octets: int) -> tuple[int | None, bytes]:
        """TTL and packet info among the control messages of a received datagram."""
        ttl: int | None = None
        local = b""
        control = self._incoming.control
        at, end = control_at, control_at + control_octets
        while at + _CONTROL_HEADER.size <= end:
            octets, level, kind = _CONTROL_HEADER.unpack_from(control, at)
            if octets < _CONTROL_HEADER.size:
                break
            data = at + _CONTROL_HEADER.size
            if self._ipv6 and level == socket.IPPROTO_IPV6:
                if kind == socket.IPV6_PKTINFO:
                    local = bytes(control[data : data + 20])
                elif kind == socket.IPV6_HOPLIMIT:
                    (ttl,) = struct.unpack_from("=i", control, data)
            elif not self._ipv6 and level == socket.IPPROTO_IP:
                if kind == _IP_PKTINFO:
                    # interface 0 lets the routing choose the way out; the second field is the source to answer from
                    local = bytes(4) + bytes(control[data + 4 : data + 8]) + bytes(4)
                elif kind == _IP_TTL:
                    (ttl,) = struct.unpack_from("=i", control, data)
            at += (octets + 7) & ~7
        return ttl, local
