"""How the TCP streams of a test are controlled: by CUBIC (RFC 9438), whatever the host's own choice.

What a line carries is not to depend on that choice, and what is lost is to be seen. A host that does not let this
process choose (net.ipv4.tcp_allowed_congestion_control) keeps its own, and the result says which that was.

It is chosen before there is a connection. One that begins under BBR is paced by a timer ever after, whatever controls
it then (the kernel's sk_pacing_status is never taken back). Over veth that timer sends from other cores than the sender
does: thousands of segments arrive out of order and are sent again, at a third of the rate.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

_CONGESTION_CONTROL: Final = b"cubic"
_NAME_OCTETS: Final = 16


def choose_congestion_control(one: socket.socket) -> None:
    """Have a socket's connection controlled as a test's is to be, where this process may.

    Args:
        one: not yet connected; or about to listen, and then those that it accepts are.
    """
    with contextlib.suppress(OSError):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CONGESTION_CONTROL)


def congestion_control_of(one: socket.socket) -> str:
    """How a connection is controlled."""
    told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_OCTETS)
    return told.rstrip(b"\0").decode(errors="replace")
