"""ICMP echo packets, against icmplib's own arithmetic and scapy's reading."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from icmplib import ICMPv4Socket
from scapy.layers.inet import ICMP

from agent.core.icmp import ECHO_COLUMNS, ECHO_OCTETS, ICMPV4, write_checksums, write_timestamps

WORDS = st.integers(0, 0xFFFF)
DOUBLE_WORDS = st.integers(0, 0xFFFF_FFFF)


def requests(rows: list[int], identifier: int, cookie: int, wire: int) -> np.ndarray:
    """Finished requests, one for each row."""
    octets = np.zeros((len(rows), ECHO_OCTETS), np.uint8)
    columns = octets.view(ECHO_COLUMNS)[:, 0]
    columns["type"] = ICMPV4.request
    columns["identifier"] = identifier
    columns["cookie"] = cookie
    columns["row"] = rows
    columns["sequence"] = rows
    write_checksums(columns, octets)
    write_timestamps(columns, wire)
    return octets


@given(st.lists(DOUBLE_WORDS, min_size=1, max_size=5), WORDS, DOUBLE_WORDS, st.integers(0, 2**64 - 1))
def test_the_checksum_holds_whatever_the_timestamp(
    rows: list[int], identifier: int, cookie: int, wire: int
) -> None:
    """A checksum that was written before the timestamp is what icmplib computes of the finished packet."""
    arithmetic = ICMPv4Socket.__new__(ICMPv4Socket)
    arithmetic._sock = None
    for packet in requests(rows, identifier, cookie, wire):
        whole = packet.tobytes()
        zeroed = whole[:2] + bytes(2) + whole[4:]
        assert int.from_bytes(whole[2:4], "big") == arithmetic._checksum(zeroed)


def test_scapy_reads_an_echo_request() -> None:
    """Type, identifier and sequence number are where others expect them, and the sum of it all is right."""
    packet = requests([7], 0x1234, 0xDEADBEEF, 2**63 + 5)[0].tobytes()
    read = ICMP(packet)
    assert (read.type, read.code, read.id) == (8, 0, 0x1234)
    written = read.chksum
    del read.chksum
    assert ICMP(bytes(read)).chksum == written
