"""One way of a test at one end: its threads, its count of octets, and its end.

A thread for each stream sends or receives and adds to its own count; nobody else writes it, so nobody has to lock it.
The child's main thread looks at the counts every now and then (`look`): it closes windows, tells the sender how far the
receiver is, hears that, and ends the flow where the lease is kept no longer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from agent.core.exceptions import WireError
from agent.core.throughput.allowance import Allowance
from agent.core.throughput.feedback import FEEDBACK_OCTETS, Feedback, FeedbackKind
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Packets, Window, Windows
from agent.core.timestamps import SECOND_NS
from agent.throughput.plan import Ended, EnginePlan, WayReport

WAIT_S: Final = 0.2
"""The longest a thread waits in the kernel before it looks whether it is to end."""
FEEDBACK_NS: Final = 50_000_000
_READINGS: Final = 3
_AT_ONCE_NS: Final = 200_000
_TIMEVAL: Final = struct.Struct("@ll")
_PATIENCE_NS: Final = 6 * SECOND_NS
"""How much longer than the test all of it may take: sockets are admitted for so long, and one end starts sooner."""
_BROKEN: Final = (ConnectionError, TimeoutError)


class Flow(ABC):
    """One way.

    Args:
        way: which.
        plan: of the whole test.
        sockets: of its streams, connected, in order; they are closed at the end.

    Attributes:
        way: which.
        transferred: octets of payload of each stream.
        ended: why it is over, or about to be; empty: it goes on.
    """

    def __init__(self, way: Way, plan: EnginePlan, sockets: Sequence[socket.socket]) -> None:
        self.way = way
        self._token = plan.token
        self._duration_ns = plan.duration_ns
        self._plan = plan.ways[way]
        self._sockets = list(sockets)
        self.transferred = [0] * len(self._sockets)
        self.ended = ""
        self._threads = [
            threading.Thread(target=self._guarded, args=(stream,), name=f"{way} {stream}", daemon=True)
            for stream in range(len(self._sockets))
        ]
        self._begin_ns = 0
        for one in self._sockets:
            one.setblocking(True)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                one.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(0, int(WAIT_S * 1e6)))

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self._begin_ns = now_ns
        for thread in self._threads:
            thread.start()

    def look(self, now_ns: int) -> bool:
        """See how far it is; whether there is something new to report."""
        closed = self._look(now_ns)
        if not self.ended and now_ns >= self._begin_ns + self._duration_ns + _PATIENCE_NS:
            self.end(Ended.SILENT)
        return closed

    def end(self, why: str) -> None:
        """End it, for the first reason that is given; the threads end soon."""
        if not self.ended:
            self.ended = why
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Wait for the threads, and close the sockets."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2 * WAIT_S)
        for one in self._sockets:
            one.close()

    @property
    def over(self) -> bool:
        """Whether all threads have ended."""
        return bool(self._begin_ns) and not any(thread.is_alive() for thread in self._threads)

    @property
    def threads(self) -> list[int]:
        """Their native ids."""
        return [thread.native_id for thread in self._threads if thread.native_id is not None]

    @property
    def total(self) -> int:
        """Octets of payload of all streams."""
        return sum(self.transferred)

    @abstractmethod
    def report(self) -> WayReport:
        """How far it is."""

    @abstractmethod
    def _look(self, now_ns: int) -> bool:
        """As `look`."""

    @abstractmethod
    def _run(self, stream: int) -> None:
        """Transfer; in a thread of its own."""

    def _guarded(self, stream: int) -> None:
        try:
            self._run(stream)
        except _BROKEN:
            self.end(Ended.PEER)
        except OSError as error:
            # a socket that was shut down by `end` fails as well
            self.end(f"{error.strerror or error}")


class Sending(Flow):
    """A way that this end sends.

    Attributes:
        heard: the last feedback; None: none has come.
    """

    def __init__(
        self, way: Way, plan: EnginePlan, sockets: Sequence[socket.socket], packets: Packets
    ) -> None:
        super().__init__(way, plan, sockets)
        self._packets = packets
        self._reserving = threading.Lock()
        self._reserved = 0
        self._windows: Windows | None = None
        self._told = bytearray()
        self.heard: Feedback | None = None

    @property
    def goodput(self) -> float:
        """What the share's rate, of the IP layer, is of payload; bit/s."""
        return self._packets.goodput(self._plan.share.rate)

    def begin(self, now_ns: int) -> None:
        """Let data flow."""
        self.allow_from(now_ns)
        super().begin(now_ns)

    def allow_from(self, now_ns: int) -> None:
        """From now on the share may be sent, for as long as data flows."""
        self._begin_ns = now_ns
        self._allowance = Allowance(self._plan.share, now_ns, now_ns + self._duration_ns)

    def reserve(self, octets: int, now_ns: int) -> int:
        """How many of so many octets of payload may be sent now; they count as sent."""
        with self._reserving:
            granted = min(octets, self._allowance.left(self._reserved, now_ns))
            self._reserved += granted
        return granted

    def give_back(self, octets: int) -> None:
        """So many of what was reserved have not been sent."""
        with self._reserving:
            self._reserved -= octets

    def has_sent_all(self, now_ns: int) -> bool:
        """Whether nothing will be granted any more."""
        return self._reserved >= self._plan.share.octets or now_ns >= self._begin_ns + self._duration_ns

    def hear(self, data: bytes) -> bool:
        """Take octets that may be feedback; whether they were, and are newer than what was heard before."""
        try:
            came = Feedback.parse(data, self._token)
        except WireError:
            return False
        if came.way is not self.way or (self.heard is not None and came.at_ns < self.heard.at_ns):
            return False
        self.heard = came
        if came.kind is FeedbackKind.END and not self.ended:
            self.end(Ended.PEER)
        if self._windows is None:
            if not came.octets:
                return False
            self._windows = Windows(came.at_ns)
        return self._windows.read(came.octets, came.at_ns)

    def hear_stream(self, data: bytes) -> bool:
        """The same of a stream, of which messages come in pieces."""
        self._told += data
        closed = False
        while len(self._told) >= FEEDBACK_OCTETS:
            message = bytes(self._told[:FEEDBACK_OCTETS])
            del self._told[:FEEDBACK_OCTETS]
            closed |= self.hear(message)
        return closed

    @property
    def windows(self) -> tuple[Window, ...]:
        """What the receiver has told."""
        return () if self._windows is None else tuple(self._windows.closed)


