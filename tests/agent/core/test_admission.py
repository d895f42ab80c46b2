"""Who is answered: the decision without a socket, on a clock of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.admission import VERDICTS, Admission, AdmissionRules, PacketRate, Verdict

SECOND = 1_000_000_000
START = 5 * SECOND
RULES = AdmissionRules(
    allow=[ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")],
    twamp_light=[ip_network("10.9.0.0/16")],
    per_source=PacketRate(100, 10),
    overall=PacketRate(1_000, 100),
    max_sources=64,
    longest=2_000,
)


def packed(address: str) -> bytes:
    """An address in octets."""
    return ip_address(address).packed


PEER, OTHER, LIGHT, STRANGER = map(packed, ("10.0.0.1", "10.0.0.2", "10.9.0.1", "192.0.2.1"))


def admitted(admission: Admission, address: bytes, count: int, now_ns: int, *, pressed: bool = False) -> int:
    """How many of so many requests at one time are admitted."""
    return sum(
        admission.decide(address, 44, now_ns, pressed=pressed) is Verdict.ADMITTED for _ in range(count)
    )


@pytest.mark.parametrize(
    ("address", "octets", "authentic", "verdict"),
    [
        (PEER, 44, False, Verdict.ADMITTED),
        (packed("2001:db8::1"), 2_000, False, Verdict.ADMITTED),
        (STRANGER, 44, False, Verdict.NOT_ALLOWED),
        (packed("2001:db9::1"), 44, False, Verdict.NOT_ALLOWED),
        (STRANGER, 112, True, Verdict.ADMITTED),
        (STRANGER, 0, False, Verdict.NOT_ALLOWED),
        (PEER, 43, False, Verdict.TOO_SHORT),
        (PEER, 43, True, Verdict.TOO_SHORT),
        (PEER, 2_001, False, Verdict.TOO_LONG),
        (LIGHT, 43, False, Verdict.ADMITTED),
        (LIGHT, 14, False, Verdict.ADMITTED),
        (LIGHT, 13, False, Verdict.TOO_SHORT),
    ],
)
def test_verdicts(address: bytes, octets: int, authentic: bool, verdict: Verdict) -> None:
    """The list or a key opens the door; the length must be one that can be answered without amplifying; alone or in a
    batch."""
    assert Admission(RULES).decide(address, octets, START, authentic=authentic) is verdict
    (number,) = Admission(RULES).decide_all(
        np.frombuffer(address, np.uint8)[None],
        np.array([octets]),
        START,
        authentic=np.array([authentic]),
    )
    assert VERDICTS[number] is verdict


def test_what_is_refused_beforehand_takes_no_token() -> None:
    """A verdict that is certain already stands, whoever the source is, and leaves no trace of it."""
    admission = Admission(RULES)
    column = np.frombuffer(PEER * 12, np.uint8).reshape(12, 4)
    made = np.full(12, VERDICTS.index(Verdict.ADMITTED), np.uint8)
    made[[0, 3]] = VERDICTS.index(Verdict.NOT_AUTHENTIC)
    found = admission.decide_all(column[:2], np.full(2, 112), START, made=made[[0, 0]])
    assert [VERDICTS[number] for number in found.tolist()] == [Verdict.NOT_AUTHENTIC] * 2
    assert (admission.sources, admission.remembers(PEER)) == (0, False)
    found = admission.decide_all(column, np.full(12, 112), START, made=made)
    assert [VERDICTS[found[at]] for at in (0, 3)] == [Verdict.NOT_AUTHENTIC] * 2
    assert found.tolist().count(VERDICTS.index(Verdict.ADMITTED)) == 10
    assert admission.remembers(PEER)
    both = np.frombuffer(PEER + STRANGER, np.uint8).reshape(2, 4)
    assert admission.are_allowed(both).tolist() == [True, False]
    assert admission.remember_all(both).tolist() == [True, False]
    subscribers = [packed("2001:db8::1"), packed("2001:db8:0:1::1")]
    admission.decide(subscribers[0], 44, START)
    columns = np.frombuffer(b"".join(subscribers), np.uint8).reshape(2, 16)
    assert admission.remember_all(columns).tolist() == [True, False]


def test_nobody_is_light_where_nobody_is_configured() -> None:
    """A batch needs no look at its sources then."""
    column = np.frombuffer(LIGHT, np.uint8)[None]
    plain = Admission(replace(RULES, twamp_light=()))
    assert plain.are_twamp_light(column) is None
    assert VERDICTS[plain.decide_all(column, np.array([43]), START)[0]] is Verdict.TOO_SHORT
    light = Admission(RULES).are_twamp_light(column)
    assert light is not None
    assert light.tolist() == [True]
    assert Admission(RULES).is_twamp_light(LIGHT)
    assert Admission(RULES).is_allowed(PEER)
    assert not Admission(RULES).is_allowed(STRANGER)


def test_refused_sources_leave_no_trace() -> None:
    """Only who is admitted is remembered."""
    admission = Admission(RULES)
    for number in range(1000):
        admission.decide(number.to_bytes(4, "big"), 44, START)
        admission.decide(packed(f"10.1.{number >> 8}.{number & 255}"), 43, START)
    assert admission.sources == 0


def test_a_burst_then_the_rate() -> None:
    """Ten at once, then one each 10 ms, however often is asked."""
    admission = Admission(RULES)
    assert admitted(admission, PEER, 50, START) == 10
    assert admission.decide(PEER, 44, START) is Verdict.RATE_LIMITED
    assert [admitted(admission, PEER, 5, START + ms * 1_000_000) for ms in (5, 10, 15, 25, 50)] == [
        0,
        1,
        0,
        1,
        3,
    ]
    assert admitted(admission, OTHER, 50, START) == 10


def test_a_whole_64_is_one_source() -> None:
    """Whoever has an IPv6 prefix has one bucket, not 2^64 of them."""
    admission = Admission(RULES)
    assert sum(admitted(admission, packed(f"2001:db8::{n:x}"), 1, START) for n in range(50)) == 10
    assert admitted(admission, packed("2001:db8:0:1::1"), 50, START) == 10


class Scene:
    """A modest source, known for two seconds, and what it gets of a request every 20 ms."""

    def __init__(self, rules: AdmissionRules = RULES) -> None:
        self.admission = Admission(rules)
        self.now_ns = START
        self.got = Counter[Verdict]()
        for _ in range(100):
            self.step()
        assert self.got == {Verdict.ADMITTED: 100}
        self.got.clear()

    def step(self, *, pressed: bool = False) -> None:
        """20 ms later."""
        self.now_ns += 20_000_000
        self.got[self.admission.decide(PEER, 44, self.now_ns, pressed=pressed)] += 1


def test_made_up_sources_take_nothing_from_a_known_one() -> None:
    """New sources without end get what is left of everyone's rate, never the reserve, and memory stays bounded."""
    scene = Scene()
    strangers = 0
    for round_ in range(150):
        for n in range(500):
            number = round_ * 500 + n
            strangers += admitted(
                scene.admission,
                bytes((10, 2 + (number >> 16), number >> 8 & 255, number & 255)),
                1,
                scene.now_ns,
            )
            assert scene.admission.sources <= RULES.max_sources
        scene.step()
    assert scene.got == {Verdict.ADMITTED: 150}
    assert strangers == pytest.approx(150 * 0.02 * 1_000 - 150 + 75, abs=20)


