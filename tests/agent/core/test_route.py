"""The route's fingerprint, what counts as a change, and its JSON form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.route import Answer, AnswerKind, Flow, Hop, HopChange, KnownWays, Route, compare

FLOW = Flow("192.0.2.1", 40_000, "192.0.2.9", 862, 0)


def hop(ttl: int, *addresses: str) -> Hop:
    """A hop that answered from these addresses, one each."""
    return Hop(
        ttl, 3, tuple(Answer(address, 1_000_000, AnswerKind.TIME_EXCEEDED, 0) for address in addresses)
    )


def route(*hops: str, reached: bool = True) -> Route:
    """A route of hops each written as its addresses, nothing for a silent one; the last is the target."""
    return Route(FLOW, 0, tuple(hop(ttl, *text.split()) for ttl, text in enumerate(hops, 1)), reached)


def silenced(whole: Route, ttl: int) -> Route:
    """The same, but that one hop said nothing."""
    return replace(
        whole, hops=tuple(replace(one, answers=()) if one.ttl == ttl else one for one in whole.hops)
    )


ways = st.lists(st.sampled_from(["a", "b", "c", "d", "a b", "b c", ""]), max_size=6).map(
    lambda hops: route(*hops, "target")
)
truncated = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=6).map(
    lambda hops: route(*hops, "e", reached=False)
)


def test_fingerprint_is_stable() -> None:
    """The fingerprint is the same in every process and version, for it is stored: the SHA-256 of one line per hop."""
    assert route("10.0.0.1", "", "192.0.2.9").fingerprint == "0eb136aa494a"


def test_fingerprint_depends_on_addresses_alone() -> None:
    """Times, counts of answers and the time of the trace leave the fingerprint as it is."""
    one = route("a", "b", "target")
    slower = Route(
        FLOW, 99, tuple(replace(hop, sent=9, answers=hop.answers * 2) for hop in one.hops), True, 3
    )
    assert one.fingerprint == slower.fingerprint


def test_fingerprint_tells_ways_apart() -> None:
    """Another router, another order and another length are other fingerprints."""
    found = [
        route("a", "b", "target").fingerprint,
        route("a", "c", "target").fingerprint,
        route("b", "a", "target").fingerprint,
        route("a", "target").fingerprint,
        route("a", "b", "", "target").fingerprint,
    ]
    assert len(set(found)) == len(found)


@given(ways, st.data())
def test_silence_and_balancing_are_one_wildcard(whole: Route, data: st.DataObject) -> None:
    """A hop that is silent, and one that answers from several addresses whichever they are, hash alike."""
    ttl = data.draw(st.integers(1, len(whole.hops)))
    balanced = replace(whole, hops=(*whole.hops[: ttl - 1], hop(ttl, "x", "y"), *whole.hops[ttl:]))
    also = replace(whole, hops=(*whole.hops[: ttl - 1], hop(ttl, "z", "y", "w"), *whole.hops[ttl:]))
    assert balanced.fingerprint == also.fingerprint
    if silenced(whole, ttl).heard:
        assert silenced(whole, ttl).fingerprint == balanced.fingerprint


def test_nothing_heard_has_no_fingerprint() -> None:
    """A trace that nothing answered has no fingerprint and no name: it says nothing of the way."""
    nothing = route(reached=False)
    assert nothing.fingerprint is None
    assert KnownWays().name(nothing) is None


@given(ways | truncated, st.data())
def test_a_silent_hop_changes_nothing(whole: Route, data: st.DataObject) -> None:
    """A route compared with itself, or with itself less one hop's answers, has not changed, and keeps its name."""
    quieter = silenced(whole, data.draw(st.integers(1, len(whole.hops))))
    assert compare(whole, whole) == compare(whole, quieter) == compare(quieter, whole) == ()
    known = KnownWays()
    name = known.name(whole)
    assert name is not None
    if quieter.heard:
        assert known.name(quieter) == name


@given(ways | truncated, ways | truncated)
def test_comparison_goes_both_ways(one: Route, other: Route) -> None:
    """What changed from one to the other is what changed back, with before and after exchanged."""
    back = tuple(HopChange(change.ttl, change.after, change.before) for change in compare(other, one))
    assert compare(one, other) == back


@given(st.lists(ways | truncated, max_size=12), st.integers(1, 4))
def test_names_follow_contradictions(series: list[Route], capacity: int) -> None:
    """A route that contradicts the one just named gets another name or at least another fingerprint's; one that is
    repeated at once keeps its name."""
    known = KnownWays(capacity)
    for one in series:
        name = known.name(one)
        assert name is not None
        assert known.name(one) == name


def test_changes_are_named() -> None:
    """A change names the hop and who answered there; a longer way shows as hops beyond the nearer target."""
    assert compare(route("a", "b", "target"), route("a", "c", "target")) == (
        HopChange(2, frozenset({"b"}), frozenset({"c"})),
    )
    nobody: frozenset[str] = frozenset()
    assert compare(route("a", "", "target"), route("a", "b", "c", "target")) == (
        HopChange(3, frozenset({"target"}), frozenset({"c"})),
        HopChange(4, nobody, frozenset({"target"})),
    )
    assert compare(route("a", "b", "c", reached=False), route("a", "target")) == (
        HopChange(2, frozenset({"b"}), frozenset({"target"})),
        HopChange(3, frozenset({"c"}), nobody),
    )