class Receiving(Flow):
    """A way that this end receives."""

    def __init__(
        self, way: Way, plan: EnginePlan, sockets: Sequence[socket.socket], packets: Packets
    ) -> None:
        super().__init__(way, plan, sockets)
        self._packets = packets
        self._windows: Windows | None = None
        self._allowance: Allowance | None = None
        self._stop_ns = 0
        self._next_feedback_ns = 0
        self._ending = False

    def feedback(self, kind: FeedbackKind, now_ns: int) -> Feedback:
        """What there is to tell."""
        return Feedback(kind, self.way, now_ns, self.total)

    @property
    def windows(self) -> tuple[Window, ...]:
        """What has come."""
        return () if self._windows is None else tuple(self._windows.closed)

    def _look(self, now_ns: int) -> bool:
        total, now_ns = self._reading()
        if self._allowance is not None and not self.ended:
            # what the sender's buffers and the path still hold when the time is over was sent in time
            if self._allowance.is_exceeded(total, min(now_ns, self._stop_ns)):
                self.end(Ended.EXCEEDED)
            elif now_ns >= self._stop_ns:
                self.end(Ended.DONE)
        if not self.ended and self.over:
            self.ended = Ended.PEER
        if not self.ended and now_ns >= self._next_feedback_ns:
            self._next_feedback_ns = now_ns + FEEDBACK_NS
            self._tell(self.feedback(FeedbackKind.NEWS, now_ns).serialise(self._token))
        if self._windows is None:
            if total:
                # the peer begins when it is ready: its time counts from what comes first
                self._stop_ns = now_ns + self._duration_ns
                self._allowance = Allowance(self._plan.share, now_ns, self._stop_ns)
                self._windows = Windows(now_ns)
            return False
        # a window in which the sender comes to its end would be short of data
        return not (self.ended or self._ending) and self._windows.read(total, now_ns)

    def _reading(self) -> tuple[int, int]:
        """Octets that have come, and when that was so: again where this thread was kept waiting in between."""
        for _ in range(_READINGS):
            before_ns = time.monotonic_ns()
            total = self.total
            now_ns = time.monotonic_ns()
            if now_ns - before_ns < _AT_ONCE_NS:
                break
        return total, now_ns

    @abstractmethod
    def _tell(self, message: bytes) -> None:
        """Send the peer a message, where there is room for it."""


def ip_version_of(one: socket.socket) -> int:
    """4 or 6."""
    return 6 if one.family == socket.AF_INET6 else 4


def pause(until_ns: int) -> None:
    """Sleep until a monotonic time."""
    left_ns = until_ns - time.monotonic_ns()
    if left_ns > 0:
        time.sleep(left_ns / SECOND_NS)
