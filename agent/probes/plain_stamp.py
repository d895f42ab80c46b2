"""STAMP packets of many sessions on one socket, told apart by their session identifier: a row's is one more.

These ask for times alone, and perhaps for Follow-Up Telemetry; so they are all alike, and are written and read many at
a time. What asks for more is sent by `agent.probes.extended_stamp`.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Final

import numpy as np

from agent.core import tlv
from agent.core.measurement import Probes
from agent.core.session import Replies
from agent.core.session_report import SessionReport
from agent.core.stamp import BASE_OCTETS, MAX_PAYLOAD, REFLECTOR_COLUMNS, SENDER_COLUMNS
from agent.core.tlv import TlvType
from agent.core.tlv_values import FollowUpTelemetry
from agent.core.twamp_light import REPLY_OCTETS
from agent.net.arrivals import Arrivals
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Packets, count_discarded
from agent.probes.stamp_outlet import FollowingUp, Heard, StampOutlet
from agent.settings import PathSettings

_BATCH: Final = 1280
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


class PlainStampOutlet(StampOutlet):
    """A socket of unauthenticated senders of one code point.

    Args:
        family, dscp: of the socket.
        destinations: where the rows are sent to.
        clock: the quality of the local clock.
        describe: learn what the replies have in common, and how long they really are.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        dscp: int,
        destinations: Destinations,
        clock: LocalClock,
        *,
        describe: bool = False,
    ) -> None:
        socket_ = TimestampedSocket(
            family,
            dscp=dscp,
            batch=_BATCH,
            payload_octets=MAX_PAYLOAD if describe else _LONGEST_REPLY,
            hear_errors=True,
            card=clock.card,
        )
        super().__init__(socket_, _REQUEST, destinations, clock, describe=describe)

    def serve(self, row: int, settings: PathSettings, report: SessionReport) -> None:
        """See `PlannedOutlet.serve`."""
        self.ask_to_follow_up(row, settings.follow_up)
        self._unnamed.enter(row, self._destinations.address(row))

    def write(self, packets: Packets, probes: Probes) -> None:
        """Write requests; see `Outlet.write`."""
        count = len(probes.rows)
        packets.octets[:count, BASE_OCTETS:] = _FOLLOW_UP
        packets.prepared.lengths[:count] = np.where(self.asks(probes.rows), _REQUEST.itemsize, BASE_OCTETS)
        columns = packets.columns[:count]
        columns["sequence"] = probes.sequences
        columns["error_estimate"] = self.clock.estimate_wire
        columns["ssid"] = probes.rows + 1
        self._unnamed.wrote(probes.rows, probes.sequences)

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
            source, sequence = arrivals.sources[index].tobytes(), int(packets["sender_sequence"][index])
            rows[index] = self._unnamed.whose(source, sequence)
        known = long_enough & self._destinations.match(rows, arrivals.sources)
        received_ns, bounds_ns = arrivals.received_ns, arrivals.bounds_ns
        if not known.all():
            malformed = int(np.count_nonzero(~long_enough))
            count_discarded(discarded, "malformed", malformed)
            count_discarded(discarded, "unknown", int(np.count_nonzero(~known)) - malformed)
            packets, rows, received_ns = packets[known], rows[known], received_ns[known]
            octets, payloads = octets[known], payloads[known]
            bounds_ns = None if bounds_ns is None else bounds_ns[known]

        heard = Heard(
            rows,
            packets["sender_sequence"].astype(np.int64),
            packets["sender_timestamp"].astype(np.uint64),
            packets["sequence"].astype(np.int64),
            packets["receive_timestamp"].astype(np.uint64),
            packets["timestamp"].astype(np.uint64),
            packets["error_estimate"].astype(np.uint16),
            received_ns,
            bounds_ns,
        )
        if self.traits is None and not self.asks(rows).any():
            return self.judged_by_clocks(heard, None)
        following = payloads[:, : _REQUEST.itemsize].view(_FOLLOWING)[:, 0]
        understood = (
            (octets >= _REQUEST.itemsize)
            & (following["flags"] & _UNANSWERED == 0)
            & (following["type"] == TlvType.FOLLOW_UP_TELEMETRY)
            & (following["length"] == FollowUpTelemetry.OCTETS)
        )
        if self.traits is not None:
            same_times = packets["receive_timestamp"] == packets["timestamp"]
            ssids, estimates = packets["ssid"].astype(np.int64), heard.estimates.astype(np.int64)
            asked = np.where(self.asks(rows), _REQUEST.itemsize, BASE_OCTETS)
            self.traits.observe(octets.astype(np.int64), asked, ssids, estimates, same_times, understood)
        said = FollowingUp(
            understood, following["sequence"].astype(np.int64), following["timestamp"].astype(np.uint64)
        )
        return self.judged_by_clocks(heard, said)
