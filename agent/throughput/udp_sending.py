"""UDP streams that this end sends."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from agent.core.throughput.cause import DatagramCounts
from agent.core.throughput.feedback import FEEDBACK_OCTETS, Feedback, FeedbackKind
from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.pace import Pace
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
SEGMENTS: Final = 44
"""Datagrams of a call: what 65,535 octets have room for."""
_LOW_BITS: Final = 16
_LOW: Final = (1 << _LOW_BITS) - 1
_PIECES: Final = 2
"""How many calls may follow each other at once: each sleep between them costs as much as sending a dozen datagrams."""
_BURST_NS: Final = 250_000
_MOST_NS: Final = 4_000_000
"""How much is made up for at once: on a busy host each sleep may end late by some milliseconds."""


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
        self._octets_per_ns = self._of_each_stream(share.rate if self._search is None else self._search.rate)
        self._sent = [0] * len(sockets)
        self._paces = [Pace() for _ in sockets]
        self._asked = threading.Event()
        self._looked_ns = 0
        self._heard_ns = 0
        self._judged: Feedback | None = None
        for one in sockets:
            make_room(one, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
            one.setsockopt(SOL_UDP, _UDP_SEGMENT, self._payload)

    def begin(self, now_ns: int) -> None:
        """Let data flow once the receiver says that it is there: what comes before finds a socket of little room."""
        self._heard_ns = now_ns + FIRST_SILENCE_NS - SILENCE_NS
        super().begin(now_ns)

    def report(self) -> WayReport:
        """How far it is."""
        heard = self.heard
        counts = DatagramCounts(
            meant=sum(self._sent) + int(sum(pace.given_up for pace in self._paces) / self._payload),
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
        self._asked.wait()
        own, payload, pace = self._sockets[stream], self._payload, self._paces[stream]
        piece, sequence = Piece(payload), 0
        pace.begin(time.monotonic_ns())
        while not self.ended:
            pause(pace.next_ns)
            now_ns = time.monotonic_ns()
            octets_per_ns = self._octets_per_ns
            worth_ns = min(_BURST_NS + pace.behind_ns(now_ns, octets_per_ns), _MOST_NS)
            segments = min(_PIECES * SEGMENTS, max(1, int(octets_per_ns * worth_ns / payload)))
            granted = self.reserve(segments * payload, now_ns)
            begun, until = sequence, sequence + granted // payload
            try:
                while sequence < until:
                    some = min(until - sequence, SEGMENTS)
                    own.send(piece.of(sequence, some))
                    sequence += some
            except BlockingIOError:
                pass  # there is no room: what is left is not sent now
            sent = (sequence - begun) * payload
            if sent < granted:
                self.give_back(granted - sent)
            if not sent:
                if self.has_sent_all(now_ns):
                    break
                pause(now_ns + _BURST_NS)
                continue
            self._sent[stream] = sequence
            self.transferred[stream] = sequence * payload
            pace.sent(sent, now_ns, octets_per_ns)
        pace.end(self._looked_ns if self.ended else time.monotonic_ns(), self._octets_per_ns)

    def _look(self, now_ns: int) -> bool:
        if not self.ended:
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
                    if before is None:
                        self.allow_from(now_ns)
                        self._asked.set()
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
        self._asked.set()

    def _of_each_stream(self, rate: int) -> float:
        """Octets of payload a nanosecond, of a rate of all streams at the IP layer, bit/s."""
        return self._packets.goodput(rate) / 8 / SECOND_NS / len(self._sockets)

    def _repeat(self, stream: int, one: socket.socket, came: bytes) -> None:
        repeat_accept(self._accepts, stream, one, came)

    def _adjust(self) -> None:
        heard, before = self.heard, self._judged
        if self._search is None or heard is None:
            return
        if before is not None:
            lost = heard.missing - before.missing
            self._octets_per_ns = self._of_each_stream(self._search.heard(max(0, lost), heard.queueing_ns))
        self._judged = heard


class Piece:
    """What one call sends.

    A number is written in two parts. The last two octets come from a table, without a Python integer for each; the
    others change once in 65,536 datagrams, and all are written then.

    Args:
        payload: octets of a datagram.
    """

    def __init__(self, payload: int) -> None:
        data = bytearray(os.urandom(payload) * SEGMENTS)
        self._payload = payload
        self._octets = memoryview(data)
        self._words, self._halves = self._octets.cast("Q"), self._octets.cast("H")
        low = _in_network_order(array("H", range(1 << _LOW_BITS)))
        self._low = memoryview(low + low[:SEGMENTS])
        self._high: int | None = None

    def of(self, sequence: int, datagrams: int) -> memoryview:
        """So many datagrams, numbered from a sequence number on and stamped with the time."""
        step, low = self._payload // WORD_OCTETS, sequence & _LOW
        if sequence >> _LOW_BITS != self._high or low + datagrams > _LOW:
            numbers = _in_network_order(array("Q", range(sequence, sequence + SEGMENTS)))
            self._words[::step] = memoryview(numbers)
            self._high = sequence >> _LOW_BITS if low + SEGMENTS <= _LOW else None
        else:
            self._halves[3 : 4 * datagrams * step : 4 * step] = self._low[low : low + datagrams]
        stamps = time.monotonic_ns().to_bytes(WORD_OCTETS) * datagrams
        self._words[1 : datagrams * step : step] = memoryview(stamps).cast("Q")
        return self._octets[: datagrams * self._payload]


def _in_network_order(numbers: array[int]) -> array[int]:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


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
