"""Addresses of the shipped files, moved where another program has them already.

An address that is free when it is chosen may be taken before it is bound. Among quickstarts a turn prevents that: who
has it chooses, starts its processes, and passes it on once they have bound. Whatever else takes an address meanwhile
makes the start fail, with an error that names the address.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
import time
from collections.abc import Iterable
from typing import Final

from agent.runtime.exceptions import IsochroneError

# An abstract socket address (unix(7)): like ports, it belongs to a network namespace with all its users, and it is free
# again as soon as its holder is dead.
_TURN: Final = "\0isochrone-quickstart"
_TURN_WITHIN_S: Final = 30.0
"""A start takes a few seconds; one that hangs must not keep all others from starting."""

_ADDRESS: Final = re.compile(r"127\.0\.0\.1:([0-9]+)")


class CannotListenError(IsochroneError):
    """An address cannot be bound."""


async def turn(stop: asyncio.Event) -> socket.socket:
    """Wait until no other quickstart is between choosing its addresses and having bound them.

    Args:
        stop: set, it is not waited for any more.

    Returns:
        What has the turn, until it is closed.
    """
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deadline = time.monotonic() + _TURN_WITHIN_S
    said = False
    while not stop.is_set() and time.monotonic() < deadline:
        try:
            holder.bind(_TURN)
        except OSError:
            if not said:
                print("waiting for another quickstart to have started", file=sys.stderr, flush=True)
                said = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.1)
        else:
            break
    return holder


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
