"""Sessions that ask for more than times, before a reflector without its socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.authentication import AUTHENTICATED_OCTETS, Keys, parse_sender
from agent.core.authentication import set_timestamp as sign_timestamp
from agent.core.claims import Signed
from agent.core.exceptions import NotAuthentic, Truncated
from agent.core.extended_session import ExtendedSession, Extensions
from agent.core.outcome import Direction
from agent.core.reflection import Reflection, ReflectorMode, Request, Timestamping
from agent.core.session_report import Marking, SessionReport
from agent.core.stamp import BASE_OCTETS, MAX_PAYLOAD, SenderPacket
from agent.core.tlv import HEADER_OCTETS
from agent.core.tlv_reception import TlvFault
from agent.core.tlv_values import FollowUpTelemetry, TimestampInformation
from agent.core.twamp_light import REPLY_OCTETS
from tests.support.tlvs import KEY, OTHER_KEY, SOURCE

SSID = 7
T1 = 0xE8FE6F80_80000000
HOW = TimestampInformation(1, 2, 4, 1)
extensions = st.builds(
    Extensions,
    follow_up=st.booleans(),
    timestamp_information=st.booleans(),
    class_of_service=st.booleans(),
    direct_measurement=st.booleans(),
    dscp=st.integers(0, 63),
    ecn=st.integers(0, 3),
    octets=st.none() | st.integers(BASE_OCTETS, 400),
)
keys = st.sampled_from([(), (KEY,), (KEY, OTHER_KEY)])


class Pair:
    """A session and its reflector, which marks replies as it is asked to."""

    def __init__(self, asked: Extensions, keys: Keys = ()) -> None:
        self.report = SessionReport()
        self.session = ExtendedSession(SSID, asked, keys, self.report, bytes)
        self.keys = keys
        self.reflection = Reflection(ReflectorMode.STATEFUL)
        self.reflection.allow_markings(range(64))
        self.reflection.timestamping = Timestamping(HOW, HOW)

    def request(self, sequence: int) -> bytearray:
        """A request that has left."""
        request = bytearray(self.session.draft(sequence, 0x8AD2))
        self.session.finish(memoryview(request), T1 + sequence)
        return request

    def reply(self, request: bytearray, traffic_class: int) -> bytes:
        """The reply to a request that arrived with this marking."""
        signed = Signed(*parse_sender(request, self.keys)) if self.keys else None
        asked = Request(bytes(request), b"s", b"d", SOURCE, 63, traffic_class, 111, 0x8001, signed=signed)
        reply = self.reflection.reply(asked)
        if reply.key is not None:
            sign_timestamp(reply.octets, 222, reply.key)
        return bytes(reply.octets)


@given(asked=extensions, keys=keys, count=st.integers(1, 4))
def test_what_is_asked_is_answered(asked: Extensions, keys: Keys, count: int) -> None:
    """Whatever is asked for, in either mode: requests have the size that was asked for, replies are as long, are read
    whole, give back number and time, and tell what was asked and nothing else."""
    signed = bool(keys)
    if not asked.fits(signed=signed):
        return
    pair = Pair(asked, keys)
    marking = asked.dscp << 2 | asked.ecn
    for sequence in range(count):
        request = pair.request(sequence)
        assert len(request) == (asked.octets or asked.least_octets(signed=signed))
        reply = pair.reply(request, marking)
        assert len(reply) == len(request)
        read = pair.session.read(reply, asked.dscp << 2)
        assert read.packet.sender_sequence == read.packet.sequence == sequence
        assert (read.packet.sender_timestamp, read.packet.ssid) == (T1 + sequence, SSID)
        assert (read.told is not None) is asked.follow_up
    report = pair.report
    assert report.faults == {}
    assert report.unanswered == frozenset()
    assert report.remarked == {}
    assert report.timestamping == (HOW if asked.timestamp_information else None)
    assert (report.direct is not None) is asked.direct_measurement
    if report.direct is not None:
        assert report.direct.sender_tx == report.direct.reflector_rx == count


@given(asked=extensions, signed=st.booleans())
def test_sizes_fit_or_are_refused(asked: Extensions, signed: bool) -> None:
    """A request has its least size, or has room for a header of padding more; nothing between can be sent."""
    least = asked.least_octets(signed=signed)
    assert least >= (AUTHENTICATED_OCTETS if signed else BASE_OCTETS)
    if asked.octets is not None:
        assert asked.fits(signed=signed) is (
            asked.octets == least or least + HEADER_OCTETS <= asked.octets <= MAX_PAYLOAD
        )


@given(octets=st.binary(max_size=300), keys=keys, class_=st.none() | st.integers(0, 255))
def test_any_octets_are_read_or_refused(octets: bytes, keys: Keys, class_: int | None) -> None:
    """Nothing that comes does more than to be refused; what nobody has signed is never read by a signed session."""
    pair = Pair(Extensions(follow_up=True), keys)
    try:
        pair.session.read(octets, class_)
    except Truncated:
        assert len(octets) < (AUTHENTICATED_OCTETS if keys else REPLY_OCTETS)
    except NotAuthentic:
        assert keys
    else:
        assert not keys
        assert len(octets) >= REPLY_OCTETS


@pytest.mark.parametrize("position", range(0, 140, 9))
def test_a_changed_bit_is_noticed(position: int) -> None:
    """A signed reply of which one bit is not as it was sent is refused, or of its TLVs nothing is used."""
    pair = Pair(Extensions(follow_up=True, direct_measurement=True), (KEY,))
    reply = bytearray(pair.reply(pair.request(0), 0))
    reply[position] ^= 4
    if position < AUTHENTICATED_OCTETS:
        with pytest.raises(NotAuthentic):
            pair.session.read(bytes(reply), None)
    else:
        assert pair.session.read(bytes(reply), None).told is None
        assert sum(pair.report.faults.values()) == 1
        assert pair.report.direct is None


def test_keys_are_rotated_without_a_gap() -> None:
    """The new key is added behind the old one, they change places, the old one goes: no reply is refused."""
    pair = Pair(Extensions(follow_up=True), (KEY,))
    for valid in ((KEY,), (KEY, OTHER_KEY), (OTHER_KEY, KEY), (OTHER_KEY,)):
        pair.session.keys = pair.keys = valid
        for sequence in range(2):
            assert pair.session.read(pair.reply(pair.request(sequence), 0), None).told is not None
    pair.keys = (KEY,)
    with pytest.raises(NotAuthentic):
        parse_sender(pair.request(9), pair.keys)


@pytest.mark.parametrize(
    ("ecn", "arrived", "reply", "remarked"),
    [
        (0, 46 << 2, 46 << 2, set()),
        (0, 0, 46 << 2, {(Direction.FORWARD, Marking.DSCP)}),
        (0, 46 << 2, 0, {(Direction.REVERSE, Marking.DSCP)}),
        (0, 46 << 2, None, set()),
        (2, 46 << 2 | 3, 46 << 2, {(Direction.FORWARD, Marking.CONGESTION)}),
        (2, 46 << 2, 46 << 2, {(Direction.FORWARD, Marking.ECN)}),
        (0, 46 << 2 | 3, 46 << 2, {(Direction.FORWARD, Marking.ECN)}),
        (1, 8 << 2 | 3, 8 << 2, {(d, Marking.DSCP) for d in (Direction.FORWARD, Direction.REVERSE)}
         | {(Direction.FORWARD, Marking.CONGESTION)}),
    ],
)  # fmt: skip
def test_remarking_is_counted(
    ecn: int, arrived: int, reply: int | None, remarked: set[tuple[Direction, Marking]]
) -> None:
    """Each direction's change of the code point, of ECN, and congestion experienced are told apart."""
    pair = Pair(Extensions(class_of_service=True, dscp=46, ecn=ecn))
    pair.session.read(pair.reply(pair.request(0), arrived), reply)
    assert set(pair.report.remarked) == remarked
    assert all(count == 1 for count in pair.report.remarked.values())


