"""What the host makes of throughput tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.doctor.lines import LineFacts, gather_lines, judge_lines
from agent.runtime.doctor.diagnosis import Severity


@pytest.mark.parametrize(
    ("facts", "severity"),
    [
        (LineFacts("cubic", ("reno", "cubic")), Severity.OK),
        (LineFacts("bbr", ("reno", "bbr", "cubic")), Severity.OK),
        (LineFacts("reno", ("reno",)), Severity.OK),
        (LineFacts("bbr", ("reno", "bbr")), Severity.WARNING),
        (LineFacts("", ()), Severity.NOTE),
    ],
)
def test_streams_are_controlled_by_losses(facts: LineFacts, severity: Severity) -> None:
    """Where they cannot be, a warning says how to let them, and keeps what was allowed."""
    (found,) = judge_lines(facts)
    assert found.severity is severity
    if severity is Severity.WARNING:
        assert found.remedy is not None
        assert "tcp_allowed_congestion_control='reno bbr cubic'" in found.remedy.en
        assert "tcp_allowed_congestion_control='reno bbr cubic'" in found.remedy.zh


def test_what_the_kernel_says(tmp_path: Path) -> None:
    """The real one names its choice among what it allows, or in addition; where there is none, nothing is made up."""
    real = gather_lines()
    assert real.usual
    assert real.allowed
    assert gather_lines(tmp_path) == LineFacts("", ())
