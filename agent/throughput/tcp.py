"""TCP streams: sent in large pieces from one buffer, received by having the kernel throw the octets away.

`recv` with MSG_TRUNC takes octets out of the socket without copying them (tcp(7)): that, and pieces of 1 MiB, is what
makes a thread of this interpreter as fast as a program in C, at less CPU.

A pace is kept twice. The thread sends what is due by the clock, to the octet; and the kernel spreads that out
(SO_MAX_PACING_RATE, which TCP keeps to by itself without any queueing discipline), a little faster than the pace, for
by itself it falls short of what it is told by some percent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from agent.core.exceptions import WireError
from agent.core.throughput.cause import Pressure, StreamSample
from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.rates import RAMP_ROUND_TRIPS, WINDOW_NS, Packets
from agent.core.throughput.tcp_info import TCP_INFO_OCTETS, TcpInfo
from agent.core.timestamps import SECOND_NS
from agent.throughput.congestion_control import congestion_control_of
from agent.throughput.flow import FEEDBACK_NS, Receiving, Sending, ip_version_of, pause
from agent.throughput.plan import Ended, EnginePlan, WayReport

_PIECE_OCTETS: Final = 1 << 20
_ROOM_OCTETS: Final = 1 << 20
_SIOCOUTQ: Final = 0x5411
_SO_MAX_PACING_RATE: Final = 47
_TCP_USER_TIMEOUT: Final = 18
_GIVE_UP_MS: Final = 4_000
_FASTER: Final = 1.06
"""How much faster than the pace the kernel may send a stream that is alone."""
_FASTER_OF_MANY: Final = 1.5
"""The same of one of several, which together keep the pace: where one is held up the others make up for it."""
_CATCH_UP_NS: Final = 200_000_000
_NAP_NS: Final = 1_000_000
_WAKE_NS: Final = 500_000
_WAKE_OCTETS: Final = 64 << 10
"""A receiver is woken for half a millisecond's worth at most, and not for each packet."""
_WAKE_OCTETS_UNPACED: Final = 1 << 20
"""The same where the rate is not to be told to a thousandth."""
_DRAINED_NS: Final = 2 * SECOND_NS
_SAMPLE_NS: Final = FEEDBACK_NS
_MAX_SAMPLES: Final = 4_096
_INT: Final = struct.Struct("@i")


class TcpSending(Sending):
    """Streams that this end sends."""

    def __init__(self, way: Way, plan: EnginePlan, sockets: Sequence[socket.socket]) -> None:
        self._ip_version = ip_version_of(sockets[0])
        super().__init__(way, plan, sockets, packets_of(sockets[0]))
        self._data = memoryview(os.urandom(_PIECE_OCTETS))
        self._samples: list[list[StreamSample]] = [[] for _ in sockets]
        self._next_sample_ns = 0
        self._min_rtt_us: int | None = None
        self._congestion_control = congestion_control_of(sockets[0])
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, _GIVE_UP_MS)
            if self._plan.paced:
                faster = _FASTER if len(sockets) == 1 else _FASTER_OF_MANY
                octets = int(self.goodput * faster / len(sockets) / 8)
                one.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("@Q", octets))

    def report(self) -> WayReport:
        """How far it is."""
        pressures = [Pressure.of(samples[:]) for samples in self._samples]
        return WayReport(
            octets=self.total,
            windows=self.windows,
            packets=self._packets if self.total else None,
            min_rtt_ns=None if self._min_rtt_us is None else self._min_rtt_us * 1_000,
            pressures=tuple(pressure for pressure in pressures if pressure is not None),
            congestion_control=self._congestion_control,
            ended=self.ended,
        )

    def _run(self, stream: int) -> None:
        own, data, paced = self._sockets[stream], self._data, self._plan.paced
        octets_per_ns = self.goodput / 8 / SECOND_NS
        least = min(_PIECE_OCTETS, int(_NAP_NS * octets_per_ns) + 1)
        # reserved in large pieces: what is done in between costs as much as a call that sends
        granted = 0
        while not self.ended:
            if not granted:
                now_ns = time.monotonic_ns()
                wanted = _PIECE_OCTETS
                if paced:
                    due = self._due(now_ns, octets_per_ns)
                    # what is due in bits is sent in pieces that are worth a call
                    wanted = min(_PIECE_OCTETS, due) if due >= least else 0
                granted = self.reserve(wanted, now_ns) if wanted else 0
                if not granted:
                    if self.has_sent_all(now_ns):
                        self._finish(own)
                        return
                    pause(now_ns + _NAP_NS)
                    continue
            try:
                sent = own.send(data if granted >= _PIECE_OCTETS else data[:granted])
            except BlockingIOError:
                continue
            granted -= sent
            self.transferred[stream] += sent
        self.give_back(granted)

    def _due(self, now_ns: int, octets_per_ns: float) -> int:
        """Octets that all streams together are behind the pace; what is too far behind is not made up for."""
        with self._reserving:
            due = int((now_ns - self._paced_from_ns) * octets_per_ns) - self._reserved
            most = int(_CATCH_UP_NS * octets_per_ns) + _PIECE_OCTETS
            if due > most:
                self._paced_from_ns += int((due - most) / octets_per_ns)
                due = most
        return max(0, due)

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._paced_from_ns = now_ns
        super().begin(now_ns)

    def _finish(self, own: socket.socket) -> None:
        """All is sent: the peer sees the end after the last octet, before the socket may be closed."""
        own.shutdown(socket.SHUT_WR)
        given_up_ns = time.monotonic_ns() + _DRAINED_NS
        while _unacknowledged(own) and not self.ended and time.monotonic_ns() < given_up_ns:
            pause(time.monotonic_ns() + _NAP_NS)

    def _look(self, now_ns: int) -> bool:
        closed = False
        if not self.ended and self.over:
            self.ended = Ended.DONE
        if not self.ended:
            with contextlib.suppress(BlockingIOError):
                told = self._sockets[0].recv(4_096, socket.MSG_DONTWAIT)
                closed = self.hear_stream(told)
        if now_ns >= self._next_sample_ns and not self.ended:
            self._next_sample_ns = now_ns + _SAMPLE_NS
            self._sample(now_ns)
        return closed

    def _sample(self, now_ns: int) -> None:
        for samples, one in zip(self._samples, self._sockets, strict=True):
            info = tcp_info(one)
            if info is None:
                continue
            if info.min_rtt_us is not None:
                self._min_rtt_us = min(info.min_rtt_us, self._min_rtt_us or info.min_rtt_us)
            self._packets = Packets.of(Protocol.TCP, self._ip_version, info.mss, timestamps=info.timestamps)
            ramp_ns = max(WINDOW_NS, RAMP_ROUND_TRIPS * (info.min_rtt_us or 0) * 1_000)
            if now_ns - self._begin_ns >= ramp_ns and len(samples) < _MAX_SAMPLES:
                samples.append(StreamSample(now_ns, info, _unacknowledged(one), _send_buffer(one)))


