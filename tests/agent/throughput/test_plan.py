"""What a test's child process is told, and what it tells."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from agent.core.authentication import Key
from agent.core.throughput.cause import DatagramCounts, HostLoad, Pressure
from agent.core.throughput.lease import Protocol, Share, Way
from agent.core.throughput.rates import Packets, Window
from agent.throughput.plan import Ended, EnginePlan, EngineReport, WayPlan, WayReport


def test_a_plan_is_read_as_it_was_written() -> None:
    """Over JSON too, and nobody sees the token in its `repr`."""
    plan = EnginePlan(
        Protocol.UDP,
        6,
        Key(bytes(range(16))),
        7,
        8,
        {
            Way.DOWN: WayPlan(True, Share(1, 2)),
            Way.UP: WayPlan(False, Share(3, 4), paced=False, searching=True),
        },
    )
    assert EnginePlan.parse(json.loads(json.dumps(plan.document()))) == plan
    assert plan.token.secret.hex() not in repr(plan)


def test_a_report_is_read_as_it_was_written() -> None:
    """The child writes it without the library that the parent reads it with."""
    report = EngineReport(
        {
            Way.DOWN: WayReport(
                5,
                (Window(1, 2, 3),),
                Packets(1448, 52),
                4,
                (Pressure(1e9, lost=0.1),),
                acknowledgements=1.5,
                ended=Ended.DONE,
            ),
            Way.UP: WayReport(datagrams=DatagramCounts(4, 3, 2, 1), queueing_ns=2.5),
        },
        HostLoad(1, 2, 3, 4, 5, 6, 7, 8),
        9,
        over=True,
    )
    assert TypeAdapter(EngineReport).validate_json(report.serialise()) == report
