"""The leases of a running agent: the book with a clock, what its data plane tells, and an end for every test.

A data plane is whatever has the sockets. It asks `admit` of each, tells what it went through with `tell`, and gives a
lease back with `release` when it is done. Where it does not, `run` has it stop the test when the time for data is over;
and where it cannot even do that, the slot is free when the lease expires.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final, Protocol

from agent.core.authentication import Key
from agent.core.throughput.lease import (
    Admittance,
    Lease,
    LeaseRequest,
    LeaseState,
    Refusal,
    Way,
)
from agent.core.throughput.lease import Protocol as DataProtocol
from agent.core.throughput.lease_book import LeaseBook, LeaseRules
from agent.core.throughput.preamble import Preamble
from agent.core.throughput.report import ServerReport
from agent.core.timestamps import SECOND_NS

log = logging.getLogger(__name__)

_CLOSE_S: Final = 5.0
_AFTER_NS: Final = 2 * SECOND_NS
"""So long after a test the line to its peer is still taken for disturbed."""
_NOTHING: Final = ServerReport()


class DataPlane(Protocol):
    """Who has the sockets of tests."""

    def expect(self) -> None:
        """Data sockets of another lease may come from now on."""

    async def stop(self, lease: Lease) -> Mapping[Way, int] | None:
        """Close all sockets of a lease, and tell what there is to tell.

        Returns:
            The octets of payload that were transferred each way; None: not known.
        """


class _NoDataPlane:
    """Nothing has sockets, so nothing was transferred."""

    def expect(self) -> None:
        """None can come."""

    async def stop(self, lease: Lease) -> Mapping[Way, int] | None:
        return {}


class LeaseDesk:
    """Grants, watches and ends leases.

    Args:
        rules: what is granted.
        data: who has the sockets; it may be given later, before the first lease.
        now_ns: the monotonic clock.
        unix_ns: the wall clock, for days.

    Attributes:
        data: who has the sockets.
        load: called with the address of a peer and the time (Unix wall time, ns) until which the line to him is filled
            from now on; again, with an earlier time, when that is over.
    """

    def __init__(
        self,
        rules: LeaseRules,
        data: DataPlane | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._book = LeaseBook(rules, secrets.token_bytes)
        self._max_reports = rules.max_ended
        self.data: DataPlane = data or _NoDataPlane()
        self._now_ns = now_ns
        self._unix_ns = unix_ns
        self._reports: OrderedDict[bytes, ServerReport] = OrderedDict()
        self._ending: dict[bytes, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self.load: Callable[[str, int], None] = lambda _peer, _until_ns: None

    def update(self, rules: LeaseRules) -> None:
        """Go on under other rules; leases that are granted stay as they are."""
        self._book.update(rules)
        self._max_reports = rules.max_ended

    def expected(self) -> set[bytes]:
        """The addresses, of 4 or 16 octets, from which data sockets may come now."""
        return self._book.expected(self._now_ns())

    def ask(self, request: LeaseRequest) -> Lease | Refusal:
        """Grant a lease, or say why not."""
        answer = self._book.grant(request, self._now_ns(), self._unix_ns())
        if isinstance(answer, Lease):
            self.data.expect()
        self._changed.set()
        return answer

    def admit(self, proof: Preamble, peer: bytes, protocol: DataProtocol) -> Admittance:
        """Decide of a data socket whose nonces are its own; see `LeaseBook.admit`."""
        now_ns = self._now_ns()
        decided = self._book.admit(proof, peer, protocol, now_ns)
        lease = self.running(proof.lease) if decided is Admittance.ADMITTED else None
        if lease is not None:
            self._tell_load(lease, lease.expires_ns - now_ns)
        self._changed.set()
        return decided

    def open(self, proof: Preamble, peer: bytes, protocol: DataProtocol) -> Key | None:
        """The same for the doors of `agent.core.throughput.handshake`: the lease's token where it is admitted."""
        if self.admit(proof, peer, protocol) is not Admittance.ADMITTED:
            return None
        lease = self.running(proof.lease)
        assert lease is not None
        return lease.token

    def find(self, lease: bytes, peer: bytes) -> tuple[Lease, LeaseState] | None:
        """A lease of an id, for the peer that has it; None: he has no such lease, or it is forgotten."""
        self._book.expire(self._now_ns())
        found = self._book.find(lease)
        return found if found is not None and found[0].request.peer == peer else None

    def running(self, lease: bytes) -> Lease | None:
        """A lease that holds its slot; None: there is none of this id."""
        return next((one for one in self._book.running if one.id == lease), None)

    def tell(self, lease: bytes, report: ServerReport) -> None:
        """Keep what the server went through in a test; the newest of a lease counts."""
        self._reports[lease] = report
        self._reports.move_to_end(lease)
        while len(self._reports) > self._max_reports:
            self._reports.popitem(last=False)

    def report(self, lease: bytes) -> ServerReport:
        """What was told of a test last."""
        return self._reports.get(lease, _NOTHING)

    def release(self, lease: bytes, used: Mapping[Way, int] | None = None) -> bool:
        """Give a lease back whose sockets are closed; whether it still ran."""
        found = self.running(lease)
        if found is not None:
            self._tell_load(found, 0)
        return self._book.release(lease, self._now_ns(), used)

    async def end(self, lease: bytes) -> None:
        """Have the data plane close a lease's sockets, then give it back; whoever asks waits for the same end."""
        found = self.running(lease)
        if found is not None:
            # whoever asked may go away: the end comes all the same
            await asyncio.shield(self._begin_end(found))

    async def run(self) -> None:
        """End the leases whose time is over; until it is cancelled."""
        while True:
            self._changed.clear()
            now_ns = self._now_ns()
            self._book.expire(now_ns)
            for lease in self._book.running:
                if now_ns >= lease.stop_by_ns:
                    self._begin_end(lease)
            soonest_ns = self._next_ns()
            wait_s = None if soonest_ns is None else max(0, soonest_ns - self._now_ns()) / SECOND_NS
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """End all leases, and wait for their sockets, but not for ever."""
        for lease in self._book.running:
            self._begin_end(lease)
        if self._ending:
            await asyncio.wait(self._ending.values(), timeout=_CLOSE_S)

    @property
    def requests(self) -> Counter[str]:
        """What was asked for, by result."""
        return self._book.requests

    @property
    def sockets(self) -> Counter[Admittance]:
        """Data sockets, by what was decided of them."""
        return self._book.sockets

    @property
    def ended(self) -> Counter[LeaseState]:
        """Leases that are over, by how they ended."""
        return self._book.ended

    @property
    def slots_taken(self) -> int:
        """How many leases hold a slot."""
        return len(self._book.running)

    def _tell_load(self, lease: Lease, lasting_ns: int) -> None:
        self.load(str(ip_address(lease.request.peer)), self._unix_ns() + lasting_ns + _AFTER_NS)

    def _begin_end(self, lease: Lease) -> asyncio.Task[None]:
        """The end of a lease that still runs, begun if it has not been."""
        ending = self._ending.get(lease.id)
        if ending is None:
            ending = self._ending[lease.id] = asyncio.create_task(self._end(lease), name="end a test")
            ending.add_done_callback(functools.partial(self._has_ended, lease.id))
        return ending

    def _has_ended(self, lease: bytes, ending: asyncio.Task[None]) -> None:
        del self._ending[lease]
        failure = None if ending.cancelled() else ending.exception()
        if failure is not None:
            log.error("a throughput test could not be stopped: %s", failure)
        self._changed.set()

    async def _end(self, lease: Lease) -> None:
        used: Mapping[Way, int] | None = None
        try:
            used = await self.data.stop(lease)
        finally:
            self.release(lease.id, used)

    def _next_ns(self) -> int | None:
        """When there will be something to do."""
        ends = [lease.stop_by_ns for lease in self._book.running if lease.id not in self._ending]
        expiry_ns = self._book.next_expiry_ns
        return min(ends if expiry_ns is None else [*ends, expiry_ns], default=None)