def test_known_floods_take_nothing_from_a_modest_source() -> None:
    """Sources that were known long before they began to flood have no reserve, pressed or not."""
    rules = replace(RULES, overall=PacketRate(500, 50))
    scene = Scene(rules)
    flooders = [bytes((10, 1, 0, n)) for n in range(10)]
    for _ in range(60):
        for flooder in flooders:
            scene.admission.decide(flooder, 44, scene.now_ns)
        scene.step()
    assert scene.got == {Verdict.ADMITTED: 60}
    for pressed in (False, True):
        got = 0
        for round_ in range(200):
            for flooder in flooders:
                taken = admitted(scene.admission, flooder, 20, scene.now_ns, pressed=pressed)
                got += taken if round_ > 5 else 0
            scene.step(pressed=pressed)
        assert set(scene.got) == {Verdict.ADMITTED}
        assert got == 0 if pressed else got > 1000
    assert scene.admission.decide(flooders[0], 44, scene.now_ns, pressed=True) is Verdict.OVER_BUDGET


def test_a_flood_is_forgiven() -> None:
    """Whoever has been calm for as long as his burst takes to fill twice is modest again."""
    scene = Scene()
    for _ in range(5):
        admitted(scene.admission, PEER, 100, scene.now_ns)
        scene.now_ns += 10_000_000
    assert scene.admission.decide(PEER, 44, scene.now_ns, pressed=True) is not Verdict.ADMITTED
    scene.now_ns += 210_000_000
    assert scene.admission.decide(PEER, 44, scene.now_ns, pressed=True) is Verdict.ADMITTED


def test_everyones_bucket_ends_even_for_the_modest() -> None:
    """Where those whom the reserve is for use up the rate by themselves, it is kept all the same."""
    rules = replace(RULES, overall=PacketRate(100, 10))
    admission = Admission(rules)
    sources = [bytes((10, 0, 1, n)) for n in range(4)]
    for step in range(40):
        admission.decide(sources[step % 4], 44, START + step * 50_000_000)
    now_ns = START + 4 * SECOND
    assert sum(admitted(admission, source, 5, now_ns) for source in sources) == 10


