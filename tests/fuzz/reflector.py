"""The reflector's way from a request to a reply: admission and reflection, one by one and as columns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

import numpy as np

from agent.core import twamp_light
from agent.core.admission import VERDICTS, Admission, AdmissionRules, PacketRate, Verdict
from agent.core.reflection import Reflection, ReflectorMode, Request, RequestColumns
from agent.core.stamp import BASE_OCTETS
from tests.fuzz.choices import Choices

_RULES: Final = AdmissionRules(
    allow=[ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")],
    twamp_light=[ip_network("10.9.0.0/16")],
    per_source=PacketRate(1_000, 4),
    overall=PacketRate(2_000, 12),
    max_sources=4,
    longest=256,
)
_WITHOUT_LIMITS: Final = replace(
    _RULES,
    per_source=PacketRate(1_000_000_000, 1_000_000),
    overall=PacketRate(1_000_000_000, 4_000_000),
    max_sources=64,
)
_VERSIONS: Final = (
    [ip_address(f"10.{net}.0.{host}").packed for net in (0, 9) for host in range(4)]
    + [ip_address("192.0.2.1").packed],
    [ip_address(f"2001:db8:{net}::{host}").packed for net in range(4) for host in range(2)]
    + [ip_address("2001:db9::1").packed],
)
_PORTS: Final = (40_000, 862, 0)
_LARGEST_GAP_NS: Final = 1_000_000
_T2, _ESTIMATE, _TTL = 0x0102030405060708, 0x8AD2, 63


class _Request(NamedTuple):
    source: bytes
    port: int
    payload: bytes


def answers(data: bytes) -> None:
    """No reply is longer than its request but to a configured peer, nobody gets more than his rate, both ways agree."""
    choices = Choices(data)
    mode = ReflectorMode.STATEFUL if choices.flag() else ReflectorMode.STATELESS
    addresses = _VERSIONS[choices.below(2)]
    max_sessions = 2 + choices.below(8)
    one_by_one, at_once, generous = Admission(_RULES), Admission(_RULES), Admission(_WITHOUT_LIMITS)
    scalar, columns = Reflection(mode, max_sessions), Reflection(mode, max_sessions)
    begun_ns = now_ns = 5_000_000_000
    admitted: defaultdict[bytes, int] = defaultdict(int)
    while choices.left:
        now_ns += choices.number() * _LARGEST_GAP_NS // 16
        pressed = choices.flag()
        requests = [
            _Request(
                addresses[choices.below(len(addresses))],
                _PORTS[choices.below(len(_PORTS))],
                choices.take(choices.number() + (choices.number() >> 4)),
            )
            for _ in range(1 + choices.below(8))
        ]
        answerable = [request for request in requests if _decided(one_by_one, request, now_ns, pressed)]
        for request in answerable:
            admitted[request.source[:8]] += 1
        elapsed_ns = now_ns - begun_ns
        for count in admitted.values():
            assert count <= _RULES.per_source.burst + elapsed_ns // _RULES.per_source.token_ns + 1
        total = sum(admitted.values())
        assert total <= _RULES.overall.burst + elapsed_ns // _RULES.overall.token_ns + 1
        _check_columns(_decided_at_once(at_once, requests, now_ns, pressed), generous, requests, now_ns)
        _answer(scalar, columns, one_by_one, answerable)
        assert one_by_one.sources <= _RULES.max_sources
        assert scalar.sessions == columns.sessions <= max_sessions


def _decided(admission: Admission, request: _Request, now_ns: int, pressed: bool) -> bool:
    octets = len(request.payload)
    verdict = admission.decide(request.source, octets, now_ns, port=request.port, pressed=pressed)
    if verdict is not Verdict.ADMITTED:
        return False
    least = twamp_light.REQUEST_OCTETS if admission.is_twamp_light(request.source) else BASE_OCTETS
    assert least <= octets <= _RULES.longest
    assert admission.is_allowed(request.source)
    assert request.port not in _RULES.reflector_ports
    return True


def _decided_at_once(
    admission: Admission, requests: list[_Request], now_ns: int, pressed: bool
) -> list[Verdict]:
    verdicts = admission.decide_all(
        np.array([list(request.source) for request in requests], np.uint8),
        np.array([len(request.payload) for request in requests], np.uint32),
        now_ns,
        ports=np.array([request.port for request in requests], np.uint16),
        pressed=pressed,
    )
    return [VERDICTS[number] for number in verdicts.tolist()]


def _check_columns(
    decided: list[Verdict], generous: Admission, requests: list[_Request], now_ns: int
) -> None:
    """But for how often somebody has come, many are decided of as one is."""
    for verdict, request in zip(decided, requests, strict=True):
        alone = generous.decide(request.source, len(request.payload), now_ns, port=request.port)
        if alone is Verdict.ADMITTED:
            assert verdict in (Verdict.ADMITTED, Verdict.RATE_LIMITED, Verdict.OVER_BUDGET)
        else:
            assert verdict is alone


def _answer(scalar: Reflection, columns: Reflection, admission: Admission, requests: list[_Request]) -> None:
    for source, _, payload in requests:
        here = bytes(len(source))
        light = admission.is_twamp_light(source)
        request = Request(payload, source, here, source, _TTL, 0, _T2, _ESTIMATE, light=light)
        reply = bytes(scalar.reply(request).octets)
        if light:
            assert len(reply) == max(len(payload), twamp_light.REPLY_OCTETS)
            columns.reply(request)
            continue
        assert len(reply) == len(payload)
        packet = np.frombuffer(bytearray(payload), np.uint8).reshape(1, -1)
        address = np.frombuffer(source, np.uint8).reshape(1, -1)
        columns.reply_all(
            RequestColumns(
                packet,
                np.array([len(payload)]),
                address,
                np.frombuffer(here, np.uint8).reshape(1, -1),
                address,
                np.full(1, _TTL, np.int64),
                np.zeros(1, np.int64),
                np.full(1, _T2, np.uint64),
                np.full(1, _ESTIMATE, np.uint16),
                np.zeros(1, np.bool_),
            )
        )
        assert packet.tobytes() == reply
