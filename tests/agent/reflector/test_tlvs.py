"""TLVs on the wire: what the reflector answers on its sockets, one by one and as columns."""

from __future__ import annotations

import random

import pytest

from agent.core.authentication import KeyRing
from agent.core.reflection import ReflectorMode
from agent.core.stamp import BASE_OCTETS, ReflectorPacket, SenderPacket
from agent.core.timestamps import ns_from_ntp
from agent.core.tlv import INTEGRITY, MALFORMED, UNRECOGNISED, TlvFields, scan, serialise
from agent.core.tlv_reception import ReceivedTlvs, receive
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    ReturnPath,
    ReturnPathPart,
    TimestampInformation,
    TlvValue,
    serialise_request,
)
from agent.net.clock import Clock, DeclaredClock, UnsynchronisedClock
from agent.net.transmit_times import TransmitTimes
from agent.reflector import stamp as reflector_module
from tests.support.reflectors import Stage, reflector_on
from tests.support.requirements import require_ipv6
from tests.support.tlvs import ELSEWHERE, KEY, mutated, signed

SECOND = 1_000_000_000
pytestmark = pytest.mark.usefixtures("way")


def base(sequence: int, ssid: int = 3) -> bytes:
    """A request without TLVs."""
    return SenderPacket(sequence, (sequence + 1) << 20, 0x8AD2, ssid).serialise()


def ask_for(*wanted: TlvValue, sequence: int = 41) -> bytes:
    """A request with TLVs."""
    return base(sequence) + serialise_request(*wanted)


def read(reply: bytes) -> ReceivedTlvs:
    """What a reply's TLVs say."""
    return receive(reply[BASE_OCTETS:], ReflectorPacket.parse(reply).sequence)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_each_reply_tells_when_the_one_before_left(stage: Stage, host: str) -> None:
    """Reply n+1 carries number and kernel's transmit time of reply n, after its T3 and before its T4; sessions of the
    same sender do not mix, and others between them do not matter."""
    if host == "::1":
        require_ipv6()
    reflector = stage.reflector(reflector_on(host))
    peer, other = (stage.peer(host, host, reflector) for _ in range(2))
    before: dict[int, tuple[int, int, int]] = {}
    for round_ in range(5):
        padding = [ExtraPadding(bytes(9))] if round_ == 3 else []
        asked = [
            SenderPacket(round_, 1 << 20, 0x8AD2, ssid).serialise()
            + serialise_request(FollowUpTelemetry(1, 2, 3), *padding)
            for ssid in range(1, 31)
        ]
        replies = await peer.ask(asked)
        assert len(await other.ask([base(round_)] * 12)) == 12
        assert [len(octets) for octets, _, _ in replies] == [len(octets) for octets in asked]
        for octets, _, t4_ns in replies:
            reply = ReflectorPacket.parse(octets)
            (told,) = (one for one in read(octets).values if isinstance(one, FollowUpTelemetry))
            assert t4_ns is not None
            if round_ == 0:
                assert told == FollowUpTelemetry()
            else:
                sequence, earliest_ns, latest_ns = before[reply.ssid]
                assert (told.sequence, told.method) == (sequence, 2)
                assert earliest_ns <= ns_from_ntp(told.timestamp, t4_ns) <= latest_ns
            before[reply.ssid] = reply.sequence, ns_from_ntp(reply.timestamp, t4_ns), t4_ns


async def test_requests_that_came_together_are_told_of(stage: Stage) -> None:
    """A session whose requests have piled up is told of each reply but the last, by the next: it leaves first."""
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    for round_ in range(2):
        before = None
        for place, (octets, _, t4_ns) in enumerate(await peer.ask([ask_for(FollowUpTelemetry())] * 3)):
            reply = ReflectorPacket.parse(octets)
            assert reply.sequence == 3 * round_ + place
            assert t4_ns is not None
            if before is not None:
                (told,) = read(octets).values
                assert isinstance(told, FollowUpTelemetry)
                assert told.sequence == reply.sequence - 1
                t3_ns, t4_before_ns = before
                assert t3_ns <= ns_from_ntp(told.timestamp, t4_ns) <= t4_before_ns
            before = ns_from_ntp(reply.timestamp, t4_ns), t4_ns


