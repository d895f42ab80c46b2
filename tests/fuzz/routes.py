"""The route probe's ears: ICMP errors as raw sockets give them, and whatever comes from the target."""

from __future__ import annotations

import json
from typing import Final

from agent.core.route import AnswerKind, Flow, KnownWays, compare
from agent.core.trace import Probe, Trace
from agent.net.icmp_errors import IcmpError
from agent.probes.route import _apply, _Crafted, _scapy
from tests.fuzz.choices import Choices

_START_NS: Final = 1_795_000_000_000_000_000
_MAX_HOPS: Final = 8
_FLOWS: Final = {
    4: Flow("192.0.2.1", 40_862, "192.0.2.9", 862, 0),
    6: Flow("2001:db8::1", 40_862, "2001:db8::9", 862, 0),
}
_ROUTERS: Final = {
    4: ("192.0.2.5", "192.0.2.6", "192.0.2.9"),
    6: ("2001:db8::5", "fe80::1%2", "2001:db8::9"),
}


class _NoSocket:
    """What `_Crafted` needs of its sockets in order to read."""

    def __init__(self, version: int) -> None:
        self.version = version


def icmp_errors(data: bytes) -> None:
    """An ICMP message is read as an error or passed by, and no answer of any kind breaks a trace."""
    choices = Choices(data)
    version = 6 if choices.flag() else 4
    flow = _FLOWS[version]
    crafted = _Crafted(_NoSocket(version), flow, _scapy())  # type: ignore[arg-type]
    trace, ways = Trace(flow, _START_NS, 1 + choices.below(3), _MAX_HOPS, 0), KnownWays(2)
    before, sent = trace.route(), list[Probe]()
    now_ns = _START_NS
    while choices.left:
        now_ns += choices.number() * 1_000_000
        if (probe := trace.next_probe(now_ns)) is not None:
            sent.append(probe)
        quote = sent[-1 - choices.number() % len(sent)].payload if sent else b""
        sender = _ROUTERS[version][choices.below(3)]
        match choices.below(4):
            case 0:
                error = crafted.parse_error(choices.take(choices.number()), sender, now_ns)
                if error is not None:
                    assert isinstance(error.kind, int)
                    assert isinstance(error.code, int)
                    _apply(trace, error)
            case 1:
                spoilt = quote[: choices.number()] + choices.take(choices.below(16))
                _apply(trace, IcmpError(spoilt, sender, choices.number(), choices.number(), now_ns))
            case 2:
                reply = bytearray(44)
                reply[24:36] = quote[:12]
                reply[40] = choices.number()
                trace.replied(bytes(reply[: choices.number() or 44]), now_ns)
            case _:
                trace.transmitted(choices.take(choices.below(48)) + quote, now_ns - choices.number())
        route = trace.route()
        assert len(route.hops) <= _MAX_HOPS
        assert [hop.ttl for hop in route.hops] == list(range(1, len(route.hops) + 1))
        assert not route.reached or route.hops[-1].answers
        assert all(answer.kind in AnswerKind for hop in route.hops for answer in hop.answers)
        assert compare(route, route) == ()
        assert (ways.name(route) is None) == (route.fingerprint is None)
        assert all(0 < change.ttl <= _MAX_HOPS for change in compare(before, route))
        assert json.loads(json.dumps(route.document()))["reached"] == route.reached
        assert isinstance(trace.complete, bool)
        before = route
