"""Telling the service manager how the program is doing: sd_notify(3) and the watchdog of systemd.service(5)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

_FEEDS_PER_PERIOD: Final = 3
_US_PER_SECOND: Final = 1_000_000
_ABSTRACT: Final = "@"


class Supervision:
    """The line to the service manager; where there is none, whatever is said is said to nobody.

    Args:
        address: of its datagram socket, a path or, with `@` before it, a name; None where nobody listens.
        watchdog_s: within how long it expects to hear that the program lives; None where it does not.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = None if address is None else _socket_name(address)
        self.watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Supervision:
        """As the environment of a service says (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID)."""
        address = environment.get("NOTIFY_SOCKET") or None
        period = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = mine and period.isdecimal() and int(period) > 0
        return cls(address, int(period) / _US_PER_SECOND if watched else None)

    def ready(self, status: str) -> None:
        """Started, or done with reloading; `status` is what `systemctl status` shows, one line."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Reads its settings anew; `ready` follows, whether they could be taken over or not."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Ends in an orderly way."""
        self._tell("STOPPING=1")

    @contextlib.asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Feed the watchdog as long as this lasts and the event loop gets round to it.

        A loop that is busy still gets round; one that is stuck does not, and the program is killed and started anew.
        """
        if self.watchdog_s is None:
            yield
            return
        feeding = asyncio.create_task(
            self._feed(self.watchdog_s / _FEEDS_PER_PERIOD), name="feed the watchdog"
        )
        try:
            yield
        finally:
            feeding.cancel()

    async def _feed(self, pause_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(pause_s)

    def _tell(self, *assignments: str) -> None:
        if self._address is None:
            return
        with (
            contextlib.suppress(OSError),  # whoever supervised is gone: that is no reason to measure less
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.sendto("\n".join(assignments).encode(), self._address)


def _socket_name(address: str) -> str:
    return f"\0{address[1:]}" if address.startswith(_ABSTRACT) else address
