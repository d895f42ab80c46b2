"""What the collector is told: agents' expositions, and the answers of a Prometheus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from agent.core.metrics import LINE_KIND
from agent.core.outcome import Direction, Limit, Outcome
from collector.sources.layout import Layout
from collector.sources.prometheus import readings_of
from collector.sources.query_api import answer_of
from collector.sources.samples import NEEDED, AgentReading, agent_reading
from collector.sources.text_format import parse

_SITE: Final = "wuhan"
_TAKEN_NS: Final = 1_795_000_000_000_000_000
_STORABLE: Final = 1 << 63
"""What the store's integers end before."""


def exposition(data: bytes) -> None:
    """An exposition is taken whole, and then obeys the law, or it is a `ValueError`; by its layout none other is."""
    layout = Layout.learned(_SITE, data)
    by_layout = None if layout is None else layout.read(data, _TAKEN_NS)
    try:
        samples = parse(data.decode(), NEEDED)
        assert all(sample.name in NEEDED for sample in samples)
        reading = agent_reading(_SITE, samples, _TAKEN_NS)
    except ValueError:
        assert by_layout is None
        return
    _check([reading])
    assert by_layout is None or [*by_layout.readings] == [*reading.readings]


def prometheus(data: bytes) -> None:
    """An answer of the query API amounts to one reading of each agent, or it is a `ValueError`."""
    try:
        answer = answer_of(200, data.decode(errors="replace"))
        readings = readings_of(answer, (_SITE, "beijing"), _TAKEN_NS)
    except ValueError:
        return
    assert [reading.site for reading in readings] == [_SITE, "beijing"]
    _check(readings)


def _check(agents: Sequence[AgentReading]) -> None:
    for agent in agents:
        assert agent.up != bool(agent.reason)
        assert agent.clock_bound_ns is None or agent.clock_bound_ns >= 0
        for reading in agent.readings:
            assert agent.up
            assert reading.path.source == agent.site
            assert math.isfinite(reading.epoch)
            resolved = reading.sent - reading.in_flight
            lost_there = reading.directions[Direction.FORWARD].outcomes[Outcome.LOST]
            for direction, counts in reading.directions.items():
                if reading.path.kind == LINE_KIND:
                    assert counts.packets <= resolved
                else:
                    assert counts.packets == resolved - lost_there * (direction is Direction.REVERSE)
                assert min(*counts.outcomes, *counts.delays) >= 0
            assert 0 <= reading.in_flight <= reading.sent
            assert 0 <= reading.epoch * 1e9 < _STORABLE
            assert 0 <= reading.taken_ns < _STORABLE
            assert 0 <= reading.sent < _STORABLE
            limits = [one for one in reading.limits.values() if isinstance(one, Limit)]
            assert all(-_STORABLE <= limit.limit_ns < _STORABLE for limit in limits)
