"""STAMP packets of many sessions on one socket, told apart by their session identifier: a row's is one more."""

from __future__ import annotations

import socket
from collections import Counter
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agent.core import tlv
from agent.core.follow_up import FollowUps, Told
from agent.core.interval import UNKNOWN_NS, Flags, Integers, sum_of_uncertainties
from agent.core.measurement import Probes
from agent.core.peer import PeerTraits
from agent.core.probe_ring import with_room
from agent.core.route import AnswerKind
from agent.core.session import Replies, joined
from agent.core.stamp import BASE_OCTETS, REFLECTOR_COLUMNS, SENDER_COLUMNS
from agent.core.timestamps import ErrorEstimate, ns_from_wire
from agent.core.tlv import TlvType
from agent.core.tlv_values import FollowUpTelemetry
from agent.core.twamp_light import REPLY_OCTETS
from agent.net.control import IPV4, IPV6
from agent.net.datagram import Arrivals, TimestampedSocket
from agent.net.icmp_errors import sender_of
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Outlet, Packets, count_discarded, stamped_arrivals
from agent.settings import PathSettings

_BATCH: Final = 512
_LONGEST_REPLY: Final = 128
_REQUEST: Final = np.dtype(
    {
        "names": list(SENDER_COLUMNS.names or ()),
        "formats": [SENDER_COLUMNS[name] for name in SENDER_COLUMNS.names or ()],
        "offsets": [field[1] for field in (SENDER_COLUMNS.fields or {}).values()],
        "itemsize": BASE_OCTETS + tlv.HEADER_OCTETS + FollowUpTelemetry.OCTETS,
    }
)
"""A request with room for one TLV."""
_REMEMBERED_ESTIMATES: Final = 1024
_NOBODY: Final = -1
_FOLLOW_UP: Final = np.frombuffer(
    tlv.TlvFields(TlvType.FOLLOW_UP_TELEMETRY, FollowUpTelemetry().serialise()).serialise(), np.uint8
)
_UNANSWERED: Final = tlv.UNRECOGNISED | tlv.MALFORMED | tlv.INTEGRITY
_FOLLOWING: Final = np.dtype(
    {
        "names": ["flags", "type", "length", "sequence", "timestamp"],
        "formats": ["u1", "u1", ">u2", ">u4", ">u8"],
        "offsets": [BASE_OCTETS + offset for offset in (0, 1, 2, 4, 8)],
        "itemsize": _REQUEST.itemsize,
    }
)
"""The first TLV of a reply, where it is Follow-Up Telemetry."""


class HearingStampProbes:
    """Opens outlets that hear of ICMP errors: for a few packets, of which one wants to know why they were lost.

    An error proves nothing of when or where a probe was lost, for anybody can send one; so it changes no outcome.
    """

    one_way: Final = True

    def __init__(self) -> None:
        self._outlets: list[StampOutlet] = []

    def __call__(
        self, family: socket.AddressFamily, dscp: int, destinations: Destinations, clock: LocalClock
    ) -> StampOutlet:
        """An outlet; see `StampOutlet`."""
        self._outlets.append(StampOutlet(family, dscp, destinations, clock, hear_errors=True))
        return self._outlets[-1]

    def traits(self) -> list[PeerTraits]:
        """What the peer's replies have in common, of each outlet that was opened."""
        return [outlet.traits for outlet in self._outlets if outlet.traits is not None]

    def icmp_answers(self) -> Counter[tuple[str, str]]:
        """How often which ICMP error came from whom: (what it says, address; empty where it is not known)."""
        found: Counter[tuple[str, str]] = Counter()
        for outlet in self._outlets:
            ipv6 = outlet.socket.family == socket.AF_INET6
            for answer, count in outlet.socket.icmp_answers.items():
                said = AnswerKind.of_icmp(6 if ipv6 else 4, answer.kind, answer.code)
                words = f"type {answer.kind}, code {answer.code}" if said is None else said.value
                found[words, sender_of(answer.sender, IPV6 if ipv6 else IPV4)] += count
        return found


