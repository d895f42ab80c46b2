"""Replies read off a socket's arrivals: whose they claim to be, and what they say, in columns."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.core.interval import UNKNOWN_NS, Integers, sum_of_uncertainties
from agent.core.session import Replies
from agent.core.stamp import BASE_OCTETS, REFLECTOR_COLUMNS
from agent.core.timestamps import ErrorEstimate, ns_from_wire
from agent.net.datagram import Arrivals
from agent.net.local_clock import LocalClock

_LONGEST_ADDRESS: Final = 28
_REMEMBERED_ESTIMATES: Final = 1024


class ReplyReader:
    """Parses and checks replies.

    Args:
        paths: how many there are.
        clock: the quality of the local clock.

    Attributes:
        destinations: (paths, 28), where each path is sent to and its replies must come from; zero while not known.
    """

    def __init__(self, paths: int, clock: LocalClock) -> None:
        self.destinations: NDArray[np.uint8] = np.zeros((max(1, paths), _LONGEST_ADDRESS), np.uint8)
        self._clock = clock
        self._estimates: dict[int, tuple[int, bool]] = {}

    def expect(self, row: int, destination: bytes) -> None:
        """Take replies to a path from this address only, encoded as `encode_address` does."""
        self.destinations[row] = 0
        self.destinations[row, : len(destination)] = np.frombuffer(destination, np.uint8)

    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """The replies among the arrivals; what is none is counted by reason."""
        long_enough = arrivals.octets >= BASE_OCTETS
        packets = arrivals.payloads[:, :BASE_OCTETS].view(REFLECTOR_COLUMNS)[:, 0]
        rows = packets["ssid"].astype(np.int64) - 1
        # an index of -1 or beyond the end is caught by the comparison of what it was before
        there = np.clip(rows, 0, len(self.destinations) - 1)
        expected = self.destinations[there, : arrivals.sources.shape[1]]
        known = long_enough & (rows == there) & (expected == arrivals.sources).all(axis=1)
        if not known.all():
            malformed = int(np.count_nonzero(~long_enough))
            if malformed:
                discarded["malformed"] += malformed
            if unknown := int(np.count_nonzero(~known)) - malformed:
                discarded["unknown"] += unknown
            packets, rows = packets[known], rows[known]
            arrivals = arrivals._replace(received_ns=arrivals.received_ns[known])

        t4_ns = arrivals.received_ns
        arrival_ns = np.zeros(len(rows), np.int64)
        if not t4_ns.all():
            arrival_ns[t4_ns == 0] = UNKNOWN_NS
            t4_ns = np.where(t4_ns == 0, time.time_ns(), t4_ns)
        remote_ns, ptp = self._read_estimates(packets["error_estimate"])
        local_ns = self._clock.bound_ns
        clocks_ns = sum_of_uncertainties(
            remote_ns, np.full(len(rows), UNKNOWN_NS if local_ns is None else local_ns, np.int64)
        )
        return Replies(
            rows,
            packets["sender_sequence"].astype(np.int64),
            packets["sender_timestamp"].astype(np.uint64),
            packets["sequence"].astype(np.int64),
            ns_from_wire(packets["receive_timestamp"].astype(np.uint64), ptp, t4_ns),
            ns_from_wire(packets["timestamp"].astype(np.uint64), ptp, t4_ns),
            t4_ns,
            arrival_ns,
            clocks_ns,
        )

    def _read_estimates(self, words: NDArray[np.uint16]) -> tuple[Integers, NDArray[np.bool_]]:
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