async def test_what_is_not_known_of_the_reply_before_is_zero(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros where the kernel gives no transmit time, and where nothing is remembered."""
    request = ask_for(FollowUpTelemetry())
    stateless = stage.reflector(reflector_on("127.0.0.1", ReflectorMode.STATELESS))
    peer = stage.peer("127.0.0.1", "127.0.0.1", stateless)
    for _ in range(2):
        ((octets, _, _),) = await peer.ask([request])
        assert read(octets).values == (FollowUpTelemetry(),)
    monkeypatch.setattr(TransmitTimes, "_enable", lambda self: False)
    unstamped = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", unstamped)
    for _ in range(2):
        ((octets, _, _),) = await peer.ask([request])
        assert read(octets).values == (FollowUpTelemetry(),)


@pytest.mark.parametrize(("host", "dscp"), [("127.0.0.1", 46), ("::1", 46), ("127.0.0.1", 0)])
async def test_marking_is_told_and_asked_for(stage: Stage, host: str, dscp: int) -> None:
    """The sender reads with which DSCP its request arrived; the reply carries the one it asks for where policy allows
    it, else the one that arrived where policy allows that, else none; and nothing of it concerns other replies."""
    if host == "::1":
        require_ipv6()
    reflector = stage.reflector(reflector_on(host, markable=[10, 46]))
    peer = stage.peer(host, host, reflector, dscp=dscp)
    wishes = [0, 10, 46, 12, 63] * 3
    asked = [ask_for(ClassOfService(wish)) for wish in wishes] + [base(1)] * 3
    replies = [octets for octets, _, _ in await peer.ask(asked)]
    allowed = {0, 10, 46}
    assert [read(octets).values for octets in replies[: len(wishes)]] == [
        (ClassOfService(wish, dscp, 0, int(wish not in allowed)),) for wish in wishes
    ]
    expected = [wish if wish in allowed else dscp for wish in wishes] + [0] * 3
    assert peer.markings == [marked << 2 for marked in expected]
    reflector.update(reflector._rules, None, ())
    ((octets, _, _),) = await peer.ask(asked[1:2])
    assert read(octets).values == (ClassOfService(10, dscp, 0, 1),)
    assert peer.markings == [0]


@pytest.mark.parametrize(
    ("clock", "source"), [(UnsynchronisedClock(), 5), (DeclaredClock(50_000), 0)], ids=["local", "declared"]
)
async def test_timestamping_is_told_truthfully(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, clock: Clock, source: int
) -> None:
    """T2 by the kernel, T3 by the program; T2 by the program too where the kernel gives no times; a clock that nobody
    keeps is a local one, and of a declared one it is not known what keeps it."""
    for method in (2, 3):
        reflector = stage.reflector(reflector_on("127.0.0.1", clock=clock))
        peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
        await peer.ask([base(0)])
        replies = await peer.ask([ask_for(TimestampInformation(9, 9, 9, 9))] * 3)
        assert [read(octets).values for octets, _, _ in replies] == [
            (TimestampInformation(source, method, source, 3),)
        ] * 3
        monkeypatch.setattr(TransmitTimes, "_enable", lambda self: False)


async def test_packets_of_a_session_are_counted(stage: Stage) -> None:
    """Direct Measurement gives the sender's count back, and what was received and sent with this one."""
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    await peer.ask([base(0)] * 5)
    replies = await peer.ask([ask_for(DirectMeasurement(100 + n)) for n in range(20)])
    assert [read(octets).values for octets, _, _ in replies] == [
        (DirectMeasurement(100 + n, 6 + n, 6 + n),) for n in range(20)
    ]


async def test_flags(stage: Stage) -> None:
    """Unknown types come back with U, malformed ones with M, what no key can verify with I, a Return Path to somewhere
    else refused with U; each as it was, and as long."""
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    elsewhere = ReturnPath((TlvFields(ReturnPathPart.RETURN_ADDRESS, ELSEWHERE),))
    cases: list[tuple[bytes, list[int]]] = [
        (serialise([TlvFields(2, bytes(8)), TlvFields(77, b"abc")]), [UNRECOGNISED] * 2),
        (serialise([TlvFields(5, bytes(11)), TlvFields(1, b"")]), [MALFORMED, UNRECOGNISED]),
        (signed(ClassOfService(0)), [UNRECOGNISED | INTEGRITY] * 2),
        (serialise_request(elsewhere, ExtraPadding(b"")), [UNRECOGNISED, 0]),
    ]
    for tlvs, flags in cases * 2:
        replies = await peer.ask([base(1) + tlvs] * 6)
        assert len(replies) == 6
        for octets, source, _ in replies:
            assert source == peer.target
            assert len(octets) == BASE_OCTETS + len(tlvs)
            found = scan(octets[BASE_OCTETS:]).tlvs
            assert [tlv.flags for tlv in found] == flags
            assert [octets[BASE_OCTETS + tlv.start + 1 : BASE_OCTETS + tlv.end] for tlv in found] == [
                tlvs[tlv.start + 1 : tlv.end] for tlv in found
            ]


async def test_tlvs_are_verified_and_signed(stage: Stage) -> None:
    """With keys, the HMAC TLV of an unauthenticated packet is verified and the reply's made; a forged one has I."""
    reflector = stage.reflector(reflector_on("127.0.0.1", keys=KeyRing({3: (KEY,)})))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    good = base(41) + signed(ClassOfService(0), FollowUpTelemetry())
    for octets, _, _ in await peer.ask([good] * 12):
        sequence = ReflectorPacket.parse(octets).sequence
        received = receive(octets[BASE_OCTETS:], sequence, (KEY,), hmac_required=True)
        assert received.fault is None
        assert len(received.values) == 3
    for octets, _, _ in await peer.ask([base(42) + good[BASE_OCTETS:]] * 12):
        assert octets[BASE_OCTETS] == UNRECOGNISED | INTEGRITY


async def test_whatever_comes_the_reply_is_as_long_and_the_same_both_ways(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged TLVs by the hundred: each request has one result; each reply is as long as its request, and the same as
    columns as one by one but for the times."""
    rng = random.Random(11)
    whole = [
        serialise_request(FollowUpTelemetry(), ExtraPadding(bytes(20))),
        serialise_request(TimestampInformation(), ClassOfService(46), DirectMeasurement(5)),
        serialise_request(ReturnPath((TlvFields(ReturnPathPart.RETURN_ADDRESS, ELSEWHERE),))),
        signed(ClassOfService(10), padding=b"x"),
        bytes(30),
    ]
    batches = [[base(n) + mutated(rng.choice(whole), rng) for n in range(60)] for _ in range(5)]
    found = []
    for few in (0, 10_000):
        monkeypatch.setattr(reflector_module, "_FEW", few)
        # when the ones before have left is a time, too
        monkeypatch.setattr(reflector_module, "in_rounds", lambda sessions: [range(len(sessions))])
        reflector = stage.reflector(reflector_on("127.0.0.1", keys=KeyRing({}, (KEY,)), markable=[46]))
        peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
        replies, markings = [], []
        for batch in batches:
            answered = [octets for octets, _, _ in await peer.ask(batch)]
            assert [len(octets) for octets in answered] == [len(octets) for octets in batch]
            replies += answered
            markings += peer.markings
        assert sum(reflector.results.values()) == reflector.results["reflected"] == 300
        found.append(([octets[:4] + octets[14:16] + octets[24:] for octets in replies], markings))
    assert found[0] == found[1]
    assert {46 << 2, 0} == set(found[0][1])
