"""STAMP sessions that ask for more than times: each packet is written, signed and read by itself.

That costs about twice as much CPU as a plain one, so plain sessions stay with `agent.probes.plain_stamp`. All
extended ones of an address family share a socket, whatever their marking: it is chosen for each packet.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from agent.core.authentication import AUTHENTICATED_OCTETS, Keys
from agent.core.exceptions import NotAuthentic, Truncated
from agent.core.extended_session import ExtendedReply, ExtendedSession
from agent.core.interval import Integers
from agent.core.measurement import Probes
from agent.core.session import NO_REPLIES, Replies
from agent.core.session_report import SessionReport
from agent.core.stamp import MAX_PAYLOAD, ReflectorPacket
from agent.core.tlv_values import FollowUpTelemetry
from agent.net.arrivals import Arrivals
from agent.net.datagram import TimestampedSocket
from agent.net.local_clock import LocalClock
from agent.probes.destinations import Destinations
from agent.probes.outlet import Packets
from agent.probes.stamp_outlet import FollowingUp, Heard, StampOutlet
from agent.probes.unnamed import NOBODY
from agent.settings import PathSettings

_BATCH: Final = 128
_REQUEST: Final = np.dtype((np.void, MAX_PAYLOAD))
_NOTHING_TOLD: Final = FollowUpTelemetry()
_SSID: Final = slice(14, 16)
_SIGNED_SSID: Final = slice(26, 28)
_MBZ: Final = slice(4, 16)
_SENDER_SEQUENCE: Final = slice(24, 28)


class ExtendedStampOutlet(StampOutlet):
    """A socket of extended senders.

    Args:
        family: of the socket.
        destinations: where the rows are sent to.
        clock: the quality of the local clock.
        keys: those that are valid for an SSID now.
        describe: learn what the replies have in common.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        destinations: Destinations,
        clock: LocalClock,
        keys: Callable[[int], Keys],
        *,
        describe: bool = False,
    ) -> None:
        socket_ = TimestampedSocket(
            family,
            answering=True,
            batch=_BATCH,
            payload_octets=MAX_PAYLOAD,
            hear_errors=True,
            card=clock.card,
        )
        super().__init__(socket_, _REQUEST, destinations, clock, describe=describe)
        self._keys = keys
        self._sessions: dict[int, ExtendedSession] = {}
        # how long the latest request of each row was
        self._asked: dict[int, int] = {}
        # those of before a reload stay, for there may be replies to them under way
        self._known: dict[tuple[bytes, int, bool], tuple[int, ExtendedSession]] = {}

    def serve(self, row: int, settings: PathSettings, report: SessionReport) -> None:
        """See `PlannedOutlet.serve`."""
        ssid, extensions = settings.authenticated_ssid or row + 1, settings.extensions()
        keys = self._keys(ssid) if settings.signed else ()
        known = self._sessions.get(row)
        if known is None or (known.ssid, known.extensions, known.keys) != (ssid, extensions, keys):
            self._sessions[row] = ExtendedSession(ssid, extensions, keys, report)
        address = self._destinations.address(row)
        self._known[address, ssid, settings.signed] = row, self._sessions[row]
        if not settings.signed:
            self._unnamed.enter(row, address)
        self.ask_to_follow_up(row, extensions.follow_up)

    def renew_keys(self) -> None:
        """Sign and verify with the keys that are valid now."""
        for session in self._sessions.values():
            if session.keys:
                session.keys = self._keys(session.ssid) or session.keys

    def write(self, packets: Packets, probes: Probes) -> None:
        """Draft requests; see `Outlet.write`."""
        estimate = self.clock.estimate_wire
        rows = probes.rows.tolist()
        packets.sessions = [self._sessions[row] for row in rows]
        self._unnamed.wrote(probes.rows, probes.sequences)
        for index, (row, session, sequence) in enumerate(
            zip(rows, packets.sessions, probes.sequences.tolist(), strict=True)
        ):
            request = session.draft(sequence, estimate)
            marking = session.extensions.dscp << 2 | session.extensions.ecn
            packets.octets[index, : len(request)] = np.frombuffer(request, np.uint8)
            packets.prepared.lengths[index] = self._asked[row] = len(request)
            packets.prepared.traffic_classes[index] = marking

    def stamp(self, packets: Packets, first: int, stop: int, wire: int) -> None:
        """Finish requests; see `Outlet.stamp`."""
        for index in range(first, stop):
            request = packets.octets[index, : packets.prepared.lengths[index]]
            packets.sessions[index].finish(request.data, wire)

    def read(self, arrivals: Arrivals, discarded: Counter[str]) -> Replies:
        """Read replies; see `Outlet.read`."""
        found: list[tuple[int, ExtendedReply, int, int]] = []
        marked = arrivals.traffic_classes
        for index, octets in enumerate(arrivals.octets.tolist()):
            reply = arrivals.payloads[index, :octets].tobytes()
            known = self._whose(reply, arrivals.sources[index].tobytes())
            if known is None:
                discarded["unknown"] += 1
                continue
            row, session = known
            marking = -1 if marked is None else int(marked[index])
            try:
                read = session.read(reply, None if marking < 0 else marking)
            except NotAuthentic:
                discarded["not_authentic"] += 1
            except Truncated:
                discarded["malformed"] += 1
            else:
                found.append((row, read, index, octets))
        if not found:
            return NO_REPLIES
        rows, replies, places, octets_of = zip(*found, strict=True)
        packets = [reply.packet for reply in replies]
        told = [reply.told or _NOTHING_TOLD for reply in replies]
        following = FollowingUp(
            np.array([reply.told is not None for reply in replies]),
            np.array([one.sequence for one in told], np.int64),
            np.array([one.timestamp for one in told], np.uint64),
        )
        bounds_ns = None if arrivals.bounds_ns is None else arrivals.bounds_ns[list(places)]
        heard = _heard(np.array(rows), packets, arrivals.received_ns[list(places)], bounds_ns)
        if self.traits is not None:
            self.traits.observe(
                np.array(octets_of),
                np.array([self._asked[row] for row in rows]),
                np.array([packet.ssid for packet in packets]),
                heard.estimates.astype(np.int64),
                heard.receive == heard.transmit,
                following.understood,
            )
        return self.judged_by_clocks(heard, following)

    def _whose(self, reply: bytes, source: bytes) -> tuple[int, ExtendedSession] | None:
        """The row, and its session, that a reply claims to be for; None: none of this socket.

        A signed one has zeros where one that is not has T3, and its session identifier elsewhere.
        """
        ssid = int.from_bytes(reply[_SSID], "big")
        if ssid:
            plain = self._known.get((source, ssid, False))
        else:
            row = self._unnamed.whose(source, int.from_bytes(reply[_SENDER_SEQUENCE], "big"))
            plain = None if row == NOBODY else (row, self._sessions[row])
        if len(reply) < AUTHENTICATED_OCTETS or (plain is not None and any(reply[_MBZ])):
            return plain
        return self._known.get((source, int.from_bytes(reply[_SIGNED_SSID], "big"), True), plain)


def _heard(
    rows: Integers, packets: Sequence[ReflectorPacket], received_ns: Integers, bounds_ns: Integers | None
) -> Heard:
    """The packets column by column."""
    return Heard(
        rows,
        np.array([packet.sender_sequence for packet in packets], np.int64),
        np.array([packet.sender_timestamp for packet in packets], np.uint64),
        np.array([packet.sequence for packet in packets], np.int64),
        np.array([packet.receive_timestamp for packet in packets], np.uint64),
        np.array([packet.timestamp for packet in packets], np.uint64),
        np.array([packet.error_estimate for packet in packets], np.uint16),
        received_ns,
        bounds_ns,
    )