def test_a_refused_marking_is_not_remarked() -> None:
    """A reflector that may not mark its replies says so, and their marking proves nothing of the way back."""
    pair = Pair(Extensions(class_of_service=True, dscp=46))
    pair.reflection.allow_markings(())
    pair.session.read(pair.reply(pair.request(0), 46 << 2), 0)
    assert pair.report.remarked == {}


def test_a_peer_without_extensions_is_measured() -> None:
    """Its reply, cut off or with the request's TLVs copied, is read; that they are not answered is noted."""
    pair = Pair(Extensions(timestamp_information=True))
    request = pair.request(0)
    plain = Pair(Extensions())
    base = plain.reply(bytearray(SenderPacket.parse(request).serialise()), 0)
    assert pair.session.read(base[:REPLY_OCTETS], None).packet.sender_sequence == 0
    assert pair.session.read(base + request[BASE_OCTETS:], None).told is None
    document = pair.report.document()
    assert document["unanswered_tlvs"] == ["timestamp_information"]
    assert document["timestamping"] is None


def test_the_report_names_what_it_can() -> None:
    """Registered numbers have their names, others stay numbers; counts are told by direction and reason."""
    pair = Pair(
        Extensions(timestamp_information=True, direct_measurement=True, class_of_service=True, dscp=1)
    )
    pair.reflection.timestamping = Timestamping(*[TimestampInformation(2, 1, 200, 2)] * 2)
    pair.session.read(pair.reply(pair.request(0), 0), 4)
    pair.report.faults[TlvFault.INTEGRITY] += 2
    pair.report.unanswered |= {240}
    assert pair.report.document() == {
        "remarked": [{"direction": "forward", "marking": "dscp", "packets": 1}],
        "timestamping": {
            "receive_clock": "ptp",
            "receive_method": "hardware",
            "transmit_clock": "200",
            "transmit_method": "software",
        },
        "direct_measurement": {"sender_sent": 1, "reflector_received": 1, "reflector_sent": 1},
        "unanswered_tlvs": ["240"],
        "tlv_faults": {"integrity": 2},
    }
    assert SessionReport().document()["direct_measurement"] is None


def test_padding_is_pseudorandom() -> None:
    """A link that compresses must not make a large packet small (RFC 8972, section 4.1)."""
    sessions = [ExtendedSession(SSID, Extensions(octets=400), (), SessionReport()) for _ in range(2)]
    first, second = (session.draft(0, 0) for session in sessions)
    assert first != second
    assert first[:48] == second[:48]
    assert len(set(first[48:])) > 100


def test_what_is_told_is_the_telemetry() -> None:
    """The Follow-Up Telemetry of a reply is handed on as it came."""
    pair = Pair(Extensions(follow_up=True))
    assert pair.session.read(pair.reply(pair.request(0), 0), None).told == FollowUpTelemetry()
