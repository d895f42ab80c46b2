"""The leases of a running agent: whatever happens to a test, its slot comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.core.authentication import Key
from agent.core.throughput.lease import (
    Admittance,
    Lease,
    LeaseRequest,
    LeaseState,
    Protocol,
    Refusal,
    Share,
    Way,
)
from agent.core.throughput.lease_book import LeaseRules
from agent.core.throughput.preamble import Preamble, PreambleKind
from agent.core.throughput.report import ServerReport
from agent.core.timestamps import SECOND_NS
from agent.reflector.leases import LeaseDesk
from tests.support.processes import eventually

MS_NS = 1_000_000
PEER, OTHER = bytes([127, 0, 0, 1]), bytes([127, 0, 0, 2])
RULES = LeaseRules([ip_network("127.0.0.0/8")], start_ns=100 * MS_NS, grace_ns=50 * MS_NS, max_ended=2)
ASKED = LeaseRequest(PEER, Protocol.TCP, 100 * MS_NS, down=Share(1_000, 1_000))


class Sockets:
    """A data plane that has no sockets, and says what it is told to.

    Attributes:
        stopped: the leases that it was told to stop.
        hold: closing sockets takes until this is set.
    """

    def __init__(self, used: Mapping[Way, int] | None = None, failure: Exception | None = None) -> None:
        self.stopped: list[bytes] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self._used = used
        self._failure = failure

    def expect(self) -> None:
        pass

    async def stop(self, lease: Lease) -> Mapping[Way, int] | None:
        self.stopped.append(lease.id)
        await self.hold.wait()
        if self._failure is not None:
            raise self._failure
        return self._used


def granted(desk: LeaseDesk) -> Lease:
    answer = desk.ask(ASKED)
    assert isinstance(answer, Lease)
    return answer


def connect(desk: LeaseDesk, lease: Lease) -> Admittance:
    hello = Preamble(PreambleKind.HELLO, Way.DOWN, 0, lease.id, bytes(16))
    return desk.admit(hello.challenge(bytes(16)).proof(lease.token), PEER, Protocol.TCP)


@contextlib.asynccontextmanager
async def watched(desk: LeaseDesk) -> AsyncIterator[None]:
    """The desk ends leases."""
    watching = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def test_a_test_that_goes_on_too_long_is_stopped() -> None:
    """When the time for data is over the sockets are closed and the slot is free, without anybody's asking."""
    sockets = Sockets({Way.DOWN: 10})
    desk = LeaseDesk(RULES, sockets)
    async with watched(desk):
        lease = granted(desk)
        assert connect(desk, lease) is Admittance.ADMITTED
        assert isinstance(desk.ask(ASKED), Refusal)

        async def free() -> bool:
            return desk.slots_taken == 0

        await eventually(free, "the slot is free")
    assert sockets.stopped == [lease.id]
    assert desk.find(lease.id, PEER) == (lease, LeaseState.RELEASED)
    assert desk.ended == {LeaseState.RELEASED: 1}


async def test_a_lease_that_nobody_uses_expires() -> None:
    """Nothing is stopped, for nothing has begun."""
    sockets = Sockets()
    desk = LeaseDesk(RULES, sockets)
    async with watched(desk):
        lease = granted(desk)

        async def free() -> bool:
            return desk.slots_taken == 0

        await eventually(free, "the slot is free")
    assert sockets.stopped == []
    assert desk.find(lease.id, PEER) == (lease, LeaseState.EXPIRED)


