"""The reflector on its sockets, on loopback: who is answered, how, and from where."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.core.admission import PacketRate
from agent.core.reflection import ReflectionResult, ReflectorMode
from agent.core.stamp import BASE_OCTETS, ReflectorPacket
from agent.core.timestamps import ErrorEstimate, ns_from_ntp
from agent.net import protocols
from agent.net.addresses import encode_address
from agent.net.clock import DeclaredClock
from agent.net.local_clock import LocalClock
from agent.net.transmit_times import TransmitTimes
from agent.reflector import stamp as reflector_module
from agent.reflector.stamp import StampReflector
from agent.runtime.quantities import Endpoint
from tests.support.processes import eventually
from tests.support.reflectors import ANYBODY, Stage, reflector_on, request

SECOND = 1_000_000_000
HOSTS = [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.7"), ("::1", "::1"), ("::", "::1")]


async def _is(condition: bool) -> bool:
    return condition


@pytest.mark.parametrize(("listen", "target"), HOSTS)
@pytest.mark.parametrize("mode", ReflectorMode)
@pytest.mark.usefixtures("way")
async def testreplies(stage: Stage, listen: str, target: str, mode: ReflectorMode) -> None:
    """From the address that was hit, as long as the request, TTL 255 seen, T1 < T2 < T3 < T4; numbered as the mode
    says, by session."""
    reflector = stage.reflector(reflector_on(listen, mode))
    source = "::1" if ":" in target else "127.0.0.1"
    peers = [stage.peer(source, target, reflector) for _ in range(2)]
    lengths = [44, 45, 1472, 60, 44, 2048] * 20
    for round_ in range(2):
        for peer in peers:
            asked = [request(100 * i, octets, 3 + i % 2) for i, octets in enumerate(lengths)]
            replies = await peer.ask(asked)
            assert [len(reply) for reply, _, _ in replies] == lengths
            for i, (octets, whence, t4_ns) in enumerate(replies):
                reply = ReflectorPacket.parse(octets)
                assert whence == peer.target
                assert octets[BASE_OCTETS + 1 :] == asked[i][BASE_OCTETS + 1 :]
                assert (octets[38:40], octets[41:44]) == (bytes(2), bytes(3))
                expected = 100 * i if mode is ReflectorMode.STATELESS else 60 * round_ + i // 2
                assert reply.sequence == expected
                assert (reply.sender_sequence, reply.sender_timestamp) == (100 * i, (100 * i + 1) << 20)
                assert (reply.sender_error_estimate, reply.ssid, reply.sender_ttl) == (0x8AD2, 3 + i % 2, 255)
                assert t4_ns is not None
                t2_ns, t3_ns = (ns_from_ntp(t, t4_ns) for t in (reply.receive_timestamp, reply.timestamp))
                assert t4_ns - SECOND < t2_ns <= t3_ns <= t4_ns
    assert reflector.results == {**{str(result): 0 for result in ReflectionResult}, "reflected": 480}
    assert reflector.sessions == (0 if mode is ReflectorMode.STATELESS else 4)
    # once it is known how late replies leave, they say so beside the clock's error
    assert reflector.lag_ns is not None
    octets, _, _ = (await peers[0].ask([request(1)]))[0]
    bound_ns = ErrorEstimate.from_wire(ReflectorPacket.parse(octets).error_estimate).bound_ns
    assert bound_ns is not None
    assert bound_ns >= 50_000 + reflector.lag_ns
    reflector.close()
    assert reflector.results["reflected"] == 481


@pytest.mark.usefixtures("way")
async def test_results_by_cause(stage: Stage) -> None:
    """Strangers, short and long requests and what exceeds the rate get no answer, and each has its count."""
    rules = replace(
        ANYBODY, allow=[ip_network("127.0.0.1"), ip_network("127.0.0.3")], per_source=PacketRate(1, 50)
    )
    reflector = stage.reflector(reflector_on("0.0.0.0", rules=rules))
    stranger, friend, other = (
        stage.peer(source, "127.0.0.1", reflector) for source in ("127.0.0.2", "127.0.0.1", "127.0.0.3")
    )
    assert await stranger.ask([request(n) for n in range(20)]) == []
    wrong = [request(1)[:43], b"", bytes(2049), bytes(9000)] * 5
    assert await friend.ask(wrong) == []
    replies = await friend.ask([request(n) for n in range(70)])
    assert [ReflectorPacket.parse(reply).sender_sequence for reply, _, _ in replies] == list(range(50))
    assert len(await other.ask([request(n) for n in range(30)])) == 30
    assert reflector.results == {
        "reflected": 80,
        "not_allowed": 20,
        "not_authentic": 0,
        "reflector": 0,
        "too_short": 10,
        "too_long": 10,
        "rate_limited": 20,
        "over_budget": 0,
        "overflowed": 0,
        "send_failed": 0,
    }


@pytest.mark.usefixtures("way")
async def test_twamp_light_peers(stage: Stage) -> None:
    """A configured peer's 14 octets are answered with 41, among requests of STAMP; nobody else's are."""
    rules = replace(ANYBODY, twamp_light=[ip_network("127.0.0.3")])
    reflector = stage.reflector(reflector_on("0.0.0.0", rules=rules))
    light, plain = (stage.peer(source, "127.0.0.1", reflector) for source in ("127.0.0.3", "127.0.0.1"))
    asked = [octets for n in range(20) for octets in (request(n)[:14], request(n), request(n, 90))]
    lengths = [len(reply) for reply, _, _ in await light.ask(asked)]
    assert lengths == [41, 44, 90] * 20
    assert [len(reply) for reply, _, _ in await plain.ask(asked)] == [44, 90] * 20
    assert reflector.results["too_short"] == 20
    assert reflector.results["reflected"] == 100
    # each side at once: those that are answered one by one do not hold up the others
    plain.send([request(n) for n in range(20)])
    light.send([request(n)[:14] for n in range(20)])
    await plain.ask([request(20)])
    await eventually(lambda: _is(reflector.results["reflected"] == 141), "all are answered")
    assert [len(reply) for reply, _, _ in light.replies()] == [41] * 20


@pytest.mark.usefixtures("way")
async def test_without_kernel_stamps_nothing_is_vouched_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel gives no receive time, T2 is taken late and the reply says S=0."""
    monkeypatch.setattr(TransmitTimes, "_enable", lambda self: False)
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    for _ in range(2):
        replies = await peer.ask([request(n) for n in range(30)])
        assert len(replies) == 30
        for octets, _, _ in replies:
            reply = ReflectorPacket.parse(octets)
            assert ErrorEstimate.from_wire(reply.error_estimate).bound_ns is None
            assert 0 < reply.receive_timestamp <= reply.timestamp


