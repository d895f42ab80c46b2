"""A collector whose fleet file changes: SIGHUP has it checked whole, and what is good follows in the same process.

What a collector knows is in its database, and what agents count while it begins anew is read afterwards, so nothing has
to be carried over. A file that is no good changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agent.runtime.exceptions import IsochroneError
from agent.runtime.lifecycle import on_reload
from agent.runtime.supervision import Supervision
from collector.program import Collector

log = logging.getLogger(__name__)


async def run_renewed(
    first: Collector, read: Callable[[], Collector], stop: asyncio.Event, supervision: Supervision
) -> None:
    """Run a collector, and after each SIGHUP the one that the fleet file then tells, until `stop` is set.

    Args:
        first: the one to begin with.
        read: makes one of the file as it is now; raises IsochroneError where it is no good.
        stop: ends it.
        supervision: who is told how it goes.

    Raises:
        StoreError: the state cannot be used, or another collector uses it.
        HttpBindError: the address cannot be used.
    """
    renew = asyncio.Event()
    on_reload(renew.set)

    async def successor(collector: Collector) -> Collector | None:
        while await _first_of(stop, renew) is renew:
            renew.clear()
            supervision.reloading()
            try:
                return await asyncio.to_thread(read)
            except IsochroneError as error:
                log.error("not reloaded: %s", error)
                supervision.ready(collector.in_short)
        supervision.stopping()
        return None

    current: Collector | None = first
    while current is not None:
        over = asyncio.Event()
        running = asyncio.create_task(current.run(over), name="collector")
        followed = asyncio.create_task(successor(current), name="await a successor")
        try:
            await asyncio.wait({running, followed}, return_when=asyncio.FIRST_COMPLETED)
            over.set()
            await running  # one that has failed ends everything
            current = await followed
        finally:
            followed.cancel()


async def _first_of(stop: asyncio.Event, renew: asyncio.Event) -> asyncio.Event:
    """The one that is set, once one is; `stop` where both are."""
    waits = [asyncio.create_task(event.wait()) for event in (stop, renew)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return stop if stop.is_set() else renew