def test_no_room_for_newcomers() -> None:
    """Where all that are remembered still owe tokens, a newcomer is refused rather than let in twice, and what he took
    of everyone's is given back."""
    rules = replace(RULES, max_sources=4, overall=PacketRate(1_000, 40))
    admission = Admission(rules)
    for n in range(2):
        assert admitted(admission, bytes((10, 0, 0, n)), 1, START) == 1
    newcomer = bytes((10, 0, 0, 9))
    assert [admission.decide(newcomer, 44, START) for _ in range(50)] == [Verdict.RATE_LIMITED] * 50
    assert admitted(admission, bytes((10, 0, 0, 0)), 9, START) == 9
    assert admitted(admission, newcomer, 1, START + 10_000_000) == 1


_steps = st.lists(
    st.tuples(
        st.integers(0, 40_000_000),  # time that passes
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from((43, 44, 2001))), min_size=1, max_size=40),
        st.booleans(),
    ),
    max_size=30,
)


@given(_steps, st.integers(2, 12))
def test_never_more_than_burst_and_rate_times_time(
    steps: list[tuple[int, list[tuple[int, int]], bool]], size: int
) -> None:
    """Of any source over any stretch, and of all together; whatever is remembered and forgotten in between."""
    rules = replace(RULES, max_sources=size, overall=PacketRate(300, 30))
    admission = Admission(rules)
    now_ns = START
    let_in: list[tuple[int, int]] = []
    for passed_ns, packets, pressed in steps:
        now_ns += passed_ns
        for source, octets in packets:
            if (
                admission.decide(bytes((10, 0, 0, source)), octets, now_ns, pressed=pressed)
                is Verdict.ADMITTED
            ):
                let_in.append((now_ns, source))
        assert admission.sources <= size
    for which, rate in [(None, rules.overall), *((source, rules.per_source) for source in range(6))]:
        times = [at for at, source in let_in if which in (None, source)]
        for first, begun_ns in enumerate(times):
            for last, ended_ns in enumerate(times[first:], first):
                passed_s = (ended_ns - begun_ns) / SECOND
                assert last - first + 1 <= rate.burst + rate.per_second * passed_s + 1e-6


@given(_steps, st.booleans())
def test_a_batch_is_decided_like_its_packets(
    steps: list[tuple[int, list[tuple[int, int]], bool]], ipv6: bool
) -> None:
    """As one after the other, source by source in the order in which they first come."""
    rules = replace(RULES, overall=PacketRate(300, 30))
    one_by_one, at_once = Admission(rules), Admission(rules)
    now_ns = START
    for passed_ns, packets, pressed in steps:
        now_ns += passed_ns
        ordered = [
            packet
            for source in dict.fromkeys(s for s, _ in packets)
            for packet in packets
            if packet[0] == source
        ]
        addresses = [
            packed(f"2001:db8:0:{n}::1" if ipv6 else f"{10 + (n == 5)}.{9 * (n == 4)}.0.{n}")
            for n, _ in ordered
        ]
        octets = [length for _, length in ordered]
        expected = [
            one_by_one.decide(address, length, now_ns, pressed=pressed)
            for address, length in zip(addresses, octets, strict=True)
        ]
        column = np.frombuffer(b"".join(addresses), np.uint8).reshape(len(addresses), -1)
        found = at_once.decide_all(column, np.array(octets), now_ns, pressed=pressed)
        assert [VERDICTS[number] for number in found.tolist()] == expected
        assert at_once.sources == one_by_one.sources


def test_interleaved_sources_each_get_their_first() -> None:
    """In a batch in which sources alternate, each one's first packets are admitted."""
    admission = Admission(RULES)
    column = np.array([list(PEER), list(OTHER)] * 20, np.uint8)
    found = admission.decide_all(column, np.full(40, 44), START)
    assert [VERDICTS[number] for number in found.tolist()] == [Verdict.ADMITTED] * 20 + [
        Verdict.RATE_LIMITED
    ] * 20


@pytest.mark.parametrize("port", [862, 8620])
def test_reflectors_do_not_answer_each_other(port: int) -> None:
    """What comes from a port where reflectors listen is no request: a forged one would make two of them never end."""
    admission = Admission(AdmissionRules([ip_network("10.0.0.0/8")], reflector_ports=frozenset((862, 8620))))
    source = bytes((10, 0, 0, 1))
    assert admission.decide(source, 44, 0, port=port) is Verdict.REFLECTOR
    assert admission.decide(source, 44, 0, port=50_000) is Verdict.ADMITTED
    verdicts = admission.decide_all(
        np.frombuffer(source * 2, np.uint8).reshape(2, 4),
        np.array([44, 44]),
        0,
        ports=np.array([port, 50_000]),
    )
    assert [VERDICTS[verdict] for verdict in verdicts] == [Verdict.REFLECTOR, Verdict.ADMITTED]
