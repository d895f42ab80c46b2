"""What Linux tells of a TCP connection."""

from __future__ import annotations

import socket
import sys
from struct import pack_into

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.exceptions import Truncated
from agent.core.throughput.tcp_info import TCP_INFO_OCTETS, TcpInfo

OCTETS_SENT = 100_000


def filled() -> bytearray:
    """A structure in which every field that is read holds its own offset."""
    data = bytearray(TCP_INFO_OCTETS)
    for at in (16, 24, 60, 68, 80, 100, 136, 144, 148, 156, 216, 220, 228):
        pack_into("=I", data, at, at)
    for at in (104, 120, 128, 160, 168, 176, 184, 200, 208):
        pack_into("=Q", data, at, at)
    return data


def test_fields_stand_where_the_kernel_has_them() -> None:
    """Every field is read at its own offset and no other."""
    data = filled()
    data[1], data[5], data[7] = 4, 1, 1
    assert TcpInfo.parse(data) == TcpInfo(
        timestamps=True,
        app_limited=True,
        timed_out=True,
        mss=16,
        unacked=24,
        pmtu=60,
        rtt_us=68,
        cwnd=80,
        retransmitted=100,
        pacing_rate=104,
        acked=120,
        received=128,
        notsent=144,
        min_rtt_us=148,
        delivery_rate=160,
        busy_us=168,
        rwnd_limited_us=176,
        sndbuf_limited_us=184,
        sent=200,
        sent_again=208,
        needless=216,
        reordered=220,
        peer_window=228,
        segments=136,
        data_segments=156,
    )


def test_an_older_kernel_tells_less() -> None:
    """Fields beyond what was returned are not known; Linux 4.9 ends before it tells what a connection waited for."""
    info = TcpInfo.parse(filled()[:168])
    assert info.delivery_rate == 160
    assert (info.busy_us, info.rwnd_limited_us, info.peer_window) == (None, None, None)
    oldest = TcpInfo.parse(filled()[:104])
    assert (oldest.retransmitted, oldest.pacing_rate) == (100, None)
    assert TcpInfo.parse(filled()[:107]).pacing_rate is None
    assert not TcpInfo.parse(filled()).timed_out


def test_before_the_first_round_trip_there_is_no_least_one() -> None:
    """The kernel's all ones are no time."""
    data = filled()
    data[148:152] = b"\xff" * 4
    assert TcpInfo.parse(data).min_rtt_us is None


@given(st.binary(max_size=300))
def test_any_octets(data: bytes) -> None:
    """Any octets parse or are too few."""
    if len(data) < 104:
        with pytest.raises(Truncated, match=f"needs 104 octets, got {len(data)}"):
            TcpInfo.parse(data)
    else:
        assert TcpInfo.parse(data).mss == int.from_bytes(data[16:20], sys.byteorder)


def test_the_kernel_itself() -> None:
    """A connection over loopback that has sent so many octets says so, and what else it says can be."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sending,
        listener.accept()[0] as receiving,
    ):
        receiving.settimeout(5)
        sending.sendall(bytes(OCTETS_SENT))
        received = 0
        while received < OCTETS_SENT:
            received += len(receiving.recv(OCTETS_SENT))
        receiving.sendall(b"!")
        sending.settimeout(5)
        assert sending.recv(1) == b"!"
        mine = TcpInfo.parse(sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OCTETS))
        its = TcpInfo.parse(receiving.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_OCTETS))
    assert mine.mss > 500
    assert mine.pmtu > mine.mss
    assert mine.cwnd >= 1
    assert its.received == OCTETS_SENT
    if its.segments is not None and its.data_segments is not None:
        # it has acknowledged more often than it has sent data
        assert its.segments > its.data_segments == 1
    if mine.sent is not None and mine.acked is not None:
        assert mine.sent >= OCTETS_SENT
        assert mine.acked >= OCTETS_SENT
    assert 0 < mine.rtt_us < 5_000_000
