"""Watching a socket in the event loop: woken by what comes, or, while much comes, by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.core.coalescing import Coalescing
from agent.net.datagram import TimestampedSocket
from agent.net.timer import WakeUp


class Lookout:
    """Says when to look at a socket. While that is by the clock nobody is woken for packets, nor for transmit times.

    Args:
        socket_: which.
        batch: how many packets are taken at a time.
    """

    def __init__(self, socket_: TimestampedSocket, batch: int) -> None:
        self._socket = socket_
        self._coalescing = Coalescing(batch)
        self._clock = WakeUp()
        self._look: Callable[[], object] = lambda: None
        self._watched: TimestampedSocket | WakeUp | None = None

    def start(self, look: Callable[[], object]) -> None:
        """Call `look` in the running event loop whenever it is time to; it ends with `looked`, or with `stop`."""
        self._look = look
        self._watch(self._socket)

    def stop(self) -> None:
        """Call nobody any more; stopping again changes nothing."""
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched.fileno())
            self._watched = None

    def close(self) -> None:
        """Close the clock, once stopped; the socket is its owner's."""
        self._clock.close()

    def looked(self, came: int, now_ns: int) -> None:
        """So many packets were there, at monotonic time `now_ns`."""
        next_look_ns = self._coalescing.next_look_ns(came, now_ns)
        if self._watched is self._clock:
            self._clock.acknowledge()
        if next_look_ns is None:
            self._watch(self._socket)
        else:
            self._clock.at(next_look_ns)
            self._watch(self._clock)

    def _watch(self, source: TimestampedSocket | WakeUp) -> None:
        if source is not self._watched:
            self.stop()
            self._watched = source
            asyncio.get_running_loop().add_reader(source.fileno(), self._look)
