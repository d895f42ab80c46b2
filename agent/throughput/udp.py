"""UDP streams: bursts that the kernel cuts into datagrams (UDP_SEGMENT), and puts together again (UDP_GRO).

A datagram's payload is as long as the path lets it be without fragments, in multiples of eight octets:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
  0 |        Sequence number within the stream, from 0 (8 octets)   |
  8 |        When the burst was sent: sender's monotonic clock, ns  |
 16 ~        random                                                 ~
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

What is missing between sequence numbers was lost: by this host where the socket had no room (its own count of drops,
each of as many datagrams as the kernel had put together), else by the path.

Nothing paces UDP but the sender: SO_MAX_PACING_RATE is ignored without the fq queueing discipline. Bursts are of a
quarter of a millisecond, up to what one call can send.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
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
from agent.net.drops import dropped
from agent.net.timer import sharpen_timers
from agent.throughput.flow import Receiving, Sending, ip_version_of, pause
from agent.throughput.plan import Ended, EnginePlan, WayReport

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_HEADERS: Final = {4: 28, 6: 48}
_MOST_PAYLOAD: Final = {4: 1_472, 6: 1_448}
_WORD: Final = 8
_HEADER: Final = struct.Struct(">QQ")
_SEGMENTS: Final = 44
_BURST_NS: Final = 250_000
_FASTER: Final = 1.25
_AT_ONCE_NS: Final = 300_000
"""So late a sleep may end by itself."""
_LATE_NS: Final = 50_000_000
_BUFFER_OCTETS: Final = 16 << 20
_SILENCE_NS: Final = SECOND_NS
_FIRST_SILENCE_NS: Final = 3 * SECOND_NS // 2
_ENDS: Final = 3
_REFUSED: Final = (ConnectionRefusedError, BlockingIOError)


def payload_of(one: socket.socket) -> int:
    """Octets of a datagram that a connected socket's path takes in one piece, as far as this host knows."""
    version = ip_version_of(one)
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if version == 6 else (socket.IPPROTO_IP, _IP_MTU)
    mtu = one.getsockopt(level, option)
    return min(_MOST_PAYLOAD[version], (mtu - _HEADERS[version]) // _WORD * _WORD)


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
            _make_room(one, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
            one.setsockopt(_SOL_UDP, _UDP_SEGMENT, self._payload)

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._looked_ns = now_ns
        self._heard_ns = now_ns + _FIRST_SILENCE_NS - _SILENCE_NS
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
        own, payload = self._sockets[stream], self._payload
        data = bytearray(os.urandom(payload) * _SEGMENTS)
        view, words = memoryview(data), memoryview(data).cast("Q")
        step, streams = payload // _WORD, len(self._sockets)
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
            due_ns = max(due_ns, now_ns - _LATE_NS)
            octets_per_ns = self._packets.goodput(self._rate) / 8 / SECOND_NS / streams
            segments = min(_SEGMENTS, max(1, int(octets_per_ns * _BURST_NS / payload)))
            granted = self.reserve(segments * payload, now_ns)
            segments = granted // payload
            self.give_back(granted - segments * payload)
            if not segments:
                if self.has_sent_all(now_ns):
                    break
                pause(now_ns + _BURST_NS)
                continue
            numbers = array("Q", range(sequence, sequence + segments))
            stamps = array("Q", [now_ns]) * segments
            if sys.byteorder == "little":
                numbers.byteswap()
                stamps.byteswap()
            end = segments * step
            words[0:end:step] = memoryview(numbers)
            words[1:end:step] = memoryview(stamps)
            try:
                own.send(view[: segments * payload])
            except BlockingIOError:
                self.give_back(segments * payload)
                continue
            sequence += segments
            self._sent[stream] = sequence
            self.transferred[stream] += segments * payload
            lasting_ns = int(segments * payload / octets_per_ns)
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
        if not self.ended and now_ns - self._heard_ns > _SILENCE_NS:
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
            _say_end(one, end)
        super().close()

    def end(self, why: str) -> None:
        """End it; the threads see to it by themselves, for what is sent does not wait."""
        if not self.ended:
            self.ended = why

    def _repeat(self, stream: int, one: socket.socket, came: bytes) -> None:
        _repeat_accept(self._accepts, stream, one, came)

    def _adjust(self) -> None:
        heard, before = self.heard, self._judged
        if self._search is None or heard is None:
            return
        if before is not None:
            lost = heard.missing - before.missing
            self._rate = self._search.heard(max(0, lost), heard.queueing_ns)
        self._judged = heard


class UdpReceiving(Receiving):
    """Streams that this end receives; `accepts` as of `UdpSending`."""

    def __init__(
        self,
        way: Way,
        plan: EnginePlan,
        sockets: Sequence[socket.socket],
        accepts: Mapping[int, tuple[bytes, bytes]],
    ) -> None:
        packets = Packets.of(Protocol.UDP, plan.ip_version, payload_of(sockets[0]))
        super().__init__(way, plan, sockets, packets)
        self._accepts = accepts
        count = len(sockets)
        self._datagrams = [0] * count
        self._batches = [0] * count
        self._expected = [0] * count
        self._least_ns: list[int | None] = [None] * count
        self._later_ns = [0] * count
        self._later_batches = [0] * count
        self._drops_before: list[int] = []
        self._drops = [0] * count
        self._came_ns = 0
        self._last_total = 0
        self._told_end = [False] * count
        self._last_queueing_ns = 0
        self._queueing: list[int] = []
        for one in sockets:
            _make_room(one, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
            one.setsockopt(_SOL_UDP, _UDP_GRO, 1)
            self._drops_before.append(dropped(one))

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._came_ns = now_ns + _FIRST_SILENCE_NS
        super().begin(now_ns)

    def feedback(self, kind: FeedbackKind, now_ns: int) -> Feedback:
        """What there is to tell."""
        counts = self._counts()
        return Feedback(
            kind,
            self.way,
            now_ns,
            self.total,
            counts.received,
            max(0, counts.sent - counts.received),
            counts.overflowed,
            self._last_queueing_ns,
        )

    def report(self) -> WayReport:
        """How far it is."""
        ranked = sorted(self._queueing)
        return WayReport(
            octets=self.total,
            windows=self.windows,
            packets=self._packets if self.total else None,
            datagrams=self._counts(),
            queueing_ns=float(ranked[len(ranked) // 2]) if ranked else None,
            ended=self.ended,
        )

    def _counts(self) -> DatagramCounts:
        overflowed = 0
        for stream, one in enumerate(self._sockets):
            with contextlib.suppress(OSError):  # the socket is closed: what was read last counts
                self._drops[stream] = dropped(one) - self._drops_before[stream]
            drops = self._drops[stream]
            if drops > 0 and self._batches[stream]:
                overflowed += drops * self._datagrams[stream] // self._batches[stream]
        sent = sum(self._expected)
        return DatagramCounts(sent, sent, sum(self._datagrams), overflowed)

    def _run(self, stream: int) -> None:
        own, room = self._sockets[stream], bytearray(1 << 16)
        rooms = [memoryview(room)]
        unpack = _HEADER.unpack_from
        gro = socket.CMSG_SPACE(_WORD)
        payload = 0
        while not self.ended:
            try:
                octets, said, _, _ = own.recvmsg_into(rooms, gro)
            except _REFUSED:
                continue
            if octets < _HEADER.size:
                continue
            if room[0]:
                if self._take_message(stream, bytes(room[:octets])):
                    return
                continue
            size = int.from_bytes(said[0][2][:4], sys.byteorder) if said else octets
            payload = size or octets
            count = -(-octets // payload)
            if octets - (count - 1) * payload < _HEADER.size:
                continue
            last, sent_ns = unpack(room, (count - 1) * payload)
            later_ns = time.monotonic_ns() - sent_ns
            least_ns = self._least_ns[stream]
            if least_ns is None or later_ns < least_ns:
                self._least_ns[stream] = least_ns = later_ns
            self._later_ns[stream] += later_ns - least_ns
            self._later_batches[stream] += 1
            self._batches[stream] += 1
            self._datagrams[stream] += count
            if last >= self._expected[stream]:
                self._expected[stream] = last + 1
            self.transferred[stream] += octets

    def _take_message(self, stream: int, came: bytes) -> bool:
        """What is no data; whether it says that the sender has come to its end."""
        if came.startswith(PREAMBLE_MAGIC):
            _repeat_accept(self._accepts, stream, self._sockets[stream], came)
            return False
        with contextlib.suppress(ValueError):
            told = Feedback.parse(came, self._token)
            if told.kind is FeedbackKind.END and told.way is self.way:
                self._expected[stream] = max(self._expected[stream], told.datagrams)
                self._ending = True
                return True
        return False

    def _look(self, now_ns: int) -> bool:
        total = self.total
        if total != self._last_total:
            self._last_total = total
            self._came_ns = max(self._came_ns, now_ns)
        if not self.ended and now_ns - self._came_ns > _SILENCE_NS:
            self.end(Ended.SILENT)
        return super()._look(now_ns)

    def _tell(self, message: bytes) -> None:
        batches, self._later_batches = self._later_batches, [0] * len(self._sockets)
        later, self._later_ns = self._later_ns, [0] * len(self._sockets)
        if sum(batches):
            self._last_queueing_ns = sum(later) // sum(batches)
            if self._windows is not None and self._windows.closed:
                self._queueing.append(self._last_queueing_ns)
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.send(message, socket.MSG_DONTWAIT)

    def end(self, why: str) -> None:
        """End it, and tell the sender so."""
        if not self.ended:
            self.ended = why
            message = self.feedback(FeedbackKind.END, time.monotonic_ns()).serialise(self._token)
            for one in self._sockets:
                _say_end(one, message)
        super().end(why)


def _repeat_accept(
    accepts: Mapping[int, tuple[bytes, bytes]], stream: int, one: socket.socket, came: bytes
) -> None:
    """The peer has not heard that it is admitted, and asks again."""
    known = accepts.get(stream)
    if known is not None and len(came) == PREAMBLE_OCTETS and came == known[0]:
        with contextlib.suppress(OSError):
            one.send(known[1], socket.MSG_DONTWAIT)


def _say_end(one: socket.socket, message: bytes) -> None:
    for _ in range(_ENDS):
        with contextlib.suppress(OSError):
            # one datagram, whatever the socket cuts its bursts into
            one.sendmsg([message], [], socket.MSG_DONTWAIT)


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


def _make_room(one: socket.socket, force: int, ask: int) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, force, _BUFFER_OCTETS)
    except PermissionError:
        one.setsockopt(socket.SOL_SOCKET, ask, _BUFFER_OCTETS)
