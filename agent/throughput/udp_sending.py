"""UDP streams that this end sends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from agent.core.throughput.cause import DatagramCounts
from agent.core.throughput.feedback import FEEDBACK_OCTETS, Feedback, FeedbackKind
from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.preamble import MAGIC as PREAMBLE_MAGIC
from agent.core.throughput.preamble import PREAMBLE_OCTETS
from agent.core.throughput.rate_search import RateSearch
from agent.core.throughput.rates import Packets
from agent.core.timestamps import SECOND_NS
from agent.net.timer import sharpen_timers
from agent.throughput.flow import Sending, pause
from agent.throughput.plan import Ended, EnginePlan, WayReport
from agent.throughput.udp import (
    FIRST_SILENCE_NS,
    SILENCE_NS,
    SOL_UDP,
    WORD_OCTETS,
    make_room,
    payload_of,
    repeat_accept,
    say_end,
)

_UDP_SEGMENT: Final = 103
_SO_SNDBUFFORCE: Final = 32
_SEGMENTS: Final = 44
_PIECES: Final = 2
"""How many calls may follow each other at once: each sleep between them costs as much as sending a dozen datagrams."""
_BURST_NS: Final = 250_000
_MOST_NS: Final = 4_000_000
"""How much is made up for at once: on a busy host each sleep may end late by some milliseconds."""
_FASTER: Final = 1.25
_AT_ONCE_NS: Final = 300_000
"""So late a sleep may end by itself."""
_LATE_NS: Final = 50_000_000


class UdpSending(Sending):
    """Streams that this end sends.

    Args:
        accepts: of each stream the PROOF that was admitted and the ACCEPT that says so, which is said again where the
            PROOF comes again; only where this end has granted the lease.
    """

    def __init__(
        self,
        way: Way,
        plan: EnginePlan,
        sockets: Sequence[socket.socket],
        accepts: Mapping[int, tuple[bytes, bytes]],
    ) -> None:
        self._payload = payload_of(sockets[0])
        packets = Packets.of(Protocol.UDP, plan.ip_version, self._payload)
        super().__init__(way, plan, sockets, packets)
        self._accepts = accepts
        share = self._plan.share
        self._search = RateSearch(share.rate // 2, share.rate) if self._plan.searching else None
        self._rate = share.rate if self._search is None else self._search.rate
        self._sent = [0] * len(sockets)
        self._meant = 0.0
        self._looked_ns = 0
        self._heard_ns = 0
        self._judged: Feedback | None = None
        for one in sockets:
            make_room(one, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
            one.setsockopt(SOL_UDP, _UDP_SEGMENT, self._payload)

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._looked_ns = now_ns
        self._heard_ns = now_ns + FIRST_SILENCE_NS - SILENCE_NS
        super().begin(now_ns)

    def report(self) -> WayReport:
        """How far it is."""
        heard = self.heard
        counts = DatagramCounts(
            meant=int(self._meant),
            sent=sum(self._sent),
            received=0 if heard is None else heard.datagrams,
            overflowed=0 if heard is None else heard.overflowed,
        )
        return WayReport(
            octets=self.total,
            windows=self.windows,
            packets=self._packets if self.total else None,
            datagrams=counts,
            queueing_ns=None if heard is None else float(heard.queueing_ns),
            ended=self.ended,
        )

    def _run(self, stream: int) -> None:
        sharpen_timers()
        own, payload, streams = self._sockets[stream], self._payload, len(self._sockets)
        piece = _Piece(payload)
        sequence, due_ns, spaced_ns = 0, time.monotonic_ns(), 0
        while not self.ended:
            now_ns = time.monotonic_ns()
            if now_ns < due_ns:
                pause(due_ns)
                continue
            if now_ns < spaced_ns and now_ns - due_ns > _AT_ONCE_NS:
                # what is late is made up for, but not by bursts that no queue has room for
                pause(spaced_ns)
                continue
            behind_ns = min(now_ns - due_ns, _LATE_NS)
            due_ns = now_ns - behind_ns
            octets_per_ns = self._packets.goodput(self._rate) / 8 / SECOND_NS / streams
            worth_ns = min(_BURST_NS + behind_ns, _MOST_NS)
            segments = min(_PIECES * _SEGMENTS, max(1, int(octets_per_ns * worth_ns / payload)))
            granted = self.reserve(segments * payload, now_ns)
            segments = granted // payload
            self.give_back(granted - segments * payload)
            if not segments:
                if self.has_sent_all(now_ns):
                    break
                pause(now_ns + _BURST_NS)
                continue
            left = segments
            with contextlib.suppress(BlockingIOError):
                while left:
                    some = min(left, _SEGMENTS)
                    own.send(piece.of(sequence, some))
                    sequence += some
                    left -= some
            self.give_back(left * payload)
            self._sent[stream] = sequence
            self.transferred[stream] = sequence * payload
            lasting_ns = int((segments - left) * payload / octets_per_ns)
            due_ns += lasting_ns
            spaced_ns = now_ns + int(lasting_ns / _FASTER)

    def _look(self, now_ns: int) -> bool:
        if not self.ended:
            lasted_ns = min(now_ns, self._begin_ns + self._duration_ns) - self._looked_ns
            goodput = self._packets.goodput(self._rate)
            self._meant += max(0, lasted_ns) * goodput / 8 / SECOND_NS / self._payload
        self._looked_ns = now_ns
        closed = False
        for stream, one in enumerate(self._sockets):
            for came in _queued(one):
                if came.startswith(PREAMBLE_MAGIC):
                    self._repeat(stream, one, came)
                    continue
                before = self.heard
                closed |= self.hear(came)
                if self.heard is not before:
                    self._heard_ns = now_ns
                    self._adjust()
        if not self.ended and now_ns - self._heard_ns > SILENCE_NS:
            self.end(Ended.SILENT)
        if not self.ended and self.over:
            self.ended = Ended.DONE
        return closed

    def close(self) -> None:
        """Say that it is over, and close the sockets."""
        for stream, one in enumerate(self._sockets):
            end = Feedback(
                FeedbackKind.END, self.way, time.monotonic_ns(), self.transferred[stream], self._sent[stream]
            ).serialise(self._token)
            say_end(one, end)
        super().close()

    def end(self, why: str) -> None:
        """End it; the threads see to it by themselves, for what is sent does not wait."""
        if not self.ended:
            self.ended = why

    def _repeat(self, stream: int, one: socket.socket, came: bytes) -> None:
        repeat_accept(self._accepts, stream, one, came)

    def _adjust(self) -> None:
        heard, before = self.heard, self._judged
        if self._search is None or heard is None:
            return
        if before is not None:
            lost = heard.missing - before.missing
            self._rate = self._search.heard(max(0, lost), heard.queueing_ns)
        self._judged = heard


class _Piece:
    """What one call sends.

    Args:
        payload: octets of a datagram.
    """

    def __init__(self, payload: int) -> None:
        data = bytearray(os.urandom(payload) * _SEGMENTS)
        self._payload = payload
        self._octets, self._words = memoryview(data), memoryview(data).cast("Q")

    def of(self, sequence: int, datagrams: int) -> memoryview:
        """So many datagrams, numbered from a sequence number on and stamped with the time."""
        numbers = array("Q", range(sequence, sequence + datagrams))
        stamps = array("Q", [time.monotonic_ns()]) * datagrams
        if sys.byteorder == "little":
            numbers.byteswap()
            stamps.byteswap()
        step = self._payload // WORD_OCTETS
        self._words[0 : datagrams * step : step] = memoryview(numbers)
        self._words[1 : datagrams * step : step] = memoryview(stamps)
        return self._octets[: datagrams * self._payload]


def _queued(one: socket.socket) -> list[bytes]:
    """Datagrams that wait, a few."""
    found = []
    for _ in range(64):
        try:
            found.append(one.recv(max(FEEDBACK_OCTETS, PREAMBLE_OCTETS) + 1, socket.MSG_DONTWAIT))
        except ConnectionRefusedError:
            continue
        except OSError:
            break
    return found