class TcpReceiving(Receiving):
    """Streams that this end receives."""

    def __init__(self, way: Way, plan: EnginePlan, sockets: Sequence[socket.socket]) -> None:
        super().__init__(way, plan, sockets, packets_of(sockets[0]))
        in_a_nap = self._plan.share.rate * _WAKE_NS // (8 * SECOND_NS)
        most = _WAKE_OCTETS if self._plan.paced else _WAKE_OCTETS_UNPACED
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(1, min(most, in_a_nap)))
        self._acknowledged: list[tuple[int, int]] = []
        self._min_rtt_ns: int | None = None

    def report(self) -> WayReport:
        """How far it is."""
        return WayReport(
            octets=self.total,
            windows=self.windows,
            packets=self._packets if self.total else None,
            min_rtt_ns=self._min_rtt_ns,
            acknowledgements=self._acknowledgements,
            ended=self.ended,
        )

    @property
    def _acknowledgements(self) -> float:
        """Segments without payload that were sent since the first window, bit/s at the IP layer."""
        if len(self._acknowledged) < 2:
            return 0.0
        (begin_ns, before), (end_ns, after) = self._acknowledged[0], self._acknowledged[-1]
        return (after - before) * self._packets.headers * 8 * SECOND_NS / (end_ns - begin_ns)

    def _look(self, now_ns: int) -> bool:
        closed = super()._look(now_ns)
        if closed:
            infos = [info for one in self._sockets if (info := tcp_info(one)) is not None]
            rtts = [info.min_rtt_us for info in infos if info.min_rtt_us is not None]
            self._min_rtt_ns = min(rtts) * 1_000 if rtts else self._min_rtt_ns
            sent = [
                info.segments - info.data_segments
                for info in infos
                if info.segments is not None and info.data_segments is not None
            ]
            self._acknowledged.append((time.monotonic_ns(), sum(sent)))
        return closed

    def _run(self, stream: int) -> None:
        own, room = self._sockets[stream], bytearray(_ROOM_OCTETS)
        while not self.ended:
            try:
                octets = own.recv_into(room, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                continue
            if not octets:
                self._ending = True
                return
            self.transferred[stream] += octets

    def _tell(self, message: bytes) -> None:
        if not self.ended:
            with contextlib.suppress(OSError):
                self._sockets[0].send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def tcp_info(one: socket.socket) -> TcpInfo | None:
    """What the kernel tells of a connection; None: nothing any more."""
    try:
        return TcpInfo.parse(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OCTETS))
    except (OSError, WireError):
        return None


def packets_of(one: socket.socket) -> Packets:
    """How the payload of a connection is packed."""
    info = tcp_info(one)
    mss, timestamps = (1_448, True) if info is None else (info.mss, info.timestamps)
    return Packets.of(Protocol.TCP, ip_version_of(one), mss, timestamps=timestamps)


def _unacknowledged(one: socket.socket) -> int:
    octets: int = _INT.unpack(fcntl.ioctl(one.fileno(), _SIOCOUTQ, bytes(_INT.size)))[0]
    return octets


def _send_buffer(one: socket.socket) -> int:
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
