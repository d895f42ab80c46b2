"""What the kernel threw away of what came to a socket."""

from __future__ import annotations

import socket
import struct
from typing import Final

_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")
_DROPS: Final = 8


def dropped(socket_: socket.socket) -> int:
    """How many datagrams the kernel threw away since the socket was opened, for lack of room in its buffer.

    Those that it had put together (UDP_GRO) count as one.

    Raises:
        OSError: the socket is closed.
    """
    told = socket_.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    drops: int = _MEMINFO.unpack(told)[_DROPS]
    return drops
