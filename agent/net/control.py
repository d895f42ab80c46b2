"""Control messages (RFC 3542, section 20 of `man 3 cmsg`): what the kernel says beside a datagram, and is told.

struct cmsghdr        0 len(8)   8 level(4)   12 type(4)   16 data, then padding to a multiple of 8
scm_timestamping      three timespecs of 16 octets: software, unused, hardware
sock_extended_err     errno(4) origin(1) type(1) code(1) pad(1) info(4) data(4)
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

# Plain integers: comparing the flag types of the socket module costs as much time per packet as the packet itself.
SOL_SOCKET: Final = int(socket.SOL_SOCKET)
MSG_TRUNC: Final = int(socket.MSG_TRUNC)
MSG_ERRQUEUE: Final = 0x2000
SO_TIMESTAMPING: Final = 37
ORIGIN_TIMESTAMPING: Final = 4
SECOND_NS: Final = 1_000_000_000

_SCM_TS_OPT_ID: Final = 81
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = 2, 8, 16, 128, 2048
_TX_HARDWARE, _RX_HARDWARE, _RAW_HARDWARE = 1, 4, 64
STAMPING_FLAGS: Final = _TX_SOFTWARE | _RX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY
CARD_STAMPING_FLAGS: Final = _TX_HARDWARE | _RX_HARDWARE | _RAW_HARDWARE
"""With these too the kernel gives a card's transmit time instead of its own, where the card takes one, and both of what
is received."""

CONTROL_OCTETS: Final = 192
"""Room for all control messages of one received datagram or transmit time, and the length of every layout."""

HEADER: Final = struct.Struct("=Qii")
_ORIGIN_TYPE_CODE: Final = struct.Struct("=4xBBB9x")
_ICMP_ORIGINS: Final = (2, 3)
_ERRORS: Final = ((int(socket.IPPROTO_IP), 11), (int(socket.IPPROTO_IPV6), 25))
"""IP_RECVERR and IPV6_RECVERR."""
INT: Final = struct.Struct("=i")
_TRANSMIT_ID: Final = struct.Struct("=QiiI4x")

TRANSMIT_ID_OCTETS: Final = _TRANSMIT_ID.size
TRANSMIT_ID_VALUE_AT: Final = HEADER.size


def transmit_id_message(wire: int) -> bytes:
    """The control message that chooses the number under which a transmit time comes back."""
    return _TRANSMIT_ID.pack(HEADER.size + 4, SOL_SOCKET, _SCM_TS_OPT_ID, wire)


@functools.cache
def kernel_takes_transmit_ids() -> bool:
    """Whether a sender may choose the numbers of its datagrams (Linux 6.13); asked of the kernel once, by trying."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("127.0.0.1", 0))
            trial.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, STAMPING_FLAGS)
            trial.sendmsg([b""], [(SOL_SOCKET, _SCM_TS_OPT_ID, INT.pack(0))], 0, trial.getsockname())
        except OSError:
            return False
        return True


def messages(control: bytearray, at: int, octets: int) -> Iterator[tuple[int, int, bytes]]:
    """Level, type and data of each control message between `at` and `at + octets`; stops at a malformed one."""
    end = at + octets
    while at + HEADER.size <= end:
        length, level, kind = HEADER.unpack_from(control, at)
        if length < HEADER.size or at + length > end:
            return
        yield level, kind, bytes(control[at + HEADER.size : at + length])
        at += (length + 7) & ~7


def icmp_errors_among(said: Iterable[tuple[int, int, bytes]]) -> Iterator[tuple[int, int, bytes]]:
    """ICMP type and code, and the encoded address of whoever sent it, of the ICMP errors among control messages.

    The address is empty, or begins with zeros, where the kernel gives none.
    """
    for level, kind, data in said:
        if (level, kind) in _ERRORS and len(data) >= _ORIGIN_TYPE_CODE.size:
            origin, icmp_type, code = _ORIGIN_TYPE_CODE.unpack_from(data)
            if origin in _ICMP_ORIGINS:
                yield icmp_type, code, data[_ORIGIN_TYPE_CODE.size :]
