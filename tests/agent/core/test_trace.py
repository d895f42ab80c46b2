"""The trace on a pretended network: which probes it sends, and whose answer it takes for whose."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from agent.core.route import AnswerKind, Flow, Route
from agent.core.stamp import BASE_OCTETS, ReflectorPacket, SenderPacket
from agent.core.trace import WHOLE_WAY, Probe, Trace

TARGET = "192.0.2.9"
FLOW = Flow("192.0.2.1", 40_000, TARGET, 862, 0)
START_NS = 1_700_000_000_000_000_000
HOP_NS = 1_000_000


def trace(count: int = 3, max_hops: int = 30) -> Trace:
    """A fresh trace."""
    return Trace(FLOW, START_NS, count, max_hops, 0)


def reply(probe: Probe, sender_ttl: int) -> bytes:
    """What a reflector answers to a probe that arrived with a TTL."""
    request = SenderPacket.parse(probe.payload)
    return ReflectorPacket(7, 1, 0, 0, 2, request.sequence, request.timestamp, 0, sender_ttl).serialise()


def told(distance: int) -> Callable[[int], int]:
    """What an honest reflector at a distance says of a request sent with a TTL."""
    return lambda ttl: ttl - distance + 1


def run(
    session: Trace,
    distance: int,
    sender_ttl: Callable[[int], int] | None = None,
    lost: Callable[[Probe], bool] = lambda _: False,
    at_once: bool = True,
) -> list[Probe]:
    """Send all probes into a network whose target is so far away; the probes.

    Args:
        session: to be run.
        distance: of the target.
        sender_ttl: what the reflector says of a probe's TTL.
        lost: whether a probe is.
        at_once: every answer comes before the next probe is sent, rather than after the last.
    """
    sender_ttl = sender_ttl or told(distance)
    probes: list[Probe] = []

    def answer(probe: Probe) -> None:
        if lost(probe):
            return
        hops = min(probe.ttl, distance)
        at_ns = probe.sent_ns + hops * HOP_NS
        if probe.ttl < distance:
            session.refused(probe.payload, f"10.0.0.{probe.ttl}", AnswerKind.TIME_EXCEEDED, 0, at_ns)
        else:
            session.replied(reply(probe, sender_ttl(probe.ttl)), at_ns)

    while (probe := session.next_probe(START_NS + len(probes) * HOP_NS)) is not None:
        probes.append(probe)
        if at_once:
            answer(probe)
    for probe in [] if at_once else probes:
        answer(probe)
    return probes


def addresses(route: Route) -> list[str | None]:
    """Who answered at each hop."""
    return [hop.address for hop in route.hops]


def expected(distance: int) -> list[str]:
    """Who should have."""
    return [*(f"10.0.0.{ttl}" for ttl in range(1, distance)), TARGET]


@given(st.integers(1, 30), st.integers(1, 5), st.booleans())
def test_every_hop_in_order(distance: int, count: int, at_once: bool) -> None:
    """Whenever the answers come, each hop is found in its place with a round trip for each probe."""
    session = trace(count)
    run(session, distance, at_once=at_once)
    route = session.route()
    assert session.complete
    assert route.reached
    assert addresses(route) == expected(distance)
    for hop in route.hops[:-1]:
        assert (hop.sent, hop.rtts_ns) == (count, (hop.ttl * HOP_NS,) * count)
    assert set(route.hops[-1].rtts_ns) == {distance * HOP_NS}


def test_the_target_is_spared() -> None:
    """The first probe goes the whole way and its reply tells the distance, so that none is sent further after it,
    and every hop is asked once a round."""
    session = trace(count=2)
    assert [probe.ttl for probe in run(session, 3)] == [WHOLE_WAY, 1, 2, 3, 1, 2, 3]
    assert session.route().hops[-1].sent == 3


def test_distance_without_the_reflectors_word() -> None:
    """A reflector that leaves the sender's TTL out is found at the least TTL with which it is reached."""
    session = trace(count=1)
    assert [probe.ttl for probe in run(session, 3, lambda _: 0)] == [WHOLE_WAY, 1, 2, 3]
    assert addresses(session.route()) == expected(3)
    assert session.route().hops[-1].sent == 1


