"""UDP streams that this end receives.

Of what the kernel has put together only the head is taken, the rest it throws away (MSG_TRUNC, recv(2)): the first
datagram's number, the length of all and that of one tell which they are. Were one missing between them, then the next
number would say so.

A receiver that waits is woken for each burst, which costs the sender's core more than sending it. So it takes what is
there and then sleeps for a quarter of a millisecond, where its socket has room for several times as much.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from agent.core.throughput.cause import DatagramCounts
from agent.core.throughput.feedback import FEEDBACK_OCTETS, Feedback, FeedbackKind
from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.preamble import MAGIC as PREAMBLE_MAGIC
from agent.core.throughput.preamble import PREAMBLE_OCTETS
from agent.core.throughput.rates import Packets
from agent.core.timestamps import SECOND_NS
from agent.net.drops import dropped
from agent.net.timer import sharpen_timers
from agent.throughput.flow import Receiving
from agent.throughput.plan import Ended, EnginePlan, WayReport
from agent.throughput.udp import (
    BUFFER_OCTETS,
    FIRST_SILENCE_NS,
    HEADER,
    SILENCE_NS,
    SOL_UDP,
    WORD_OCTETS,
    make_room,
    payload_of,
    repeat_accept,
    say_end,
)

_UDP_GRO: Final = 104
_SO_RCVBUFFORCE: Final = 33
_NAP_NS: Final = 250_000
_NAPS: Final = 8
"""For how many naps' worth a socket must have room."""
_HELD_UP_NS: Final = 50_000_000
"""So long a virtual machine's core may be away without any sign of it: what comes meanwhile finds room."""
_HEAD_OCTETS: Final = 1 + max(FEEDBACK_OCTETS, PREAMBLE_OCTETS, HEADER.size)


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
        self._lately_ns: list[int | None] = [None] * count
        self._drops_before: list[int] = []
        self._drops = [0] * count
        self._came_ns = 0
        self._last_total = 0
        self._last_queueing_ns = 0
        self._queueing: list[int] = []
        self._in_a_nap = self._plan.share.rate * _NAP_NS // (8 * SECOND_NS)
        held_up = self._plan.share.rate * _HELD_UP_NS // (8 * SECOND_NS)
        for one in sockets:
            make_room(one, _SO_RCVBUFFORCE, socket.SO_RCVBUF, max(BUFFER_OCTETS, held_up // count))
            one.setsockopt(SOL_UDP, _UDP_GRO, 1)
            self._drops_before.append(dropped(one))

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._came_ns = now_ns + FIRST_SILENCE_NS
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
            max(0, sum(self._expected) - counts.received),
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
        return DatagramCounts(0, 0, sum(self._datagrams), overflowed, sum(self._expected))

    def _run(self, stream: int) -> None:
        sharpen_timers()
        own, room = self._sockets[stream], bytearray(_HEAD_OCTETS)
        naps = own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _NAPS * self._in_a_nap
        waiting, taking = socket.MSG_TRUNC, socket.MSG_TRUNC | (socket.MSG_DONTWAIT if naps else 0)
        flags = waiting
        rooms = [memoryview(room)]
        unpack = HEADER.unpack_from
        gro = socket.CMSG_SPACE(WORD_OCTETS)
        while not self.ended:
            try:
                octets, said, _, _ = own.recvmsg_into(rooms, gro, flags)
            except ConnectionRefusedError:
                continue
            except BlockingIOError:
                if flags is not waiting:
                    time.sleep(_NAP_NS / SECOND_NS)
                    flags = waiting
                continue
            flags = taking
            if octets < HEADER.size:
                continue
            if room[0]:
                if self._take_message(stream, bytes(room[:octets])):
                    return
                continue
            payload = (int.from_bytes(said[0][2][:4], sys.byteorder) if said else octets) or octets
            count = -(-octets // payload)
            first, sent_ns = unpack(room)
            later_ns = time.monotonic_ns() - sent_ns
            least_ns = self._least_ns[stream]
            if least_ns is None or later_ns < least_ns:
                self._least_ns[stream] = later_ns
            lately_ns = self._lately_ns[stream]
            if lately_ns is None or later_ns < lately_ns:
                self._lately_ns[stream] = later_ns
            self._batches[stream] += 1
            self._datagrams[stream] += count
            if first + count > self._expected[stream]:
                self._expected[stream] = first + count
            self.transferred[stream] += octets

    def _take_message(self, stream: int, came: bytes) -> bool:
        """What is no data; whether it says that the sender has come to its end."""
        if came.startswith(PREAMBLE_MAGIC):
            repeat_accept(self._accepts, stream, self._sockets[stream], came)
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
        if not self.ended and now_ns - self._came_ns > SILENCE_NS:
            self.end(Ended.SILENT)
        return super()._look(now_ns)

    def _tell(self, message: bytes) -> None:
        # of the fastest since the last message: all wait in a queue of the path, only some for this thread
        lately, self._lately_ns = self._lately_ns, [None] * len(self._sockets)
        queued = [
            now - least
            for now, least in zip(lately, self._least_ns, strict=True)
            if now is not None and least is not None
        ]
        if queued:
            self._last_queueing_ns = min(queued)
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
                say_end(one, message)
        super().end(why)