def test_a_target_out_of_reach_changes_nothing() -> None:
    """A way whose end says nothing agrees with the same way to the target, whichever came first."""
    whole, cut = route("a", "b", "target"), route("a", "b", reached=False)
    assert compare(whole, cut) == compare(cut, whole) == ()
    for series in ((whole, cut), (cut, whole)):
        known = KnownWays()
        assert len({known.name(one) for one in series}) == 1


def test_a_way_learns_its_silent_hops() -> None:
    """A hop that answers for the first time is remembered: from then on another router there is another way."""
    known = KnownWays()
    first = known.name(route("a", "", "target"))
    assert known.name(route("a", "b", "target")) == first
    changed = known.name(route("a", "c", "target"))
    assert changed == route("a", "c", "target").fingerprint != first
    assert known.name(route("a", "b", "target")) == first


def test_a_change_within_a_trace_does_not_join_two_ways() -> None:
    """A trace that saw both the old and the new router belongs to the old way, and the new way is still new."""
    known = KnownWays()
    first = known.name(route("a", "b", "target"))
    assert known.name(route("a", "b c", "target")) == first
    assert known.name(route("a", "c", "target")) != first


def test_a_balanced_hop_is_no_change() -> None:
    """Behind a router that balances packet by packet, each of the addresses that it was seen with is the same way."""
    known = KnownWays()
    assert len({known.name(route("a", second, "target")) for second in ("b c", "b", "c", "c b")}) == 1


def test_ways_are_forgotten() -> None:
    """No more ways are remembered than said; the one not seen for longest goes."""
    known = KnownWays(capacity=2)
    first = known.name(route("a", "", "target"))
    known.name(route("b", "", "target"))
    known.name(route("a", "x", "target"))
    known.name(route("c", "", "target"))
    assert known.name(route("a", "", "target")) == first
    known.name(route("b", "", "target"))
    known.name(route("c", "", "target"))
    assert known.name(route("a", "x", "target")) == route("a", "x", "target").fingerprint != first


def test_hop_summary() -> None:
    """A hop's address is the one that answered most, the lowest of equals, none where none did; round trips that a
    clock step spoilt are left out."""
    assert hop(1).address is None
    assert hop(1, "b", "a").address == "a"
    assert hop(1, "a", "b", "b").address == "b"
    spoilt = Hop(1, 2, (Answer("a", None, AnswerKind.REPLY), Answer("a", 5, AnswerKind.REPLY)))
    assert spoilt.rtts_ns == (5,)


@pytest.mark.parametrize(
    ("version", "kind", "code", "said"),
    [
        (4, 11, 0, AnswerKind.TIME_EXCEEDED),
        (4, 11, 1, None),
        (4, 3, 3, AnswerKind.PORT_UNREACHABLE),
        (4, 3, 13, AnswerKind.UNREACHABLE),
        (4, 3, 4, None),
        (4, 12, 0, None),
        (6, 3, 0, AnswerKind.TIME_EXCEEDED),
        (6, 3, 1, None),
        (6, 1, 4, AnswerKind.PORT_UNREACHABLE),
        (6, 1, 1, AnswerKind.UNREACHABLE),
        (6, 2, 0, None),
    ],
)
def test_icmp_errors(version: int, kind: int, code: int, said: AnswerKind | None) -> None:
    """Time exceeded in transit, port unreachable and other unreachables are told apart; what says nothing of the way
    (reassembly, packet too big, parameter problem) is none of them."""
    assert AnswerKind.of_icmp(version, kind, code) is said


def test_document() -> None:
    """The JSON form has the flow, the time in UTC, and every answer with its time in seconds."""
    traced = Route(
        FLOW,
        1_700_000_000_123_456_789,
        (hop(1), Hop(2, 1, (Answer("192.0.2.9", None, AnswerKind.REPLY),))),
        True,
        1,
    )
    document = json.loads(json.dumps(traced.document()))
    assert document["started"] == "2023-11-14T22:13:20.123456+00:00"
    assert document["flow"] == {
        "protocol": "udp",
        "source": "192.0.2.1",
        "source_port": 40_000,
        "destination": "192.0.2.9",
        "destination_port": 862,
        "dscp": 0,
    }
    assert (document["reached"], document["unidentified"]) == (True, 1)
    assert document["fingerprint"] == traced.fingerprint
    assert document["hops"] == [
        {"ttl": 1, "address": None, "sent": 3, "answers": []},
        {
            "ttl": 2,
            "address": "192.0.2.9",
            "sent": 1,
            "answers": [{"address": "192.0.2.9", "rtt_seconds": None, "kind": "reply", "code": None}],
        },
    ]
    assert route("a").document()["hops"][0]["answers"][0]["rtt_seconds"] == 0.001


@given(ways | truncated)
def test_a_document_is_read_as_it_was_written(whole: Route) -> None:
    """Every route comes back from its JSON form, to the microsecond."""
    assert Route.of_document(json.loads(json.dumps(whole.document()))) == whole
    silent = replace(whole, started_ns=1_700_000_000_123_456_000, unidentified=2, hops=(Hop(1, 3),))
    assert Route.of_document(silent.document()) == silent