@pytest.mark.usefixtures("way")
async def test_what_cannot_be_sent_is_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that the kernel refuses is one that failed, and the next requests are answered."""
    answers = protocols.Protocol.answer, protocols.Protocol.answers
    foreign = encode_address("192.0.2.1", 0)[4:8]
    monkeypatch.setattr(
        protocols.Protocol, "answer", lambda self, info: answers[0](self, info[:4] + foreign + info[8:])
    )

    def from_elsewhere(self: protocols.Protocol, infos: object) -> object:
        made = answers[1](self, infos)  # type: ignore[arg-type]
        made[:, 20:24] = list(foreign)
        return made

    monkeypatch.setattr(protocols.Protocol, "answers", from_elsewhere)
    reflector = stage.reflector(reflector_on("127.0.0.1"))
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    assert await peer.ask([request(n) for n in range(30)]) == []
    assert reflector.results["send_failed"] == 30


async def test_who_uses_up_the_budget_rests(stage: Stage) -> None:
    """With 10 % of a core, a flood from a source that is no longer modest is dropped, nothing is read for a while, and
    the loop runs on; what the kernel could not keep meanwhile is counted too."""
    reflector = stage.reflector(
        StampReflector(
            [Endpoint("127.0.0.1", 0)],
            ReflectorMode.STATEFUL,
            LocalClock(DeclaredClock(1)),
            ANYBODY,
            cpu_percent=10,
        )
    )
    peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
    reflector.start()
    sent = 0
    for _ in range(100):
        peer.send([request(n) for n in range(400)])
        sent += 400
        await asyncio.sleep(0)
    while peer.socket.transmit_stamps():
        pass

    async def rested() -> bool:
        return reflector.results["over_budget"] > 0

    await eventually(rested, "something was dropped")
    results = reflector.results
    assert results["reflected"] > 0
    assert sum(results.values()) <= sent
    reflector.close()
    assert reflector.results["overflowed"] >= results["overflowed"]


async def test_random_lengths_and_octets_both_ways_alike(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever arrives, answering one by one and as columns gives the same octets but for the times."""
    rng = random.Random(5)
    payloads = [rng.randbytes(rng.choice((0, 14, 43, 44, 47, 112, 1400))) for _ in range(100)]
    found = []
    for few in (0, 10_000):
        monkeypatch.setattr(reflector_module, "_FEW", few)
        reflector = stage.reflector(reflector_on("127.0.0.1"))
        peer = stage.peer("127.0.0.1", "127.0.0.1", reflector)
        replies = [reply for reply, _, _ in await peer.ask(payloads)]
        found.append([(reply[:4], reply[14:16], reply[24:]) for reply in replies])
    assert found[0] == found[1]
    assert len(found[0]) == sum(len(payload) >= BASE_OCTETS for payload in payloads)