@given(st.integers(1, 12), st.integers(0, 255), st.booleans())
def test_a_reflector_that_invents_ttls(distance: int, invented: int, at_once: bool) -> None:
    """A reflector that says the same TTL of every request does not move a router from its place: where its word
    contradicts the routers it is not believed."""
    session = trace()
    run(session, distance, lambda _: invented, at_once=at_once)
    found = addresses(session.route())
    assert found[: distance - 1] == expected(distance)[:-1]


@given(st.integers(2, 12), st.integers(1, 5), st.booleans())
def test_a_reflector_that_says_too_near(distance: int, error: int, at_once: bool) -> None:
    """A reflector that counts itself too near is not believed beyond the routers that answer from further away."""
    session = trace()
    run(session, distance, lambda ttl: min(255, ttl - distance + 1 + error), at_once=at_once)
    assert addresses(session.route())[: distance - 1] == expected(distance)[: distance - 1]


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_lost_answers_are_gaps(seed: int, distance: int) -> None:
    """With answers lost at random, what is found is in its place, and the rest is silent."""
    luck = random.Random(seed)
    session = trace()
    run(session, distance, lost=lambda _: luck.random() < 0.5)
    route = session.route()
    for found, right in zip(addresses(route), expected(distance), strict=False):
        assert found in (None, right)
    assert len(route.hops) <= distance
    assert not route.hops or route.hops[-1].answers
    assert route.reached is (TARGET in addresses(route))


def test_silence_to_the_end() -> None:
    """Where nothing answers, as many hops as allowed are tried, and nothing is claimed."""
    session = trace(count=2, max_hops=4)
    assert len(run(session, 3, lost=lambda _: True)) == 1 + 2 * 4
    assert not session.complete
    assert session.route() == Route(FLOW, START_NS, (), False)


def test_a_target_too_far() -> None:
    """A target further away than allowed is not reached, though the first probe reaches it."""
    session = trace(count=1, max_hops=3)
    run(session, 5)
    assert addresses(session.route()) == expected(5)[:3]
    assert not session.route().reached
    assert session.complete


def test_port_unreachable_is_the_target() -> None:
    """A target that reflects nothing is reached by the least TTL that it refuses."""
    session = trace(count=1)
    probes = []
    while (probe := session.next_probe(START_NS)) is not None:
        probes.append(probe.ttl)
        kind = AnswerKind.TIME_EXCEEDED if probe.ttl < 2 else AnswerKind.PORT_UNREACHABLE
        address = "10.0.0.1" if probe.ttl < 2 else TARGET
        session.refused(probe.payload, address, kind, 3, START_NS + 1)
    assert probes == [WHOLE_WAY, 1, 2]
    assert addresses(session.route()) == expected(2)
    assert session.route().reached


def test_a_blocked_way_ends() -> None:
    """A router that lets nothing pass ends the way, and it is not taken for the target; a target that answers from
    beyond it nevertheless wins."""
    session = trace(count=1)
    for ttl in (WHOLE_WAY, 1, 2):
        probe = session.next_probe(START_NS)
        assert probe is not None
        assert probe.ttl == ttl
        kind = AnswerKind.TIME_EXCEEDED if ttl == 1 else AnswerKind.UNREACHABLE
        session.refused(probe.payload, f"10.0.0.{min(ttl, 2)}", kind, 13, START_NS + 1)
    assert session.next_probe(START_NS) is None
    assert addresses(session.route()) == ["10.0.0.1", "10.0.0.2"]
    assert not session.route().reached

    flickering = trace(count=1)
    first = flickering.next_probe(START_NS)
    second = flickering.next_probe(START_NS)
    assert first is not None
    assert second is not None
    flickering.refused(second.payload, "10.0.0.1", AnswerKind.UNREACHABLE, 13, START_NS + 1)
    flickering.replied(reply(first, told(3)(first.ttl)), START_NS + 1)
    third = flickering.next_probe(START_NS)
    assert third is not None
    assert third.ttl == 2
    assert flickering.route().reached


