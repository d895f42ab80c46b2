"""Reflectors for tests."""

from __future__ import annotations

from ipaddress import ip_network

from agent.core.admission import AdmissionRules, PacketRate
from agent.core.reflection import ReflectorMode
from agent.net.clock import Clock, DeclaredClock
from agent.net.local_clock import LocalClock
from agent.reflector.stamp import StampReflector
from agent.runtime.quantities import Endpoint

ANYBODY = AdmissionRules(
    allow=[ip_network("0.0.0.0/0"), ip_network("::/0")],
    per_source=PacketRate(1_000_000, 10_000),
    overall=PacketRate(1_000_000, 10_000),
)
"""Whoever asks is answered."""


def reflector_on(
    host: str,
    mode: ReflectorMode = ReflectorMode.STATEFUL,
    clock: Clock | None = None,
    rules: AdmissionRules = ANYBODY,
    port: int = 0,
) -> StampReflector:
    """A reflector, on a port of the kernel's choice unless one is given."""
    return StampReflector(
        [Endpoint(host=host, port=port)], mode, LocalClock(clock or DeclaredClock(50_000)), rules
    )
