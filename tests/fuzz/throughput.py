"""Throughput tests: the first octets of data connections, what a receiver tells its sender, and what both ends say on
the control channel.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from agent.core.authentication import Key
from agent.core.exceptions import Truncated, WireError
from agent.core.throughput.feedback import Feedback
from agent.core.throughput.lease import Admittance, Lease, LeaseRequest, Protocol, Share, Way
from agent.core.throughput.lease_book import LeaseBook, LeaseRules
from agent.core.throughput.preamble import PREAMBLE_OCTETS, Cookies, Preamble, PreambleKind
from agent.core.throughput.tcp_info import TcpInfo
from agent.throughput_documents import (
    parse_grant,
    parse_id,
    parse_request,
    parse_state,
    serialise_request,
    serialise_state,
)

PEER: Final = bytes((192, 0, 2, 1))
_DURATION_NS: Final = 1_000_000_000


def preambles(data: bytes) -> None:
    """A preamble is read or refused, written as it was, and proves nothing to who has not the token."""
    try:
        preamble = Preamble.parse(data)
    except Truncated:
        assert len(data) < PREAMBLE_OCTETS
        return
    except WireError:
        return
    assert preamble.serialise() == data
    book = LeaseBook(LeaseRules([ip_network("192.0.2.0/24")]), lambda octets: b"\x5a" * octets)
    lease = book.grant(LeaseRequest(PEER, Protocol.TCP, _DURATION_NS, down=Share(1, 1)), 0, 0)
    assert isinstance(lease, Lease)
    genuine = preamble.proves(lease.token)
    admitted = book.admit(preamble, PEER, Protocol.TCP, 0) is Admittance.ADMITTED
    granted = preamble.way is Way.DOWN and preamble.stream == 0 and preamble.lease == lease.id
    assert admitted == (genuine and granted)
    assert preamble.kind is PreambleKind.PROOF or not genuine
    assert not Cookies(Key(bytes(16))).has_baked(preamble, PEER, 1, 0)


def feedback(data: bytes) -> None:
    """Feedback is read or refused, and nobody reads it as signed who has not signed it."""
    token = Key(bytes(range(16)))
    for octets in (data, data + token.sign(data)):
        try:
            told = Feedback.parse(octets, token)
        except WireError:
            continue
        assert told.serialise(token) == octets[:7] + b"\0" + octets[8:56] + told.serialise(token)[56:]


def documents(data: bytes) -> None:
    """A request, a grant or a state is read or refused, and written as what it was read as."""
    try:
        request = parse_request(data, PEER)
    except WireError:
        pass
    else:
        assert parse_request(serialise_request(request), PEER) == request
    try:
        grant = parse_grant(data)
    except WireError:
        pass
    else:
        assert grant.token.secret.hex() not in repr(grant)
    try:
        state, report = parse_state(data)
    except WireError:
        pass
    else:
        assert parse_state(serialise_state(state, report)) == (state, report)
    parse_id(data.decode(errors="replace"))


def tcp_info(data: bytes) -> None:
    """What a kernel returns is read as far as it goes."""
    try:
        info = TcpInfo.parse(data)
    except Truncated:
        assert len(data) < 104
        return
    assert (info.peer_window is None) == (len(data) < 232)
