"""What was seen of a window."""

from __future__ import annotations

import numpy as np
import pytest

from agent.core.histogram import BUCKETS
from agent.core.outcome import Outcome
from collector.sla.observation import DIRECTIONS, NOT_MEASURED, Observation


def test_coverage_is_a_share_of_the_window_to_the_nanosecond() -> None:
    """Whoever recomputes it has the window's length as it is told, and no other."""
    shape = 1, len(DIRECTIONS)
    seen = Observation(
        np.array([0]),
        np.array([260_299_958_761]),
        np.full(shape, 25_447),
        np.zeros((*shape, len(Outcome)), np.int64),
        np.zeros((*shape, BUCKETS), np.int64),
        np.full(shape, NOT_MEASURED),
        np.array([100]),
        np.zeros((*shape, len(Outcome)), np.int64),
        {},
    )
    assert seen.coverage()[0, 0] == pytest.approx(25.447 / (260.299_958_761 - 0.1), rel=1e-12)
