"""Addresses of the shipped files, moved where another program has them already."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import Final

_ADDRESS: Final = re.compile(r"127\.0\.0\.1:([0-9]+)")


def free_addresses(texts: Iterable[str]) -> dict[str, str]:
    """For every loopback address in the texts, itself or, where its port is taken, one with a free port."""
    wanted = sorted({match[0] for text in texts for match in _ADDRESS.finditer(text)})
    held: list[socket.socket] = []
    chosen: dict[str, str] = {}
    try:
        for address in wanted:
            port = int(address.rpartition(":")[2])
            chosen[address] = f"127.0.0.1:{_hold(port, held) or _hold(0, held)}"
    finally:
        for one in held:
            one.close()
    return chosen


def moved(text: str, addresses: dict[str, str]) -> str:
    """A text with its addresses replaced."""
    return _ADDRESS.sub(lambda match: addresses.get(match[0], match[0]), text)


def _hold(port: int, held: list[socket.socket]) -> int | None:
    """Bind a port for TCP and UDP and keep it; None where it is taken."""
    for _ in range(20 if port == 0 else 1):
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
            continue
        held += [tcp, udp]
        bound: int = tcp.getsockname()[1]
        return bound
    return None
