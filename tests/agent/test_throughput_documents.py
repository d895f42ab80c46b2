"""What goes over the control channel of throughput tests."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import Key
from agent.core.exceptions import WireError
from agent.core.throughput.cause import DatagramCounts, HostLoad, Pressure
from agent.core.throughput.lease import Lease, LeaseRequest, LeaseState, Protocol, Share
from agent.core.throughput.rates import Packets, Window
from agent.core.throughput.report import ServerReport
from agent.throughput_documents import (
    MOST_OCTETS,
    parse_grant,
    parse_id,
    parse_request,
    parse_state,
    serialise_grant,
    serialise_request,
    serialise_state,
)

SECOND_NS = 1_000_000_000
PEER = bytes([192, 0, 2, 1])
shares = st.builds(Share, st.integers(1, 10**12), st.integers(1, 1 << 60))
requests = st.builds(
    LeaseRequest,
    st.just(PEER),
    st.sampled_from(Protocol),
    st.integers(1, 3_600).map(lambda seconds: seconds * SECOND_NS),
    down=shares,
    up=st.none() | shares,
    streams=st.integers(1, 8),
    exclusive=st.booleans(),
)
small = st.integers(0, 1 << 62)
finite = st.floats(0, 1e12)
packets = st.builds(Packets, st.integers(1, 65_535), st.integers(20, 100))
reports = st.builds(
    ServerReport,
    received=st.lists(st.builds(Window, small, small, small), max_size=4).map(tuple),
    received_packets=st.none() | packets,
    pressures=st.lists(st.builds(Pressure, *[finite] * 11), max_size=8).map(tuple),
    sent_packets=st.none() | packets,
    sent_octets=small,
    datagrams_down=st.none() | st.builds(DatagramCounts, *[small] * 4),
    datagrams_up=st.none() | st.builds(DatagramCounts, *[small] * 4),
    host=st.none() | st.builds(HostLoad, *[small] * 8),
    error=st.text(max_size=20),
)


@given(requests)
def test_requests(request: LeaseRequest) -> None:
    """Serialise then parse gives the same request; it is short enough to be read."""
    data = serialise_request(request)
    assert len(data) < MOST_OCTETS
    assert parse_request(data, PEER) == request


@given(reports, st.sampled_from(LeaseState))
def test_states(report: ServerReport, state: LeaseState) -> None:
    """Serialise then parse gives the same report and state."""
    assert parse_state(serialise_state(state, report)) == (state, report)


def test_grants() -> None:
    """A grant has the token, and times from now on; who reads it shows no token."""
    request = LeaseRequest(PEER, Protocol.TCP, SECOND_NS, down=Share(1, 1))
    lease = Lease(b"lease-id", Key(bytes(range(16))), request, 5, 5 * SECOND_NS, 6 * SECOND_NS, 9 * SECOND_NS)
    data = serialise_grant(lease, 9462, 2 * SECOND_NS)
    grant = parse_grant(data)
    assert (grant.id, grant.token, grant.port) == (lease.id, lease.token, 9462)
    assert (grant.start_by_ns, grant.stop_by_ns) == (3 * SECOND_NS, 4 * SECOND_NS)
    assert "00010203" not in repr(grant)
    assert parse_grant(serialise_grant(lease, 1, 8 * SECOND_NS)).stop_by_ns == 0


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """Any octets are read or refused with our error, by each end."""
    for parse in (lambda octets: parse_request(octets, PEER), parse_grant, parse_state):
        try:
            parse(data)
        except WireError:
            pass


ASKED = {"protocol": "tcp", "seconds": 5.0, "down": {"bits_per_second": 1, "octets": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "icmp"}, "protocol: Input should be 'tcp' or 'udp'"),
        ({"seconds": 0}, "seconds: Input should be greater than 0"),
        ({"seconds": "5"}, "seconds: Input should be a valid number"),
        ({"seconds": 1e9}, "seconds: Input should be less than or equal to 3600"),
        ({"seconds": 1e-10}, "a duration of 0 ns is none"),
        ({"streams": True}, "streams: Input should be a valid integer"),
        ({"streams": 9}, "streams: Input should be less than or equal to 8"),
        ({"down": None}, "neither down nor up is asked for"),
        (
            {"down": {"bits_per_second": 1.5, "octets": 1}},
            "down.bits_per_second: Input should be a valid integer",
        ),
        ({"up": {"bits_per_second": 1 << 70, "octets": 1}}, "up.bits_per_second"),
        ({"peer": "192.0.2.9"}, "peer: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_request(change: dict[str, object], message: str) -> None:
    """The first mistake is named with its place; nobody can ask for another address."""
    with pytest.raises(WireError) as caught:
        parse_request(json.dumps({**ASKED, **change}).encode(), PEER)
    assert message in str(caught.value)


def test_no_message_shows_a_token() -> None:
    """A grant that is none is refused without what it holds."""
    with pytest.raises(WireError) as caught:
        parse_grant(b'{"id": "00", "token": "00ff00ff00ff00ff", "port": 0}')
    assert "00ff" not in str(caught.value)
    with pytest.raises(WireError, match="Invalid JSON"):
        parse_grant(b"{")


def test_a_report_of_another_version() -> None:
    """What a newer agent tells beside what is known is passed over, what it tells wrongly refused."""
    newer = b'{"state": "running", "since": 1, "report": {"more": 1, "sent_octets": 5}}'
    assert parse_state(newer) == (LeaseState.RUNNING, ServerReport(sent_octets=5))
    with pytest.raises(WireError, match="sent_octets"):
        parse_state(b'{"state": "running", "report": {"sent_octets": "many"}}')
    assert parse_state(b'{"state": "granted", "report": {}}') == (LeaseState.GRANTED, ServerReport())


def test_ids() -> None:
    """Eight octets in hexadecimal."""
    assert parse_id("00112233445566ff") == bytes.fromhex("00112233445566ff")
    assert [parse_id(text) for text in ("", "0011", "zz112233445566ff", "00" * 9)] == [None] * 4


def test_every_pressure_is_told() -> None:
    """A field that is added is sent too, unless it is left at what tells of nothing."""
    pressure = replace(Pressure(1.0), lost=0.5)
    _, told = parse_state(serialise_state(LeaseState.RUNNING, ServerReport(pressures=(pressure,))))
    assert told.pressures == (pressure,)