async def test_an_end_is_waited_for_by_all_who_ask() -> None:
    """The slot is free when the sockets are closed, not before; they are closed once, also if who asked goes away."""
    sockets = Sockets()
    desk = LeaseDesk(RULES, sockets)
    lease = granted(desk)
    assert connect(desk, lease) is Admittance.ADMITTED
    sockets.hold.clear()
    first, second = (asyncio.create_task(desk.end(lease.id)) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sockets.stopped == [lease.id]
    assert desk.slots_taken == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    sockets.hold.set()
    await second
    assert sockets.stopped == [lease.id]
    assert desk.slots_taken == 0
    await desk.end(lease.id)
    assert sockets.stopped == [lease.id]


async def test_a_data_plane_that_fails_keeps_no_slot() -> None:
    """Its fault is told to who asked, and the slot is free."""
    desk = LeaseDesk(RULES, Sockets(failure=OSError("broken")))
    lease = granted(desk)
    connect(desk, lease)
    with pytest.raises(OSError, match="broken"):
        await desk.end(lease.id)
    assert desk.slots_taken == 0


async def test_a_fault_while_watching_stops_nothing_else() -> None:
    """A data plane that fails once does not end the watch: the next lease ends in time too."""
    desk = LeaseDesk(RULES, Sockets(failure=OSError("broken")))
    async with watched(desk):
        for _ in range(2):
            connect(desk, granted(desk))

            async def free() -> bool:
                return desk.slots_taken == 0

            await eventually(free, "the slot is free")
    assert desk.ended[LeaseState.RELEASED] == 2


async def test_a_data_plane_that_hangs_keeps_its_slot_until_the_expiry() -> None:
    """No test waits for another's sockets, and a slot is free when its lease expires, whatever its sockets do."""
    sockets = Sockets()
    sockets.hold.clear()
    desk = LeaseDesk(replace(RULES, slots=2), sockets)
    async with watched(desk):
        leases = [granted(desk), granted(desk)]
        for lease in leases:
            connect(desk, lease)

        async def free() -> bool:
            return desk.slots_taken == 0

        await eventually(free, "the slots are free")
        assert sockets.stopped == [lease.id for lease in leases]
        sockets.hold.set()
        await desk.close()
    assert desk.ended == {LeaseState.EXPIRED: 2}


async def test_closing_ends_all() -> None:
    """Leases do not outlive the agent's server; without a data plane nothing was transferred."""
    desk = LeaseDesk(RULES)
    lease = granted(desk)
    connect(desk, lease)
    await desk.close()
    assert desk.find(lease.id, PEER) == (lease, LeaseState.RELEASED)
    assert desk.running(lease.id) is None


async def test_only_its_peer_finds_a_lease() -> None:
    """For any other address it is not there."""
    desk = LeaseDesk(RULES)
    lease = granted(desk)
    assert desk.find(lease.id, PEER) == (lease, LeaseState.GRANTED)
    assert desk.find(lease.id, OTHER) is None
    assert desk.find(bytes(8), PEER) is None
    assert desk.running(lease.id) is lease


async def test_a_door_gets_the_token_of_who_is_admitted() -> None:
    """Once for each stream; whoever proves nothing gets none, and leaves the stream free."""
    desk = LeaseDesk(RULES)
    lease = granted(desk)
    hello = Preamble(PreambleKind.HELLO, Way.DOWN, 0, lease.id, bytes(16))
    assert desk.open(hello.proof(Key(bytes(16))), PEER, Protocol.TCP) is None
    proof = hello.proof(lease.token)
    assert desk.open(proof, PEER, Protocol.TCP) == lease.token
    assert desk.open(proof, PEER, Protocol.TCP) is None


async def test_reports_are_kept_but_not_for_ever() -> None:
    """The newest report of a lease is shown, of the last leases; before there is one, it tells nothing."""
    desk = LeaseDesk(RULES)
    assert desk.report(b"1") == ServerReport()
    for name in (b"1", b"2", b"1", b"3"):
        desk.tell(name, ServerReport(error=f"of {name.decode()}"))
    assert [desk.report(name).error for name in (b"1", b"2", b"3")] == ["of 1", "", "of 3"]


async def test_new_rules() -> None:
    """They hold for the next lease."""
    desk = LeaseDesk(RULES)
    desk.update(LeaseRules([]))
    assert isinstance(desk.ask(ASKED), Refusal)
    assert desk.requests == {"not_allowed": 1}
    assert not desk.sockets


async def test_the_line_to_the_peer_is_filled_from_the_first_socket_on() -> None:
    """Until the lease expires at the latest, or 2 s after it was given back; not by who has asked and never comes."""
    told: list[tuple[str, int]] = []
    desk = LeaseDesk(RULES, Sockets(), unix_ns=lambda: 1_000 * SECOND_NS)
    desk.load = lambda peer, until_ns: told.append((peer, until_ns))
    lease = granted(desk)
    assert told == []
    assert connect(desk, lease) is Admittance.ADMITTED
    assert connect(desk, lease) is Admittance.REPLAYED
    ((peer, until_ns),) = told
    assert peer == str(ip_address(PEER))
    assert 1_002 * SECOND_NS < until_ns <= 1_002 * SECOND_NS + lease.expires_ns - lease.granted_ns
    desk.release(lease.id)
    desk.release(lease.id)
    assert told[1:] == [(peer, 1_002 * SECOND_NS)]
