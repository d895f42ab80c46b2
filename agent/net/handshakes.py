"""TCP connections that are opened to time the handshake, and reset at once: the kernel's own SYN to SYN-ACK time.

The kernel times the SYN of every connection for its retransmission timer (RFC 6298), from when TCP has built it to
when TCP processes the SYN-ACK, and tells it by TCP_INFO (`man 7 tcp`) in whole microseconds: a difference of two times
that were rounded down, so the truth is less than one microsecond away. Once the SYN had to be sent again it is not
known which one was answered, and the time says nothing (Karn's algorithm, RFC 6298 section 3).

    struct tcp_info     68 rtt(4), the smoothed round trip, which of one sample is that sample   100 total_retrans(4)
"""

from __future__ import annotations

import contextlib
import errno
import functools
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from agent.net.addresses import decode_address

RESOLUTION_NS: Final = 1_000
"""How far a handshake's time may be off, either way."""

_INFO: Final = struct.Struct("=68xI28xI")
_LINGER_NOT: Final = struct.pack("=ii", 1, 0)
_MICROSECOND_NS: Final = 1_000
_AFTER_THE_ANSWER: Final = (errno.ECONNRESET, errno.EPIPE)
"""How a connection ends that was open; one that was not is refused."""
_EVENTS: Final = 512


Token = TypeVar("Token")


class Handshake(NamedTuple, Generic[Token]):
    """What became of a connection.

    Attributes:
        token: what `begin` was given for it.
        round_trip_ns: SYN to SYN-ACK, within `RESOLUTION_NS`; None where there was none to be timed.
        failure: why not: `refused`, `retransmitted`, `self` (it met itself on loopback), or the errno's name.
    """

    token: Token
    round_trip_ns: int | None
    failure: str


class _Opening(NamedTuple, Generic[Token]):
    socket: socket.socket
    token: Token
    begun_ns: int


class Handshakes(Generic[Token]):
    """Connections being opened. One thread may begin them while another sees what became of them.

    Args:
        family: AF_INET or AF_INET6.
        dscp: code point of what is sent, 0 to 63.
        places: one is taken for each connection that is open, and given back.
    """

    def __init__(self, family: socket.AddressFamily, dscp: int, places: threading.Semaphore) -> None:
        self._family = family
        self._dscp = dscp
        self._places = places
        self._epoll = select.epoll()
        self._guard = threading.Lock()
        self._open: dict[int, _Opening[Token]] = {}

    def begin(self, token: Token, address: bytes) -> int:
        """Send a SYN.

        Args:
            token: what `finished` is to give back.
            address: encoded as `agent.net.addresses.encode_address` does.

        Returns:
            0; or the errno with which it was refused: EMFILE where too many are open.
        """
        if not self._places.acquire(blocking=False):
            return errno.EMFILE
        opened = None
        try:
            opened = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = self._connect(opened, token, address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code:
            if opened is not None:
                opened.close()
            self._places.release()
        return code

    def _connect(self, opened: socket.socket, token: Token, address: bytes) -> int:
        self._configure(opened)
        code = opened.connect_ex(_name(address))
        if code not in (0, errno.EINPROGRESS):
            return code
        with self._guard:
            self._epoll.register(opened.fileno(), select.EPOLLOUT)
            self._open[opened.fileno()] = _Opening(opened, token, time.monotonic_ns())
        return 0

    def finished(self) -> Iterator[Handshake[Token]]:
        """What became of connections since the last time; they are closed."""
        while events := self._epoll.poll(0, _EVENTS):
            for descriptor, _ in events:
                with self._guard:
                    one = self._open.pop(descriptor)
                try:
                    yield _outcome(one)
                finally:
                    self._close(one)

    def give_up(self, before_ns: int) -> None:
        """Close the connections that were begun before monotonic time `before_ns`."""
        with self._guard:
            # in the order in which they were begun
            old = []
            for descriptor, one in self._open.items():
                if one.begun_ns >= before_ns:
                    break
                old.append(descriptor)
            given_up = [self._open.pop(descriptor) for descriptor in old]
        for one in given_up:
            self._close(one)

    def close(self) -> None:
        """Close everything; closing again changes nothing."""
        self.give_up(time.monotonic_ns() + 1)
        self._epoll.close()

    def _configure(self, opened: socket.socket) -> None:
        # closing resets the connection, which leaves nothing behind at either end
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        if self._dscp:
            if self._family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, self._dscp << 2)
            else:
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self._dscp << 2)

    def _close(self, one: _Opening[Token]) -> None:
        one.socket.close()
        self._places.release()


@functools.lru_cache(maxsize=1 << 14)
def _name(address: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
    """A socket address as the socket module takes it."""
    host, port = decode_address(address)
    if ":" not in host:
        return host, port
    host, _, scope = host.partition("%")
    return host, port, 0, int(scope or 0)


def _outcome(one: _Opening[Token]) -> Handshake[Token]:
    code = one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code not in (0, *_AFTER_THE_ANSWER):
        name = "refused" if code == errno.ECONNREFUSED else errno.errorcode.get(code, "error").lower()
        return Handshake(one.token, None, name)
    round_trip_us, retransmitted = _INFO.unpack(
        one.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    )
    if retransmitted:
        return Handshake(one.token, None, "retransmitted")
    # OSError: the other end has reset it since it answered
    with contextlib.suppress(OSError):
        # a port of ours that nobody listens on can be chosen as the connection's own: both ends are then the same
        if one.socket.getsockname() == one.socket.getpeername():
            return Handshake(one.token, None, "self")
    return Handshake(one.token, round_trip_us * _MICROSECOND_NS, "")
