"""Why a test was no faster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.throughput.cause import (
    Cause,
    DatagramCounts,
    HostLoad,
    Pressure,
    StreamSample,
    cause_of_datagrams,
    cause_of_stream,
    cause_of_streams,
)
from agent.core.throughput.tcp_info import TcpInfo

SECOND_NS = 1_000_000_000
IDLE = HostLoad(10 * SECOND_NS, cpu_ns=2 * SECOND_NS, arrived=1_000_000)
WAITING = replace(IDLE, run_delay_ns=2 * SECOND_NS)
HARD_AT_WORK = replace(IDLE, cpu_ns=9 * SECOND_NS)
PATH = Pressure(1e9, cwnd_fill=1.0, buffered=0.8, queueing=5.0, queueing_ns=2e6)
"""A shaper in the way: the congestion window is full, and its queue too."""
OPEN = replace(PATH, cwnd_fill=0.4, queueing=1.0, queueing_ns=0.0)


@pytest.mark.parametrize(
    ("pressure", "sender", "cause"),
    [
        (PATH, IDLE, Cause.PATH_RATE),
        (replace(PATH, lost=0.01), IDLE, Cause.PATH_RATE),
        (replace(PATH, lost=0.01, queueing=1.1), IDLE, Cause.PATH_LOSS),
        (replace(PATH, lost=0.01, queueing=9.0, queueing_ns=4e5), IDLE, Cause.PATH_LOSS),
        (replace(PATH, lost=0.0004, queueing=1.1), IDLE, Cause.PATH_RATE),
        (replace(PATH, receiver_window=0.3), IDLE, Cause.RECEIVER_WINDOW),
        (replace(PATH, receiver_window=0.3, send_buffer=0.4), IDLE, Cause.SEND_BUFFER),
        (replace(OPEN, window_fill=0.95), IDLE, Cause.RECEIVER_WINDOW),
        (replace(PATH, window_fill=0.95), IDLE, Cause.PATH_RATE),
        (replace(PATH, send_buffer=0.2), IDLE, Cause.SEND_BUFFER),
        (replace(OPEN, emptied=0.9, buffered=0.45), IDLE, Cause.SEND_BUFFER),
        (replace(OPEN, emptied=0.9, buffered=0.05), IDLE, Cause.APPLICATION),
        (replace(OPEN, app_limited=0.9), IDLE, Cause.APPLICATION),
        (replace(OPEN, emptied=0.9, buffered=0.05), HARD_AT_WORK, Cause.SENDER_CPU),
        (OPEN, HARD_AT_WORK, Cause.SENDER_CPU),
        (PATH, HARD_AT_WORK, Cause.PATH_RATE),
        (OPEN, IDLE, None),
        (replace(OPEN, lost=0.01), IDLE, Cause.PATH_LOSS),
        (replace(OPEN, queueing=1.1, queueing_ns=5e5), IDLE, Cause.PATH_RATE),
        (replace(PATH, idle=0.2), IDLE, Cause.APPLICATION),
        (replace(PATH, idle=0.2), HARD_AT_WORK, Cause.SENDER_CPU),
        (replace(PATH, idle=0.2, timed_out=0.4), IDLE, Cause.PATH_LOSS),
        (replace(PATH, idle=0.2, timed_out=0.05), IDLE, Cause.APPLICATION),
        (replace(PATH, timed_out=0.4), IDLE, Cause.PATH_RATE),
        (PATH, WAITING, Cause.PATH_RATE),
        (replace(PATH, idle=0.05), WAITING, Cause.HOST_STARVED),
        (replace(PATH, idle=0.05), replace(WAITING, threads=4), Cause.PATH_RATE),
        (replace(PATH, emptied=0.1), WAITING, Cause.HOST_STARVED),
        (replace(PATH, app_limited=0.1), WAITING, Cause.HOST_STARVED),
        (PATH, replace(IDLE, steal_ns=SECOND_NS), Cause.HOST_STARVED),
        (PATH, replace(IDLE, steal_ns=SECOND_NS, cores=4), Cause.PATH_RATE),
        (PATH, replace(IDLE, dropped=501), Cause.HOST_STARVED),
        (PATH, replace(IDLE, dropped=500), Cause.PATH_RATE),
    ],
)
def test_causes(pressure: Pressure, sender: HostLoad, cause: Cause | None) -> None:
    """Each rule names its cause and leaves the others theirs, where nothing has shown none is named; a starved receiver
    is a starved host too."""
    assert cause_of_stream(pressure, sender) is cause
    assert cause_of_stream(pressure, sender, IDLE) is cause
    assert cause_of_stream(pressure, IDLE, replace(IDLE, steal_ns=5 * SECOND_NS)) is Cause.HOST_STARVED


def test_a_receiver_that_waits() -> None:
    """It is to blame where the window that it offers is full or has been in the way, and not where it never was."""
    assert cause_of_stream(PATH, IDLE, WAITING) is Cause.PATH_RATE
    assert cause_of_stream(replace(PATH, receiver_window=0.05), IDLE, WAITING) is Cause.HOST_STARVED
    assert cause_of_stream(replace(PATH, window_fill=0.9), IDLE, WAITING) is Cause.HOST_STARVED


def test_our_own_pace() -> None:
    """What we asked for and got was bounded by nothing else, also not by a host that had to wait."""
    starved = replace(IDLE, run_delay_ns=5 * SECOND_NS)
    assert cause_of_stream(PATH, starved, None, 1.01e9) is Cause.PACING_CAP
    assert cause_of_stream(PATH, IDLE, None, 1.04e9) is Cause.PATH_RATE


def test_many_streams() -> None:
    """They are judged together: the pace by their sum, all else by what most of the octets met."""
    slow = replace(OPEN, rate=1e8, receiver_window=0.9)
    assert cause_of_streams([], IDLE) is None
    assert cause_of_streams([PATH, slow, slow], IDLE) is Cause.PATH_RATE
    assert cause_of_streams([slow, slow], IDLE) is Cause.RECEIVER_WINDOW
    # one stream is slower than its part of the pace, another makes up for it
    assert cause_of_streams([PATH, slow], IDLE, None, 1.1e9) is Cause.PACING_CAP
    assert cause_of_streams([PATH, slow], IDLE, None, 2e9) is Cause.PACING_CAP
    assert cause_of_streams([PATH, slow], IDLE, None, 3e9) is Cause.PATH_RATE


def test_only_the_path_can_be_guilty() -> None:
    """Two causes are the path's, the others are hosts'."""
    assert [cause for cause in Cause if cause.of_path] == [Cause.PATH_RATE, Cause.PATH_LOSS]


# What is made of samples

INFO = TcpInfo(
    timestamps=True,
    app_limited=False,
    timed_out=False,
    mss=1_000,
    unacked=40,
    pmtu=1_052,
    rtt_us=10_000,
    cwnd=50,
    retransmitted=0,
    acked=0,
    notsent=5_000,
    min_rtt_us=4_000,
    busy_us=0,
    rwnd_limited_us=0,
    sndbuf_limited_us=0,
    sent=0,
    sent_again=0,
    peer_window=80_000,
)


def sample(at_ns: int, info: TcpInfo, queued: int = 40_000) -> StreamSample:
    return StreamSample(at_ns, info, queued, 100_000)


def test_pressure() -> None:
    """Rates and shares are taken between the first sample and the last, states over all of them."""
    later = replace(
        INFO,
        acked=1_000_000,
        busy_us=800_000,
        rwnd_limited_us=200_000,
        sndbuf_limited_us=80_000,
        sent=1_000_000,
        sent_again=10_000,
        notsent=0,
        app_limited=True,
    )
    found = Pressure.of([sample(0, INFO), sample(SECOND_NS // 2, INFO), sample(SECOND_NS, later)])
    assert found == Pressure(
        rate=8e6,
        receiver_window=0.25,
        send_buffer=0.1,
        window_fill=0.5,
        cwnd_fill=0.8,
        emptied=1 / 3,
        app_limited=1 / 3,
        idle=0.2,
        buffered=0.4,
        lost=0.01,
        queueing=2.5,
        queueing_ns=6e6,
    )


def test_a_buffer_too_small_for_the_delay() -> None:
    """What is under way by rate × round trip counts as buffered even where a sample found the socket empty."""
    later = replace(INFO, acked=5_000_000, rtt_us=10_000)
    found = Pressure.of([sample(0, INFO, 0), sample(SECOND_NS, later, 0)])
    assert found is not None
    assert found.buffered == pytest.approx(0.5)


def test_what_had_come_was_not_lost() -> None:
    """Segments that were sent again because others had overtaken them are no loss; who tells of none lost them all."""
    later = replace(INFO, acked=1_000_000, sent=1_000_000, sent_again=10_000)
    for needless, lost in ((None, 0.01), (0, 0.01), (7, 0.003), (10, 0.0), (11, 0.0)):
        first, last = (
            replace(INFO, needless=None if needless is None else 0),
            replace(later, needless=needless),
        )
        found = Pressure.of([sample(0, first), sample(SECOND_NS, last)])
        assert found is not None
        assert found.lost == pytest.approx(lost)


def test_a_thread_that_waited_was_not_idle() -> None:
    """What it waits for a core is no time in which it had nothing to do."""
    load = replace(IDLE, cpu_ns=8 * SECOND_NS, run_delay_ns=SECOND_NS)
    assert load.busy == pytest.approx(8 / 9)
    assert cause_of_stream(OPEN, load) is Cause.SENDER_CPU


def test_what_tells_nothing() -> None:
    """One sample, two at one moment, or a kernel that counts no octets: nothing is known."""
    silent = replace(INFO, acked=None)
    assert Pressure.of([]) is None
    assert Pressure.of([sample(0, INFO)]) is None
    assert Pressure.of([sample(5, INFO), sample(5, INFO)]) is None
    assert Pressure.of([sample(0, silent), sample(SECOND_NS, silent)]) is None


def test_an_old_kernel_blames_nobody() -> None:
    """Fields that are not there are nothing in the way."""
    old = TcpInfo(
        timestamps=True,
        app_limited=False,
        timed_out=False,
        mss=1_000,
        unacked=0,
        pmtu=1_052,
        rtt_us=100,
        cwnd=0,
        retransmitted=0,
        acked=0,
    )
    found = Pressure.of([sample(0, old, 0), sample(SECOND_NS, replace(old, acked=1_000), 0)])
    assert found is not None
    assert replace(found, buffered=round(found.buffered, 9)) == Pressure(
        8_000.0, cwnd_fill=0.0, buffered=1e-6
    )


# UDP

COUNTS = DatagramCounts(1_000_000, 1_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("counts", "sender", "queueing_ns", "cause"),
    [
        (COUNTS, IDLE, None, Cause.PACING_CAP),
        (replace(COUNTS, received=999_500), IDLE, None, Cause.PACING_CAP),
        (replace(COUNTS, received=900_000), IDLE, None, Cause.PATH_RATE),
        (replace(COUNTS, received=900_000), IDLE, 5e6, Cause.PATH_RATE),
        (replace(COUNTS, received=900_000), IDLE, 1e4, Cause.PATH_LOSS),
        (replace(COUNTS, received=990_000, overflowed=10_000), IDLE, None, Cause.HOST_STARVED),
        (COUNTS, WAITING, None, Cause.PACING_CAP),
        (replace(COUNTS, sent=900_000, received=900_000), WAITING, None, Cause.HOST_STARVED),
        (replace(COUNTS, sent=900_000, received=900_000), HARD_AT_WORK, None, Cause.SENDER_CPU),
        (replace(COUNTS, sent=900_000, received=900_000), IDLE, None, Cause.APPLICATION),
        (replace(COUNTS, sent=900_000, received=730_000), WAITING, None, Cause.HOST_STARVED),
        (replace(COUNTS, sent=900_000, received=715_000), WAITING, None, Cause.PATH_RATE),
        (replace(COUNTS, sent=900_000, received=715_000), HARD_AT_WORK, 1e4, Cause.PATH_LOSS),
    ],
)
def test_datagrams(counts: DatagramCounts, sender: HostLoad, queueing_ns: float | None, cause: Cause) -> None:
    """Loss by sequence is the path's, overflow the receiver's, what never left the sender's, unless the path has lost
    far more than that."""
    assert cause_of_datagrams(counts, sender, None, queueing_ns) is cause
    assert cause_of_datagrams(counts, sender, IDLE, queueing_ns) is cause
    starved = replace(IDLE, steal_ns=5 * SECOND_NS)
    assert cause_of_datagrams(counts, sender, starved, queueing_ns) is Cause.HOST_STARVED


def test_what_is_sent_too_late_is_not_lost() -> None:
    """A receiver that has had enough does not miss what was sent until the sender heard of that."""
    early = replace(COUNTS, received=900_000, expected=900_100)
    assert early.lost == 100
    assert cause_of_datagrams(early, IDLE) is Cause.PACING_CAP


def test_datagrams_that_came_more_often_than_they_left() -> None:
    """Duplicates are no negative loss."""
    assert replace(COUNTS, received=1_000_001).lost == 0
    assert replace(COUNTS, received=999_990, overflowed=4).lost == 6
