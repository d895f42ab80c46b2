"""The summary's own check of the conservation law, on an exposition as a reader sees it."""

from __future__ import annotations

import pytest

from deploy.quickstart.tally import Tally

HELD = """
isochrone_clock_error_bound_seconds{clock_source="unsynchronised"} +Inf
isochrone_probe_sent_total{target="a"} 10
isochrone_probe_in_flight{target="a"} 2
isochrone_probe_outcomes_total{target="a",direction="round_trip",outcome="within"} 5
isochrone_probe_outcomes_total{target="a",direction="round_trip",outcome="lost"} 3
isochrone_probe_outcomes_total{target="a",direction="forward",outcome="within"} 6
isochrone_probe_outcomes_total{target="a",direction="forward",outcome="lost"} 2
isochrone_probe_outcomes_total{target="a",direction="reverse",outcome="within"} 5
isochrone_probe_outcomes_total{target="a",direction="reverse",outcome="lost"} 1
isochrone_probe_sent_total{target="b"} 1
isochrone_probe_in_flight{target="b"} 1
"""


def test_the_law_holds() -> None:
    """What is under way is in the law, what was lost on the way there too; what is no count is left alone."""
    tally = Tally.of(HELD)
    assert tally.sent == {"a": 10, "b": 1}
    assert tally.in_flight == {"a": 2, "b": 1}
    assert tally.outcomes["a", "forward", "lost"] == 2
    assert tally.broken_laws() == []


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ('direction="round_trip",outcome="within"} 5', "round trips 9"),
        ('direction="forward",outcome="within"} 6', "forward 9"),
        ('direction="reverse",outcome="within"} 5', "reverse + lost on the way there 9"),
    ],
)
def test_a_probe_counted_twice(line: str, broken: str) -> None:
    """One probe too many in any direction is noticed, and named with its path."""
    text = HELD.replace(line, f"{line[:-1]}{int(line[-1]) + 1}")
    assert Tally.of(text).broken_laws() == [f"a: sent - in flight is 8, {broken}"]


def test_a_probe_forgotten() -> None:
    """A probe that is sent and nowhere counted breaks all three equations of its path."""
    text = HELD.replace('sent_total{target="b"} 1', 'sent_total{target="b"} 2')
    assert len(Tally.of(text).broken_laws()) == 3
