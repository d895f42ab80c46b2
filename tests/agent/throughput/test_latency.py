"""Latency before, during and after a test."""

from __future__ import annotations

import pytest

from agent.throughput.latency import Phase, phase_of


@pytest.mark.parametrize(
    ("sent_ns", "phase"),
    [
        (9, Phase.IDLE),
        (10, Phase.UNDER_LOAD),
        (20, Phase.UNDER_LOAD),
        (25, None),
        (30, Phase.UNDER_LOAD),
        (41, Phase.AFTER),
    ],
)
def test_a_probe_belongs_to_a_phase(sent_ns: int, phase: Phase | None) -> None:
    """By when it was sent; what lies between two tests belongs to none, for the line may not be idle again yet."""
    assert phase_of(sent_ns, [(10, 20), (30, 40)]) is phase


def test_without_a_test_there_is_no_phase() -> None:
    """What was measured then tells nothing of a load."""
    assert phase_of(5, []) is None