def test_only_the_first_answer_counts() -> None:
    """A second answer to one probe, of either kind, changes nothing."""
    session = trace(count=1)
    for probe in run(session, 2):
        session.refused(probe.payload, "203.0.113.66", AnswerKind.UNREACHABLE, 0, START_NS)
        session.replied(reply(probe, 1), START_NS)
    assert addresses(session.route()) == expected(2)


def test_transmit_times() -> None:
    """The round trip counts from the kernel's transmit time once that is known, whatever headers it comes with; an
    answer from before the send, as after a clock step, has none."""
    session = trace(count=1)
    probes = run(session, 1)
    session.transmitted(b"headers" + probes[0].payload, probes[0].sent_ns + 300_000)
    session.transmitted(b"headers" + probes[1].payload, probes[1].sent_ns + 2 * HOP_NS)
    session.transmitted(b"something else", START_NS)
    assert [answer.rtt_ns for answer in session.route().hops[0].answers] == [700_000, None]


def test_a_probe_that_was_not_sent() -> None:
    """A probe that the kernel refused is not waited for and not counted."""
    session = trace(count=1, max_hops=1)
    for _ in range(2):
        probe = session.next_probe(START_NS)
        assert probe is not None
        probe.withdrawn = True
    assert session.complete
    assert session.route().hops == ()


def test_quotes() -> None:
    """An error that quotes too little is counted, one that quotes somebody else's packet is foreign, a short quote
    that still names the probe will do, and what follows the probe in a padded quote is ignored."""
    session = trace(count=3)
    for _ in range(4):
        session.next_probe(START_NS)
    first = session.next_probe(START_NS)
    assert first is not None
    session.refused(b"\0\0\0", "10.0.0.1", AnswerKind.TIME_EXCEEDED, 0, START_NS + 1)
    session.refused(bytes(44), "10.0.0.1", AnswerKind.TIME_EXCEEDED, 0, START_NS + 1)
    session.refused(b"\xff" * 44, "10.0.0.1", AnswerKind.TIME_EXCEEDED, 0, START_NS + 1)
    assert (session.unidentified, session.foreign) == (1, 2)
    assert first.answer is None
    session.refused(first.payload[:4], "10.0.0.4", AnswerKind.TIME_EXCEEDED, 0, START_NS + 1)
    second = session.next_probe(START_NS)
    assert second is not None
    session.refused(second.payload + bytes(84), "10.0.0.5", AnswerKind.TIME_EXCEEDED, 0, START_NS + 1)
    assert addresses(session.route()) == [None, None, None, "10.0.0.4", "10.0.0.5"]
    assert session.route().unidentified == 1


def test_foreign_replies() -> None:
    """A datagram that is no reply, or the reply to another session's probe, is foreign."""
    session = trace()
    probe = session.next_probe(START_NS)
    assert probe is not None
    session.replied(b"short", START_NS)
    session.replied(ReflectorPacket(0, 0, 0, 5, 0, 0, 12345, 0, 9).serialise(), START_NS)
    session.replied(ReflectorPacket(0, 0, 0, 5, 0, 77, 12345, 0, 9).serialise(), START_NS)
    assert session.foreign == 3
    assert probe.answer is None


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.binary(max_size=80), st.sampled_from(AnswerKind), st.sampled_from(["x", TARGET])
        )
    )
)
def test_garbage(pieces: list[tuple[bool, bytes, AnswerKind, str]]) -> None:
    """Whatever octets arrive, the trace goes on and claims no hop that did not answer a probe."""
    session = trace(count=1, max_hops=3)
    while session.next_probe(START_NS) is not None:
        pass
    for is_reply, octets, kind, address in pieces:
        # four octets of a sequence number are all that a short quote need have right
        if is_reply:
            session.replied(octets, START_NS + 1)
        elif len(octets) >= BASE_OCTETS:
            session.refused(octets, address, kind, 0, START_NS + 1)
        session.transmitted(octets, START_NS)
    assert session.route().hops == ()