class StampOutlet(Outlet):
    """A socket of STAMP senders (RFC 8762, unauthenticated), which may ask to be told when replies left (RFC 8972).

    Args:
        family, dscp: of the socket.
        destinations: where the rows are sent to.
        clock: the quality of the local clock.
        hear_errors: as of `TimestampedSocket`.
    """

    one_way: ClassVar = True

    def __init__(
        self,
        family: socket.AddressFamily,
        dscp: int,
        destinations: Destinations,
        clock: LocalClock,
        *,
        hear_errors: bool = False,
    ) -> None:
        socket_ = TimestampedSocket(
            family, dscp=dscp, batch=_BATCH, payload_octets=_LONGEST_REPLY, hear_errors=hear_errors
        )
        super().__init__(socket_, _REQUEST, destinations)
        self._clock = clock
        self._follow_ups = FollowUps()
        self._asks: Flags = np.zeros(0, np.bool_)
        # for replies without SSID: who is the only one at an address, or `_NOBODY`
        self._alone_at: dict[bytes, int] = {}
        self.traits = PeerTraits() if hear_errors else None
        self._estimates: dict[int, tuple[int, bool]] = {}

    @property
    def follow_ups(self) -> dict[str, int]:
        """See `PlannedOutlet.follow_ups`."""
        return {"told": self._follow_ups.told, "untold": self._follow_ups.untold}

    def serve(self, row: int, settings: PathSettings) -> None:
        """See `PlannedOutlet.serve`."""
        self._asks = with_room(self._asks, row + 1)
        self._asks[row] = settings.follow_up
        address = self._destinations.address(row)
        self._alone_at[address] = row if self._alone_at.get(address, row) == row else _NOBODY

    def write(self, packets: Packets, probes: Probes) -> None:
        """Write requests; see `Outlet.write`."""
        count = len(probes.rows)
        packets.octets[:count, BASE_OCTETS:] = _FOLLOW_UP
        packets.prepared.lengths[:count] = np.where(self._asks[probes.rows], _REQUEST.itemsize, BASE_OCTETS)
        columns = packets.columns[:count]
        columns["sequence"] = probes.sequences
        columns["error_estimate"] = self._clock.estimate_wire
        columns["ssid"] = probes.rows + 1

    def stamp(self, packets: Packets, first: int, stop: int, wire: int) -> None:
        """Write T1; see `Outlet.stamp`."""
        packets.columns["timestamp"][first:stop] = wire

    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """Read replies; see `Outlet.read`."""
        octets, payloads = arrivals.octets, arrivals.payloads
        # all that follows the last field of a shorter one is zero by the protocol
        long_enough = octets >= REPLY_OCTETS
        packets = payloads[:, :BASE_OCTETS].view(REFLECTOR_COLUMNS)[:, 0]
        rows = packets["ssid"].astype(np.int64) - 1
        for index in np.flatnonzero(rows < 0).tolist():
            rows[index] = self._alone_at.get(arrivals.sources[index].tobytes(), _NOBODY)
        known = long_enough & self._destinations.match(rows, arrivals.sources)
        received_ns = arrivals.received_ns
        if not known.all():
            malformed = int(np.count_nonzero(~long_enough))
            count_discarded(discarded, "malformed", malformed)
            count_discarded(discarded, "unknown", int(np.count_nonzero(~known)) - malformed)
            packets, rows, received_ns = packets[known], rows[known], received_ns[known]
            octets, payloads = octets[known], payloads[known]

        t4_ns, arrival_ns = stamped_arrivals(received_ns)
        remote_ns, ptp = self._read_estimates(packets["error_estimate"])
        bound_ns = self._clock.bound_ns
        local_ns = np.full(len(rows), UNKNOWN_NS if bound_ns is None else bound_ns, np.int64)
        replies = Replies(
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
        self._asks = with_room(self._asks, int(rows.max(initial=0)) + 1)
        asked = self._asks[rows]
        if self.traits is None and not asked.any():
            return replies
        following = payloads[:, : _REQUEST.itemsize].view(_FOLLOWING)[:, 0]
        understood = (
            (octets >= _REQUEST.itemsize)
            & (following["flags"] & _UNANSWERED == 0)
            & (following["type"] == TlvType.FOLLOW_UP_TELEMETRY)
            & (following["length"] == FollowUpTelemetry.OCTETS)
        )
        if self.traits is not None:
            same_times = packets["receive_timestamp"] == packets["timestamp"]
            ssids, estimates = packets["ssid"].astype(np.int64), packets["error_estimate"].astype(np.int64)
            self.traits.observe(octets.astype(np.int64), ssids, estimates, same_times, understood)
        said = understood & (following["timestamp"] != 0)
        left_ns = ns_from_wire(following["timestamp"].astype(np.uint64), ptp, t4_ns)
        told = Told(following["sequence"].astype(np.int64), np.where(said, left_ns, 0))
        if asked.all():
            return self._follow_ups.exchange(replies, told)
        chosen, others = np.flatnonzero(asked), np.flatnonzero(~asked)
        ready = self._follow_ups.exchange(replies.take(chosen), Told._make(each[chosen] for each in told))
        return joined(replies.take(others), ready)

    def release(self, probes: Probes | None) -> Replies:
        """See `PlannedOutlet.release`."""
        return self._follow_ups.release(probes)

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
