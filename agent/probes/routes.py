"""Follows the routes of paths while they are probed, each trace in a process of its own.

What reads raw packets (scapy) takes 55 MB and keeps the interpreter busy for 0.4 s: neither is for a process that sends
on time. So a trace is `probe route` of our own command, at low priority, along the five-tuple of the path's session.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import logging
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.core.ledger import PathLabels
from agent.core.route import Route
from agent.core.route_history import RouteHistory, TraceResult
from agent.runtime.quantities import Endpoint, format_duration

log = logging.getLogger(__name__)

_AT_A_TIME: Final = 2
_TRACE_TIMEOUT_NS: Final = 5_000_000_000
_PROCESS_TIMEOUT_S: Final = 20.0
_NICENESS: Final = 10
_SECOND_NS: Final = 1e9
_MISSING_CAPABILITY: Final = "CAP_NET_RAW"


class TracedFlow(NamedTuple):
    """Whose way is asked for: the five-tuple of a session, and its code point."""

    source_port: int
    target: Endpoint
    dscp: int


class TraceFailed(Exception):
    """A trace came to nothing.

    Attributes:
        result: as it is counted.
    """

    def __init__(self, result: TraceResult, reason: str) -> None:
        super().__init__(reason)
        self.result = result


Tracer = Callable[[TracedFlow], Awaitable[Route]]


@dataclass(slots=True)
class _Followed:
    """A path whose route is followed.

    Attributes:
        interval_ns: from trace to trace.
        flow: tells its five-tuple; None while it has none.
        history: what was found.
        complained: whether it was said that it may not be traced.
    """

    interval_ns: int
    flow: Callable[[], TracedFlow | None]
    history: RouteHistory
    complained: bool = False


class Routes:
    """Traces paths again and again, each at a phase of its own, a few at a time.

    Args:
        rng: draws the phases.
        tracer: traces once; raises TraceFailed.
    """

    def __init__(self, rng: random.Random, tracer: Tracer | None = None) -> None:
        self._rng = rng
        self._tracer = tracer or trace_in_child
        self._followed: dict[PathLabels, _Followed] = {}
        self._due: list[tuple[int, int, PathLabels, _Followed]] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._tracing: set[asyncio.Task[None]] = set()

    @property
    def histories(self) -> Mapping[PathLabels, RouteHistory]:
        """What is known of each path that is followed."""
        return {key: followed.history for key, followed in self._followed.items()}

    def follow(self, wanted: Mapping[PathLabels, tuple[int, Callable[[], TracedFlow | None]]]) -> None:
        """Follow these paths from now on, each at its interval (ns); what stays keeps its history."""
        for key in self._followed.keys() - wanted.keys():
            del self._followed[key]
        now_ns = time.monotonic_ns()
        for key, (interval_ns, flow) in wanted.items():
            known = self._followed.get(key)
            if known is not None and known.interval_ns == interval_ns:
                known.flow = flow
                continue
            history = RouteHistory() if known is None else known.history
            self._followed[key] = _Followed(interval_ns, flow, history)
            self._plan(now_ns + self._rng.randrange(interval_ns), key)
        self._changed.set()

    async def run(self) -> None:
        """Trace until cancelled; children that are under way are killed then."""
        try:
            while True:
                self._changed.clear()
                wait_s = None
                if self._due:
                    wait_s = max(0.0, (self._due[0][0] - time.monotonic_ns()) / _SECOND_NS)
                with suppress(TimeoutError):
                    # wait_for would, before Python 3.12, not see that it is cancelled as something changes
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                while self._due and self._due[0][0] <= time.monotonic_ns():
                    due_ns, _, key, followed = heapq.heappop(self._due)
                    if self._followed.get(key) is followed:
                        self._plan(
                            max(due_ns, time.monotonic_ns() - followed.interval_ns) + followed.interval_ns,
                            key,
                        )
                        await self._places.acquire()
                        task = asyncio.create_task(self._trace(key, followed), name="trace a route")
                        self._tracing.add(task)
                        task.add_done_callback(self._done)
        finally:
            for task in self._tracing:
                task.cancel()
            await asyncio.gather(*self._tracing, return_exceptions=True)

    def _plan(self, due_ns: int, key: PathLabels) -> None:
        heapq.heappush(self._due, (due_ns, next(self._numbers), key, self._followed[key]))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tracing.discard(task)
        self._places.release()

    async def _trace(self, key: PathLabels, followed: _Followed) -> None:
        flow = followed.flow()
        if flow is None:
            return
        try:
            route = await self._tracer(flow)
        except TraceFailed as failure:
            followed.history.not_traced(failure.result)
            if not followed.complained:
                followed.complained = True
                log.warning("cannot trace the route to %s: %s", flow.target, failure)
            return
        if followed.history.traced(route):
            current = followed.history.current
            assert current is not None
            log.info("the route to %s has changed: now %s", flow.target, current.fingerprint)


async def trace_in_child(flow: TracedFlow) -> Route:
    """Trace once in a process of its own.

    Raises:
        TraceFailed: it came to nothing.
    """
    command = [
        sys.executable,
        "-m",
        "agent",
        "probe",
        "route",
        str(flow.target),
        f"--source-port={flow.source_port}",
        f"--dscp={flow.dscp}",
        f"--timeout={format_duration(_TRACE_TIMEOUT_NS)}",
        "--json",
    ]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise TraceFailed(TraceResult.FAILED, f"no process for it: {error.strerror}") from error
    try:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        async with asyncio.timeout(_PROCESS_TIMEOUT_S):
            out, said = await process.communicate()
    except TimeoutError:
        raise TraceFailed(TraceResult.FAILED, f"no end within {_PROCESS_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if out:
        try:
            return Route.of_document(json.loads(out))
        except (ValueError, KeyError, TypeError) as error:
            raise TraceFailed(TraceResult.FAILED, f"not the document of a route: {error!r}") from error
    reason = said.decode(errors="replace").strip() or f"exit status {process.returncode}"
    permitted = _MISSING_CAPABILITY not in reason
    raise TraceFailed(TraceResult.FAILED if permitted else TraceResult.NOT_PERMITTED, reason)
