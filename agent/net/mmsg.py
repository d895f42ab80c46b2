"""Many datagrams per system call: `sendmmsg` and `recvmmsg` by ctypes, over buffers that are allocated once.

A call costs about as much as one `socket.recvmsg`, and its results are read with `struct` at fixed offsets:

    struct mmsghdr, 64 octets on 64-bit Linux
     0 name*   8 namelen(4) pad(4)   16 iov*   24 iovlen   32 control*   40 controllen   48 flags(4) pad(4)
    56 len(4) pad(4)
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_HEADER_OCTETS: Final = 64
_RESULT: Final = struct.Struct("=8xI28xQi4xI4x")
_HEADER: Final = struct.Struct("=QI4xQQQQi4xI4x")
_VECTOR: Final = struct.Struct("=QQ")

NAME_OCTETS: Final = 28
"""Room for a sockaddr_in6; a sockaddr_in needs 16."""

if struct.calcsize("P") != 8:
    raise ImportError("isochrone needs a 64-bit Linux: the layout of struct mmsghdr is read by fixed offsets")

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_libc.sendmmsg.restype = ctypes.c_int
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.recvmmsg.restype = ctypes.c_int


class Received(NamedTuple):
    """Where one received message stands in the buffers of its batch.

    Attributes:
        position: of the message in the batch.
        octets: of payload.
        name_octets, control_octets: of address and control data.
        flags: as in struct msghdr, MSG_TRUNC among them.
    """

    position: int
    octets: int
    name_octets: int
    control_octets: int
    flags: int


class MessageBatch:
    """Buffers for up to `size` messages and the headers that point into them.

    Message i has its payload at `i * payload_octets` of `payload`, and likewise for `names` and `control`.
    """

    def __init__(self, size: int, payload_octets: int, control_octets: int) -> None:
        self.size = size
        self.payload_octets = payload_octets
        self.control_octets = control_octets
        self.payload = bytearray(size * max(payload_octets, 1))
        self.names = bytearray(size * NAME_OCTETS)
        self.control = bytearray(size * max(control_octets, 1))
        self._vectors = bytearray(size * _VECTOR.size)
        self._headers = bytearray(size * _HEADER_OCTETS)
        self._results = memoryview(self._headers)
        payload_at, names_at, control_at, vectors_at, self._headers_at = (
            ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            for buffer in (self.payload, self.names, self.control, self._vectors, self._headers)
        )
        for i in range(size):
            _VECTOR.pack_into(
                self._vectors, i * _VECTOR.size, payload_at + i * payload_octets, payload_octets
            )
            _HEADER.pack_into(
                self._headers,
                i * _HEADER_OCTETS,
                names_at + i * NAME_OCTETS,
                NAME_OCTETS,
                vectors_at + i * _VECTOR.size,
                1,
                control_at + i * control_octets,
                control_octets,
                0,
                0,
            )
        self._fresh_headers = bytes(self._headers)
        self._lengths = [payload_octets] * size
        self._payload_at = payload_at

    def receive(self, descriptor: int, flags: int) -> Iterator[Received]:
        """Take what is queued, at most `size` messages, without waiting.

        Raises:
            OSError: any refusal but "nothing is queued".
        """
        self._headers[:] = self._fresh_headers
        count = _libc.recvmmsg(descriptor, self._headers_at, self.size, flags, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return iter(())
            raise OSError(code, os.strerror(code))
        rows = _RESULT.iter_unpack(self._results[: count * _HEADER_OCTETS])
        return (
            Received(position, octets, name_octets, control_octets, message_flags)
            for position, (name_octets, control_octets, message_flags, octets) in enumerate(rows)
        )

    def prepare(self, index: int, payload: bytes | bytearray | memoryview, name: bytes) -> None:
        """Write one message to be sent.

        Raises:
            ValueError: the payload does not fit.
        """
        octets = len(payload)
        if octets > self.payload_octets:
            raise ValueError(f"{octets} octets of payload, {self.payload_octets} fit")
        at = index * self.payload_octets
        self.payload[at : at + octets] = payload
        if self._lengths[index] != octets:
            self._lengths[index] = octets
            _VECTOR.pack_into(
                self._vectors,
                index * _VECTOR.size,
                self._payload_at + index * self.payload_octets,
                octets,
            )
        at = index * NAME_OCTETS
        self.names[at : at + len(name)] = name

    def set_name_octets(self, octets: int) -> None:
        """How long the addresses of this batch are: 16 for IPv4, 28 for IPv6."""
        for i in range(self.size):
            struct.pack_into("=I", self._headers, i * _HEADER_OCTETS + 8, octets)

    def send(self, descriptor: int, first: int, count: int) -> int:
        """Send `count` prepared messages from index `first` on.

        Returns:
            How many the kernel took, at least one; or minus the errno with which it refused the first.
        """
        sent = _libc.sendmmsg(descriptor, self._headers_at + first * _HEADER_OCTETS, count, 0)
        return int(sent) if sent > 0 else -ctypes.get_errno()
