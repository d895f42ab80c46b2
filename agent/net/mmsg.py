"""Many datagrams per system call: `sendmmsg` and `recvmmsg` by ctypes, over buffers that are allocated once.

A call costs about as much as one `socket.recvmsg`, and its results are read with `struct` at fixed offsets:

    struct mmsghdr, 64 octets on 64-bit Linux
     0 name*   8 namelen(4) pad(4)   16 iov*   24 iovlen   32 control*   40 controllen   48 flags(4) pad(4)
    56 len(4) pad(4)
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEADER_OCTETS: Final = 64
_RESULT: Final = struct.Struct("=8xI28xQi4xI4x")
_HEADER: Final = struct.Struct("=QI4xQQQQi4xI4x")
_VECTOR: Final = struct.Struct("=QQ")
_RESULTS: Final = np.dtype(
    {
        "names": ["control_octets", "flags", "octets"],
        "formats": ["=u8", "=i4", "=u4"],
        "offsets": [40, 48, 56],
        "itemsize": _HEADER_OCTETS,
    }
)

if struct.calcsize("P") != 8:
    raise ImportError("isochrone needs a 64-bit Linux: the layout of struct mmsghdr is read by fixed offsets")

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_libc.sendmmsg.restype = ctypes.c_int
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.recvmmsg.restype = ctypes.c_int


class _Batch:
    """Buffers for up to `size` messages and the headers that point into them.

    Message i has its address at `i * name_octets` of `names` and its control data at `i * control_octets` of
    `control`; its payload begins at `i * payload_octets` of `payload`.

    Attributes:
        name_rows, payload_rows, control_rows: the same memory as arrays of octets, one row per message.
        lengths: how many octets of each payload there are, or may be.
    """

    def __init__(self, size: int, name_octets: int, payload_octets: int, control_octets: int) -> None:
        self.size = size
        self.name_octets = name_octets
        self.payload_octets = payload_octets
        self.control_octets = control_octets
        self.names = bytearray(size * name_octets)
        self.payload = bytearray(size * max(payload_octets, 1))
        self.control = bytearray(size * max(control_octets, 1))
        self.name_rows = np.frombuffer(self.names, np.uint8).reshape(size, name_octets)
        self.payload_rows = np.frombuffer(self.payload, np.uint8).reshape(size, max(payload_octets, 1))
        self.control_rows = np.frombuffer(self.control, np.uint8).reshape(size, max(control_octets, 1))
        self._vectors = bytearray(size * _VECTOR.size)
        self.lengths = np.frombuffer(self._vectors, np.uint64).reshape(size, 2)[:, 1]
        self._headers = bytearray(size * _HEADER_OCTETS)
        names_at, self._payload_at, control_at, vectors_at, self._headers_at = (
            ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            for buffer in (self.names, self.payload, self.control, self._vectors, self._headers)
        )
        for i in range(size):
            _VECTOR.pack_into(
                self._vectors, i * _VECTOR.size, self._payload_at + i * payload_octets, payload_octets
            )
            _HEADER.pack_into(
                self._headers,
                i * _HEADER_OCTETS,
                names_at + i * name_octets,
                name_octets,
                vectors_at + i * _VECTOR.size,
                1,
                control_at + i * control_octets if control_octets else 0,
                control_octets,
                0,
                0,
            )


class IncomingBatch(_Batch):
    """Room for what one `recvmmsg` takes from a socket's receive queue or error queue.

    Attributes:
        results: of each message, once received: `control_octets`, `flags` as in struct msghdr, `octets` of payload.
    """

    def __init__(self, size: int, name_octets: int, payload_octets: int, control_octets: int) -> None:
        super().__init__(size, name_octets, payload_octets, control_octets)
        self.results: NDArray[Any] = np.frombuffer(self._headers, _RESULTS)
        self._result_octets = memoryview(self._headers)
        self._fresh_headers = bytes(self._headers)
        self._used_octets = 0

    def fill(self, descriptor: int, flags: int) -> int:
        """Take what is queued, at most `size` messages, without waiting, and say how many that were.

        Raises:
            OSError: any refusal but "nothing is queued".
        """
        used = self._used_octets
        self._headers[:used] = self._fresh_headers[:used]
        count = int(_libc.recvmmsg(descriptor, self._headers_at, self.size, flags, None))
        if count >= 0:
            self._used_octets = count * _HEADER_OCTETS
            return count
        self._used_octets = 0
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            return 0
        raise OSError(code, os.strerror(code))

    def receive(self, descriptor: int, flags: int) -> Iterator[tuple[int, ...]]:
        """Take what is queued as `fill` does.

        Returns:
            For each message in order: octets of its address, octets of its control data, its flags as in struct
            msghdr, and octets of its payload.
        """
        return self.read(self.fill(descriptor, flags))

    def read(self, count: int) -> Iterator[tuple[int, ...]]:
        """The same of the first `count` messages that `fill` has taken."""
        return _RESULT.iter_unpack(self._result_octets[: count * _HEADER_OCTETS])


class OutgoingBatch(_Batch):
    """Room for what one `sendmmsg` sends. Payloads lie close together, so that they are written all at once."""

    def __init__(self, size: int, name_octets: int, payload_octets: int, control_octets: int) -> None:
        super().__init__(size, name_octets, payload_octets, control_octets)
        self._lengths: list[int] = []

    def load(
        self, payloads: Sequence[bytes | bytearray | memoryview], names: Sequence[bytes | bytearray]
    ) -> None:
        """Write the payloads and addresses of the messages to be sent, at most `size`.

        Raises:
            ValueError: a payload does not fit, or an address is of another family.
        """
        lengths = list(map(len, payloads))
        if max(lengths) > self.payload_octets:
            raise ValueError(f"{max(lengths)} octets of payload, {self.payload_octets} fit")
        joined = b"".join(names)
        if len(joined) != len(names) * self.name_octets:
            raise ValueError(f"an address is of another family: each has {self.name_octets} octets here")
        self.names[: len(joined)] = joined
        octets = b"".join(payloads)
        self.payload[: len(octets)] = octets
        # Equal lengths mean equal places: the vectors that were written last hold.
        if lengths != self._lengths[: len(lengths)]:
            self._lengths = lengths
            self._place(lengths)

    def send(self, descriptor: int, first: int, count: int) -> int:
        """Send `count` loaded messages from index `first` on.

        Returns:
            How many the kernel took, at least one; or minus the errno with which it refused the first.
        """
        sent = _libc.sendmmsg(descriptor, self._headers_at + first * _HEADER_OCTETS, count, 0)
        return int(sent) if sent > 0 else -ctypes.get_errno()

    def _place(self, lengths: Sequence[int]) -> None:
        starts = accumulate(lengths, initial=self._payload_at)
        for i, (start, length) in enumerate(zip(starts, lengths, strict=False)):
            _VECTOR.pack_into(self._vectors, i * _VECTOR.size, start, length)
