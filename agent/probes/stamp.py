"""STAMP packets of many sessions on one socket, told apart by their session identifier: a row's is one more."""

from __future__ import annotations

import socket
from collections import Counter
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS, Flags, Integers, sum_of_uncertainties
from agent.core.measurement import Probes
from agent.core.session import Replies
from agent.core.stamp import BASE_OCTETS, REFLECTOR_COLUMNS, SENDER_COLUMNS
from agent.core.timestamps import ErrorEstimate, ns_from_wire
from agent.net.datagram import Arrivals, TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Outlet, Packets, count_discarded, stamped_arrivals

_BATCH: Final = 512
_LONGEST_REPLY: Final = 128
_REMEMBERED_ESTIMATES: Final = 1024


class StampOutlet(Outlet):
    """A socket of STAMP senders (RFC 8762, unauthenticated).

    Args:
        family, dscp: of the socket.
        destinations: where the rows are sent to.
        clock: the quality of the local clock.
    """

    one_way: ClassVar = True

    def __init__(
        self, family: socket.AddressFamily, dscp: int, destinations: Destinations, clock: LocalClock
    ) -> None:
        socket_ = TimestampedSocket(family, dscp=dscp, batch=_BATCH, payload_octets=_LONGEST_REPLY)
        super().__init__(socket_, SENDER_COLUMNS, destinations)
        self._clock = clock
        self._estimates: dict[int, tuple[int, bool]] = {}

    def write(self, packets: Packets, probes: Probes) -> None:
        """Write requests; see `Outlet.write`."""
        columns = packets.columns[: len(probes.rows)]
        columns["sequence"] = probes.sequences
        columns["error_estimate"] = self._clock.estimate_wire
        columns["ssid"] = probes.rows + 1

    def stamp(self, packets: Packets, first: int, stop: int, wire: int) -> None:
        """Write T1; see `Outlet.stamp`."""
        packets.columns["timestamp"][first:stop] = wire

    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """Read replies; see `Outlet.read`."""
        long_enough = arrivals.octets >= BASE_OCTETS
        packets = arrivals.payloads[:, :BASE_OCTETS].view(REFLECTOR_COLUMNS)[:, 0]
        rows = packets["ssid"].astype(np.int64) - 1
        known = long_enough & self._destinations.match(rows, arrivals.sources)
        received_ns = arrivals.received_ns
        if not known.all():
            malformed = int(np.count_nonzero(~long_enough))
            count_discarded(discarded, "malformed", malformed)
            count_discarded(discarded, "unknown", int(np.count_nonzero(~known)) - malformed)
            packets, rows, received_ns = packets[known], rows[known], received_ns[known]

        t4_ns, arrival_ns = stamped_arrivals(received_ns)
        remote_ns, ptp = self._read_estimates(packets["error_estimate"])
        bound_ns = self._clock.bound_ns
        local_ns = np.full(len(rows), UNKNOWN_NS if bound_ns is None else bound_ns, np.int64)
        return Replies(
            rows,
            packets["sender_sequence"].astype(np.int64),
            packets["sender_timestamp"].astype(np.uint64),
            packets["sequence"].astype(np.int64),
            ns_from_wire(packets["receive_timestamp"].astype(np.uint64), ptp, t4_ns),
            ns_from_wire(packets["timestamp"].astype(np.uint64), ptp, t4_ns),
            t4_ns,
            arrival_ns,
            sum_of_uncertainties(remote_ns, local_ns),
        )

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
            known = UNKNOWN_NS if estimate.bound_ns is None else estimate.bound_ns, estimate.ptp
            if len(self._estimates) < _REMEMBERED_ESTIMATES:
                self._estimates[word] = known
        return known
