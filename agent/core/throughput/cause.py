"""Why a test was no faster: from what the kernel tells of its streams and of both hosts.

Either the path was in the way, or a host was: its CPU, its buffers, its own pace. Only the path's causes may make a
violation; with a host's cause a test has not tested the path.

No single figure names the cause. The kernel's own account of what a connection waited for (busy, rwnd_limited,
sndbuf_limited) alone names it in half of all cases, for it knows nothing of a sender that comes too late and counts a
connection as limited by one thing at a time. So these are asked, in this order:

 1. PACING_CAP       all that we chose to send has arrived
 2. HOST_STARVED     a host had its cores stolen, or dropped what had arrived; or its threads waited for a core, and the
                     sender fell idle or the receiver's window was full: a thread that waits while the kernel has enough
                     to send keeps nothing up
 3. RECEIVER_WINDOW  the peer's window was in the way, or full
 4. SEND_BUFFER      our buffer was in the way: with nothing unsent in it, it was about what was under way
 5. SENDER_CPU,      nothing was left unsent or nothing was under way at all: the sender came too late, because its core
    APPLICATION      was busy, or for reasons of its own; but where the path was gone for a while it is PATH_LOSS
 6. PATH_LOSS        segments were lost, and not for a queue that grew before it spilled; what was sent again and had
                     come was reordered, not lost
 7. PATH_RATE        a queue grew: the path was given more than it carried
 8. none             neither a queue nor a loss: the path has shown no bound, and is not to blame
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Final

from agent.core.throughput.tcp_info import TcpInfo
from agent.core.timestamps import SECOND_NS

_PACED: Final = 0.985
_WAITED: Final = 0.1
_STOLEN: Final = 0.05
_DROPPED: Final = 0.0005
_IN_THE_WAY: Final = 0.2
_FULL: Final = 0.9
_OFTEN: Final = 0.5
_BUFFERED: Final = 0.3
_BUSY: Final = 0.85
_IDLE: Final = 0.1
_SEEN: Final = 0.05
_LOST: Final = 0.0005
_FAR_MORE: Final = 2
_OUTAGE: Final = 0.1
_QUEUED: Final = 1.5
_QUEUED_NS: Final = 500_000


class Cause(StrEnum):
    """What bounded the rate."""

    PATH_RATE = "path_rate"
    PATH_LOSS = "path_loss"
    RECEIVER_WINDOW = "receiver_window"
    SEND_BUFFER = "send_buffer"
    SENDER_CPU = "sender_cpu"
    HOST_STARVED = "host_starved"
    PACING_CAP = "pacing_cap"
    APPLICATION = "application"

    @property
    def of_path(self) -> bool:
        """Whether it was the path: only then a rate below its floor is a violation."""
        return self in (Cause.PATH_RATE, Cause.PATH_LOSS)


@dataclass(frozen=True, slots=True)
class StreamSample:
    """A sending TCP socket at one moment.

    Attributes:
        at_ns: monotonic.
        info: what the kernel tells of it.
        queued: octets in it, not yet acknowledged (SIOCOUTQ).
        send_buffer: what it may take (SO_SNDBUF: twice what one asked for, for it counts the kernel's overhead).
    """

    at_ns: int
    info: TcpInfo
    queued: int
    send_buffer: int


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What a test's process and its host went through, of both ends alike; 0 where there was none or nobody can tell.

    Attributes:
        elapsed_ns: how long.
        cpu_ns: CPU time of the test's process.
        run_delay_ns: how long they could have run and waited for a core (/proc/self/task/*/schedstat, second field).
        threads: how many there are that transfer data.
        steal_ns: how long the hypervisor kept cores from this host, of all cores.
        cores: of the host.
        arrived: packets that the host has received.
        dropped: packets that it lost by itself: softnet backlog, receive buffers (RcvbufErrors, SO_RXQ_OVFL).
    """

    elapsed_ns: int
    cpu_ns: int = 0
    run_delay_ns: int = 0
    threads: int = 1
    steal_ns: int = 0
    cores: int = 1
    arrived: int = 0
    dropped: int = 0

    @property
    def busy(self) -> float:
        """How much of the time for which it had not to wait for a core a thread was on one."""
        return self.cpu_ns / max(1, self.elapsed_ns * self.threads - self.run_delay_ns)

    @property
    def waited(self) -> bool:
        """Whether its threads were kept waiting for a core; what was in the kernel's hands went on."""
        return self.run_delay_ns > _WAITED * self.elapsed_ns * self.threads

    @property
    def starved(self) -> bool:
        """Whether the host cannot have been fast enough, its kernel included."""
        return self.steal_ns > _STOLEN * self.elapsed_ns * self.cores or self.dropped > _DROPPED * max(
            self.arrived, 1
        )


@dataclass(frozen=True, slots=True)
class Pressure:
    """What stood in a stream's way; shares are 0 to 1, what is not known is what tells of nothing in the way.

    Attributes:
        rate: goodput as the sender sees it acknowledged, bit/s.
        receiver_window, send_buffer: shares of the busy time for which the kernel blames them.
        window_fill, cwnd_fill: medians of octets under way by what the peer's window, and the congestion window, let.
        emptied: share of moments at which nothing was unsent.
        app_limited: share of moments at which the kernel said so.
        timed_out: share of moments at which nothing had come back for so long that all was taken to be lost.
        idle: share of the time for which there was nothing to send and nothing under way.
        buffered: octets in the socket, or under way by rate × round trip where that is more, by its buffer.
        lost: share of octets that were sent again and had not come.
        queueing: how many times the least round trip the usual one was.
        queueing_ns: the difference.
    """

    rate: float
    receiver_window: float = 0.0
    send_buffer: float = 0.0
    window_fill: float = 0.0
    cwnd_fill: float = 1.0
    emptied: float = 0.0
    app_limited: float = 0.0
    timed_out: float = 0.0
    idle: float = 0.0
    buffered: float = 0.0
    lost: float = 0.0
    queueing: float = 1.0
    queueing_ns: float = 0.0

    @classmethod
    def of(cls, samples: Sequence[StreamSample]) -> Pressure | None:
        """That of a stream.

        Args:
            samples: in order, after the ramp.

        Returns:
            None where there are fewer than two, at one moment, or this kernel is too old to tell.
        """
        if len(samples) < 2:
            return None
        elapsed_ns = samples[-1].at_ns - samples[0].at_ns
        acked = _grown(samples, lambda info: info.acked)
        if acked is None or elapsed_ns <= 0:
            return None
        rate = acked * 8 * SECOND_NS / elapsed_ns
        busy = _grown(samples, lambda info: info.busy_us)
        infos = [sample.info for sample in samples]
        rtt_us = median(info.rtt_us for info in infos)
        least_us = min((info.min_rtt_us for info in infos if info.min_rtt_us is not None), default=None)
        under_way = rate / 8 * rtt_us / 1e6
        return cls(
            rate=rate,
            receiver_window=_share(_grown(samples, lambda info: info.rwnd_limited_us), busy),
            send_buffer=_share(_grown(samples, lambda info: info.sndbuf_limited_us), busy),
            window_fill=median(_share(info.unacked * info.mss, info.peer_window) for info in infos),
            cwnd_fill=median(_share(info.unacked, info.cwnd) for info in infos),
            emptied=fmean(info.notsent == 0 for info in infos),
            app_limited=fmean(info.app_limited for info in infos),
            timed_out=fmean(info.timed_out for info in infos),
            idle=0.0 if busy is None else max(0.0, (elapsed_ns - busy * 1e3) / elapsed_ns),
            buffered=median(_share(max(one.queued, under_way), one.send_buffer) for one in samples),
            lost=_share(_lost(samples), _grown(samples, lambda info: info.sent)),
            queueing=1.0 if least_us is None else rtt_us / max(least_us, 1),
            queueing_ns=0.0 if least_us is None else (rtt_us - least_us) * 1e3,
        )


def cause_of_stream(
    pressure: Pressure, sender: HostLoad, receiver: HostLoad | None = None, pace: float | None = None
) -> Cause | None:
    """What bounded one TCP stream; None: nothing that has shown.

    Args:
        pressure: what stood in its way.
        sender, receiver: of the test; None: the peer tells nothing.
        pace: goodput that it was not to exceed, bit/s; None: none.
    """
    if pace is not None and pressure.rate >= _PACED * pace:
        return Cause.PACING_CAP
    if _is_starved(pressure, sender, receiver):
        return Cause.HOST_STARVED
    cwnd_open = pressure.cwnd_fill < _FULL
    if pressure.receiver_window >= max(_IN_THE_WAY, pressure.send_buffer):
        return Cause.RECEIVER_WINDOW
    if pressure.window_fill >= _FULL and cwnd_open:
        return Cause.RECEIVER_WINDOW
    if pressure.send_buffer >= _IN_THE_WAY:
        return Cause.SEND_BUFFER
    emptied = pressure.emptied >= _OFTEN
    if emptied and cwnd_open and pressure.buffered >= _BUFFERED:
        return Cause.SEND_BUFFER
    late = emptied or pressure.app_limited >= _OFTEN
    if pressure.idle >= _IDLE or (cwnd_open and (late or sender.busy >= _BUSY)):
        if pressure.timed_out >= _OUTAGE:
            # a sender that keeps a pace is idle in between, which says nothing of a path that was gone for a while
            return Cause.PATH_LOSS
        return Cause.SENDER_CPU if sender.busy >= _BUSY else Cause.APPLICATION
    queued = pressure.queueing_ns >= _QUEUED_NS
    if pressure.lost >= _LOST and not (queued and pressure.queueing >= _QUEUED):
        return Cause.PATH_LOSS
    return Cause.PATH_RATE if queued else None


def _is_starved(pressure: Pressure, sender: HostLoad, receiver: HostLoad | None) -> bool:
    """Whether a host cannot have been fast enough, or its threads had to wait and that has shown."""
    if sender.starved or (receiver is not None and receiver.starved):
        return True
    late = max(pressure.emptied, pressure.app_limited) >= _WAITED or pressure.idle >= _SEEN
    full = pressure.receiver_window >= _SEEN or pressure.window_fill >= _FULL
    return (sender.waited and late) or (receiver is not None and receiver.waited and full)


def cause_of_streams(
    pressures: Sequence[Pressure],
    sender: HostLoad,
    receiver: HostLoad | None = None,
    pace: float | None = None,
) -> Cause | None:
    """What bounded a TCP test: the cause of most of its streams, each as heavy as it was fast.

    Args:
        pressures: of each stream.
        sender, receiver: of the test; None: the peer tells nothing.
        pace: goodput that all together were not to exceed, bit/s; None: none.

    Returns:
        None where nothing is known of any stream, or of most of them nothing has shown.
    """
    if pace is not None and pressures and sum(pressure.rate for pressure in pressures) >= _PACED * pace:
        return Cause.PACING_CAP
    votes: dict[Cause | None, float] = defaultdict(float)
    for pressure in pressures:
        own = None if pace is None else pace / len(pressures)
        votes[cause_of_stream(pressure, sender, receiver, own)] += pressure.rate
    return max(votes, key=lambda cause: votes[cause], default=None)


@dataclass(frozen=True, slots=True)
class DatagramCounts:
    """What became of a UDP test's datagrams.

    Attributes:
        meant: that the pace asked for.
        sent: that the sender's kernel took.
        received: that came out of the receiver's sockets.
        overflowed: that reached the receiver's host and were lost there (SO_RXQ_OVFL, times the segments of a burst).
        expected: that the receiver knows to have been sent: up to the last that has come, or that the sender has told
            of at its end. What is sent after a receiver has had enough is not lost. None: it tells nothing.
    """

    meant: int
    sent: int
    received: int
    overflowed: int = 0
    expected: int | None = None

    @property
    def lost(self) -> int:
        """On the path."""
        expected = self.sent if self.expected is None else self.expected
        return max(0, expected - self.received - self.overflowed)


def cause_of_datagrams(
    counts: DatagramCounts,
    sender: HostLoad,
    receiver: HostLoad | None = None,
    queueing_ns: float | None = None,
) -> Cause:
    """What bounded a UDP test.

    Args:
        counts: of its datagrams.
        sender, receiver: of the test; None: the peer tells nothing.
        queueing_ns: how much later than the fastest datagram most of them came; None: not known.
    """
    if counts.overflowed > _DROPPED * counts.sent or sender.starved:
        return Cause.HOST_STARVED
    if receiver is not None and receiver.starved:
        return Cause.HOST_STARVED
    never_left = _share(max(0, counts.meant - counts.sent), counts.meant)
    # a path that loses far more than never left would not have carried that either
    if never_left > 1 - _PACED and _share(counts.lost, counts.sent) <= _FAR_MORE * never_left:
        if sender.waited:
            return Cause.HOST_STARVED
        return Cause.SENDER_CPU if sender.busy >= _BUSY else Cause.APPLICATION
    if counts.lost <= _LOST * counts.sent:
        return Cause.PACING_CAP
    grown = queueing_ns is None or queueing_ns >= _QUEUED_NS
    return Cause.PATH_RATE if grown else Cause.PATH_LOSS


def _lost(samples: Sequence[StreamSample]) -> int | None:
    """Octets that were sent again, less those that had come."""
    again = _grown(samples, lambda info: info.sent_again)
    needless = _grown(samples, lambda info: info.needless)
    return None if again is None else max(0, again - (needless or 0) * samples[-1].info.mss)


def _grown(samples: Sequence[StreamSample], field: Callable[[TcpInfo], int | None]) -> int | None:
    first, last = field(samples[0].info), field(samples[-1].info)
    return None if first is None or last is None else last - first


def _share(part: float | None, whole: float | None) -> float:
    return 0.0 if part is None or not whole else part / whole
