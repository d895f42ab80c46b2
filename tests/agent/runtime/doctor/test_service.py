"""What systemd says of the unit."""

from __future__ import annotations

import pytest

from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.service import ServiceFacts, gather_service, judge_service, parse_service

UNIT = "isochrone-agent.service"
SHOWN = """\
LoadState=loaded
ActiveState=active
SubState=running
MainPID=4711
NRestarts=2
Result=success
AmbientCapabilities=cap_net_bind_service cap_net_raw
"""


def test_what_systemctl_prints_is_read() -> None:
    """State, process, restarts and capabilities."""
    assert parse_service(UNIT, SHOWN) == ServiceFacts(
        UNIT, "active", "running", 4711, 2, "success", frozenset({"cap_net_bind_service", "cap_net_raw"})
    )


@pytest.mark.parametrize("printed", ["", "LoadState=not-found\nActiveState=inactive\n", "no answer"])
def test_without_a_unit_nothing_is_said(printed: str) -> None:
    """There need not be one."""
    assert parse_service(UNIT, printed) is None
    assert list(judge_service(None)) == []


@pytest.mark.parametrize(
    ("active", "sub", "restarts", "severity"),
    [
        ("active", "running", 0, Severity.OK),
        ("active", "running", 3, Severity.WARNING),
        ("activating", "auto-restart", 9, Severity.PROBLEM),
        ("activating", "start", 0, Severity.NOTE),
        ("failed", "failed", 0, Severity.PROBLEM),
        ("inactive", "dead", 0, Severity.WARNING),
    ],
)
def test_states(active: str, sub: str, restarts: int, severity: Severity) -> None:
    """Each as bad as it is."""
    (found,) = judge_service(ServiceFacts(UNIT, active, sub, restarts=restarts, result="watchdog"))
    assert found.severity is severity


async def test_a_host_without_such_a_unit() -> None:
    """With or without systemd, it is only said that there is none."""
    assert await gather_service("isochrone-that-nobody-has.service") is None
