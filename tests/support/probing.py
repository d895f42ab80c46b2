"""Probers of one kind that end by themselves, for tests with real sockets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from agent.core.measurement import Measurement, Measurements
from agent.net.clock import UnsynchronisedClock
from agent.net.local_clock import LocalClock
from agent.probes.probed import OutletKind
from agent.probes.prober import Prober
from agent.settings import PathSettings


def path(kind: str, address: str, **changes: object) -> PathSettings:
    """A quick path to an address."""
    return PathSettings.model_validate(
        {
            "target": address,
            "tier": "city",
            "kind": kind,
            "address": address,
            "interval": "5ms",
            "timeout": "200ms",
            "limits": {"forward": "< 100ms"},
            **changes,
        }
    )


def prober_of(
    kind: OutletKind,
    paths: Sequence[PathSettings],
    probes: int,
    record: Callable[[Measurements], None] = lambda measurements: None,
) -> Prober:
    """A prober without any trustworthy clock."""
    clock = LocalClock(UnsynchronisedClock())
    return Prober(kind, "wuhan", paths, clock, random.Random(1), record=record, probes=probes)


async def measure(prober: Prober) -> None:
    """Run a prober to its end, and check the law of every path."""
    await prober.start()
    await finish(prober)


async def finish(prober: Prober) -> None:
    """Let a started prober come to its end, and check the law of every path."""
    await prober.idle()
    await prober.stop()
    for probed in prober.paths:
        assert probed.ledger.broken_laws() == []
        assert probed.ledger.in_flight == 0


class Recorded:
    """What a prober has told of its probes."""

    def __init__(self) -> None:
        self.all: list[Measurement] = []

    def __call__(self, measured: Measurements) -> None:
        """Take in measurements."""
        self.all += measured.each()
