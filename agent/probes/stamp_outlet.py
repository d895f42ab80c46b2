"""What all sockets of STAMP senders have in common: how times and error estimates are read, and follow-ups."""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.core.follow_up import FollowUps, Told
from agent.core.interval import UNKNOWN_NS, Flags, Integers, sum_of_uncertainties
from agent.core.measurement import Probes
from agent.core.peer import PeerTraits
from agent.core.probe_ring import with_room
from agent.core.session import Replies, joined
from agent.core.timestamps import ErrorEstimate, ns_from_wire
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Outlet, stamped_arrivals
from agent.probes.unnamed import Unnamed

_REMEMBERED_ESTIMATES: Final = 1024


class Heard(NamedTuple):
    """Fields of replies, (n,) each; timestamps and estimates as they are on the wire.

    Attributes:
        rows: whose they are.
        sequences, timestamps: of the request, given back.
        reflected: the reply's own number.
        receive, transmit: T2 and T3.
        estimates: 16 bits each.
        received_ns, bounds_ns: as of `Arrivals`.
    """

    rows: Integers
    sequences: Integers
    timestamps: NDArray[np.uint64]
    reflected: Integers
    receive: NDArray[np.uint64]
    transmit: NDArray[np.uint64]
    estimates: NDArray[np.uint16]
    received_ns: Integers
    bounds_ns: Integers | None


class FollowingUp(NamedTuple):
    """What replies say of the ones before them, (n,) each.

    Attributes:
        understood: whether anything is said.
        reflected: of which reply.
        timestamps: when it left, 64 bits in the reflector's format; 0: not known.
    """

    understood: Flags
    reflected: Integers
    timestamps: NDArray[np.uint64]


class StampOutlet(Outlet):
    """A socket of STAMP senders (RFC 8762), which may ask to be told when replies left (RFC 8972, section 4.7).

    Args:
        socket_, layout, destinations: as of `Outlet`.
        clock: the quality of the local clock.
        describe: learn what the replies have in common.

    Attributes:
        traits: what that is, where it is learnt.
    """

    one_way: ClassVar = True

    def __init__(
        self,
        socket_: TimestampedSocket,
        layout: np.dtype[np.void],
        destinations: Destinations,
        clock: LocalClock,
        *,
        describe: bool,
    ) -> None:
        super().__init__(socket_, layout, destinations)
        self.traits = PeerTraits() if describe else None
        self.clock = clock
        self._follow_ups = FollowUps()
        self._unnamed = Unnamed()
        self._asks: Flags = np.zeros(0, np.bool_)
        self._estimates: dict[int, tuple[int, bool]] = {}

    @property
    def follow_ups(self) -> dict[str, int]:
        """See `PlannedOutlet.follow_ups`."""
        return {"told": self._follow_ups.told, "untold": self._follow_ups.untold}

    def release(self, probes: Probes | None) -> Replies:
        """See `PlannedOutlet.release`."""
        return self._follow_ups.release(probes)

    def leave(self, row: int) -> None:
        """See `PlannedOutlet.leave`."""
        self._unnamed.leave(row)

    def ask_to_follow_up(self, row: int, asks: bool) -> None:
        """Whether the requests of a row ask when replies left."""
        self._asks = with_room(self._asks, row + 1)
        self._asks[row] = asks

    def asks(self, rows: Integers) -> Flags:
        """Whether each row's requests do."""
        self._asks = with_room(self._asks, int(rows.max(initial=0)) + 1)
        found: Flags = self._asks[rows]
        return found

    def judged_by_clocks(self, heard: Heard, following: FollowingUp | None) -> Replies:
        """Replies with their times in ns, those that wait to be told of by the next ones left out.

        Args:
            heard: in order of arrival.
            following: what they say of the ones before; None: nobody asked.
        """
        t4_ns, arrival_ns = stamped_arrivals(heard.received_ns, heard.bounds_ns)
        remote_ns, ptp = self._read_estimates(heard.estimates)
        bound_ns = self.clock.bound_ns
        local_ns = np.full(len(heard.rows), UNKNOWN_NS if bound_ns is None else bound_ns, np.int64)
        replies = Replies(
            heard.rows,
            heard.sequences,
            heard.timestamps,
            heard.reflected,
            ns_from_wire(heard.receive, ptp, t4_ns),
            ns_from_wire(heard.transmit, ptp, t4_ns),
            t4_ns,
            arrival_ns,
            sum_of_uncertainties(remote_ns, local_ns),
        )
        asked = self.asks(heard.rows)
        if following is None or not asked.any():
            return replies
        said = following.understood & (following.timestamps != 0)
        left_ns = ns_from_wire(following.timestamps, ptp, t4_ns)
        told = Told(following.reflected, np.where(said, left_ns, 0))
        if asked.all():
            return self._follow_ups.exchange(replies, told)
        chosen, others = np.flatnonzero(asked), np.flatnonzero(~asked)
        ready = self._follow_ups.exchange(replies.take(chosen), Told._make(each[chosen] for each in told))
        return joined(replies.take(others), ready)

    def _read_estimates(self, words: NDArray[np.uint16]) -> tuple[Integers, Flags]:
        """The error bound and the timestamp format that each 16-bit Error Estimate tells."""
        distinct, which = np.unique(words, return_inverse=True)
        found = [self._estimate(word) for word in distinct.tolist()]
        bounds = np.array([bound_ns for bound_ns, _ in found], np.int64)
        formats = np.array([ptp for _, ptp in found], np.bool_)
        return bounds[which], formats[which]

    def _estimate(self, word: int) -> tuple[int, bool]:
        known = self._estimates.get(word)
        if known is None:
            estimate = ErrorEstimate.from_wire(word)
            # the largest that the wire can say, 17,000 years, is beyond what 64 bits of nanoseconds hold
            bound_ns = UNKNOWN_NS if estimate.bound_ns is None else min(estimate.bound_ns, UNKNOWN_NS)
            known = bound_ns, estimate.ptp
            if len(self._estimates) < _REMEMBERED_ESTIMATES:
                self._estimates[word] = known
        return known
